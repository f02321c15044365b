"""The model card that lies beside a study's best adapter: Markdown with the front matter that model hubs read.

Every number comes from the study's record; what the record lacks is said to be missing. Knows nothing of where the card
is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import yaml

from tuner import tasks
from tuner.report.tensorboard import is_measure
from tuner.report.trials import params_text, rerun_groups, trials_table, value_text
from tuner.store.records import StudyRecord, Winner
from tuner.tasks.task import Usage

MAX_TRIALS = 40
SPLITS = ("train", "validation", "test")
MISSING = "not recorded"
# What hubs call these metrics; others have no name there.
_HUB_METRICS = {"accuracy": "accuracy", "macro_f1": "f1", "f1": "f1", "rouge_l": "rouge", "bleu": "bleu"}


def model_card(record: StudyRecord) -> str:
    """The card of a study, also of one that has no winner (yet), which it then says."""
    winner = record.winner
    sections = [
        _front_matter(record),
        f"# {record.name}",
        _introduction(record),
        "## Score\n\n"
        + (_score(record, winner) if winner else "The study has no winner, so there is no score to report."),
        "## How to load it\n\n" + _usage(record),
        "## Data\n\n" + _data(record),
        "## Search space\n\n" + _space(record),
        "## Trials\n\n" + _trials(record),
        "## Reproduce\n\n" + _reproduce(record),
        "## Limits\n\n" + _limits(record),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(record: StudyRecord) -> str:
    classifies = bool(_label_counts(record, "train"))
    tags = ["lora", "peft", "hyperparameter-search", record.task.replace("_", "-")]
    fields: dict[str, Any] = {"base_model": _public(record.base_model), "library_name": "peft", "tags": tags}
    if classifies:
        fields["pipeline_tag"] = "text-classification"
    if used := _used(record):
        fields["tags"] = [tag for tag in tags if tag != "peft"]
        fields |= {"library_name": used.library, "pipeline_tag": used.pipeline_tag}
    test = _own_test(record)
    measured = {name: value for name, value in test.items() if name in _HUB_METRICS and _is_number(value)}
    if measured:
        fields["metrics"] = list(dict.fromkeys(_HUB_METRICS[name] for name in measured))
        result = {
            "task": {"type": fields.get("pipeline_tag", record.task)},
            "dataset": {"name": _source(record), "type": _source(record).replace(" ", "-"), "split": "test"},
            "metrics": [
                {"type": _HUB_METRICS[name], "name": name.replace("_", " "), "value": round(value, 6)}
                for name, value in measured.items()
            ],
        }
        fields["model-index"] = [{"name": record.name, "results": [result]}]
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---"


def _introduction(record: StudyRecord) -> str:
    text = f"A LoRA adapter for {record.task.replace('_', ' ')} on `{_public(record.base_model)}`"
    if record.winner is None:
        return f"{text}. The study is {record.state} and has not chosen one of its {len(record.trials)} trials."
    chosen = params_text(record.winner.params)
    return (
        f"{text}, the best of the {len(record.trials)} trials of a search: {chosen}. "
        "Its weights are the running average of those of its last training steps."
    )


def _score(record: StudyRecord, winner: Winner) -> str:
    spread = "its interval is not known from so few seeds"
    if winner.interval:
        spread = f"95 % interval {winner.interval[0]:.4f} to {winner.interval[1]:.4f}"
    seeds = f"mean of {winner.seeds} seeds" if winner.seeds > 1 else "one seed"
    grade = winner.grades.get("overall")
    parts = [
        f"Overall tuning score **{_number(winner.score)}** ({seeds}, {spread}){f', graded {grade}' if grade else ''}. "
        "It weighs quality, preservation of what the base knew, and efficiency; higher is better, at most 1."
    ]
    validation, test, own = _bare(winner.metrics), _bare(winner.test), _bare(_own_test(record))
    names = list(dict.fromkeys((*validation, *test)))
    rows = [
        (
            name.replace("score_", "score: ").replace("_", " "),
            _number(validation.get(name)),
            _number(test.get(name)),
            _number(own.get(name)),
            winner.grades.get("overall" if name == "score" else name.removeprefix("score_"), ""),
        )
        for name in names
    ]
    if rows:
        parts.append(_table(("metric", "validation", "test", "test, this adapter", "grade"), rows))
    if winner.seeds > 1:
        parts.append(
            "Validation and test are means over the seeds; this adapter is the one of them that did best on validation."
        )
    if not winner.test:
        parts.append("Test metrics are missing: the adapter was not measured on a test split.")
    groups = rerun_groups(record)
    if groups:
        parts.append("The best trials were trained again from other seeds, and the winner chosen on the mean:")
        parts.append(
            _table(
                ("trial", "mean score", "95 % interval", "seeds", "in the search"),
                [
                    (
                        f"{group.number}{' (winner)' if group.winner else ''}",
                        _number(group.mean),
                        f"{group.interval[0]:.4f} to {group.interval[1]:.4f}" if group.interval else MISSING,
                        ", ".join(_number(score) for score in group.scores),
                        _number(group.search_score),
                    )
                    for group in groups
                ],
            )
        )
    else:
        parts.append(
            "The best trials were not trained again from other seeds, so how much of the score is luck is not known."
        )
    return "\n\n".join(parts)


def _own_test(record: StudyRecord) -> Mapping[str, float]:
    """Test metrics of the very adapter that was kept: of the winner's runs the one with the best validation score."""
    if record.winner is None:
        return {}
    runs = [
        run
        for run in record.reruns
        if run.trial_id == record.winner.trial_id and _is_number(run.validation.get("score"))
    ]
    return max(runs, key=lambda run: run.validation["score"]).test if runs else record.winner.test


