"""What Ray Tune keeps of a study in memory: the trials that run."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback

from tests.engine.null_engine import NULL_ENGINE
from tests.study.factory import SPACE, make_config
from tests.study.test_study import Watcher
from tuner.store.records import COMPLETE, TrialRecord
from tuner.study.study import run_study
from tuner.study.tune_search import NoProgress

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("on_ray")]

CONCURRENT = 4


class Counting(Watcher):
    """Counts Tune's trials in memory each time that one ends.

    They are watched from their making on: to look for them among all objects holds the objects of other threads.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.known: list[int] = []
        self.made: list[weakref.ref[Trial]] = []
        make = Trial.__init__

        def watched(trial: Trial, *args: Any, **kwargs: Any) -> None:
            make(trial, *args, **kwargs)
            self.made.append(weakref.ref(trial))

        monkeypatch.setattr(Trial, "__init__", watched)

    def on_trial_end(self, trial: TrialRecord) -> None:
        gc.collect()
        self.known.append(sum(each() is not None for each in self.made))


@pytest.mark.parametrize("ranks", [[4, 8], [13]], ids=["trials that end well", "trials that fail"])
def test_tune_forgets_the_trials_that_ended(ranks: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = {**SPACE, "rank": {"type": "choice", "values": ranks}, "epochs": 1}
    watcher = Counting(monkeypatch)
    config = make_config(
        tmp_path, space=space, search__trials=24, search__concurrent=CONCURRENT, search__asha=None, search__top_k=1
    )
    if ranks == [13]:
        with pytest.raises(Exception, match="no trial"):
            run_study(config, engine=NULL_ENGINE, observer=watcher)
    else:
        record = run_study(config, engine=NULL_ENGINE, observer=watcher)
        assert {trial.state for trial in record.trials} == {COMPLETE}
    assert len(watcher.made) == 24
    assert max(watcher.known) <= 2 * CONCURRENT  # those that run, and one or two that start or have just ended


def test_ours_is_taken_for_tunes_own_progress_callback() -> None:
    assert issubclass(NoProgress, TrialProgressCallback)
    assert {"log_result", "on_trial_complete"} <= vars(TrialProgressCallback).keys()
