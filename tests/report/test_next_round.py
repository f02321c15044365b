"""Tests of tuner/report/next_round.py: targets, convergence, and the config of the next round."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report.pictures import pictures_outputs, pictures_study, with_pictures_task
from tests.report.test_evidence import searched, tried
from tests.store.factory import CONFIG, study
from tuner import tasks
from tuner.config import Constant, StudyConfig
from tuner.config_file import load_config
from tuner.config_space import contains
from tuner.errors import ConfigError, StudyError
from tuner.report.advice import Advice, advise
from tuner.report.next_round import convergence, next_space, targets
from tuner.report.rounds import Round
from tuner.report.settings import Settings, settings_of
from tuner.report.standing import Standing, standing
from tuner.store.records import RUNNING, StudyRecord

__all__ = ["with_pictures_task"]  # a fixture
SPEC = tasks.spec("sentiment")


def at(overall: float, **averages: float) -> Standing:
    """A standing at these numbers."""
    return Standing("a test", averages, overall)


def advised(record: StudyRecord) -> list[Advice]:
    """The study's advice."""
    found = settings_of(record)
    return advise(record, found, standing(record, found.judged_by))


def loaded(text: str, folder: Path) -> StudyConfig:
    """The config as `tuner tune --config` reads it."""
    path = folder / "next_round.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, extra_hyperparameters=set(SPEC.hyperparameters), extra_bands=set(SPEC.bands))


def rounds(*scores: float) -> list[Round]:
    """A series with these overall scores."""
    return [Round(n, f"r{n}", n, score, math.nan, {}, "x", {}, True, "") for n, score in enumerate(scores, 1)]


@pytest.fixture
def fashion(with_pictures_task: None) -> Settings:
    """How fashion images are judged."""
    return settings_of(pictures_study())


def test_targets_are_the_formula(fashion: Settings) -> None:
    found = {each.name: each for each in targets(fashion, at(0.5, total_loss=0.5, visual=0.4, fashion=0.65, color=0.1))}
    assert found["total_loss"].target == 0.3
    assert found["visual"].target == pytest.approx(0.48)
    assert found["fashion"].target == 0.7
    assert found["color"].target == pytest.approx(0.13)
    assert not any(each.reached for each in found.values())
    assert found["visual"].title == "structure (SSIM)"


@given(st.floats(-1, 1), st.floats(0, 2))
def test_a_target_is_reached_at_its_limit(similarity: float, loss: float) -> None:
    found = targets(settings_of(study()), at(0.5, total_loss=loss, certainty=similarity))
    total, certainty, *others = found
    assert total.target == min(0.3, 0.8 * loss)
    assert total.reached == (loss <= 0.3)
    assert certainty.target == min(0.95, 1.1 * similarity if similarity >= 0 else similarity / 1.1)
    assert certainty.reached == (similarity >= 0.95)
    assert all(math.isnan(each.target) and not each.reached for each in others), "what was not measured has no target"


def test_a_series_converges_when_everything_is_reached(fashion: Settings) -> None:
    found = convergence(fashion, at(0.7, total_loss=0.4, visual=0.5, fashion=0.6, color=0.0), rounds(0.7))
    assert found.converged
    assert found.missing == ()
    assert found.reasons[0] == "Total loss: 0.400, and at most 0.4 is enough."
    assert len(found.reasons) == 4, "colour has no value of its own"


@pytest.mark.parametrize(
    ("name", "value"), [("total_loss", 0.401), ("visual", 0.499), ("fashion", 0.599), ("overall", 0.699)]
)
@pytest.mark.parametrize("measured", [True, False])
def test_one_number_short_is_named(fashion: Settings, name: str, value: float, measured: bool) -> None:
    numbers = {"total_loss": 0.3, "visual": 0.9, "fashion": 0.9, "overall": 0.9}
    numbers[name] = value if measured else math.nan
    found = convergence(fashion, at(numbers.pop("overall"), **numbers), rounds(0.7))
    assert not found.converged
    (sentence,) = found.missing
    assert (f"{value:.3f}" in sentence) == measured
    assert ("not measured" in sentence) != measured


