"""From dashed options to a StudyConfig: which search space is taken, what options change, what is refused."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tuner.cli import study_options
from tuner.cli.main import verb_parser
from tuner.config import Choice, Constant, FloatRange, IntRange
from tuner.config_file import OVERRIDES, config_to_yaml
from tuner.errors import ConfigError, StudyError


def parse(*arguments: str) -> argparse.Namespace:
    return verb_parser("tune").parse_args(arguments)


def test_the_command_of_the_readme() -> None:
    config = study_options.load(
        parse(
            "sentiment", "--config", str(study_options.SPACES / "sentiment" / "minilm.yaml"), "--trials", "12",
            "--epochs", "1..3", "--train-samples", "200", "--base-model", "some/folder", "--rank", "4,8,16",
            "--learning-rate", "1e-4..1e-2", "--batch-size", "4", "--device", "cpu", "--results", "elsewhere",
        )
    )  # fmt: skip
    assert config.search.trials == 12
    assert config.data.train_samples == 200
    assert config.base_model == "some/folder"
    assert config.devices == ["cpu"]
    assert config.results == Path("elsewhere")
    epochs, rank, rate = (config.space[name] for name in ("epochs", "rank", "learning_rate"))
    assert isinstance(epochs, IntRange)
    assert (epochs.low, epochs.high) == (1, 3)
    assert isinstance(rank, Choice)
    assert rank.values == [4, 8, 16]
    assert isinstance(rate, FloatRange)
    assert (rate.low, rate.high, rate.log) == (1e-4, 1e-2, True)
    assert config.space["batch_size"] == Constant(value=4)


@pytest.mark.parametrize("name", OVERRIDES)
def test_every_override_is_an_option(name: str) -> None:
    options = parse("sentiment", f"--{name}", "text")
    assert "text" in vars(options).values()


@pytest.mark.parametrize(
    ("arguments", "base"),
    [
        ([], "minilm"),
        (["--space", "roberta"], "roberta-base"),
        (["--base-model", "roberta-base"], "roberta-base"),
        (["--base-model", "distilbert-base-uncased"], "distilbert-base-uncased"),
    ],
)
def test_the_space_that_is_taken(arguments: list[str], base: str) -> None:
    config = study_options.load(parse("sentiment", *arguments))
    assert config.base_model == base
    if "distilbert-base-uncased" in arguments:
        assert "q_lin" in str(config.space["target_modules"]), "a base brings the space written for its layers"


def test_a_short_name_brings_its_space() -> None:
    config = study_options.load(parse("sentiment", "--base-model", "distilbert"))
    assert config.base_model == "distilbert-base-uncased"
    assert config.config_notes == ()
    assert "q_lin" in str(config.space["target_modules"])


def test_a_short_name_in_a_config_is_understood_and_a_folder_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (study_options.SPACES / "sentiment" / "roberta.yaml").read_text().replace("roberta-base", "roberta")
    (tmp_path / "mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert study_options.load(parse("--config", "mine.yaml")).base_model == "roberta-base"
    (tmp_path / "roberta").mkdir()
    assert study_options.load(parse("--config", "mine.yaml")).base_model == "roberta"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "TASK = None: is missing. Name one of: "),
        (["sentimental"], "there is no such task"),
        (["sentiment", "--space", "gpt"], "sentiment has no such search space. Use one of: albert"),
        (["sentiment", "--config", "missing.yaml"], "there is no such file"),
        (["--config", "missing.yaml"], "there is no such file"),
        (["sentiment", "--trials", "0"], "It was set by --trials"),
    ],
)
def test_wrong_options(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        study_options.load(parse(*arguments))
    assert message in str(caught.value)


def test_every_mistake_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        study_options.load(parse("sentiment", "--trials", "0", "--rank", "0", "--learning-rate", "nan", "--top-k", "0"))
    assert len(caught.value.problems) >= 4


def test_measures_that_the_task_does_not_have(tmp_path: Path) -> None:
    text = (study_options.SPACES / "sentiment" / "minilm.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text + "benchmark: {weights: {acuracy: 1.0}}\nalerts: {below: {visual: 0.2}}\n")
    with pytest.raises(ConfigError) as caught:
        study_options.load(parse("--config", str(tmp_path / "mine.yaml")))
    assert [problem.name for problem in caught.value.problems] == ["benchmark.weights.acuracy", "alerts.below.visual"]
    assert "accuracy" in str(caught.value)


def test_config_and_space_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("sentiment", "--config", "a.yaml", "--space", "minilm")
    assert "not allowed with" in capsys.readouterr().err


def test_abbreviations_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    # An abbreviation in somebody's script would break when a longer option is added.
    with pytest.raises(SystemExit):
        parse("sentiment", "--trial", "4")
    assert "unrecognized arguments" in capsys.readouterr().err


def test_resuming_reads_the_study_and_takes_changes(tmp_path: Path) -> None:
    first = study_options.load(parse("sentiment", "--trials", "4", "--rank", "8", "--results", str(tmp_path)))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text(config_to_yaml(first), encoding="utf-8")
    again = study_options.load(parse("--trials", "6", "--results", str(tmp_path)), resume="mine")
    assert (again.name, again.task, again.search.trials) == ("mine", "sentiment", 6)
    assert again.space == first.space
    assert again.results == tmp_path


@pytest.mark.parametrize("name", ["missing", "../mine", "", ".."])
def test_resuming_what_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(StudyError):
        study_options.load(parse("sentiment", "--results", str(tmp_path)), resume=name)


def test_the_task_of_a_config_holds(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("task: other\nbase_model: minilm\nspace: {rank: 8, learning_rate: 1.0e-3, epochs: 1}\n")
    with pytest.raises(ConfigError, match="is a config of the task other"):
        study_options.load(parse("sentiment", "--config", str(config)))
    with pytest.raises(ConfigError, match="no such task"):
        study_options.load(parse("--config", str(config)))


@pytest.mark.parametrize(
    ("arguments", "strategy", "base"),
    [
        ([], False, "garment_sd"),
        (["--mode", "finetune"], False, "garment_sd"),
        (["--mode", "prompt"], True, "garment_sd"),
        (["--mode", "finetune", "--base-model", "sd15"], False, "stable-diffusion-v1-5/stable-diffusion-v1-5"),
        (["--mode", "prompt", "--base-model", "some/folder"], True, "some/folder"),
    ],
)
def test_a_mode_brings_its_space(arguments: list[str], strategy: bool, base: str) -> None:
    config = study_options.load(parse("fashion", *arguments))
    assert ("strategy" in config.space, config.base_model) == (strategy, base)


def test_a_mode_whose_space_is_made_for_another_base_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"garment_prompt\.yaml, is made for garment_sd"):
        study_options.load(parse("fashion", "--mode", "prompt", "--base-model", "sd15"))


def test_own_hyperparameters_are_options() -> None:
    config = study_options.load(parse("fashion", "--inference-steps", "6", "--guidance", "1.5..3"))
    assert config.space["inference_steps"] == Constant(value=6)
    assert isinstance(config.space["guidance"], FloatRange)
