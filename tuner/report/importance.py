"""Which hyperparameters mattered: Optuna's fANOVA over a study's trials, or why it cannot be said.

Finished trials are compared by their best score. Where early stopping left too few of them, all trials are compared
where all can be: by the score of their first report, after the same number of training rows. Knows nothing of drawing.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.report.optuna_study import quiet, study_of
from tuner.report.trials import searched
from tuner.store.records import COMPLETE, StudyRecord, TrialRecord

MIN_TRIALS = 8
ROUGH_BELOW = 30


@dataclass(frozen=True)
class Importance:
    """Shares of the score's variance that each hyperparameter explains (they sum to 1), largest first. `basis` says
    over what; where nothing can be said `shares` is empty and `basis` says why."""

    shares: dict[str, float]
    basis: str


def importance(record: StudyRecord) -> Importance:
    """How much each searched hyperparameter moved the score. The same record always gives the same answer."""
    points, basis = _points(record)
    if len(points) < MIN_TRIALS:
        return Importance({}, f"too few trials to tell: {len(points)} of the {MIN_TRIALS} needed")
    names = [
        name
        for name in searched(record)
        if all(name in trial.params for trial, _ in points) and len({_key(t.params[name]) for t, _ in points}) > 1
    ]
    if not names or len({score for _, score in points}) == 1:
        return Importance({}, "nothing to compare: the trials or their scores do not differ")
    rough = "; a rough guide" if len(points) < ROUGH_BELOW else ""
    return Importance(_fanova(points, names, record.config.get("space", {})), f"{basis}{rough}")


def _points(record: StudyRecord) -> tuple[list[tuple[TrialRecord, float]], str]:
    """The trials that can be compared, each with its score."""
    finished = [(trial, trial.score) for trial in record.trials if trial.state == COMPLETE and trial.score is not None]
    if len(finished) >= MIN_TRIALS:
        return finished, f"best scores of {len(finished)} finished trials"
    firsts = [(trial, trial.reports[0]) for trial in record.trials if trial.reports]
    (samples, _), *_ = Counter(first.get("samples") for _, first in firsts).most_common(1) or [(None, 0)]
    early = [
        (trial, first["score"]) for trial, first in firsts if first.get("samples") == samples and _has_score(first)
    ]
    if samples is None or len(early) < MIN_TRIALS:
        return finished, ""
    return early, f"scores of {len(early)} trials after {samples:,.0f} rows"


def _has_score(report: Mapping[str, float | None]) -> bool:
    score = report.get("score")
    return score is not None and math.isfinite(score)


def _fanova(
    points: list[tuple[TrialRecord, float]], names: list[str], space: Mapping[str, Mapping[str, Any]]
) -> dict[str, float]:
    import optuna

    study = study_of(points, names, space)
    with quiet():  # also of the forest's library about its own future
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in sorted(shares.items(), key=lambda item: item[1], reverse=True)}


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
