"""Tests of tuner/study/judge.py: answers and whole studies with a real server on this machine that plays a model."""

from __future__ import annotations

import itertools
import logging
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine.null_engine import HELD_OUT, NullEngine
from tests.study.factory import make_config
from tests.study.judge_server import GRADES, Reply, graded, judge, says
from tuner import tasks
from tuner.config_judge import JudgeConfig
from tuner.errors import ConfigError
from tuner.report.before_after import before_after
from tuner.store.outputs import Output, read_outputs
from tuner.store.records import COMPLETE
from tuner.study import judge as judging
from tuner.study.judge import judged
from tuner.study.study import run_study

JUDGED = {f"judge_{name}": float(grade) for name, grade in GRADES.items()}


class AnsweringEngine(NullEngine):
    """The null engine with what a base answers too."""

    def outputs(self, trial_id: str, split: str, count: int) -> list[Output]:
        found = super().outputs(trial_id, split, count)
        return [replace(item, base_answer="?", base_metrics={"quality": 0.1}, key_facts=("some",)) for item in found]


ANSWERING = f"{__name__}:AnsweringEngine"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """This machine is reached without a proxy, the key is set, and all that is logged is seen."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    caplog.set_level(logging.INFO, "tuner")


def rows(count: int, base: str = "") -> list[Output]:
    """Outputs without a base, or with one that gives such an answer."""
    before = {"rubric": 0.1} if base else {}
    return [
        Output(f"question_{n}", f"Q{n}", f"R{n}", f"A{n}", base, {"rubric": 0.5}, base_metrics=before)
        for n in range(count)
    ]


def grade(outputs: list[Output], url: str, **part: Any) -> list[Output]:
    """What the judge at that place makes of outputs, one after the other."""
    return judged(
        outputs, JudgeConfig(**{"url": f"{url}/v1", "model": "m", "concurrent": 1, **part}), threading.Event()
    )


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings that were logged; the key is nowhere in the log."""
    assert "secret" not in caplog.text
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_grades_go_beside_the_metrics(caplog: pytest.LogCaptureFixture) -> None:
    items = [*rows(1, base="B"), replace(rows(1)[0], base_metrics={"rubric": 0.0}), *rows(1)]
    with judge(lambda asked: graded(key_data=2 if asked["answer"] == "B" else 7.5)) as server:
        found = grade(items, server.place)
    assert [item.metrics for item in found] == [{"rubric": 0.5, **JUDGED}] * 3
    assert [item.base_metrics for item in found] == [
        {"rubric": 0.1, **JUDGED, "judge_key_data": 2.0},
        {"rubric": 0.0, **JUDGED},  # it answered with nothing, and that can be graded
        {},
    ]
    assert [asked["answer"] for asked in server.material] == ["A0", "B", "A0", "", "A0"]
    assert [replace(item, metrics={}, base_metrics={}) for item in found] == [
        replace(item, metrics={}, base_metrics={}) for item in items
    ]
    assert warnings_of(caplog) == []
    assert f"the judge m at {server.place} graded all 5 answers" in caplog.messages


def test_only_as_many_outputs_as_asked_for() -> None:
    with judge(graded()) as server:
        found = grade(rows(5, base="B"), server.place, items=2)
    assert ["judge_semantic" in item.metrics for item in found] == [True, True, False, False, False]
    assert len(server.paths) == 4


def test_several_are_under_way_at_once_and_no_more() -> None:
    three = threading.Barrier(3)

    def together(asked: dict[str, Any]) -> Reply:
        three.wait(30)
        return graded()

    with judge(together) as server:
        found = grade(rows(12), server.place, concurrent=3)
    assert all(item.metrics == {"rubric": 0.5, **JUDGED} for item in found)
    assert sorted(asked["question"] for asked in server.material) == sorted(item.input for item in found)
    assert server.most_at_once == 3


def test_without_a_judge_nothing_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    assert judged(rows(2), JudgeConfig(), threading.Event()) == rows(2)
    assert caplog.messages == []


def test_failures_are_one_sentence_and_nothing_is_made_up(caplog: pytest.LogCaptureFixture) -> None:
    replies = {
        "A0": graded(), "A1": says("nine"), "A2": graded(completeness=11), "A3": graded(semantic="nine"),
        "A4": Reply(400), "A5": graded(), "A6": Reply(slow=True),
    }  # fmt: skip
    with judge(lambda asked: replies[asked["answer"]]) as server:
        found = grade(rows(7), server.place, timeout_seconds=0.3)
    assert [item.metrics.keys() > {"rubric"} for item in found] == [True, False, False, False, False, True, False]
    assert found[1:5] == rows(7)[1:5]
    assert warnings_of(caplog) == [
        f"the judge m at {server.place} graded 2 of 7 answers; the others have no grades: "
        "its reply was not the JSON that it was asked for (1), a grade was missing or no number from 0 to 10 (2), "
        "it answered 400 (1), no answer within 0.3 s (1)"
    ]


