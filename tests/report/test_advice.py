"""Tests of tuner/report/advice.py: rules of thumb, and what goes beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace

import pytest

from tests.report.pictures import pictures_study, with_pictures_task
from tests.store.factory import study
from tuner.report.advice import Advice, advise, rules_of
from tuner.report.settings import settings_of
from tuner.report.standing import Standing, standing
from tuner.score_benchmark import TOTAL_LOSS
from tuner.store.outputs import Output, Outputs
from tuner.store.records import RUNNING, StudyRecord

__all__ = ["with_pictures_task"]  # a fixture


def advised(
    record: StudyRecord, numbers: Mapping[str, float] | None = None, outputs: Outputs | None = None
) -> dict[str, Advice]:
    """Advice by hyperparameter, where the study stands at these numbers."""
    numbers = numbers or {}
    settings = settings_of(record)
    stands = standing(record, settings.judged_by, outputs)
    averages = {**stands.averages, **{name: value for name, value in numbers.items() if name != "overall"}}
    stands = Standing(stands.source, averages, numbers.get("overall", stands.overall), stands.items)
    return {each.hyperparameter: each for each in advise(record, settings, stands, outputs)}


@pytest.mark.parametrize(
    ("loss", "rate"),
    [
        (0.81, 2e-4), (0.8, 3e-4), (0.61, 3e-4), (0.6, 5e-4), (0.41, 5e-4), (0.4, 8e-4), (0.21, 8e-4), (0.2, 1e-3),
        (0.0, 1e-3),
    ],
)  # fmt: skip
def test_the_learning_rate_goes_by_the_loss(loss: float, rate: float) -> None:
    found = advised(study(), {TOTAL_LOSS: loss})["learning_rate"]
    assert found.rule_of_thumb == rate
    assert f"Total loss {loss:.3f}" in found.rule_reason


@pytest.mark.parametrize(
    ("overall", "rank"), [(0.39, 64), (0.4, 48), (0.59, 48), (0.6, 32), (0.8, 32), (0.80001, 16), (1.0, 16)]
)
def test_rank_and_alpha_go_by_the_overall_score(overall: float, rank: int) -> None:
    found = advised(study(), {"overall": overall})
    assert found["rank"].rule_of_thumb == found["alpha"].rule_of_thumb == rank
    assert "as large as the rank" in found["alpha"].rule_reason


def test_the_reason_names_the_step() -> None:
    assert advised(study(), {"overall": 0.72})["rank"].rule_reason == "Overall score 0.720: up to 0.8 the rule says 32."
    assert advised(study(), {"overall": 0.9})["rank"].rule_reason == "Overall score 0.900: beyond 0.8 the rule says 16."
    rate = advised(study(), {TOTAL_LOSS: 0.7})["learning_rate"]
    assert rate.rule_reason == "Total loss 0.700: above 0.6 the rule says 0.0003."
    low = advised(study(), {TOTAL_LOSS: 0.1})["learning_rate"]
    assert low.rule_reason == "Total loss 0.100: at 0.2 and below the rule says 0.001."


@pytest.mark.parametrize(
    ("name", "measure", "value", "advice"),
    [
        ("steps", "fashion", 0.29, 300), ("steps", "fashion", 0.3, 200), ("steps", "fashion", 0.5, 150),
        ("steps", "fashion", 0.7, 100), ("resolution", "visual", 0.29, 768), ("resolution", "visual", 0.3, 640),
        ("resolution", "visual", 0.5, 512), ("rank", "overall", 0.5, 48), ("learning_rate", "total_loss", 0.7, 3e-4),
    ],
)  # fmt: skip
def test_fashion_has_its_own_rules_and_the_general_ones(
    with_pictures_task: None, name: str, measure: str, value: float, advice: float
) -> None:
    found = advised(pictures_study(), {measure: value})[name]
    assert found.rule_of_thumb == advice
    searched = name in pictures_study().config["space"]
    assert ("not searched" in found.evidence_reason) == (not searched)


def test_what_was_not_measured_makes_no_rule() -> None:
    found = advised(study(), {TOTAL_LOSS: math.nan})["learning_rate"]
    assert found.rule_of_thumb is None
    assert found.rule_reason == "Total loss: not measured, so the rule says nothing."


def test_a_tasks_own_rule_goes_before_the_general_one() -> None:
    benchmark = settings_of(study()).judged_by
    own = replace(rules_of(benchmark)[1], otherwise=5.0, steps=(), hyperparameter="learning_rate")
    rules = {rule.hyperparameter: rule for rule in rules_of(replace(benchmark, rules=(own,)))}
    assert rules["learning_rate"].of(0.9) == 5.0
    assert set(rules) == {"learning_rate", "rank", "alpha"}


def test_every_searched_hyperparameter_has_advice() -> None:
    record = study(40)
    found = advised(record)
    assert list(found) == ["rank", "learning_rate", "epochs", "alpha", "target_modules"]
    assert record.winner is not None
    assert found["rank"].now == str(record.winner.params["rank"])
    assert found["target_modules"].rule_reason == "There is no rule of thumb for it."
    assert all(each.evidence and each.evidence_reason for each in found.values())
    assert any(each.entry is not None for each in found.values())
    json.dumps([asdict(each) for each in found.values()], allow_nan=False)


def test_a_study_without_a_report_has_advice_without_numbers() -> None:
    empty = study(trials=0, winner=None, state=RUNNING)
    found = advised(empty)
    assert found["rank"].now == ""
    assert found["rank"].rule_of_thumb is None
    assert "0 trials have a score" in found["rank"].evidence_reason
    assert all(each.entry is None for each in found.values())


def test_what_was_not_searched_has_the_value_in_use() -> None:
    record = study(config={**study().config, "space": {"rank": 8, "learning_rate": 1e-3, "epochs": 2}})
    found = advised(record)
    assert found["alpha"].evidence_reason == "It was not searched, so the trials say nothing of it."
    winner = record.winner
    assert winner is not None
    bare = {name: value for name, value in winner.params.items() if name != "alpha"}
    assert advised(replace(record, winner=replace(winner, params=bare)))["alpha"].now == "16 (default)"


def answers(right: int, wrong: int, split: str = "test") -> Outputs:
    """So many right and wrong answers."""
    items = [
        Output(f"text_{n}", "a text", "positive", "positive", "", {"accuracy": float(n < right)})
        for n in range(right + wrong)
    ]
    return Outputs("t000", split, tuple(items))


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (answers(100, 100), True),
        (answers(160, 40), False),  # no worse than on validation rows by more than chance
        (answers(2, 2), False),  # too few to tell
        (answers(100, 100, "validation"), False),
        (None, False),
    ],
)
def test_a_winner_that_is_worse_on_test_rows_overfitted(outputs: Outputs | None, said: bool) -> None:
    record = study()
    winner = record.winner
    assert winner is not None
    record = replace(record, winner=replace(winner, metrics={**winner.metrics, "accuracy": 0.85}))
    reason = advised(record, None, outputs)["epochs"].evidence_reason
    sentence = "The winner's accuracy is 0.850 on validation rows and 0.500 on 200 test rows"
    assert (sentence in reason) == said