def test_enough_rounds_end_a_series_but_only_those_that_measured_something(fashion: Settings) -> None:
    nowhere = at(math.nan)
    assert convergence(fashion, nowhere, rounds(*[0.2] * 5)).converged
    assert "5 rounds were run" in convergence(fashion, nowhere, rounds(*[0.2] * 5)).reasons[0]
    assert not convergence(fashion, nowhere, rounds(*[0.2] * 4)).converged
    assert not convergence(fashion, nowhere, rounds(0.2, math.nan, 0.2, 0.2, 0.2)).converged


def test_convergence_goes_by_the_config() -> None:
    config = {**CONFIG, "rounds": {"most": 2, "loss": 0.9, "overall": 0.1, "converged": {"certainty": 0.2}}}
    found = settings_of(study(config=config))
    reached = at(0.2, total_loss=0.9, certainty=0.2, accuracy=0.9, preservation=0.9)
    assert convergence(found, reached, []).converged
    assert convergence(found, at(0.0), rounds(0.1, 0.1)).converged


def test_the_next_config_is_the_studys_own_with_what_the_trials_advise(tmp_path: Path) -> None:
    record = study(40, config={**CONFIG, "name": "reviews", "rounds": {"most": 7}})
    advice = advised(record)
    text = next_space(record, advice)
    config = loaded(text, tmp_path)
    before = StudyConfig.model_validate(record.config)
    assert config.name is None
    assert (config.task, config.base_model, config.rounds.most) == ("sentiment", "minilm", 7)
    assert config.search.seed == before.search.seed + 1, "or the same trials come again"
    changed = [each for each in advice if each.entry is not None]
    assert changed, "the factory's study has something to say"
    for each in advice:
        same = config.space[each.hyperparameter] == before.space[each.hyperparameter]
        assert same == (each.entry is None)
    lines = text.splitlines()
    for each in changed:
        above = comment_above(lines, f"  {each.hyperparameter}:")
        assert each.evidence in above
        assert each.evidence_reason in above
        assert "was" in above
    (start,) = config.start_points
    assert record.winner is not None
    for name, value in start.items():
        assert value == record.winner.params[name] or not contains(config.space[name], record.winner.params[name])
    assert "the winner of reviews" in comment_above(lines, "start_points:")
    assert "was 0" in comment_above(lines, "  seed:")


def comment_above(lines: list[str], start: str) -> str:
    """The comment right above a line, as one text."""
    place = next(number for number, line in enumerate(lines) if line.startswith(start))
    found: list[str] = []
    while lines[place - 1].strip().startswith("#"):
        place -= 1
        found.insert(0, lines[place].strip().removeprefix("# "))
    return " ".join(found)


def test_without_evidence_the_space_stays(tmp_path: Path) -> None:
    record = study(3, winner=None, state=RUNNING, reruns=())
    text = next_space(record, advised(record))
    config = loaded(text, tmp_path)
    assert config.space == StudyConfig.model_validate(record.config).space
    assert text.startswith("# The round after reviews, written from what its trials say. They call for no change")
    assert "trial 2, the best of reviews" in text or "trial 0, the best of reviews" in text
    assert len(config.start_points) == 1


def test_a_study_without_a_score_has_nothing_to_go_on_from() -> None:
    with pytest.raises(StudyError, match="study reviews has no trial with a score"):
        next_space(study(trials=0, winner=None), [])


def test_a_damaged_config_is_named() -> None:
    with pytest.raises(ConfigError, match="space"):
        next_space(study(config={"task": "sentiment", "base_model": "minilm"}), [])


def says(name: str, entry: dict[str, Any]) -> Advice:
    """Advice that changes one entry."""
    return Advice(name, "", None, "", "fix", "Because.", entry)


def conditional(trials: int = 9) -> StudyRecord:
    """A study with a warm-up that only the linear schedule has."""
    space = {
        **CONFIG["space"],
        "schedule": {"type": "choice", "values": ["constant", "linear"]},
        "warmup_ratio": {"type": "float", "low": 0.0, "high": 0.5, "when": {"schedule": ["linear"]}},
    }
    record = study(trials)
    assert record.winner is not None
    params = {**record.winner.params, "schedule": "constant", "warmup_ratio": 0.0}
    return replace(record, config={**CONFIG, "space": space}, winner=replace(record.winner, params=params))


