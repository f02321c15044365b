"""Tests of tuner/monitor/alerts.py: what calls for a person, and what does not."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.pictures import pictures_study, with_pictures_task
from tests.store.factory import study, trial
from tuner.monitor.alerts import Alert, find_alerts, free_mb
from tuner.report.settings import Settings, settings_of
from tuner.report.standing import Standing, standing
from tuner.score_benchmark import TOTAL_LOSS
from tuner.store.records import COMPLETE, FAILED, INTERRUPTED, PRUNED, RUNNING, Rerun, StudyRecord, TrialRecord

__all__ = ["with_pictures_task"]
NOW = 2000.0
numbers = st.floats(-10, 10) | st.just(math.nan)


def record_of(*trials: TrialRecord, **changes: Any) -> StudyRecord:
    """A running study of these trials."""
    running = {"state": RUNNING, "winner": None, "finished": None}
    return replace(study(trials=0), trials=trials, **{**running, **changes})


def named(record: StudyRecord, free: float | None = None, now: float = NOW, **limits: Any) -> dict[str, Alert]:
    """The alerts of a record by name, under these limits."""
    settings = settings_of(replace(record, config={**record.config, "alerts": limits}))
    found = find_alerts(record, settings, standing(record, settings.judged_by), free, now)
    assert len({alert.name for alert in found}) == len(found)
    return {alert.name: alert for alert in found}


def of_values(averages: dict[str, float], overall: float, record: StudyRecord | None = None) -> set[str]:
    """Names of the alerts of a standing."""
    record = study(trials=0) if record is None else record
    settings = settings_of(record)
    measures = {each.name: math.nan for each in settings.judged_by.measures}
    stands = Standing("the winner", {**measures, TOTAL_LOSS: math.nan, **averages}, overall)
    return {alert.name for alert in find_alerts(record, settings, stands, None, NOW)}


def ended(number: int, finished: float, state: str = COMPLETE, **changes: Any) -> TrialRecord:
    """A trial that ended then."""
    return replace(trial(number, state), finished=finished, **changes)


def test_a_sound_study_raises_none() -> None:
    sound = tuple(each for each in study().trials if each.state != FAILED)
    assert named(replace(study(), trials=sound), free=5000.0) == {}


@pytest.mark.usefixtures("with_pictures_task")
def test_the_limits_of_pictures() -> None:
    pictures = replace(pictures_study(), trials=())
    at = {TOTAL_LOSS: 0.8, "visual": 0.2, "fashion": 0.3, "color": 0.0}
    assert of_values(at, 0.4, pictures) == set(), "values exactly at a limit are no alert, and colour has none"
    beyond = {TOTAL_LOSS: 0.8001, "visual": 0.1999, "fashion": 0.2999}
    assert of_values(beyond, 0.3999, pictures) == {TOTAL_LOSS, "visual", "fashion", "overall"}


@given(loss=numbers, certainty=numbers, overall=numbers)
def test_an_alert_is_exactly_a_value_beyond_its_limit(loss: float, certainty: float, overall: float) -> None:
    found = of_values({TOTAL_LOSS: loss, "certainty": certainty}, overall)
    assert (TOTAL_LOSS in found, "certainty" in found, "overall" in found) == (
        loss > 0.8,
        certainty < 0.5,
        overall < 0.4,
    )


@given(above=st.floats(0, 1e-6, exclude_min=True))
def test_messages_tell_the_value_from_its_limit(above: float) -> None:
    value = 0.8 + above
    settings, stands = settings_of(study()), standing(study(), settings_of(study()).judged_by)
    stands = replace(stands, averages={**stands.averages, TOTAL_LOSS: value})
    found = [a for a in find_alerts(study(), settings, stands, None, NOW) if a.name == TOTAL_LOSS]
    if value > 0.8:
        said = re.search(r"is (\S+) and should not exceed (\S+) \(", found[0].message)
        assert said is not None
        assert float(said[1]) > float(said[2])
    else:
        assert found == []


def test_a_message_has_the_numbers_where_they_come_from_and_what_to_do() -> None:
    record = study()
    assert record.winner is not None
    record = replace(record, winner=replace(record.winner, score=0.35, metrics={"accuracy": 0.55}))
    found = named(record)
    assert (found["accuracy"].value, found["accuracy"].limit, found["accuracy"].level) == (0.55, 0.6, "warning")
    assert found["accuracy"].message == (
        "The measure accuracy, right answers, is 0.55 and should not be below 0.6 (the winner on validation rows). "
        "`tuner advise reviews` says what to change."
    )
    assert "is 0.35 and should not be below 0.4 (the winner's mean over its seeds)" in found["overall"].message


def test_a_running_study_may_still_get_better() -> None:
    low = replace(trial(0, RUNNING), reports=({"score": 0.3, "accuracy": 0.5, "samples": 10.0},), best=0)
    found = named(record_of(low))
    assert set(found) == {"accuracy", "overall"}
    assert "(trial 0, the best so far, on validation rows). If it stays so to the end, `tuner" in (
        found["accuracy"].message
    )


@pytest.mark.parametrize(
    "message",
    [
        "nan: the loss is not finite after 40 samples: the learning rate is too high. It would help.",
        "nan: the score is not a finite number. A lower learning rate would help.",
        "nan: a metric",
        "the loss is not finite",
    ],
)
def test_trials_that_ended_on_nan(message: str) -> None:
    bad = [ended(n, 1100.0, FAILED, message=message, params={"learning_rate": 0.01 * (n + 1)}) for n in (1, 2)]
    good = [ended(n, 1100.0) for n in range(3, 10)]
    alert = named(record_of(*bad, *good))["nan"]
    assert (alert.value, alert.limit, alert.level) == (2.0, 0.0, "warning")
    assert alert.message.startswith("2 of 9 trials ended because a loss or metric was not finite (NaN), the last")
    assert "The lowest learning rate among them is 0.02: end its range below that." in alert.message


@pytest.mark.parametrize("message", ["out_of_memory it does not fit", "failed RuntimeError: nan", "nanny is out", ""])
def test_other_failures_are_not_nan(message: str) -> None:
    trials = [ended(0, 1100.0, FAILED, message=message), *(ended(n, 1100.0) for n in range(1, 9))]
    assert named(record_of(*trials)) == {}


def test_stopped_trials_are_not_nan_whatever_they_say() -> None:
    assert "nan" not in named(record_of(ended(0, 1100.0, PRUNED, message="nan")))


def best_at(seconds: float, number: int = 0) -> TrialRecord:
    """A trial that set the best score so many seconds after the study began."""
    report = {"score": 0.99, "samples": 10.0, "time": seconds}
    return replace(trial(number, RUNNING), reports=(report,), best=0)


@pytest.mark.parametrize(("later", "alarmed"), [(20, False), (21, True)])
def test_no_progress(later: int, alarmed: bool) -> None:
    before = [ended(n, 1050.0) for n in range(1, 31)]
    after = [ended(100 + n, 1200.0, PRUNED) for n in range(later)]
    found = named(record_of(best_at(100.0), *before, *after), now=1000.0 + 100 + 125)
    assert ("no_progress" in found) == alarmed
    if alarmed:
        assert found["no_progress"].message.startswith(
            "21 trials have ended in the 2 min 5 s since trial 0 set the best score, 0.99; at most 20 should"
        )
        assert (found["no_progress"].value, found["no_progress"].limit) == (21.0, 20.0)


@given(ends=st.lists(st.floats(0, 200), max_size=12), at=st.floats(0, 200), most=st.integers(1, 12))
def test_no_progress_counts_what_ended_after_the_best(ends: list[float], at: float, most: int) -> None:
    trials = [ended(n + 1, 1000.0 + end) for n, end in enumerate(ends)]
    found = named(record_of(best_at(at), *trials), no_progress_trials=most)
    assert ("no_progress" in found) == (sum(1000.0 + end > 1000.0 + at for end in ends) > most)


def test_no_progress_only_while_the_search_can_go_on() -> None:
    stuck = (best_at(1.0), *(ended(n, 1500.0, PRUNED) for n in range(1, 30)))
    assert "Ctrl-C" in named(record_of(*stuck))["no_progress"].message
    stopped = named(record_of(*stuck, state=INTERRUPTED, finished=1600.0))["no_progress"].message
    assert "Ctrl-C" not in stopped
    assert "in the 9 min 59 s since" in stopped, "a study that has ended waits no longer"
    for over in ({"state": COMPLETE}, {"reruns": (Rerun("t000", 1, {}, {}),)}, {"winner": study().winner}):
        assert named(record_of(*stuck, **over)) == {}


def test_progress_in_records_that_do_not_say_when() -> None:
    report = {"score": 0.99, "samples": 10.0}
    others = [ended(n, 1500.0, PRUNED) for n in range(1, 30)]
    running = replace(trial(0, RUNNING), reports=(report,), best=0, finished=None)
    assert named(record_of(running, *others)) == {}, "nobody knows when it set its score"
    assert "no_progress" in named(record_of(replace(running, state=COMPLETE, finished=1400.0), *others))


@pytest.mark.parametrize(
    ("failed", "sound", "level"),
    [(1, 3, None), (2, 2, "warning"), (2, 1, None), (1, 0, "critical"), (3, 0, "critical"), (0, 5, None), (0, 0, None)],
)
def test_failed_trials(failed: int, sound: int, level: str | None) -> None:
    trials = [ended(n, 1100.0, FAILED, message="out_of_memory it\ndoes not fit") for n in range(failed)]
    trials += [ended(10 + n, 1100.0) for n in range(sound)]
    alert = named(record_of(*trials, trial(30, RUNNING))).get("failed_trials")
    assert (alert and alert.level) == level
    if alert is not None:
        share = failed / (failed + sound)
        assert (alert.value, alert.limit) == (share, 0.25)
        assert f"{failed} of {failed + sound} trial" in alert.message
        assert f"failed, {100 * share:g} % of those that ended; at most 25 % should" in alert.message
        assert f"The last, trial {failed - 1}, said: out_of_memory it does not fit. logs.txt" in alert.message


def test_long_reasons_are_cut() -> None:
    alert = named(record_of(ended(0, 1100.0, FAILED, message="x" * 5000)))["failed_trials"]
    assert len(alert.message) < 450


@pytest.mark.parametrize(
    ("free", "alarmed"), [(None, False), (math.nan, False), (1000.0, False), (999.99, True), (0.0, True)]
)
def test_the_disk(free: float | None, alarmed: bool) -> None:
    alert = named(record_of(), free=free).get("disk")
    assert (alert is not None) == alarmed
    if alert is not None and free is not None:
        assert (alert.level, alert.value, alert.limit) == ("critical", free, 1000.0)
        assert f"Only {math.floor(free):,} MB are free on the disk of the results, and 1,000 MB should be." in (
            alert.message
        )


def test_critical_ones_come_first() -> None:
    record = record_of(ended(0, 1100.0, FAILED, message="nan"), ended(1, 1100.0), ended(2, 1100.0))
    settings: Settings = settings_of(record)
    found = find_alerts(record, settings, standing(record, settings.judged_by), 1.0, NOW)
    assert [alert.name for alert in found] == ["disk", "nan"]


def test_the_space_left_on_a_disk(tmp_path: Path) -> None:
    found = free_mb(tmp_path)
    assert found is not None
    assert found > 0
    assert free_mb(tmp_path / "missing") is None
