"""The books that a progress display keeps: counts, best, rungs, time left."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.cli.samples import record, trial
from tuner.cli.study_state import StudyState, describe_params, format_value, searched_names, sparkline
from tuner.report.trials import format_seconds
from tuner.store.records import COMPLETE, PRUNED, RUNNING


def fresh(trials: int = 8) -> StudyState:
    made = record()
    config = {**made.config, "search": {**made.config["search"], "trials": trials}}
    return StudyState(replace(made, trials=(), config=config), began=0.0)


def test_counts_by_state() -> None:
    state = StudyState(record(), 0.0)
    assert state.counts() == "4 of 8 trials done (2 complete, 1 stopped early, 1 failed), 1 running"
    assert [t.number for t in state.running] == [4]


def test_best_is_the_highest_score_and_history_never_falls() -> None:
    state = fresh()
    for scores in ([0.5], [0.5, 0.7], [0.5, 0.7, 0.6]):
        state.update(trial(0, RUNNING, scores))
    state.update(trial(1, RUNNING, [0.65]))
    assert state.best is not None
    assert (state.best.number, state.best.score) == (0, 0.7)
    assert state.best_history == [0.5, 0.7, 0.7, 0.7]


def test_rungs_count_trials_that_got_there() -> None:
    # 1,000 rows, grace of half an epoch, factor 3, at most 2 epochs: 500, 1,500; 4,500 is beyond the longest trial.
    assert StudyState(record(), 0.0).rungs() == [(500, 4), (1500, 2)]


def test_no_rungs_without_asha() -> None:
    made = record()
    config = {**made.config, "search": {"trials": 8, "asha": None}}
    assert StudyState(replace(made, config=config), 0.0).rungs() == []


def test_time_left_from_the_rate_so_far() -> None:
    state = fresh(trials=2)
    assert state.seconds_left(10.0) is None
    state.update(trial(0, RUNNING, [0.5]))
    # 500 of 2,000 samples in 10 s; 1,500 are left of this trial and 2,000 of the next: 3,500 at 50 a second.
    assert state.seconds_left(10.0) == pytest.approx(70.0)
    state.update(trial(0, PRUNED, [0.5]))
    # Stopped at 500, so the next is taken to last 500 too.
    assert state.seconds_left(10.0) == pytest.approx(10.0)
    state.update(trial(1, COMPLETE, [0.5, 0.5]))
    assert state.seconds_left(10.0) == 0.0


def test_earlier_samples_of_a_resumed_study_do_not_count_as_speed() -> None:
    state = StudyState(record(), 0.0)
    assert state.seconds_left(10.0) is None
    state.update(trial(4, RUNNING, [0.66, 0.7]))
    assert state.trained == 500


def test_reruns_are_no_trials() -> None:
    plain = record()
    search = {**plain.config["search"], "top_k": 3, "top_k_seeds": 3}
    state = StudyState(replace(plain, config={**plain.config, "search": search}), 0.0)
    before = state.counts()
    state.enter("rerun", 20.0)
    state.update(replace(trial(2, RUNNING, [0.99]), trial_id="t002-seed-1"))
    assert state.counts() == before
    assert state.best is not None
    assert state.best.score == 0.81
    assert [t.trial_id for t in state.in_view] == ["t002-seed-1"]
    assert state.seconds_left(20.0) is None
    assert state.retrain == 2 * 3  # no more than have come to their end
    planned = state._planned(state.in_view[0])
    seen = state.in_view[0].reports[-1]["samples"]
    assert state.seconds_left(22.0) == pytest.approx(2.0 * (planned * state.retrain - seen) / seen)


def test_searched_names_leave_constants_out() -> None:
    assert searched_names(record()) == ["rank", "learning_rate", "epochs"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (3600, "1 h")],
)
def test_seconds_in_words(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_values_in_words() -> None:
    assert [format_value(v) for v in (0.0012345, 8, ["query", "value"], "linear")] == [
        "0.00123",
        "8",
        "query+value",
        "linear",
    ]
    params = {"learning_rate": 1e-3, "rank": 8, "target_modules": None}
    assert describe_params(params) == "learning rate 0.001, rank 8"
    assert describe_params(params, ["rank", "missing"]) == "rank 8"


def test_sparkline_keeps_the_newest_and_the_width() -> None:
    assert sparkline([], 8) == ""
    assert sparkline([0.5, 0.5], 8) == "▄▄"
    assert sparkline([0.0, 1.0], 8) == "▁█"
    long = sparkline([float(n) for n in range(1000)], 32)
    assert len(long) <= 32
    assert long.endswith("█")
