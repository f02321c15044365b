"""Ray Tune's two questions, which trial next and whether it goes on, passed to `search.py`, which decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune import Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from tuner.study.search import Search
from tuner.study.trial import ENGINE, REPORT, SCORE


class _Bound:
    """What belongs to this process. Tune writes a pickle of all that it was given, which nobody reads: it stays out."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self


class TuneSearcher(_Bound, Searcher):  # type: ignore[misc,unused-ignore]
    """Tune's searcher over a `Search`. `key` tells a trial which study it belongs to."""

    def __init__(self, search: Search, key: str) -> None:
        super().__init__(metric=SCORE, mode="max")
        self._search = search
        self._key = key
        self._ids: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Any:
        """The config of the next trial, or FINISHED."""
        spec = self._search.next()
        if spec is None:
            return Searcher.FINISHED
        self._ids[trial_id] = spec.trial_id
        return {"study": self._key, "trial_id": spec.trial_id, "params": dict(spec.params), "seed": spec.seed}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune gave a trial up after its retries. Trials that ended by a report are filed already."""
        ours = self._ids.pop(trial_id, None)
        if error and ours is not None:
            self._search.fail(ours, "failed: it could not be run; logs.txt says why")

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study's record holds it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: `resume.py` does, from the study's record."""


class TuneScheduler(_Bound, FIFOScheduler):  # type: ignore[misc,unused-ignore]
    """Tune's scheduler over a `Search`."""

    def __init__(self, search: Search) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._search = search

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Take the report in and say whether the trial goes on."""
        goes_on = self._search.report(result[REPORT], result[ENGINE])
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """A last report comes here instead of `on_trial_result`; one that was taken in there is not taken in twice."""
        if REPORT in result:
            self._search.report(result[REPORT], result[ENGINE])
        # Tune's running averages of every metric, 8 kB a trial that nobody asks for once it ended.
        trial.run_metadata.metric_analysis.clear()
        trial.run_metadata.metric_n_steps.clear()


class WhenStopped(_Bound, Stopper):  # type: ignore[misc,unused-ignore]
    """Ends the whole run once a condition holds: the user interrupted it, the engines are gone, the disk is full."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        self._condition = condition

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Whether to end now."""
        return self._condition()
