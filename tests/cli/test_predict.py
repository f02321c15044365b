"""`tuner predict`, with three tasks that only this test has: one answers with the length of the text, one tells it back
word by word, one draws."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

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
DRAWING = """
import numpy as np
from tuner.tasks.task import TaskSpec

made = []

class Painter:
    def __init__(self):
        made.append(self)
    @staticmethod
    def predictor(adapter):
        return Painter()
    def draw(self, prompt, seed=None):
        picture = np.zeros((24, 32, 3), np.uint8)
        picture[:] = (len(prompt), 200, 0) if seed is None else (len(prompt), 100, seed % 256)
        return picture
    def unread(self, prompt):
        return prompt[100:]
    def predict(self, inputs):
        return [{"answer": "dress", "seconds": 0.5} for text in inputs]

SPEC = TaskSpec(
    name="drawing", title="Drawing", quality="ssim", preservation="preservation", bands={}, bases={},
    default_space="none", preparation="", implementation="tuner.tasks.drawing:Painter",
)
"""
TASKS = {"counting": TASK, "telling": TELLING, "drawing": DRAWING}
DRAW = ["predict", "drawing", "--adapter", "results/first/best"]


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A results folder with studies of the task, the newest of them without an adapter."""
    for name, source in TASKS.items():
        package = tmp_path / "tasks" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(source)
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path / "tasks")])
    monkeypatch.chdir(tmp_path)
    for study in (finished("first", 1.0), finished("second", 2.0), record("third", 3.0)):
        object.__setattr__(study, "task", "counting")
        save(Path("results"), study, adapter=study.winner is not None)
    yield tmp_path
    for name in TASKS:
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
    assert "there is no tuner.json in it. Name a folder that a study has saved" in capsys.readouterr().err


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


def drawn(path: str) -> tuple[str | None, tuple[int, int], tuple[int, int, int]]:
    """A picture's format, its size, and the colour of its first pixel."""
    with Image.open(path) as image:
        red, green, blue = image.convert("RGB").getpixel((0, 0))  # type: ignore[misc]
        return image.format, image.size, (red, green, blue)


def test_a_picture_is_saved_as_its_name_says(counting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DRAW, "a red dress", "--out", "new/dress.png"]) == 0
    assert capsys.readouterr() == ("new/dress.png\ta red dress\n", "")
    assert drawn("new/dress.png") == ("PNG", (32, 24), (11, 200, 0))
    assert [path.name for path in Path("new").iterdir()] == ["dress.png"], "nothing but the picture is left"
    for name in ("dress.jpg", "dress.JPEG"):
        assert main([*DRAW, "a red dress", "--out", name]) == 0
        form, size, colour = drawn(name)
        assert (form, size) == ("JPEG", (32, 24))
        assert max(abs(a - b) for a, b in zip(colour, (11, 200, 0), strict=True)) <= 3


def test_several_pictures_are_numbered_and_the_model_is_opened_once(
    counting: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("three\nseven\n"))
    assert main([*DRAW, "a", "-", "--out", "v1.2.png", "--seed", "7", "--json"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["input"], line["file"]) for line in said] == [
        ("a", "v1.2-1.png"),
        ("three", "v1.2-2.png"),
        ("seven", "v1.2-3.png"),
    ]
    assert all(line["seconds"] >= 0 for line in said)
    assert [drawn(line["file"])[2] for line in said] == [(1, 100, 7), (5, 100, 7), (5, 100, 7)]
    assert len(sys.modules["tuner.tasks.drawing"].made) == 1
    assert main([*DRAW, "a", "--out", "last.png", "--seed", str(2**63 - 1)]) == 0
    assert drawn("last.png")[2] == (1, 100, 255)


def test_without_a_file_it_is_said_what_is_seen(counting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DRAW, "a red dress"]) == 0
    out, err = capsys.readouterr()
    assert out == "dress\t0.500\ta red dress\n"
    assert err == "This is what is seen in the pictures; --out FILE.png saves them.\n"
    assert main([*DRAW, "a red dress", "--json"]) == 0
    assert capsys.readouterr().err == ""


def test_what_is_too_long_to_be_read_is_named(counting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = "a dress " * 12 + "and "
    assert main([*DRAW, f"{start}a blue hat", "a dress", "--out", "dress.png"]) == 0
    assert capsys.readouterr().err == ('Warning: the text is too long; what stands from "a blue hat" on is not read.\n')
    assert main([*DRAW, start + "x" * 61, "--out", "dress.png"]) == 0
    assert f'from "{"x" * 60}..." on' in capsys.readouterr().err


def test_every_mistake_about_pictures_is_said_at_once(counting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DRAW, " ", "--out", "dress.gif", "--seed", "-1"]) == 2
    err = capsys.readouterr().err
    assert "3 problems" in err
    assert "there is nothing to answer to" in err
    assert "out = 'dress.gif': a picture's name ends in .png, .jpg, .jpeg. Try dress.png." in err
    assert "seed = -1: it must be a whole number from 0 to 2**63 - 1" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--out", "results.png"], 2, "out = 'results.png': this is a folder. Name a file in it"),
        (["--out", "."], 2, "a picture's name ends in .png, .jpg, .jpeg. Try picture.png."),
        (["--out", "a.png", "--seed", str(2**63)], 2, "from 0 to 2**63 - 1"),
        (["--seed", "3"], 2, "seed = 3: a seed is of pictures that are saved. Add --out FILE.png."),
        (["--out", "file/a.png"], 1, "cannot write file/a.png: "),
    ],
)
def test_pictures_that_cannot_be_saved(
    counting: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    Path("results.png").mkdir()
    Path("file").touch()
    assert main([*DRAW, "a dress", *arguments]) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "--results" not in captured.err
    assert captured.out == ""


def test_a_task_that_draws_nothing_saves_no_picture(counting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "counting", "text", "--out", "a.png"]) == 2
    assert "the task counting draws no pictures. Ask it without --out." in capsys.readouterr().err
    assert not Path("a.png").exists()


def test_a_seed_is_a_whole_number(counting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*DRAW, "a dress", "--out", "a.png", "--seed", "1.5"])
    assert "invalid int value: '1.5'" in capsys.readouterr().err


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
