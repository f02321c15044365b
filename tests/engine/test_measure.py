"""What `tuner plan` measures on an engine at rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from tests.engine.toy import make_packing, make_spec
from tuner.engine.measure import PASS, STEPS, measure
from tuner.lora.packed import Pack


def test_a_measured_step_is_one_micro_batch_and_nothing_stays(toy_bases: dict[str, Path]) -> None:
    packing = make_packing(toy_bases["bert"])
    real, seen = packing.task.losses, []

    def losses(pack: Pack, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        seen.append([len(each) for each in rows])
        return real(pack, rows)

    packing.task.losses = losses  # type: ignore[method-assign]
    found = measure(packing, [make_spec(letter, batch_size=4, accumulation=8) for letter in "ab"], base_mb=7.0)
    assert seen == [[4]] * (PASS + STEPS) + [[4, 4]] * (PASS + STEPS)
    assert found.alone_rows_per_second > 0
    assert found.packed_rows_per_second > 0
    assert (found.base_mb, found.fitting) == (7.0, 2)
    assert packing.trials == {}
    assert packing.rows_per_second == 0.0
