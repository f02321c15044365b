"""Trials as people read them: one row a trial, hyperparameters in few words, and the top k's re-runs with their means.

Plain values for the terminal, the model card and the charts. Knows nothing of how they are drawn.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.score import mean_interval
from tuner.store.records import FAILED, INTERRUPTED, PRUNED, StudyRecord, TrialRecord

STATE_WORDS = {PRUNED: "stopped early", FAILED: "failed", INTERRUPTED: "interrupted"}


@dataclass(frozen=True)
class TrialRow:
    """One trial in a table. `params` in words, `score` of its best report (None before the first), `samples` the
    training rows seen, `seconds` from start to end or None, `message` why it failed or where it was stopped."""

    number: int
    trial_id: str
    params: str
    state: str
    score: float | None
    samples: int
    seconds: float | None
    winner: bool
    message: str


@dataclass(frozen=True)
class RerunGroup:
    """A configuration of the top k on several seeds: `scores` in order of the seeds, mean and 95 % interval (None for a
    single seed), and `search_score`, what it had reached in the search."""

    trial_id: str
    number: int
    scores: tuple[float, ...]
    mean: float
    interval: tuple[float, float] | None
    search_score: float | None
    winner: bool


def trials_table(record: StudyRecord, best_first: bool = False) -> list[TrialRow]:
    """All trials in the order they began, or best score first with those without a score last."""
    varied = searched(record)
    rows = [_row(trial, record, varied) for trial in record.trials]
    if best_first:
        rows.sort(key=lambda row: (row.score is None, -(row.score or 0.0), row.number))
    return rows


def searched(record: StudyRecord) -> list[str]:
    """Names of the hyperparameters that the space lets vary, in its order; without a space all that trials name."""
    space: Mapping[str, Any] = record.config.get("space", {})
    if not space:
        return list(dict.fromkeys(name for trial in record.trials for name in trial.params))
    return [name for name, entry in space.items() if not _is_constant(entry)]


def params_text(params: Mapping[str, Any], names: list[str] | None = None) -> str:
    """Hyperparameters in few words: "rank 8, learning rate 0.001, query + value"."""
    chosen = params if names is None else {name: params[name] for name in names if name in params}
    return ", ".join(
        value_text(value) if name == "target_modules" and value else f"{name.replace('_', ' ')} {value_text(value)}"
        for name, value in chosen.items()
    )


def value_text(value: Any) -> str:
    """A value with no more digits than help: 0.00103 rather than 0.0010345678."""
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return " + ".join(str(item) for item in value)
    return str(value)


def state_word(state: str) -> str:
    """A trial's state as a person would say it."""
    return STATE_WORDS.get(state, state)


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def format_seconds(seconds: float) -> str:
    """ "45 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(whole // 60, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def samples_seen(trial: TrialRecord) -> int:
    """Training rows a trial has seen, 0 before its first report."""
    return int(trial.reports[-1].get("samples") or 0) if trial.reports else 0


def rerun_groups(record: StudyRecord) -> list[RerunGroup]:
    """The top k's re-runs by configuration, best mean first. Runs without a finite score are left out."""
    trials = {trial.trial_id: trial for trial in record.trials}
    scores: dict[str, list[float]] = {}
    for rerun in sorted(record.reruns, key=lambda rerun: rerun.seed):
        score = rerun.validation.get("score")
        if score is not None and math.isfinite(score):
            scores.setdefault(rerun.trial_id, []).append(score)
    groups = [
        RerunGroup(
            trial_id,
            trials[trial_id].number if trial_id in trials else -1,
            tuple(values),
            statistics.fmean(values),
            mean_interval(values),
            trials[trial_id].score if trial_id in trials else None,
            record.winner is not None and record.winner.trial_id == trial_id,
        )
        for trial_id, values in scores.items()
    ]
    return sorted(groups, key=lambda group: group.mean, reverse=True)


def _row(trial: TrialRecord, record: StudyRecord, varied: list[str]) -> TrialRow:
    return TrialRow(
        number=trial.number,
        trial_id=trial.trial_id,
        params=params_text(trial.params, varied),
        state=state_word(trial.state),
        score=trial.score,
        samples=samples_seen(trial),
        seconds=trial.finished - trial.started if trial.finished is not None and trial.started else None,
        winner=record.winner is not None and record.winner.trial_id == trial.trial_id,
        message=trial.message,
    )


def _is_constant(entry: Any) -> bool:
    """Whether an entry of the space leaves one value only."""
    if not isinstance(entry, Mapping) or entry.get("type") == "constant":
        return True
    return entry.get("low", 0) == entry.get("high", 1) or len(entry.get("values", (0, 1))) == 1
