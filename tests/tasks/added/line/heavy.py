"""The heavy half of the task "line": two frozen layers, LoRA on the first, the second trained whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tuner.config import StudyConfig
from tuner.device import Device
from tuner.lora.adapter import save_peft
from tuner.lora.packed import Pack, PackContext, wrap_linears
from tuner.lora.parameters import AdapterShape
from tuner.store.outputs import Output
from tuner.tasks.task import Prepared


class LineTask:
    """Implements `Task`."""

    dtype = torch.float32
    notes = ()

    def __init__(self, config: StudyConfig, device: Device, prepared: Prepared) -> None:
        torch.manual_seed(0)
        self.model = nn.ModuleDict({"up": nn.Linear(2, 16), "head": nn.Linear(16, 2)}).to(device.torch)
        self.context = PackContext(device.torch)
        self.sites = wrap_linears(self.model, ["up"], ["head"], self.context)
        points = torch.tensor(prepared.data, device=device.torch)[
            torch.randperm(len(prepared.data), generator=torch.Generator().manual_seed(1))
        ]
        self.points = {"validation": points[:24], "test": points[24:48], "train": points[48:]}
        self.train_rows = len(self.points["train"])

    def shape(self, params: Mapping[str, Any]) -> AdapterShape:
        return AdapterShape(int(params["rank"]), frozenset({"up"}), frozenset({"head"}))

    def losses(self, pack: Pack, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        points = self.points["train"][[row for member in rows for row in member]]
        pack.bring([len(member) for member in rows])
        return F.cross_entropy(self._logits(pack, points), _side(points), reduction="none")

    def row_costs(self) -> Sequence[int]:
        return [1] * self.train_rows

    @torch.no_grad()
    def evaluate(self, pack: Pack, split: str) -> list[dict[str, float]]:
        points, members = self.points[split], len(pack.members)
        pack.bring([len(points)] * members)
        answers = self._logits(pack, points.repeat(members, 1)).argmax(-1).view(members, -1)
        return [{"right": (row == _side(points)).float().mean().item(), "kept": 1.0} for row in answers]

    @torch.no_grad()
    def outputs(self, pack: Pack, split: str, count: int) -> list[Output]:
        points = self.points[split][:count]
        pack.bring([len(points)])
        answers = self._logits(pack, points).argmax(-1)
        return [
            Output(
                name=f"point_{number}",
                input=str(point.tolist()),
                expected=str(side),
                answer=str(answer),
                metrics={"right": float(answer == side), "kept": 1.0},
            )
            for number, (point, side, answer) in enumerate(
                zip(points, _side(points).tolist(), answers.tolist(), strict=True), 1
            )
        ]

    def save(self, directory: Path, tensors: Mapping[str, torch.Tensor], params: Mapping[str, Any]) -> None:
        save_peft(
            directory, tensors, base="plane", revision=None, modules=["up"], targets=["up"], full=["head"],
            all_linear=["up", "head"], rank=params["rank"], alpha=params["alpha"], dropout=params["dropout"],
            task_type="FEATURE_EXTRACTION",
        )  # fmt: skip

    def _logits(self, pack: Pack, points: torch.Tensor) -> torch.Tensor:
        self.context.pack = pack
        try:
            found: torch.Tensor = self.model["head"](torch.tanh(self.model["up"](points)))
            return found
        finally:
            self.context.pack = None


def _side(points: torch.Tensor) -> torch.Tensor:
    return (points[:, 1] > points[:, 0] - 0.1).long()
