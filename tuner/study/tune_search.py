"""Ray Tune's two questions, which trial next and whether it goes on, passed to `search.py`, which decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune import Stopper
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
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
        _forget_ended(tune_controller)


class NoProgress(_Bound, TrialProgressCallback):  # type: ignore[misc,unused-ignore]
    """Stands for the callback that Tune adds where none of its kind is given. Tune's prints nothing either at verbosity
    0, yet remembers every trial."""

    def log_result(self, trial: Trial, result: dict[str, Any], error: bool = False) -> None:
        """Nothing to print: the study's observer shows what happens."""

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Nothing to print."""


class WhenStopped(_Bound, Stopper):  # type: ignore[misc,unused-ignore]
    """Ends the whole run once a condition holds: the user interrupted it, the engines are gone, the disk is full."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        self._condition = condition

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Whether to end now."""
        return self._condition()


def _forget_ended(controller: Any) -> None:
    """Take the trials that have ended out of Tune's tables, where they would stay until the study ends, 13 kB each with
    the averages of their metrics; the study's record has what there is to know. The trial that is just completing stays
    until the next one does. Not to be called at an error: a trial that is tried again passes for failed meanwhile."""
    ended = controller._stopped_trials | controller._failed_trials
    for table in (
        controller._stopped_trials,
        controller._failed_trials,
        controller._live_trials,
        controller._trials_to_cache,
    ):
        table -= ended
    controller._trials[:] = [trial for trial in controller._trials if trial not in ended]
