"""Tests of tuner/config_report.py: how outputs are judged, alerts and rounds, as a config says it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.test_config import VALID, problems
from tuner.config import StudyConfig


def with_part(name: str, part: dict[str, Any]) -> dict[str, Any]:
    """A valid config with one part set."""
    return {**VALID, name: part}


def test_all_parts_have_defaults() -> None:
    config = StudyConfig.model_validate(VALID)
    assert (config.benchmark.excellent_loss, config.benchmark.good_loss, config.benchmark.items) == (0.5, 0.7, 200)
    assert (config.alerts.total_loss_above, config.alerts.overall_below) == (0.8, 0.4)
    assert (config.rounds.most, config.rounds.loss, config.rounds.overall) == (5, 0.4, 0.7)


@pytest.mark.parametrize(
    ("name", "part", "place", "words"),
    [
        ("benchmark", {"weights": {"visual": 0.5, "fashion": 0.4}}, "benchmark.weights", "sum to 0.9"),
        ("benchmark", {"weights": {"visual": 1.5, "fashion": -0.5}}, "benchmark.weights.visual", "at most 1"),
        ("benchmark", {"reference": {"visual": float("nan")}}, "benchmark.reference.visual", "finite"),
        ("benchmark", {"excellent_loss": 0.9, "good_loss": 0.5}, "benchmark.good_loss", "not be below excellent_loss"),
        ("benchmark", {"items": 0}, "benchmark.items", "at least 1"),
        ("benchmark", {"good_los": 0.7}, "benchmark.good_los", "not a known key"),
        ("alerts", {"failed_share": 2.0}, "alerts.failed_share", "at most 1"),
        ("alerts", {"webhook": "ftp://x.org/a"}, "alerts.webhook", "http"),
        ("alerts", {"webhook": "https://"}, "alerts.webhook", "http"),
        ("alerts", {"no_progress_trials": 0}, "alerts.no_progress_trials", "at least 1"),
        ("rounds", {"most": 0}, "rounds.most", "at least 1"),
        ("score", {"grades": {"good": 0.5}}, "score.grades.poor", "must fall"),
    ],
)
def test_what_cannot_be_is_named(name: str, part: dict[str, Any], place: str, words: str) -> None:
    found = problems(with_part(name, part))
    assert place in found
    assert words in found[place].rule


def test_the_address_of_a_webhook_is_not_repeated() -> None:
    problem = problems(with_part("alerts", {"webhook": "hooks.example.org/services/SECRET"}))["alerts.webhook"]
    assert "SECRET" not in str(problem)


@pytest.mark.parametrize("address", ["http://127.0.0.1:8000/hook", "https://hooks.example.org/a/b?c=d", "$HOOK"])
def test_addresses_of_a_webhook(address: str) -> None:
    assert StudyConfig.model_validate(with_part("alerts", {"webhook": address})).alerts.webhook == address
