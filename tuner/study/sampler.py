"""Which configuration to try next: Optuna's TPE on an in-memory study that is told the truth.

Finished trials are COMPLETE with the score of their best report, trials that ASHA stopped are PRUNED with their
intermediate values (TPE ranks them by how far they came), failures are FAIL. Ray's own `OptunaSearch` files stopped
trials as COMPLETE, so a first-rung score competes with full ones, and leaves NaN trials RUNNING. Start points are
asked first, then points spread over the space (`design`).

The in-memory storage is what makes `ask` and `tell` cheap; `database.py` mirrors it to a file that optuna-dashboard
opens. Knows nothing of Ray, engines or files.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.store.records import COMPLETE, PRUNED, RUNNING, TrialRecord
from tuner.study.design import latin_hypercube
from tuner.study.space import Space

_STATES = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED}


@dataclass(frozen=True)
class Asked:
    """A trial to run: its number from 0, its id, its full params and the seed of all that is random in it."""

    number: int
    trial_id: str
    params: dict[str, Any]
    seed: int


class StudySampler:
    """Ask for trials, report their scores, tell how they ended. Same seed and same order of calls, same trials.

    `start_points` are asked first, what they leave out is drawn; then, up to `startup_trials`, points that are spread
    over the space; then what TPE makes of those that have ended, or draws while fewer than that have. `earlier` are the
    trials of the study so far when it is resumed: those that still run are known as running, and can be reported on and
    told.
    """

    def __init__(
        self,
        space: Space,
        *,
        seed: int,
        startup_trials: int = 6,
        start_points: Sequence[dict[str, Any]] = (),
        earlier: Sequence[TrialRecord] = (),
    ) -> None:
        self._space = space
        self._seed = seed
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            # `group` is marked experimental; the pinned version of Optuna is what this project is tested with.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            tpe = optuna.samplers.TPESampler(
                n_startup_trials=startup_trials,
                multivariate=True,
                group=True,
                constant_liar=True,
                # A resumed study continues with fresh draws instead of repeating its first ones.
                seed=seed + len(earlier),
            )
        self._storage = optuna.storages.InMemoryStorage()
        self._study = optuna.create_study(direction="maximize", sampler=tpe, storage=self._storage)
        self._study_id = self._storage.get_study_id_from_name(self._study.study_name)
        self._trials: dict[str, optuna.Trial] = {}
        self._best: dict[str, float] = {}
        for record in earlier:
            self._recall(record)
        first = [space.searched(point) for point in start_points]
        first += latin_hypercube(space, max(0, startup_trials - len(first)), seed)
        for point in first[len(earlier) :]:
            self._study.enqueue_trial(point)

    def ask(self) -> Asked:
        """The next trial."""
        trial = self._study.ask()
        params = self._space.suggest(trial)
        trial_id = trial_id_of(trial.number)
        self._trials[trial_id] = trial
        return Asked(trial.number, trial_id, params, seed_of(self._seed, trial.number))

    def report(self, trial_id: str, samples: int, score: float) -> None:
        """Note an intermediate score after `samples` training rows; one that is not finite is left out."""
        if math.isfinite(score):
            self._trials[trial_id].report(score, samples)
            self._best[trial_id] = max(score, self._best.get(trial_id, -math.inf))

    def tell(self, trial_id: str, state: str) -> None:
        """How a trial ended: "complete", "pruned", or anything else for a failure. COMPLETE needs a finite report."""
        trial = self._trials.pop(trial_id)
        best = self._best.pop(trial_id, None)
        told = _STATES.get(state, TrialState.FAIL)
        if best is None:
            told = TrialState.FAIL
        self._study.tell(trial, best if told is TrialState.COMPLETE else None, state=told)

    def frozen(self, number: int) -> FrozenTrial:
        """A snapshot of a trial as Optuna sees it now."""
        return self._storage.get_trial(self._id_of_number(number))

    def _id_of_number(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def _recall(self, record: TrialRecord) -> None:
        known = self._space.searched(record.params)
        distributions = self._space.distributions()
        scores = {int(r["samples"]): r["score"] for r in record.reports if math.isfinite(r.get("score") or math.nan)}
        goes_on = record.state == RUNNING
        state = TrialState.RUNNING if goes_on else _STATES.get(record.state, TrialState.FAIL)
        # What Optuna itself stores: the best score of a complete trial, the last one of a pruned trial.
        values = {TrialState.COMPLETE: record.score, TrialState.PRUNED: scores[max(scores)] if scores else None}
        trial = create_trial(
            state=state,
            value=values.get(state),
            params=known,
            distributions={name: distributions[name] for name in known},
            intermediate_values=scores,
        )
        trial.datetime_start = datetime.fromtimestamp(record.started)
        trial.datetime_complete = None if goes_on else datetime.fromtimestamp(record.finished or record.started)
        self._study.add_trial(trial)
        if goes_on:
            self._trials[record.trial_id] = optuna.Trial(self._study, self._id_of_number(record.number))
            if scores:
                self._best[record.trial_id] = max(scores.values())


def trial_id_of(number: int) -> str:
    """The id of a study's trial, also the name of its folder: t0007."""
    return f"t{number:04d}"


def seed_of(study_seed: int, *parts: int) -> int:
    """A seed that depends on the study's seed and on these numbers only, below 2**31."""
    digest = hashlib.sha256(":".join(str(part) for part in (study_seed, *parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
