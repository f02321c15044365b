"""What a person reads of a study when it is over: the best configuration, its score, its files, what to type next.

Turns a `StudyRecord` into lines for a rich console. Shows only what the record holds and says what is missing.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tuner import tasks
from tuner.cli.study_state import StudyState, describe_params, format_value, samples_of, searched_names
from tuner.cli.terminal import say
from tuner.report.trials import format_seconds
from tuner.store.records import COMPLETE, FAILED, INTERRUPTED, PRUNED, RUNNING, StudyRecord, Winner

COMPONENTS = ("efficiency", "quality", "preservation")
STYLES = {COMPLETE: "green", PRUNED: "yellow", FAILED: "red", INTERRUPTED: "magenta", RUNNING: "cyan"}
WORDS = {PRUNED: "stopped early"}


def print_summary(console: Console, folder: Path, record: StudyRecord) -> None:
    """The end of a study: best configuration, score with components and grades, files, next commands."""
    end = f" in {format_seconds(record.finished - record.created)}" if record.finished else ""
    state = StudyState(record, 0.0)
    say(console, Text.assemble((record.name, "bold cyan"), f" is {record.state}{end}: {state.counts()}"))
    if record.winner is not None:
        _winner(console, record, record.winner)
    elif state.best is not None and state.best.score is not None:
        params = describe_params(state.best.params, searched_names(record))
        _section(console, "Best so far", [(f"trial {state.best.number}", f"{state.best.score:.4f}   {params}")])
    else:
        say(console, "No trial has reached a report, so there is no best configuration.")
    _section(console, "Files", _files(folder, record))
    _section(console, "Next", [("", command) for command in next_commands(folder, record)])


def next_commands(folder: Path, record: StudyRecord) -> list[str]:
    """Commands worth typing now, ready for a shell."""
    results = "" if folder.parent == Path("results") else f" --results {shlex.quote(str(folder.parent))}"
    commands = []
    if record.state in (INTERRUPTED, FAILED):
        commands.append(f"tuner tune --resume {shlex.quote(record.name)}{results}")
    if record.winner is not None:
        spec, name = tasks.spec(record.task) if record.task in tasks.names() else None, shlex.quote(record.name)
        example = shlex.quote(spec.example) if spec is not None else "..."
        commands.append(f"tuner predict {record.task} {example} --study {name}{results}")
        if spec is not None and spec.served:
            commands.append(f"tuner promote {name} --as {record.task}/main{results}")
    if (folder / "tensorboard").is_dir():
        commands.append(f"tensorboard --logdir {shlex.quote(str(folder / 'tensorboard'))}")
    if (folder / "study.db").exists():
        commands.append(f"optuna-dashboard {shlex.quote('sqlite:///' + str(folder / 'study.db'))}")
    return commands or [f"tuner status {shlex.quote(record.name)}{results}"]


def trials_table(record: StudyRecord, width: int) -> Table:
    """One row a trial, the best score first; trials without a score come last.

    Hyperparameters have a column each where `width` (in characters) allows it, else they share one."""
    names = searched_names(record)
    messages = any(trial.message for trial in record.trials)
    wide = width >= 50 + 14 * len(names) + 40 * messages
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("trial", "state", "score", "samples"):
        table.add_column(heading, justify="left" if heading == "state" else "right", no_wrap=True)
    for name in names if wide else []:
        table.add_column(name.replace("_", " "), justify="right")
    for heading in ([] if wide else ["configuration"]) + (["message"] if messages else []):
        table.add_column(heading)
    for trial in sorted(record.trials, key=lambda trial: (trial.score is None, -(trial.score or 0.0), trial.number)):
        state = Text(WORDS.get(trial.state, trial.state), style=STYLES.get(trial.state, ""))
        score = "" if trial.score is None else f"{trial.score:.4f}"
        values = [format_value(trial.params[name]) if trial.params.get(name) is not None else "" for name in names]
        shown = values if wide else [describe_params(trial.params, names)]
        table.add_row(
            str(trial.number), state, score, f"{samples_of(trial):,}", *shown, *([trial.message] if messages else [])
        )
    return table


def _winner(console: Console, record: StudyRecord, winner: Winner) -> None:
    number = next((trial.number for trial in record.trials if trial.trial_id == winner.trial_id), winner.trial_id)
    names = dict.fromkeys([*searched_names(record), *winner.params])
    values = {name: winner.params[name] for name in names if winner.params.get(name) is not None}
    params = [(name.replace("_", " "), format_value(value)) for name, value in values.items()]
    _section(console, f"Best configuration (trial {number})", params)
    _section(console, _score_line(winner), [])
    if winner.grades:
        console.print(_components(record, winner))
    if not winner.test:
        _section(console, "It was not measured on test rows", [])
        return
    _section(console, "Measured on validation rows, and on test rows that no trial has seen", [])
    table = _grid("", "validation", "test")
    for name, value in winner.test.items():
        # A loss is named after its split; the parts of the score stand above.
        plain = name.removeprefix("test_")
        before = winner.metrics.get(name, winner.metrics.get(f"validation_{plain}"))
        if value is not None and (name == "score" or not name.startswith("score_")):
            table.add_row(
                plain.replace("_", " "), "" if before is None else _measured(name, before), _measured(name, value)
            )
    console.print(table)


def _score_line(winner: Winner) -> str:
    seeds = f"the mean of {winner.seeds} seeds" if winner.seeds > 1 else "one seed"
    parts = [f"Score {winner.score:.4f}", winner.grades.get("overall", ""), f"{seeds}{_interval(winner)}"]
    return "   ".join(part for part in parts if part)


def _components(record: StudyRecord, winner: Winner) -> Table:
    table = _grid("", "score", "grade", "from")
    table.columns[2].justify = table.columns[3].justify = "left"
    for name in COMPONENTS:
        score = winner.metrics.get(f"score_{name}")
        raw, what = _raw(record, winner, name)
        shown = "" if raw is None else f"{what} {_measured(what, raw)}"
        table.add_row(name, "" if score is None else f"{score:.4f}", winner.grades.get(name, ""), shown)
    return table


def _raw(record: StudyRecord, winner: Winner, component: str) -> tuple[float | None, str]:
    """What a component was computed from, and what it is called."""
    if component == "efficiency":
        return winner.metrics.get(component), "MB of adapter a step"
    spec = tasks.spec(record.task) if record.task in tasks.names() else None
    metric = component if spec is None else spec.for_rows(record.data).sources[component]
    return winner.metrics.get(metric), metric.replace("_", " ")


def _interval(winner: Winner) -> str:
    return "" if winner.interval is None else f", 95 % interval {winner.interval[0]:.4f} to {winner.interval[1]:.4f}"


def _measured(name: str, value: float) -> str:
    return f"{value:.1%}" if name == "accuracy" else f"{value:.4g}"


def _grid(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 2), header_style="dim")
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place == 0 else "right", style="dim" if place == 0 else "")
    return table


def _files(folder: Path, record: StudyRecord) -> list[tuple[str, str]]:
    places = [
        ("adapter", folder / record.winner.adapter if record.winner else None),
        ("TensorBoard", folder / "tensorboard"),
        ("Optuna study", folder / "study.db"),
        ("report", newest_report(folder)),
        ("config", folder / "config.yaml"),
    ]
    return [(name, str(path)) for name, path in places if path is not None and path.exists()] or [
        ("folder", str(folder))
    ]


def newest_report(folder: Path) -> Path | None:
    """The newest page that tells of a study; None if there is none. Its name holds the time."""
    return max((folder / "reports").glob("training_report_*.html"), default=None)


def _section(console: Console, title: str, rows: list[tuple[str, str]]) -> None:
    width = max((len(name) for name, _ in rows), default=0)
    console.print()
    say(console, Text(title, style="bold"))
    for name, value in rows:
        say(console, Text.assemble("  ", (f"{name:<{width}}  ", "dim") if width else "", value))
