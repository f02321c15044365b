"""Tests of tuner/monitor/look.py and lines.py: what a study's folder tells, and in which words."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.pictures import pictures_outputs, pictures_study, with_pictures_task
from tests.store.factory import study, trial
from tuner.errors import ConfigError, StoreError
from tuner.monitor.lines import round_lines
from tuner.monitor.look import best_scores, look
from tuner.store.files import write_study
from tuner.store.outputs import write_outputs
from tuner.store.records import COMPLETE, FAILED, INTERRUPTED, PRUNED, RUNNING, Rerun, StudyRecord, TrialRecord

__all__ = ["with_pictures_task"]  # a fixture
QUIET = {"alerts": {"free_mb": 0}}


def saved(tmp_path: Path, record: StudyRecord) -> Path:
    """The folder of a study that has been saved."""
    folder = tmp_path / record.name
    write_study(folder, record)
    return folder


def lines_of(folder: Path, interval: float = 30.0, blocks: bool = True) -> dict[str, str]:
    """The lines of a round by their labels; the first is "state", sentences without a label go by their first word."""
    first, *rest = (line.plain for line in round_lines(look(folder), folder, interval, blocks))
    found = {"state": first.split(" ", 1)[1]}
    for line in rest:
        label, _, text = line.strip().partition(" ")
        found[label] = text.strip()
    assert len(found) == len({line.split()[0] for line in rest}) + 1
    return found


def running(**changes: Any) -> StudyRecord:
    """A study that runs: two trials complete, one stopped, two running."""
    trials = (trial(0), trial(1, PRUNED), trial(2), trial(3, RUNNING), trial(4, RUNNING))
    record = study(trials=0, state=RUNNING, winner=None, finished=None, created=time.time() - 125)
    return replace(record, **{"trials": trials, "config": {**record.config, **QUIET}, **changes})


def with_scores(number: int, *reports: tuple[float, float | None]) -> TrialRecord:
    """A trial that reported these scores at these seconds."""
    made = replace(trial(number, FAILED), state=RUNNING, finished=None, message="")
    for seconds, score in reports:
        made = made.with_report({"time": seconds, "score": float("nan") if score is None else score, "samples": 1.0})
    return made


def test_best_scores_go_by_time_not_by_trial() -> None:
    first, second = with_scores(0, (1.0, 0.5), (4.0, 0.8)), with_scores(1, (2.0, 0.7), (3.0, None), (5.0, 0.6))
    assert best_scores(replace(study(trials=0), trials=(first, second))) == (0.5, 0.7, 0.8, 0.8)


def test_best_scores_of_older_records_and_of_none() -> None:
    old = tuple(
        replace(t, reports=tuple({k: v for k, v in r.items() if k != "time"} for r in t.reports))
        for t in study().trials
    )
    found = best_scores(replace(study(), trials=old))
    assert len(found) == sum(len(t.reports) for t in old)
    assert found[-1] == max(t.score for t in old if t.score is not None)
    assert best_scores(study(trials=0)) == ()


@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_best_scores_never_fall(scores: list[float]) -> None:
    made = with_scores(0, *((float(n), score) for n, score in enumerate(scores)))
    found = best_scores(replace(study(trials=0), trials=(made,)))
    assert list(found) == sorted(found)
    assert found[-1] == max(scores)


def test_a_study_that_runs(tmp_path: Path) -> None:
    found = lines_of(saved(tmp_path, running()))
    assert found["state"] == (
        "reviews is running: 3 of 16 trials done (2 complete, 1 stopped early), 2 running, 2 min 5 s since it began"
    )
    assert found["best"].startswith("0.8")
    assert "(good), trial 2: rank 27, learning rate 0.00136, epochs 3" in found["best"]
    assert found["trend"].endswith("  flat in the last 3 reports, from 0.8041 to 0.8572 in all 13")
    assert found["grades"] == (
        "none, as reports do not measure probability of the right label; the winner's outputs are graded at the end"
    )
    assert found["measures"].startswith("total loss n/a, certainty n/a, accuracy 0.7")
    assert found["measures"].endswith(": trial 2, the best so far, on validation rows")
    assert set(found) == {"state", "best", "trend", "grades", "measures"}, "no references, no alerts, not silent"


def test_a_study_of_pictures_that_runs_is_graded_and_compared(tmp_path: Path, with_pictures_task: None) -> None:
    record = replace(pictures_study(), state=RUNNING, winner=None, reruns=(), finished=None)
    folder = saved(tmp_path, replace(record, config={**record.config, **QUIET}))
    found = lines_of(folder)
    assert found["grades"] == "3 excellent, 12 good, 0 average, 0 poor of 15 trials at their best reports"
    assert "total loss 0." in found["measures"]
    assert "(good)" in found["measures"]
    refs = found["vs"].removeprefix("refs").strip().split(", ")
    assert [each.rsplit(" ", 2)[0] for each in refs] == ["total loss", "visual", "fashion", "color"]
    assert refs[0].split()[2].startswith("-")
    assert all(each.endswith("(better)") for each in refs)
    seen = look(folder)
    assert {item.name for item in seen.items} == set(seen.scores)
    assert "trial 0" in seen.scores


def test_a_study_that_is_over_shows_its_outputs(tmp_path: Path, with_pictures_task: None) -> None:
    record = pictures_study()
    folder = saved(tmp_path, replace(record, config={**record.config, **QUIET}))
    write_outputs(folder, pictures_outputs(9))
    found = lines_of(folder)
    assert found["state"].startswith("pictures is complete: ")
    assert found["state"].endswith(", 9 re-runs done, 5 min in all")
    assert found["winner"].startswith("0.8")
    assert ", the mean of 3 seeds, trial 5: rank 3, learning rate" in found["winner"]
    assert found["grades"].endswith(" of 9 images")
    assert found["measures"].endswith(": 9 images of the winner on test rows")
    assert look(folder).scores == {}


def test_worse_than_the_references(tmp_path: Path, with_pictures_task: None) -> None:
    record = pictures_study(place=0.0)
    folder = saved(tmp_path, record)
    assert [each.split("(")[1] for each in lines_of(folder)["vs"].split(", ")] == [
        "worse)",
        "worse)",
        "worse)",
        "better)",
    ]


def test_outputs_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    folder = saved(tmp_path, study())
    (folder / "outputs").mkdir()
    (folder / "outputs" / "outputs.json").write_text("{")
    assert "outputs are left out" in lines_of(folder)["The"]


def test_a_study_that_has_just_begun(tmp_path: Path) -> None:
    found = lines_of(saved(tmp_path, running(trials=())))
    assert found["best"] == "no trial has reported a score yet"
    assert found["trend"] == "there is none before the second report"
    assert found["grades"] == "nothing to grade yet"
    assert found["measures"] == "total loss n/a, certainty n/a, accuracy n/a, preservation n/a: nothing yet"


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ([0.5, 0.5], "flat in the last report, from 0.5000 to 0.5000 in all 2"),
        ([0.5, 0.6], "rising, by 0.1000 in the last report, from 0.5000 to 0.6000 in all 2"),
        ([0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6], "flat in the last 2 reports, from 0.5000 to 0.6000 in all 8"),
    ],
)
def test_the_trend(tmp_path: Path, scores: list[float], words: str) -> None:
    made = with_scores(0, *((float(n), score) for n, score in enumerate(scores)))
    folder = saved(tmp_path, running(trials=(made,)))
    assert lines_of(folder, blocks=False)["trend"] == words
    assert lines_of(folder)["trend"].endswith(f"  {words}")


@pytest.mark.parametrize(("silent", "interval", "said"), [(200, 30, False), (301, 30, True), (301, 90, False)])
def test_a_study_that_fell_silent(tmp_path: Path, silent: float, interval: float, said: bool) -> None:
    folder = saved(tmp_path, running(name="a b"))
    then = time.time() - silent
    os.utime(folder / "study.json", (then, then))
    found = lines_of(folder, interval)
    assert ("study.json" in found) == said
    if said:
        assert found["study.json"].startswith("has not changed for 5 min")
        assert found["study.json"].endswith(f"this goes on with it: tuner tune --resume 'a b' --results {tmp_path}")


def test_a_study_that_has_ended_may_be_silent(tmp_path: Path) -> None:
    folder = saved(tmp_path, running(state=INTERRUPTED, finished=time.time()))
    os.utime(folder / "study.json", (1.0, 1.0))
    assert "study.json" not in lines_of(folder)


def test_alerts_and_re_runs(tmp_path: Path) -> None:
    record = running(reruns=(Rerun("t000", 1, {"score": 0.8}, {}),))
    search = {**record.config["search"], "top_k": 2, "top_k_seeds": 3}
    config = {**record.config, "search": search, "alerts": {"overall_below": 0.99, "free_mb": 10**12}}
    folder = saved(tmp_path, replace(record, config=config))
    seen = look(folder)
    assert [(alert.name, alert.level) for alert in seen.alerts] == [("disk", "critical"), ("overall", "warning")]
    lines = [line.plain for line in round_lines(seen, folder, 30.0)]
    assert ", 1 of 6 re-runs done, " in lines[0]
    assert [line.split(":")[0] for line in lines[-2:]] == ["  Alert (critical)", "  Alert (warning)"]


@pytest.mark.parametrize("text", ["", '{"name": "x', "[]", "null", '{"name": 3}'])
def test_records_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(StoreError, match="cannot be read"):
        look(tmp_path)
    (tmp_path / "study.json").unlink()
    with pytest.raises(StoreError, match="missing"):
        look(tmp_path)


def test_a_config_that_cannot_be(tmp_path: Path) -> None:
    folder = saved(tmp_path, running(config={"alerts": {"failed_share": 3}}))
    with pytest.raises(ConfigError, match=r"alerts\.failed_share"):
        look(folder)


def test_numbers_that_were_not_finite_are_null_in_the_file(tmp_path: Path) -> None:
    made = with_scores(0, (1.0, 0.5), (2.0, None))
    folder = saved(tmp_path, running(trials=(made,)))
    assert json.loads((folder / "study.json").read_text())["trials"][0]["reports"][1]["score"] is None
    seen = look(folder)
    assert seen.best_scores == (0.5,)
    assert seen.record.state != COMPLETE
