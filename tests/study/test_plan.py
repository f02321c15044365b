"""The arithmetic of a plan: packs by the search's own rule, and epochs under ASHA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.study.factory import SPACE, make_config
from tuner.study.plan import expected_epochs, largest, pack_size


@pytest.mark.parametrize(
    ("kind", "settings", "pack", "why"),
    [
        ("cpu", {"trials": 16}, 4, "learn from"),
        ("cpu", {"trials": 6}, 4, "learn from"),
        ("cpu", {"trials": 100}, 16, "packs up to 16"),
        ("cpu", {"trials": 100, "concurrent": 3}, 3, "search.concurrent"),
        ("cpu", {"trials": 3, "concurrent": 8}, 3, "has 3 trials"),
        ("cpu", {"trials": 1}, 1, "has 1 trial"),
        ("cpu", {"trials": 16, "start_points": 10}, 10, "learn from"),
        ("cuda", {"trials": 16}, 8, "learn from"),
        ("cuda", {"trials": 64}, 16, "learn from"),
        ("cuda", {"trials": 500}, 32, "packs up to 32"),
    ],
)
def test_the_pack_is_as_many_trials_as_the_search_runs_at_once(
    tmp_path: Path, kind: str, settings: dict[str, Any], pack: int, why: str
) -> None:
    fields = {f"search__{name}": value for name, value in settings.items() if name != "start_points"}
    points = [{"learning_rate": 1e-3 + number / 1e4} for number in range(settings.get("start_points", 0))]
    config = make_config(tmp_path, start_points=points, **fields)
    found, reason = pack_size(config, kind, engines=2 if kind == "cpu" else 1)
    assert found == pack
    assert why in reason


def test_the_largest_trial_has_the_largest_number_and_the_longest_list(tmp_path: Path) -> None:
    space = {
        **SPACE,
        "rank": {"type": "choice", "values": [4, 16, 8]},
        "target_modules": {"type": "choice", "values": [["z"], ["a", "b"]]},
    }
    params = largest(make_config(tmp_path, space=space), {})
    assert params["rank"] == 16
    assert params["target_modules"] == ["a", "b"]


def test_asha_shortens_what_is_expected(tmp_path: Path) -> None:
    space = {**SPACE, "epochs": 4}
    whole = make_config(tmp_path, space=space, search__asha=None, start_points=[])
    halved = make_config(
        tmp_path, space=space, search__asha={"grace_epochs": 1, "reduction_factor": 2}, start_points=[]
    )
    assert expected_epochs(whole) == 4
    assert expected_epochs(halved) == 1 + 1 / 2 + 2 / 4  # all to 1, half of them to 2, a quarter to 4
