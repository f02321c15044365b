"""A study in plain words: the few sentences that somebody reads who reads nothing else.

Says only what the record holds. Knows nothing of layout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tuner.report.schema import BeforeAfterPart, BenchmarkAnalysis, ImportancePart, LoraTuning, StartPart
from tuner.report.settings import Settings
from tuner.report.standing import best_trial
from tuner.report.trials import format_seconds, params_text, searched, state_word
from tuner.score import measured
from tuner.store.records import COMPLETE, StudyRecord

_ENDS = {COMPLETE: "finished", "running": "is still running", "interrupted": "was interrupted", "failed": "failed"}

_NOTHING = "no hyperparameter was searched"


def summary(
    record: StudyRecord,
    settings: Settings,
    score: LoraTuning,
    benchmark: BenchmarkAnalysis,
    compared: Sequence[BeforeAfterPart],
    start: StartPart | None,
    importance: ImportancePart,
) -> tuple[str, ...]:
    """The sentences, the most important first."""
    found = [
        _outcome(record, score),
        _quality(record, settings),
        _start(start),
        _outputs(benchmark, settings),
        _compared(compared, settings),
        _search(record),
        _mattered(importance),
    ]
    return tuple(sentence for sentence in found if sentence)


def _outcome(record: StudyRecord, score: LoraTuning) -> str:
    names = searched(record)
    graded = f", graded {score.overall_grade}" if score.overall_grade != "none" else ""
    if record.winner is not None:
        number = next((t.number for t in record.trials if t.trial_id == record.winner.trial_id), "?")
        spread = f" (95 % interval {score.interval[0]:.3f} to {score.interval[1]:.3f})" if score.interval else ""
        seeds = f"over {record.winner.seeds} seeds" if record.winner.seeds > 1 else "from one seed"
        chosen = params_text(record.winner.params, names) or _NOTHING
        if score.overall_tuning_score is None:
            return f"Trial {number} won: {chosen}. Its overall tuning score is not known."
        return (
            f"Trial {number} won: {chosen}. Its mean overall tuning score {seeds} is "
            f"{score.overall_tuning_score:.3f}{spread}{graded}."
        )
    best = best_trial(record)
    if best is None or best.score is None:
        return f"The study {_ENDS.get(record.state, record.state)}, and no trial has reported yet."
    return (
        f"The study {_ENDS.get(record.state, record.state)} and has chosen no winner. The best so far is trial "
        f"{best.number} with {best.score:.3f}{graded}: {params_text(best.params, names) or _NOTHING}."
    )


def _quality(record: StudyRecord, settings: Settings) -> str:
    metric = settings.sources["quality"]
    if record.winner is None or not math.isfinite(held := measured(record.winner.metrics.get(metric))):
        return ""
    name, test = metric.replace("_", " "), measured(record.winner.test.get(metric))
    if not math.isfinite(test):
        return f"Its {name} on validation rows is {held:.3f}; it was not measured on test rows."
    gap = held - test
    words = "about the same as" if abs(gap) < 0.01 else f"{abs(gap):.3f} {'less' if gap > 0 else 'more'} than"
    return f"On test rows, which no choice was made on, its {name} is {test:.3f}: {words} on validation rows."


def _start(start: StartPart | None) -> str:
    if start is None or start.gain is None:
        return ""
    if start.gain > 0:
        return (
            f"The start point, what one would take without a search, scored {start.score:.3f}: the search gained "
            f"{start.gain:.3f}."
        )
    return f"The search found nothing better than its start point, which scored {start.score:.3f}."


def _outputs(benchmark: BenchmarkAnalysis, settings: Settings) -> str:
    if benchmark.performance_distribution is None:
        return ""
    counts: Mapping[str, int] = benchmark.performance_distribution.model_dump()
    total = sum(counts.values())
    parts = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    loss = benchmark.average_metrics.get("avg_total_loss")
    mean = f"; their mean total loss is {loss:.3f}" if loss is not None else ""
    return f"Of {total:,} {settings.judged_by.item}s that it answered, {parts}{mean}."


def _compared(compared: Sequence[BeforeAfterPart], settings: Settings) -> str:
    """What the adapter gained over the base alone, by the measure that decides."""
    measure = settings.judged_by.measure(settings.judged_by.deciding)
    part = next((each for each in compared if each.metric == measure.metric), None)
    if part is None or part.before is None or part.after is None:
        return ""
    change = "" if part.change_percent is None else f", a change of {part.change_percent:+,.1f} %"
    word = {True: "better", False: "worse", None: "the same"}[part.is_better]
    return (
        f"On the same {settings.judged_by.item}s the base alone has a mean {measure.title} of {part.before:.3f}, the "
        f"adapter {part.after:.3f}{change}: {word}."
    )


def _search(record: StudyRecord) -> str:
    if not record.trials:
        return ""
    states = list(dict.fromkeys(trial.state for trial in record.trials))
    counts = ", ".join(f"{sum(t.state == state for t in record.trials)} {state_word(state)}" for state in states)
    took = f" The whole study took {format_seconds(record.finished - record.created)}." if record.finished else ""
    count = len(record.trials)
    return f"The search ran {count} trial{'s' if count != 1 else ''}: {counts}.{took}"


def _mattered(importance: ImportancePart) -> str:
    if not importance.shares:
        return ""
    name, share = next(iter(importance.shares.items()))
    what = name.replace("_", " ")
    return f"The {what} mattered most: {100 * share:.0f} % of the score's variance ({importance.basis})."
