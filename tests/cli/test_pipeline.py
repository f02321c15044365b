"""Two studies, what lies between them and their comparison, with an engine that trains nothing and a chain that only
writes down what was asked of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

import tuner.study.study
from tests.cli.samples import ctrl_c_at
from tests.engine.null_engine import NULL_ENGINE
from tuner.cli import study_options
from tuner.cli.main import main, verb_parser
from tuner.cli.pipeline import run_pipeline
from tuner.cli.terminal import console
from tuner.config import StudyConfig
from tuner.errors import StudyError
from tuner.store.files import read_study
from tuner.store.records import StudyRecord
from tuner.tasks.chain import Comparison, SpaceOf, Way
from tuner.tasks.task import TaskSpec

ASKED: list[str] = []
FIRST, SECOND = Path("results/mine-first"), Path("results/mine-second")


class Chain:
    """Implements `Chain` for two studies of sentiment."""

    def __init__(self, config: StudyConfig, space_of: SpaceOf) -> None:
        self.first = config.model_copy(update={"name": f"{config.name}-first"})
        self.second = config.model_copy(update={"name": f"{config.name}-second"})

    def hand_over(self, first: StudyRecord, *, fixed: bool) -> Sequence[str]:
        ASKED.append(f"hand over {first.name} {first.state} {fixed}")
        return ["Handed over."]

    def compare(self, first: StudyRecord, second: StudyRecord) -> Comparison:
        ASKED.append(f"compare {first.name} {second.name} {second.state}")
        ways = (Way("a", "the first", {"loss": 0.25}, "cmd"), Way("b", "the second", {}, "cmd"))
        return Comparison({"loss": "total loss"}, ways, "a", "Use the first.", (Path("results/mine/c.json"),))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in."""
    ASKED.clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tuner.study.study, "run_study", partial(tuner.study.study.run_study, engine=NULL_ENGINE))
    known = TaskSpec.chain_mode
    monkeypatch.setattr(
        TaskSpec, "chain_mode", lambda self, config: "both" if self.name == "sentiment" else known(self, config)
    )
    monkeypatch.setattr(TaskSpec, "chain", lambda self, mode, config, space_of: Chain(config, space_of))
    return tmp_path


def run(*changes: str, quiet: bool = True) -> int:
    quietly = ["--quiet"] if quiet else []
    given = ["sentiment", "--in-process", *quietly, "--name", "mine", "--trials", "3", "--top-k-seeds", "1", *changes]
    options: argparse.Namespace = verb_parser("tune").parse_args(given)
    options.command = "tuner tune"
    return run_pipeline("both", study_options.load(options), options, console())