def test_what_depends_on_a_value_that_is_gone_goes_too(tmp_path: Path) -> None:
    text = next_space(conditional(), [says("schedule", {"type": "constant", "value": "constant"})])
    config = loaded(text, tmp_path)
    assert config.space["schedule"] == Constant(value="constant")
    assert "warmup_ratio" not in config.space
    assert "warmup_ratio is left out: its condition on schedule cannot hold any more." in text
    assert "warmup_ratio" not in config.start_points[0]
    kept = loaded(next_space(conditional(), [says("schedule", {"type": "constant", "value": "linear"})]), tmp_path)
    assert "warmup_ratio" not in kept.start_points[0], "the winner had none, so it is drawn"
    assert kept.space["warmup_ratio"] == StudyConfig.model_validate(conditional().config).space["warmup_ratio"]


def test_the_first_rung_stays_within_fewer_epochs(tmp_path: Path) -> None:
    search = {**CONFIG["search"], "asha": {"grace_epochs": 2.0, "reduction_factor": 3.0}}
    record = study(config={**CONFIG, "search": search})
    text = next_space(record, [says("epochs", {"type": "constant", "value": 1})])
    config = loaded(text, tmp_path)
    assert config.search.asha is not None
    assert config.search.asha.grace_epochs == 1
    assert "grace_epochs was 2" in comment_above(text.splitlines(), "  asha:")


def test_the_start_point_moves_into_the_new_space(tmp_path: Path) -> None:
    record = study()
    assert record.winner is not None
    epochs = record.winner.params["epochs"]
    text = next_space(record, [says("epochs", {"type": "int", "low": epochs + 1, "high": epochs + 2})])
    (start,) = loaded(text, tmp_path).start_points
    assert start["epochs"] == epochs + 1
    assert start["target_modules"] == record.winner.params["target_modules"], "a list stays the one that won"
    assert "with the nearest epochs that the new space has" in text.replace("\n# ", " ")


def test_a_reason_with_odd_signs_stays_a_comment(tmp_path: Path) -> None:
    odd = replace(says("rank", {"type": "constant", "value": 8}), evidence_reason="a\nb\u2028c\x85d: {e")
    config = loaded(next_space(study(), [odd]), tmp_path)
    assert config.space["rank"] == Constant(value=8)


SPACE = {
    "rank": {"type": "int", "low": 2, "high": 32, "log": True},
    "learning_rate": {"type": "float", "low": 1e-4, "high": 5e-3, "log": True},
    "epochs": {"type": "int", "low": 1, "high": 4},
    "dropout": {"type": "float", "low": 0.0, "high": 0.5},
    "alpha": {"type": "choice", "values": [8, 16, 32]},
}
PARAMS = st.fixed_dictionaries(
    {
        "rank": st.integers(2, 32),
        "learning_rate": st.floats(1e-4, 5e-3),
        "epochs": st.integers(1, 4),
        "dropout": st.floats(0, 0.5),
        "alpha": st.sampled_from([8, 16, 32]),
    }
)
CURVE = st.lists(st.floats(0.1, 0.9), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None)
@given(trials=st.lists(st.tuples(PARAMS, CURVE), min_size=1, max_size=14))
def test_whatever_the_trials_did_the_next_config_can_be_loaded(
    trials: list[tuple[dict[str, Any], list[float]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    record = searched(SPACE, [tried(n, params, scores) for n, (params, scores) in enumerate(trials)])
    config = loaded(next_space(record, advised(record)), tmp_path_factory.mktemp("next"))
    (start,) = config.start_points or [{}]
    assert all(contains(config.space[name], value) for name, value in start.items())


def test_a_fashion_round_from_its_images(fashion: Settings) -> None:
    record, outputs = pictures_study(), pictures_outputs()
    stands = standing(record, fashion.judged_by, outputs)
    lines = targets(fashion, stands)
    assert [each.name for each in lines] == ["total_loss", "visual", "fashion", "color"]
    assert lines[1].now == pytest.approx(0.5)
    assert lines[1].target == pytest.approx(0.6)