def _bare(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics by names that are the same on every split; the loss of training, named plainly "loss", is left out."""
    kept = {name: value for name, value in metrics.items() if is_measure(name)}
    return {name.removeprefix("validation_").removeprefix("test_"): value for name, value in kept.items()}


def _used(record: StudyRecord) -> Usage | None:
    """How the task's own kind of folder is opened, None for a PEFT folder or a task that is not known here."""
    if record.task not in tasks.names():
        return None
    entries = record.config.get("space", {})
    constants = {name: each["value"] for name, each in entries.items() if isinstance(each, dict) and "value" in each}
    return tasks.spec(record.task).used(_public(record.base_model), constants)


def _usage(record: StudyRecord) -> str:
    from tuner.bases.describe import EMBEDDED

    if used := _used(record):
        return "```python\n" + "\n".join(used.code) + "\n```"
    labels = len(_label_counts(record, "train"))
    kind = "AutoModelForSequenceClassification" if labels else "AutoModel"
    head = f", num_labels={labels}" if labels else ""
    imports = ["from peft import PeftModel", f"from transformers import {kind}, AutoTokenizer"]
    base = f'base = "{_public(record.base_model)}"'
    if record.base_model in EMBEDDED:
        # This base is no hub id: its weights lie in a package that was installed with the tuner.
        imports.append("from tuner.bases.describe import describe")
        base = f'base = describe("{record.base_model}").source  # the folder of the base\'s weights, as installed'
    code = [
        *imports,
        "",
        'adapter = "."  # the folder of this card',
        base,
        f"model = PeftModel.from_pretrained({kind}.from_pretrained(base{head}), adapter).eval()",
        "tokenizer = AutoTokenizer.from_pretrained(adapter)",
    ]
    return "```python\n" + "\n".join(code) + "\n```"


def _data(record: StudyRecord) -> str:
    splits: Mapping[str, Any] = record.data.get("splits", {})
    names = _label_names(record)
    parts = [f"Source: {_source(record)}."]
    rows = []
    for split in SPLITS:
        facts = splits.get(split)
        if facts is None:
            rows.append((split, MISSING, MISSING, MISSING))
            continue
        counts = ", ".join(
            f"{names.get(label, label)} {count}" for label, count in facts.get("label_counts", {}).items()
        )
        print_ = str(record.data.get("fingerprints", {}).get(split, ""))[:16]
        rows.append(
            (split, facts.get("total_samples", MISSING), counts or MISSING, f"`{print_}`" if print_ else MISSING)
        )
    parts.append(_table(("split", "rows", "labels", "fingerprint (first 16 digits)"), rows))
    remarks = [*record.data.get("warnings", ()), *record.data.get("notes", ())]
    parts.append(
        "Remarks on the data:\n\n" + _bullets(remarks) if remarks else "The checks of the data found nothing to remark."
    )
    return "\n\n".join(parts)


def _space(record: StudyRecord) -> str:
    space: Mapping[str, Any] = record.config.get("space", {})
    if not space:
        return f"The search space is {MISSING}."
    chosen = record.winner.params if record.winner else {}
    rows = [
        (f"`{name}`", _range(entry), value_text(chosen[name]) if name in chosen else "")
        for name, entry in space.items()
    ]
    return _table(("hyperparameter", "searched", "winner"), rows)


def _range(entry: Mapping[str, Any]) -> str:
    if entry.get("type") in ("int", "float"):
        log = ", log scale" if entry.get("log") else ""
        text = f"{value_text(entry['low'])} to {value_text(entry['high'])}{log}"
    elif entry.get("type") == "choice":
        text = "one of " + "; ".join(value_text(value) for value in entry["values"])
    else:
        text = f"fixed at {value_text(entry.get('value'))}"
    when = entry.get("when") or {}
    conditions = [f"{name} is {' or '.join(value_text(v) for v in values)}" for name, values in when.items()]
    return f"{text} (only when {' and '.join(conditions)})" if conditions else text


def _trials(record: StudyRecord) -> str:
    rows = trials_table(record, best_first=True)
    if not rows:
        return "No trial was run."
    cells = [
        (
            f"**{row.number}**" if row.winner else row.number,
            row.params,
            f"{row.state}: {row.message}" if row.message else row.state,
            _number(row.score) if row.score is not None else "none",
            f"{row.samples:,}",
        )
        for row in rows[:MAX_TRIALS]
    ]
    table = _table(("trial", "hyperparameters", "outcome", "best score", "rows seen"), cells)
    left = len(rows) - MAX_TRIALS
    return (
        f"{table}\n\nand {left} more trial{'s' if left != 1 else ''} with lower scores or none." if left > 0 else table
    )


def _reproduce(record: StudyRecord) -> str:
    engines = "; ".join(
        f"{e.get('name', '?')} on {e.get('device', '?')} in {e.get('dtype', '?')}" for e in record.engines
    )
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    command = f"```\n{record.command}\n```" if record.command else f"The command is {MISSING}."
    return f"{command}\n\nEngines: {engines or MISSING}. Versions: {versions or MISSING}."


def _limits(record: StudyRecord) -> str:
    rows = {split: record.data.get("splits", {}).get(split, {}).get("total_samples") for split in SPLITS}
    said = {
        split: f"{count:,}" if isinstance(count, int) else "an unrecorded number of" for split, count in rows.items()
    }
    limits = [
        f"Trained on {said['train']} rows of {_source(record)}; on other data it was not tried.",
        f"Trials were compared on {said['validation']} validation rows, where the winner thus looks a little too good.",
    ]
    test, quality = rows["test"], _own_test(record).get("accuracy")
    if isinstance(test, int) and test > 0 and _is_number(quality):
        error = (quality * (1 - quality) / test) ** 0.5
        limits.append(
            f"The test accuracy of {quality:.1%} comes from {test:,} rows: chance alone moves it by about "
            f"{100 * 1.96 * error:.1f} points either way."
        )
    elif not (record.winner and record.winner.test):
        limits.append("There are no numbers from rows that no choice was made on.")
    if record.winner is not None and record.winner.seeds < 2:
        limits.append("One seed only: how far another seed would differ is not known.")
    if record.winner is None or "preservation" not in record.winner.metrics:
        limits.append("How much of the base's general ability is kept was not measured.")
    limits.append("Bias and safety were not examined. What is known of the base model applies here too.")
    return _bullets(limits)


def _label_names(record: StudyRecord) -> dict[str, str]:
    return {str(index): f"{name} ({index})" for index, name in enumerate(record.data.get("label_names", ()))}


def _label_counts(record: StudyRecord, split: str) -> Mapping[str, int]:
    counts: Mapping[str, int] = record.data.get("splits", {}).get(split, {}).get("label_counts", {})
    return counts


def _source(record: StudyRecord) -> str:
    source = record.data.get("source") or record.config.get("data", {}).get("source")
    if source == "embedded":
        return "the embedded data of the project"
    return _public(str(source)) if source else "a source that is not recorded"


def _public(place: str) -> str:
    """A name that may be published: of a path on somebody's disk only its last part."""
    return Path(place).name if Path(place).is_absolute() or place.startswith(("~", ".")) else place


def _number(value: Any) -> str:
    return f"{value:.4f}" if _is_number(value) else MISSING


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def _bullets(items: Iterable[Any]) -> str:
    return "\n".join(f"- {' '.join(str(item).split())}" for item in items)