def test_from_the_first_study_to_the_advice(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(quiet=False) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert ASKED == ["hand over mine-first complete False", "compare mine-first mine-second complete"]
    parts = ["[1/4]", "mine-first is complete", "[2/4]", "Handed over.", "[3/4]", "mine-second is complete", "[4/4]"]
    places = [out.index(part) for part in [*parts, "the first", "total loss", "Use the first.", "results/mine/c.json"]]
    assert places == sorted(places)
    assert "0.25" in out
    (line,) = (line for line in out.splitlines() if line.startswith("total loss"))
    assert line.split()[-2:] == ["0.25", "-"], "what was not measured is no number"
    assert Path("results/mine/config.yaml").is_file()
    assert not Path("results/mine/study.json").exists()


def test_what_is_complete_is_used_as_it_is(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    before = {path: (path / "study.json").read_bytes() for path in (FIRST, SECOND)}
    capsys.readouterr()
    assert run(quiet=False) == 0
    assert capsys.readouterr().out.count("complete already, with 3 trials") == 2
    assert {path: (path / "study.json").read_bytes() for path in before} == before
    assert ASKED[2:] == ["hand over mine-first complete True", "compare mine-first mine-second complete"]
    assert run("--trials", "5", quiet=False) == 0
    assert "the next study has begun" in capsys.readouterr().out
    assert [len(read_study(path).trials) for path in before] == [3, 5], "the second has learnt from the first"


def test_more_trials_extend_the_first_study_before_the_second_has_begun(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(Chain, "hand_over", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run()
    assert run("--trials", "5") == 0
    assert [len(read_study(path).trials) for path in (FIRST, SECOND)] == [5, 5]


def test_quiet_leaves_the_comparison(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    out = capsys.readouterr().out
    assert "/4]" not in out
    assert "Handed over" not in out
    assert out.split()[:4] == ["the", "first", "the", "second"]


def test_every_value_of_four_ways_is_shown_in_80_columns(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = ["base", "prompt only", "LoRA", "LoRA + prompts"]
    values = {f"value number {n}": float(1000 * n) for n in range(1, 12)}
    ways = tuple(Way(title, title, values, "cmd") for title in titles)
    columns = {key: key for key in values}
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(Chain, "compare", lambda *_: Comparison(columns, ways, "LoRA", "Use it.", ()))
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(title in lines[0] for title in titles)
    for line, (key, value) in zip(lines[1:], values.items(), strict=False):
        assert line.startswith(key)
        assert line.count(f"{value:,.0f}") == 4


def test_a_study_of_another_config_is_not_used(here: Path) -> None:
    assert run() == 0
    saved = Path("results/mine/config.yaml").read_bytes()
    with pytest.raises(StudyError, match="search space changed"):
        run("--rank", "4..8")
    with pytest.raises(StudyError, match="another data"):
        run("--train-samples", "50")
    with pytest.raises(StudyError, match=r"another search\.seed"):
        run("--seed", "50")
    assert Path("results/mine/config.yaml").read_bytes() == saved, "what is refused is not kept"


@pytest.mark.parametrize("content", [None, "", "task: sentiment\n", "name: mine"])
def test_a_folder_of_anything_else_is_refused_and_left_alone(here: Path, content: str | None) -> None:
    mine = Path("results/mine/samples/mine.png")
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    if content is not None:
        Path("results/mine/config.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(StudyError, match="exists already"):
        run()
    assert mine.read_bytes() == b"mine"
    assert not FIRST.exists()


@pytest.mark.parametrize("wrong", ["name", "mode"])
def test_the_folder_of_another_pipeline_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    assert run() == 0
    if wrong == "mode":
        monkeypatch.setattr(TaskSpec, "chain_mode", lambda *_: None)
    else:
        path = Path("results/mine/config.yaml")
        path.write_text(path.read_text(encoding="utf-8").replace("name: mine", "name: other"), encoding="utf-8")
    with pytest.raises(StudyError, match="exists already"):
        run()


def test_data_in_its_own_folder_is_refused(here: Path) -> None:
    assert run() == 0
    rows = Path("results/mine/rows.jsonl")
    rows.write_text("{}", encoding="utf-8")
    with pytest.raises(StudyError, match=r"the data .* lies in results/mine"):
        run("--data", str(rows))


def test_ctrl_c_ends_it_and_the_same_command_goes_on(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as pressed:
        ctrl_c_at(2, pressed)
        assert run() == 130
    assert "--name mine goes on" in capsys.readouterr().out
    assert read_study(FIRST).state == "interrupted"
    assert ASKED == []

    with monkeypatch.context() as broken:
        broken.setattr(Chain, "hand_over", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run()
    assert read_study(FIRST).state == "complete"

    with monkeypatch.context() as pressed:
        ctrl_c_at(2, pressed)
        assert run() == 130
    assert read_study(SECOND).state == "interrupted"
    assert ASKED == ["hand over mine-first complete False"]

    assert run() == 0
    assert ASKED[1:] == ["hand over mine-first complete True", "compare mine-first mine-second complete"]


def test_the_name_of_a_study_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["tune", "sentiment", "--in-process", "--quiet", "--name", "mine", "--trials", "2"]
    with monkeypatch.context() as plain:
        plain.setattr(TaskSpec, "chain_mode", lambda *_: None)
        assert main(arguments) == 0
    with pytest.raises(StudyError, match="is the name of a study"):
        run()
    assert ASKED == []


SPACE = "task: fashion\nbase_model: b\nspace: {mode: pipeline, rank: 4, learning_rate: 1.0e-3, epochs: 1}\n"


def test_run_says_which_verb_runs_a_pipeline(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("space.yaml").write_text(SPACE, encoding="utf-8")
    assert main(["run", "--config", "space.yaml"]) == 2
    err = capsys.readouterr().err
    assert "is several studies" in err
    assert "tuner tune fashion --mode pipeline" in err
    assert not Path("results").exists()


def test_plan_says_what_it_plans_of_a_pipeline(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("space.yaml").write_text(SPACE, encoding="utf-8")
    assert main(["plan", "--config", "space.yaml"]) == 2
    err = capsys.readouterr().err
    assert "is several studies" in err
    assert "--mode finetune or --mode prompt" in err


def test_tune_knows_a_pipeline_by_its_mode(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    monkeypatch.setattr("tuner.cli.pipeline.run_pipeline", lambda mode, *_: found.append(mode) or 0)
    Path("space.yaml").write_text(SPACE, encoding="utf-8")
    assert main(["tune", "--config", "space.yaml"]) == 0
    assert found == ["pipeline"]
