"""Tests of search_spaces/: every file obeys the one schema, says why in each line, and starts from a known point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuner import tasks
from tuner.config import Choice, Constant, FloatRange, StudyConfig
from tuner.config_file import config_to_yaml, load_config, parse_yaml
from tuner.config_rules import largest
from tuner.config_space import contains

FOLDER = Path(__file__).parents[1] / "search_spaces"
FILES = sorted(FOLDER.glob("*/*.yaml"))
SENTIMENT = ["albert", "bert_chinese", "distilbert", "minilm", "roberta"]


def load(path: Path) -> StudyConfig:
    spec = tasks.spec(path.parent.name)
    return load_config(path, extra_hyperparameters=spec.hyperparameters, extra_bands=spec.bands)


def mode(config: StudyConfig) -> Any:
    entry = config.space.get("mode")
    return entry.value if isinstance(entry, Constant) else None


def sentiment(name: str) -> StudyConfig:
    return load(FOLDER / "sentiment" / f"{name}.yaml")


def test_sentiment_has_its_five_bases() -> None:
    assert [path.stem for path in FILES if path.parent.name == "sentiment"] == SENTIMENT


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
class TestEverySpace:
    def test_is_valid_and_of_its_folders_task(self, path: Path) -> None:
        config = load(path)
        assert config.task == path.parent.name
        assert config.search.trials >= 9
        assert (config.search.asha is None) == (mode(config) == "prompt")

    def test_searches_rank_learning_rate_and_epochs(self, path: Path) -> None:
        config = load(path)
        space = config.space
        if mode(config) == "prompt":
            assert "strategy" in space
            return
        assert not [name for name in ("rank", "learning_rate", "epochs") if isinstance(space[name], Constant)]
        rate = space["learning_rate"]
        assert isinstance(rate, FloatRange)
        assert rate.log

    def test_is_read_back_as_it_was_written(self, path: Path) -> None:
        config, spec = load(path), tasks.spec(path.parent.name)
        again = parse_yaml(config_to_yaml(config), "again")
        own = spec.hyperparameters
        assert load_config(None, base=again, extra_hyperparameters=own, extra_bands=spec.bands) == config

    def test_has_a_start_point_that_fixes_all_that_is_searched(self, path: Path) -> None:
        config = load(path)
        assert config.start_points
        searched = {name for name, entry in config.space.items() if not isinstance(entry, Constant)}
        for point in config.start_points:
            assert set(point) == searched
            assert all(contains(config.space[name], value) for name, value in point.items())

    def test_every_setting_says_why(self, path: Path) -> None:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert max(map(len, lines)) <= 120
        groups = ("data:", "space:", "search:", "asha:", "score:", "bands:", "target_modules:", "type:", "values:")
        above = ""
        for line in lines:
            bare = line.strip()
            explained = "#" in bare or above.startswith("#")
            # a start point in one line is explained by the line above its list
            continued = above.endswith(",")  # of a start point that fills more than one line
            assert not bare or explained or continued or bare.startswith((*groups, "- {")), f"{line!r} gives no reason"
            above = bare

    def test_the_space_is_named_by_a_base_of_the_task_or_is_that_of_a_mode(self, path: Path) -> None:
        spec, config = tasks.spec(path.parent.name), load(path)
        if mode(config):
            assert spec.modes[str(mode(config))] == path.stem
        else:
            assert config.base_model in (path.stem, spec.bases[path.stem])


def test_llama_starts_from_its_two_known_points() -> None:
    config = load(FOLDER / "shoe_qa" / "llama32_3b.yaml")
    first, second = config.start_points[:2]
    assert (first["learning_rate"], first["epochs"], first["rank"], first["alpha"]) == (1.5e-5, 13, 16, 16)
    assert (second["learning_rate"], second["epochs"]) == (2e-5, 16)
    constants = {name: entry.value for name, entry in config.space.items() if isinstance(entry, Constant)}
    expected = {"batch_size": 8, "accumulation": 2, "weight_decay": 0.01, "warmup_steps": 5, "restarts": 1}
    assert constants == {**expected, "schedule": "cosine_with_restarts"}
    assert (config.search.seed, config.search.patience, config.data.max_length) == (8888, 3, 2048)


def test_shoe_chat_is_the_default_and_reads_its_rows_whole() -> None:
    spec = tasks.spec("shoe_qa")
    config = load(FOLDER / "shoe_qa" / f"{spec.default_space}.yaml")
    assert (config.base_model, config.data.source) == ("shoe_chat", "embedded")
    prepared = spec.prepare(config)
    assert prepared.warnings == ()
    assert sum(prepared.summary["truncated"].values()) == 0
    rows = {split: found["total_samples"] for split, found in prepared.summary["splits"].items()}
    assert rows["validation"] == config.data.validation_samples < rows["train"]


def test_minilm_is_the_default_and_as_designed() -> None:
    config = sentiment(tasks.spec("sentiment").default_space)
    assert config.base_model == "minilm"
    assert (config.space["rank"].low, config.space["rank"].high, config.space["rank"].log) == (2, 32, True)  # type: ignore[union-attr]
    assert largest(config.space["epochs"]) == 3
    assert config.start_points[0]["learning_rate"] == 5e-4
    assert config.score.bands["efficiency"].excellent < 0.15


def test_distilbert_starts_from_the_known_point() -> None:
    config = sentiment("distilbert")
    expected: dict[str, Any] = {
        "rank": 8,
        "learning_rate": 5e-4,
        "epochs": 1,
        "alpha": 16,
        "dropout": 0.1,
        "target_modules": ["q_lin", "v_lin"],
        "batch_size": 2,
    }
    assert config.base_model == "distilbert-base-uncased"
    assert config.start_points == [expected]


@pytest.mark.parametrize(
    ("name", "base", "modules"),
    [
        ("roberta", "roberta-base", ["query", "value"]),
        ("albert", "albert-base-v2", ["query", "value"]),
        ("bert_chinese", "bert-base-chinese", ["query", "value"]),
    ],
)
def test_hub_bases_and_their_modules(name: str, base: str, modules: list[str]) -> None:
    config = sentiment(name)
    assert config.base_model == base
    targets = config.space["target_modules"]
    assert isinstance(targets, Choice)
    assert modules in targets.values