def test_a_key_that_is_refused_is_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    with judge(Reply(401, b"sk-secret is no key")) as server:
        assert grade(rows(20, base="B"), server.place) == rows(20, base="B")
        assert len(server.paths) <= 2  # the one that may be on its way
    assert warnings_of(caplog) == [
        f"the judge m at {server.place} graded 0 of 40 answers; the others have no grades: "
        "it answered 401 (1), not sent after that (39)"
    ]


def test_it_is_given_up_after_many_failures_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    good = itertools.chain([False] * 7, [True], itertools.repeat(False))
    with judge(lambda asked: graded() if next(good) else says("no")) as server:
        found = grade(rows(50), server.place)
    assert sum("judge_semantic" in item.metrics for item in found) == 1
    assert warnings_of(caplog) == [
        f"the judge m at {server.place} graded 1 of 50 answers; the others have no grades: "
        "its reply was not the JSON that it was asked for (15), not sent after that (34)"
    ]


def test_long_work_says_how_far_it_is(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "PROGRESS_SECONDS", 0.0)
    with judge(graded()) as server:
        grade(rows(3), server.place)
    assert f"the judge m at {server.place} grades 3 answers" in caplog.messages
    assert f"the judge m at {server.place} has graded 2 of 3 answers" in caplog.messages


def test_a_study_that_is_stopped_does_not_wait(caplog: pytest.LogCaptureFixture) -> None:
    stopping = threading.Event()
    with judge(Reply(slow=True), graded()) as server:
        threading.Timer(0.5, stopping.set).start()
        started = time.monotonic()
        config = JudgeConfig(url=server.url, model="m", concurrent=1)
        found = judged(rows(3), config, stopping)
        assert time.monotonic() - started < 10
    assert ["judge_semantic" in item.metrics for item in found] == [True, False, False]
    assert warnings_of(caplog) == [
        f"the judge m at {server.place} graded 1 of 3 answers; the others have no grades: the study was stopped (2)"
    ]


def test_a_study_shows_the_grades_and_scores_as_it_would_without(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"task": "questions", "search__trials": 3}
    with judge(lambda asked: graded(key_data=1 if asked["answer"] == "?" else 6)) as server:
        part = {"url": server.url, "model": "m", "items": 3}
        record = run_study(make_config(tmp_path, judge=part, **settings), in_process=True, engine=ANSWERING)
    plain = run_study(make_config(tmp_path, name="plain", **settings), in_process=True, engine=ANSWERING)
    assert (record.state, record.winner) == (COMPLETE, plain.winner)
    outputs, without = read_outputs(tmp_path / "s"), read_outputs(tmp_path / "plain")
    assert outputs is not None
    assert without is not None
    names = JUDGED.keys()
    for number, (item, bare) in enumerate(zip(outputs.items, without.items, strict=True)):
        assert (item.metrics.keys() - bare.metrics.keys()) == (names if number < 3 else set())
        assert {name: item.metrics[name] for name in bare.metrics} == bare.metrics
    asked = {"question": "validation row 1", "reference": "something", "key_facts": ["some"], "answer": "nothing"}
    assert asked in server.material
    assert HELD_OUT > 3
    table = {each.metric: each for each in before_after(outputs, tasks.spec("questions").judged_by)}
    shown = table["judge_key_data"]
    assert (shown.title, shown.before, shown.after, shown.is_better) == ("judge key data", 1, 6, True)
    left = "".join(
        path.read_bytes().decode("utf-8", "replace") for path in (tmp_path / "s").rglob("*") if path.is_file()
    )
    assert server.url in left
    assert "secret" not in left


def test_a_judge_that_is_not_there_costs_a_study_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "MOST_IN_A_ROW", 1)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        part = {"url": f"http://127.0.0.1:{bound.getsockname()[1]}/v1", "model": "m"}
        config = make_config(tmp_path, task="questions", search__trials=2, judge=part)
        record = run_study(config, in_process=True, engine=ANSWERING)
    assert record.state == COMPLETE
    outputs = read_outputs(tmp_path / "s")
    assert outputs is not None
    assert [item.metrics.keys() & JUDGED.keys() for item in outputs.items] == [set()] * HELD_OUT
    (warning,) = (each for each in warnings_of(caplog) if "judge" in each)
    assert "graded 0 of 10 answers" in warning
    assert warning in (tmp_path / "s" / "logs.txt").read_text()


def test_a_task_without_questions_has_no_judge(tmp_path: Path) -> None:
    config = make_config(tmp_path, judge={"url": "http://127.0.0.1:9/v1", "model": "m"})
    with pytest.raises(ConfigError, match=r"judge\.url.*what nothing makes of a row is no answer to a question"):
        run_study(config, in_process=True, engine=ANSWERING)
    assert not (tmp_path / "s").exists()
