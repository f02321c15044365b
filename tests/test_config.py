"""Tests of tuner/config.py with its rules and entries: what is valid, and that every mistake is told in plain words."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tuner.config import (
    COMMON_HYPERPARAMETERS,
    AshaConfig,
    BandConfig,
    Choice,
    Constant,
    FloatRange,
    IntRange,
    ScoreConfig,
    SearchConfig,
    StudyConfig,
)
from tuner.config_file import load_config
from tuner.config_space import contains, nearest
from tuner.errors import ConfigError, Problem

VALID: dict[str, Any] = {
    "task": "sentiment",
    "base_model": "minilm",
    "space": {
        "rank": {"type": "int", "low": 2, "high": 32, "log": True},
        "learning_rate": {"type": "float", "low": 1e-4, "high": 5e-3, "log": True},
        "epochs": {"type": "int", "low": 1, "high": 4},
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The valid config with one value changed; a dotted path."""
    raw = deepcopy(VALID)
    place: Any = raw
    *parents, last = path.split(".")
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return raw


def problems(raw: dict[str, Any], **known: Any) -> dict[str, Problem]:
    """What is wrong with a config, by name."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, base=raw, **known)
    found = caught.value.problems
    assert found
    for problem in found:
        assert problem.rule
        assert "pydantic" not in str(problem)
        assert "Input should" not in str(problem)
        assert "Value error" not in str(problem)
    return {problem.name: problem for problem in found}


def test_a_small_config_is_complete() -> None:
    config = load_config(None, base=VALID)
    assert config.search.trials == 16
    assert config.search.asha == AshaConfig()
    assert config.data.source == "embedded"
    assert config.devices == "auto"
    assert config.space["rank"] == IntRange(low=2, high=32, log=True)
    assert config.config_notes == ()


def test_defaults_of_the_common_hyperparameters() -> None:
    assert COMMON_HYPERPARAMETERS == {
        "alpha": 16,
        "dropout": 0.0,
        "target_modules": None,
        "batch_size": 8,
        "accumulation": 1,
        "warmup_ratio": 0.0,
        "warmup_steps": 0,
        "schedule": "constant",
        "restarts": 1,
        "weight_decay": 0.01,
    }


# path, value, where the problem is named, words of the rule
MISTAKES: list[tuple[str, Any, str, str]] = [
    ("taks", "x", "taks", "not a known key"),
    ("search.trails", 3, "search.trails", "not a known key"),
    ("task", "", "task", "not empty"),
    ("task", 3, "task", "must be text"),
    ("base_model", "a\x00b", "base_model", "printable"),
    ("name", "../x", "name", "no safe name"),
    ("name", "", "name", "no safe name"),
    ("name", "a/b", "name", "no safe name"),
    ("name", "a\\b", "name", "no safe name"),
    ("name", "a\nb", "name", "no safe name"),
    ("name", "abc\n", "name", "no safe name"),
    ("name", ".hidden", "name", "no safe name"),
    ("name", "x" * 101, "name", "at most 100"),
    ("name", "字" * 90, "name", "200 bytes"),
    ("name", 2024, "name", "must be text"),
    ("revision", "main", "revision", "40 hexadecimal"),
    ("revision", "a" * 39, "revision", "40 hexadecimal"),
    ("data", 3, "data", "keys with values"),
    ("data.train_samples", 0, "data.train_samples", "at least 1"),
    ("data.train_samples", True, "data.train_samples", "whole number"),
    ("data.train_samples", "many", "data.train_samples", "whole number"),
    ("data.validation_share", 0.0, "data.validation_share", "above 0"),
    ("data.test_share", 0.6, "data.test_share", "at most 0.5"),
    ("data.max_length", 3, "data.max_length", "at least 4"),
    ("data.max_length", 8193, "data.max_length", "at most 8192"),
    ("data.train", 3, "data.train", "path"),
    ("data.labels", {"bad": -1}, "data.labels.bad", "at least 0"),
    ("space", [], "space", "keys with values"),
    ("space.rank", {"type": "int", "low": 8, "high": 4}, "space.rank.high", "below low, which is 8"),
    ("space.rank", {"type": "int", "low": 0, "high": 4}, "space.rank.low", "at least 1"),
    ("space.rank", {"type": "int", "low": 0, "high": 4, "log": True}, "space.rank.log", "above 0"),
    ("space.rank", {"type": "int", "low": 1.5, "high": 4}, "space.rank.low", "whole number"),
    ("space.rank", {"type": "float", "low": 1.5, "high": 4}, "space.rank.type", "whole number"),
    ("space.rank", {"type": "int", "low": 1}, "space.rank.high", "must be given"),
    ("space.rank", {"type": "int", "low": 1, "high": 8, "setp": 2}, "space.rank.setp", "not a known key"),
    ("space.rank", {"type": "int", "low": 1, "high": 8, "step": 0}, "space.rank.step", "at least 1"),
    ("space.rank", {"type": "int", "low": 1, "high": 8, "step": 9}, "space.rank.step", "longer than"),
    ("space.rank", {"type": "int", "low": 1, "high": 8, "step": 2, "log": True}, "space.rank.log", "step"),
    ("space.rank", {"low": 1, "high": 8}, "space.rank", "must say its type"),
    ("space.rank", {"type": "itn", "low": 1, "high": 8}, "space.rank.type", "one of int, float, choice, constant"),
    ("space.rank", 0, "space.rank", "at least 1"),
    ("space.rank", 8.5, "space.rank", "whole number"),
    ("space.rank", True, "space.rank", "whole number"),
    ("space.rank", None, "space.rank", "whole number"),
    ("space.rank", "eight", "space.rank", "whole number"),
    ("space.rank", {"type": "choice", "values": [4, 0]}, "space.rank.values[1]", "at least 1"),
    ("space.rank", {"type": "choice", "values": []}, "space.rank.values", "at least one value"),
    ("space.rank", {"type": "choice", "values": [4, 8, 4]}, "space.rank.values", "twice"),
    ("space.learning_rate", math.nan, "space.learning_rate", "finite number above 0"),
    ("space.learning_rate", math.inf, "space.learning_rate", "finite number above 0"),
    ("space.learning_rate", 0, "space.learning_rate", "above 0"),
    ("space.learning_rate", -1e-3, "space.learning_rate", "above 0"),
    ("space.learning_rate", {"type": "float", "low": 0, "high": 1}, "space.learning_rate.low", "above 0"),
    ("space.learning_rate", {"type": "float", "low": math.nan, "high": 1}, "space.learning_rate.low", "finite"),
    ("space.learning_rate", {"type": "float", "low": 1, "high": math.inf}, "space.learning_rate.high", "finite"),
    ("space.learning_rate", {"type": "float", "low": 0, "high": 1, "log": True}, "space.learning_rate.log", "above 0"),
    ("space.learning_rate", {"type": "choice", "values": [1e-3, math.nan]}, "space.learning_rate.values", "finite"),
    ("space.epochs", 0, "space.epochs", "at least 1"),
    ("space.epochs", {"type": "int", "low": 0, "high": 2}, "space.epochs.low", "at least 1"),
    ("space.alpha", 0, "space.alpha", "above 0"),
    ("space.dropout", 1.0, "space.dropout", "below 1"),
    ("space.dropout", -0.1, "space.dropout", "at least 0"),
    ("space.batch_size", 0, "space.batch_size", "at least 1"),
    ("space.accumulation", 0, "space.accumulation", "at least 1"),
    ("space.accumulation", 1.5, "space.accumulation", "whole number"),
    ("space.warmup_ratio", 1, "space.warmup_ratio", "below 1"),
    ("space.warmup_steps", -1, "space.warmup_steps", "at least 0"),
    ("space.warmup_steps", {"type": "float", "low": 0, "high": 9.5}, "space.warmup_steps.type", "whole number"),
    ("space.restarts", 0, "space.restarts", "at least 1"),
    ("space.weight_decay", -1, "space.weight_decay", "at least 0"),
    ("space.schedule", "step", "space.schedule", "constant, linear, cosine"),
    ("space.schedule", {"type": "int", "low": 1, "high": 2}, "space.schedule.type", "cannot be a range"),
    ("space.target_modules", "query", "space.target_modules", "list of different module names"),
    ("space.target_modules", ["query", "query"], "space.target_modules", "list of different module names"),
    ("space.target_modules", [], "space.target_modules", "list of different module names"),
    ("space.lerning_rate", 1e-3, "space.lerning_rate", "no hyperparameter"),
    ("start_points", {"rank": 8}, "start_points", "list"),
    ("start_points", [8], "start_points[0]", "keys with values"),
    ("start_points", [{"rank": 8}, {"rank": 64}], "start_points[1].rank", "outside the space, which has 2..32"),
    ("start_points", [{"rank": 8.5}], "start_points[0].rank", "outside the space"),
    ("start_points", [{"alpha": 8}], "start_points[0].alpha", "not in the space"),
    ("search.trials", 0, "search.trials", "at least 1"),
    ("search.trials", 2.5, "search.trials", "whole number"),
    ("search.seed", -1, "search.seed", "at least 0"),
    ("search.top_k", 0, "search.top_k", "at least 1"),
    ("search.top_k_seeds", 0, "search.top_k_seeds", "at least 1"),
    ("search.concurrent", 0, "search.concurrent", "at least 1"),
    ("search.patience", 0, "search.patience", "at least 1"),
    ("search.patience", 1.5, "search.patience", "whole number"),
    ("search.time_budget_minutes", 0, "search.time_budget_minutes", "above 0"),
    ("search.asha", {"grace_epochs": 5}, "search.asha.grace_epochs", "most epochs of the space, 4"),
    ("search.asha", {"grace_epochs": 0}, "search.asha.grace_epochs", "above 0"),
    ("search.asha", {"reduction_factor": 1}, "search.asha.reduction_factor", "above 1"),
    ("search.asha", {"reduction_factor": math.nan}, "search.asha.reduction_factor", "finite"),
    ("score.quality_weight", 0.5, "score.preservation_weight", "sum to 1.1"),
    ("score.quality_weight", -0.4, "score.quality_weight", "at least 0"),
    ("score.bands", {"qualty": {"excellent": 0.9, "good": 0.8, "average": 0.7}}, "score.bands.qualty", "not graded"),
    ("devices", [], "devices", "list of device names"),
    ("devices", ["gpu"], "devices", "no device"),
    ("devices", ["cpu", "cpu"], "devices", "twice"),
    ("devices", 3, "devices", "list of device names"),
    ("precision", "fp8", "precision", "one of auto, fp32, bf16 or fp16"),
]


@pytest.mark.parametrize(("path", "value", "name", "words"), MISTAKES, ids=lambda part: repr(part)[:40])
def test_each_mistake_is_told_once_by_its_name(path: str, value: Any, name: str, words: str) -> None:
    found = problems(changed(path, value))
    assert list(found) == [name]
    assert words in found[name].rule


@pytest.mark.parametrize(
    ("bands", "name", "words"),
    [
        ({"quality": {"excellent": 0.7, "good": 0.8, "average": 0.9}}, "quality.higher_is_better", "must fall"),
        ({"quality": {"excellent": 0.9, "good": 0.9, "average": 0.7}}, "quality.higher_is_better", "must fall"),
        ({"quality": {"excellent": 90, "good": 80, "average": 70}}, "quality.higher_is_better", "below 1"),
        ({"quality": {"excellent": 0.9, "good": 0.8, "average": 0}}, "quality.average", "above 0"),
        (
            {"efficiency": {"excellent": 0.3, "good": 0.2, "average": 0.1, "higher_is_better": False}},
            "efficiency.higher_is_better",
            "must rise",
        ),
    ],
)
def test_edges_of_bands_are_ordered(bands: dict[str, Any], name: str, words: str) -> None:
    found = problems(changed("score.bands", bands))
    assert list(found) == [f"score.bands.{name}"]
    assert words in found[f"score.bands.{name}"].rule


def test_efficiency_is_better_when_less() -> None:
    found = problems(changed("score.bands", {"efficiency": {"excellent": 0.3, "good": 0.2, "average": 0.1}}))
    assert "fewer are better" in found["score.bands"].rule


def test_all_mistakes_are_told_at_once_and_none_hides_another() -> None:
    raw = {
        "task": "sentiment",
        "nmae": "x",
        "base_model": "minilm",
        "revision": "main",
        "space": {
            "rank": {"type": "int", "low": 0, "high": 2.5},
            "learning_rate": -1,
            "epochs": 2,
            "dropout": {"type": "choice", "values": [0, 1]},
            "alhpa": 8,
        },
        "start_points": [{"rank": 8, "dropout": 0.5}],
        "search": {"trials": 0, "asha": {"grace_epochs": 3}},
        "score": {"quality_weight": 0.9, "bands": {"size": {"excellent": 0.9, "good": 0.8, "average": 0.7}}},
        "devices": ["tpu"],
    }
    assert set(problems(raw)) == {
        "nmae",
        "revision",
        "space.rank.low",
        "space.rank.high",
        "space.learning_rate",
        "space.dropout.values[1]",
        "space.alhpa",
        "start_points[0].dropout",
        "search.trials",
        "search.asha.grace_epochs",
        "score.preservation_weight",
        "score.bands.size",
        "devices",
    }


def test_what_must_be_given() -> None:
    assert set(problems({})) == {"task", "base_model", "space"}
    assert set(problems(changed("space", {}))) == {"space.rank", "space.learning_rate", "space.epochs"}


@pytest.mark.parametrize(
    ("path", "cure"),
    [
        ("taks", "Did you mean task?"),
        ("search.trails", "Did you mean trials?"),
        ("search.asha.grace", "Did you mean grace_epochs?"),
        ("score.bands.quality.excelent", "Did you mean excellent?"),
        ("space.rank.hihg", "Did you mean high?"),
        ("space.learnin_rate", "Did you mean learning_rate?"),
        ("data.zzz", "Known: source, train, "),
    ],
)
def test_unknown_keys_come_with_the_nearest_known_one(path: str, cure: str) -> None:
    assert problems(changed(path, 1))[path].cure.startswith(cure)


def when(name: str, condition: Any, **more: Any) -> dict[str, Any]:
    raw = changed(f"space.{name}", {"type": "choice", "values": [1, 2], "when": condition})
    raw["space"].update(more)
    return raw


@pytest.mark.parametrize(
    ("condition", "name", "words"),
    [
        ({"rnak": [8]}, "space.alpha.when.rnak", "no entry"),
        ({"alpha": [1]}, "space.alpha.when.alpha", "itself"),
        ({"dropout": [0.1]}, "space.alpha.when.dropout", "must stand above"),
        ({"rank": [64]}, "space.alpha.when.rank", "never hold"),
        ({"rank": []}, "space.alpha.when.rank", "never hold"),
        ({}, "space.alpha.when", "at least one"),
        ([1], "space.alpha.when", "keys with values"),
    ],
)
def test_conditions_name_what_is_drawn_before(condition: Any, name: str, words: str) -> None:
    found = problems(when("alpha", condition, dropout=0.1))
    assert list(found) == [name]
    assert words in found[name].rule


def test_a_condition_may_be_a_single_value() -> None:
    config = load_config(None, base=when("alpha", {"rank": 8}))
    assert config.space["alpha"] == Choice(values=[1, 2], when={"rank": [8]})


def test_required_hyperparameters_are_unconditional() -> None:
    raw = deepcopy(VALID)
    raw["space"]["epochs"]["when"] = {"rank": [8]}
    assert "every trial" in problems(raw)["space.epochs.when"].rule


def test_a_warm_up_is_a_share_or_a_number_of_steps() -> None:
    raw = changed("space.warmup_ratio", 0.1)
    raw["space"]["warmup_steps"] = 20
    found = problems(raw)
    assert list(found) == ["space.warmup_steps"]
    assert "warmup_ratio, which is 0.1" in found["space.warmup_steps"].rule


@pytest.mark.parametrize(
    ("ratio", "steps"),
    [(0.1, 0), (0.0, 20), (0.1, {"type": "choice", "values": [0, 20]}), ({"type": "choice", "values": [0, 0.1]}, 20)],
)
def test_a_warm_up_that_may_be_either_is_no_mistake(ratio: Any, steps: Any) -> None:
    raw = changed("space.warmup_ratio", ratio)
    raw["space"]["warmup_steps"] = steps
    assert {"warmup_ratio", "warmup_steps"} <= load_config(None, base=raw).space.keys()


def test_a_tasks_own_names_are_known_when_told() -> None:
    raw = changed("space.temperature", 0.5)
    raw["score"] = {"bands": {"rouge": {"excellent": 0.9, "good": 0.8, "average": 0.7}}}
    assert set(problems(raw)) == {"space.temperature", "score.bands.rouge"}
    config = load_config(None, base=raw, extra_hyperparameters=["temperature"], extra_bands=["rouge"])
    assert config.space["temperature"] == Constant(value=0.5)


def test_bare_values_are_constants() -> None:
    raw = deepcopy(VALID)
    raw["space"].update(rank=8, target_modules=["query", "value"], schedule="linear")
    space = load_config(None, base=raw).space
    assert space["rank"] == Constant(value=8)
    assert space["target_modules"] == Constant(value=["query", "value"])
    assert space["schedule"] == Constant(value="linear")


def test_a_name_may_be_in_any_script() -> None:
    assert load_config(None, base=changed("name", "評価-1.b_2")).name == "評価-1.b_2"
    assert load_config(None, base=changed("name", "x" * 100)).name == "x" * 100


@pytest.mark.parametrize(
    ("given", "kept"), [("cpu", ["cpu"]), (["auto"], "auto"), (["cuda:1", "cpu"], ["cuda:1", "cpu"])]
)
def test_devices_are_auto_or_a_list(given: Any, kept: Any) -> None:
    assert load_config(None, base=changed("devices", given)).devices == kept


def test_asha_can_be_off_whatever_the_epochs() -> None:
    raw = changed("search", {"asha": None})
    raw["space"]["epochs"] = 1
    assert load_config(None, base=raw).search.asha is None


def test_made_in_code_it_obeys_the_same_rules() -> None:
    parts: dict[str, Any] = {
        "task": "toy",
        "base_model": "toy",
        "space": {"rank": IntRange(low=2, high=8), "width": FloatRange(low=0.1, high=1.0), "epochs": Constant(value=2)},
    }
    config = StudyConfig(**parts, search=SearchConfig(trials=2))
    assert config.space["width"] == FloatRange(low=0.1, high=1.0)
    with pytest.raises(ConfigError, match=r"grace_epochs = 3.0.*2"):
        StudyConfig(**parts, search=SearchConfig(asha=AshaConfig(grace_epochs=3)))
    with pytest.raises(ConfigError, match=r"start_points\[0\]\.rank = 9"):
        StudyConfig(**parts, start_points=[{"rank": 9}])


@pytest.mark.parametrize(
    "make",
    [
        lambda: IntRange(low=4, high=2),
        lambda: BandConfig(excellent=0.1, good=0.2, average=0.3),
        lambda: ScoreConfig(quality_weight=0.5),
    ],
)
def test_parts_made_in_code_are_checked_too(make: Callable[[], object]) -> None:
    with pytest.raises(ValidationError):
        make()


def test_a_config_is_frozen_and_pickles_with_its_notes() -> None:
    config = load_config(None, base=VALID).with_notes(("a note",))
    with pytest.raises(ValidationError):
        config.task = "other"  # type: ignore[misc]
    copy = pickle.loads(pickle.dumps(config))
    assert copy == config == load_config(None, base=VALID)
    assert copy.config_notes == ("a note",)
    assert copy != load_config(None, base=changed("search.trials", 3))


def test_paths_know_the_home_folder() -> None:
    assert load_config(None, base=changed("results", "~/studies")).results == Path.home() / "studies"


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        (IntRange(low=2, high=8, step=3), [2, 5, 8, 5.0], [1, 3, 9, 5.5, True, "5", None]),
        (FloatRange(low=0.1, high=1), [0.1, 1, 0.5], [0.09, 1.1, "0.5", True, math.nan]),
        (Choice(values=[1, [2, 3]]), [1, [2, 3]], [True, 2, [3, 2]]),
        (Constant(value=None), [None], [0, ""]),
    ],
)
def test_what_an_entry_contains(entry: Any, inside: list[Any], outside: list[Any]) -> None:
    assert [value for value in inside if not contains(entry, value)] == []
    assert [value for value in outside if contains(entry, value)] == []


@pytest.mark.parametrize(
    ("entry", "value", "expected"),
    [
        (IntRange(low=2, high=9, step=3), 100, 8),
        (IntRange(low=2, high=9, step=3), 0, 2),
        (FloatRange(low=0.1, high=1), 7, 1.0),
        (Choice(values=[4, 8, 32]), 10, 8),
        (Choice(values=["linear", "cosine"]), "constant", "linear"),
        (Constant(value=3), 9, 3),
    ],
)
def test_the_nearest_value_of_an_entry(entry: Any, value: Any, expected: Any) -> None:
    assert nearest(entry, value) == expected
    assert contains(entry, nearest(entry, value))
