"""The arithmetic of a plan: packs by the search's own rule, and epochs under ASHA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.study.factory import SPACE, make_config
from tuner.study.plan import expected_epochs, pack_size


@pytest.mark.parametrize(
    ("settings", "pack", "why"),
    [
        ({"trials": 16, "start_points": 0}, 8, "learn from"),
        ({"trials": 100, "start_points": 0}, 16, "packs up to 16"),
        ({"trials": 100, "concurrent": 4}, 4, "search.concurrent"),
        ({"trials": 3, "concurrent": 8}, 3, "has 3 trials"),
        ({"trials": 1}, 1, "has 1 trial"),
    ],
)
def test_the_pack_is_as_many_trials_as_the_search_runs_at_once(
    tmp_path: Path, settings: dict[str, Any], pack: int, why: str
) -> None:
    given = settings.pop("start_points", None)
    fields = {f"search__{name}": value for name, value in settings.items()}
    config = make_config(tmp_path, **fields, **({"start_points": []} if given == 0 else {}))
    found, reason = pack_size(config, "cpu")
    assert found == pack
    assert why in reason


def test_asha_shortens_what_is_expected(tmp_path: Path) -> None:
    space = {**SPACE, "epochs": 4}
    whole = make_config(tmp_path, space=space, search__asha=None, start_points=[])
    halved = make_config(
        tmp_path, space=space, search__asha={"grace_epochs": 1, "reduction_factor": 2}, start_points=[]
    )
    assert expected_epochs(whole) == 4
    assert expected_epochs(halved) == 1 + 1 / 2 + 2 / 4  # all to 1, half of them to 2, a quarter to 4
