"""A study's record as an Optuna study in memory, so that Optuna's own analysis and pictures can be used on it.

A distribution spans the values that the trials have, logarithmic where the space is: enqueued points may lie outside of
what the space allows. Hyperparameters that the space holds constant are left out. Trials keep their order, so Optuna's
number of a trial is its place in the record. Nothing is read from or written to the study's own study.db.
"""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeGuard

from tuner.report.trials import searched
from tuner.store.records import COMPLETE, PRUNED, RUNNING, StudyRecord, TrialRecord

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution


def optuna_study(record: StudyRecord) -> optuna.Study:
    """The study with one objective, the overall tuning score, to be maximised. Finished trials are COMPLETE, stopped
    ones PRUNED, those without a score FAIL; scores of reports are intermediate values by training rows seen."""
    from optuna.trial import TrialState

    names, space = searched(record), record.config.get("space", {})
    distributions = distributions_of(record.trials, names, space)
    study = _empty()
    states = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, RUNNING: TrialState.RUNNING}
    for trial in record.trials:
        state = states.get(trial.state, TrialState.FAIL)
        if state == TrialState.COMPLETE and trial.score is None:
            state = TrialState.FAIL  # Optuna holds no finished trial without a value
        value = trial.score if state == TrialState.COMPLETE else None
        study.add_trial(_frozen(trial, distributions, state, None if value is None else [value]))
    return study


def pareto_study(record: StudyRecord, costs: Sequence[str]) -> optuna.Study:
    """The finished trials with several objectives: each of `costs`, metrics of a trial's best report as "adapter_mb"
    and "train_seconds", to be minimised, and last the score to be maximised. Trials that lack one are left out."""
    from optuna.trial import TrialState

    distributions = distributions_of(record.trials, searched(record), record.config.get("space", {}))
    study = _empty(len(costs))
    for trial in record.trials:
        if trial.state != COMPLETE or trial.best is None:
            continue
        values = [trial.reports[trial.best].get(name) for name in (*costs, "score")]
        found = [value for value in values if _finite(value)]
        if len(found) == len(values):
            study.add_trial(_frozen(trial, distributions, TrialState.COMPLETE, found))
    return study


def study_of(
    points: Sequence[tuple[TrialRecord, float]], names: Sequence[str], space: Mapping[str, Mapping[str, Any]]
) -> optuna.Study:
    """A study of finished trials that have these values in place of their scores."""
    from optuna.trial import TrialState

    distributions = distributions_of([trial for trial, _ in points], names, space)
    study = _empty()
    for trial, value in points:
        study.add_trial(_frozen(trial, distributions, TrialState.COMPLETE, [value]))
    return study


def distributions_of(
    trials: Sequence[TrialRecord], names: Sequence[str], space: Mapping[str, Mapping[str, Any]]
) -> dict[str, BaseDistribution]:
    """A distribution a hyperparameter that holds every value the trials have; none for names that no trial has."""
    found = {name: [trial.params[name] for trial in trials if name in trial.params] for name in names}
    return {name: _distribution(values, space.get(name, {})) for name, values in found.items() if values}


def plain(value: Any) -> Any:
    """A value as Optuna can hold it among choices: lists and what else is no scalar as JSON."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return json.dumps(value, sort_keys=True, default=str)


def numbers(values: Sequence[Any]) -> bool:
    """Whether all are numbers; yes and no are none."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No notices of Optuna on the terminal: of a study that was made, of pictures with little in them, of features that
    may change."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _empty(costs: int = 0) -> optuna.Study:
    """A study in memory of that many objectives to be minimised, and a last one to be maximised."""
    import optuna
    from optuna.study import StudyDirection

    with quiet():
        return optuna.create_study(directions=[*[StudyDirection.MINIMIZE] * costs, StudyDirection.MAXIMIZE])


def _frozen(
    trial: TrialRecord, distributions: Mapping[str, BaseDistribution], state: Any, values: list[float] | None
) -> optuna.trial.FrozenTrial:
    import optuna

    held = {name: distribution for name, distribution in distributions.items() if name in trial.params}
    choices = optuna.distributions.CategoricalDistribution
    made = optuna.trial.create_trial(
        state=state,
        values=values,
        params={
            name: plain(trial.params[name]) if isinstance(distribution, choices) else trial.params[name]
            for name, distribution in held.items()
        },
        distributions=held,
        intermediate_values=_intermediate(trial),
    )
    made.datetime_start = datetime.fromtimestamp(trial.started)
    if made.datetime_complete is not None:
        made.datetime_complete = datetime.fromtimestamp(max(trial.finished or trial.started, trial.started))
    return made


def _intermediate(trial: TrialRecord) -> dict[int, float]:
    points = [(report.get("samples"), report.get("score")) for report in trial.reports]
    return {int(at): score for at, score in points if _finite(at) and _finite(score)}


def _finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _distribution(values: list[Any], entry: Mapping[str, Any]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if not numbers(values) or entry.get("type") == "choice":
        choices = {json.dumps(value, sort_keys=True, default=str): plain(value) for value in values}
        return CategoricalDistribution([choices[key] for key in sorted(choices, key=lambda key: _order(choices[key]))])
    log = bool(entry.get("log")) and min(values) > 0
    return FloatDistribution(float(min(values)), float(max(values)), log=log)


def _order(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, then the rest by name."""
    is_number = numbers([value])
    return not is_number, float(value) if is_number else 0.0, str(value)
