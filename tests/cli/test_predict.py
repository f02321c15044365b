"""`tuner predict`, with two tasks that only this test has: one answers with the length of the text, one tells it back
word by word."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.samples import finished, record, save
from tuner import tasks
from tuner.cli.main import main

TASK = """
from tuner.tasks.task import TaskSpec

class Counter:
    def __init__(self, adapter):
        self.adapter = adapter
    @staticmethod
    def predictor(adapter):
        return Counter(adapter)
    def predict(self, inputs):
        assert len(inputs) <= 32
        study = self.adapter.parent.name
        words = ["long" if len(text) > 5 else "short" for text in inputs]
        return [{"label": word, "share": len(text) / 10, "from": study} for word, text in zip(words, inputs)]

SPEC = TaskSpec(
    name="counting", title="Counting", quality="accuracy", preservation="preservation", bands={}, bases={},
    default_space="none", preparation="", implementation="tuner.tasks.counting:Counter",
)
"""
TELLING = """
from tuner.tasks.task import TaskSpec

class Teller:
    @staticmethod
    def predictor(adapter):
        return Teller()
    def stream(self, text):
        for number, word in enumerate(text.split()):
            yield f" {word}" if number else word
    def predict(self, inputs):
        return [{"answer": text, "seconds": 0.5} for text in inputs]

SPEC = TaskSpec(
    name="telling", title="Telling", quality="accuracy", preservation="preservation", bands={}, bases={},
    default_space="none", preparation="", implementation="tuner.tasks.telling:Teller",
)
"""


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A results folder with studies of the task, the newest of them without an adapter."""
    for name, source in (("counting", TASK), ("telling", TELLING)):
        package = tmp_path / "tasks" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(source)
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path / "tasks")])
    monkeypatch.chdir(tmp_path)
    for study in (finished("first", 1.0), finished("second", 2.0), record("third", 3.0)):
        object.__setattr__(study, "task", "counting")
        save(Path("results"), study, adapter=study.winner is not None)
    yield tmp_path
    for name in ("counting", "telling"):
        sys.modules.pop(f"tuner.tasks.{name}", None)


def test_the_newest_finished_study_answers(counting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "counting", "a long text"]) == 0
    assert capsys.readouterr().out == "long\t1.100\tsecond\ta long text\n"


def test_a_named_study_in_json(counting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "counting", "鞋子", "--study", "first", "--json"]) == 0
    line = capsys.readouterr().out
    assert json.loads(line) == {"input": "鞋子", "label": "short", "share": 0.2, "from": "first"}
    assert "鞋子" in line


def test_an_adapter_folder(counting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "counting", "text", "--adapter", "results/first/best"]) == 0
    assert capsys.readouterr().out.split("\t")[2] == "first"
    assert main(["predict", "counting", "text", "--adapter", "results/first"]) == 1
    assert "there is no adapter_config.json in it" in capsys.readouterr().err


def test_lines_from_standard_input(
    counting: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"text number {number}" for number in range(70)]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n\n".join(lines) + "\n"))
    assert main(["predict", "counting", "-"]) == 0
    assert [line.split("\t")[-1] for line in capsys.readouterr().out.splitlines()] == lines


def shown(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[str, list[str]]:
    """What `tuner predict telling` prints, and how much of it was there at each flush."""
    out, seen = io.StringIO(), []
    monkeypatch.setattr(out, "flush", lambda: seen.append(out.getvalue()))
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["predict", "telling", "--adapter", "results/first/best", *arguments]) == 0
    return out.getvalue(), seen


def test_an_answer_is_printed_as_it_is_written(counting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed, seen = shown(monkeypatch, "dry the shoe")
    assert printed == "dry the shoe\n"
    assert list(dict.fromkeys(seen)) == ["dry", "dry the", "dry the shoe", "dry the shoe\n"]


def test_several_answers_stand_under_their_questions(counting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, "one two", "乾燥")[0] == "> one two\none two\n\n> 乾燥\n乾燥\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\ntwo\n"))
    assert shown(monkeypatch, "-")[0] == "> one\none\n\n> two\ntwo\n"


def test_json_is_printed_whole(counting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, "--json", "one two", "乾燥")[0].splitlines()
    assert [json.loads(line) for line in lines] == [
        {"input": text, "answer": text, "seconds": 0.5} for text in ("one two", "乾燥")
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nonsense", "text"], 2, "there is no such task"),
        (["counting", " "], 2, "there is nothing to answer to"),
        (["counting", "text", "--study", "third"], 1, "has no best adapter yet"),
        (["counting", "text", "--study", "fourth"], 1, "there is no such study"),
        (["sentiment", "text", "--study", "first"], 1, "is of the task counting, not sentiment"),
        (["sentiment", "text"], 1, "there is no sentiment study"),
    ],
)
def test_wrong_input(
    counting: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert main(["predict", *arguments]) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
