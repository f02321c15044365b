"""Saved adapters of every kind on the toy pipeline, and a server's base driven by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.engine.toy import task_device
from tests.tasks.fashion import toy
from tests.tasks.served_contract import Under
from tuner import tasks
from tuner.lora.table import Resident
from tuner.tasks.fashion.asking import DrawnPicture, PictureAsk
from tuner.tasks.fashion.serving import ServedPictures

KINDS: dict[str, dict[str, Any]] = {
    "attention": {"rank": 2, "alpha": 3, "target_modules": ["to_q", "to_v"]},
    "convolutions": {"rank": 5, "alpha": 4, "target_modules": ["conv1", "conv_in", "to_k"]},
    "words": {"rank": 3, "alpha": 8, "target_modules": ["q_proj", "fc1"]},
    "everywhere": {"rank": 9, "alpha": 5, "target_modules": toy.EVERYWHERE, "guidance": 4.0},
}


def make_adapters(base: Path, clip: Path, folder: Path) -> dict[str, Path]:
    """An adapter of each kind, far from the base, and one of found prompts."""
    packing = toy.make_packing(base, clip)
    for seed, (name, params) in enumerate(KINDS.items()):
        packing.start(toy.make_spec(name, seed=seed, **params))
    toy.far(packing, 0.1)
    found = {name: toy.save(packing, folder / name, name) for name in KINDS}
    prompts = toy.make_packing(base, clip, space={"mode": "prompt"})
    prompts.start(toy.make_spec("a", confidence_threshold=0.02, max_features=6, quality_words=True, negative="quality"))
    return {**found, "prompts": toy.save(prompts, folder / "prompts")}


def make_served(base: Path) -> ServedPictures:
    """A server's base with nothing resident."""
    found = tasks.spec("fashion").serve(str(base), None, task_device(), 10**8)
    assert isinstance(found, ServedPictures)
    return found


class Drawer:
    """A server's base with these adapters resident, none of them released; "" is the base."""

    def __init__(self, base: Path, adapters: dict[str, Path]) -> None:
        self.served = make_served(base)
        table = self.served.table
        self.residents: dict[str, Resident] = {"": table.take_base()}
        for name, folder in adapters.items():
            self.residents[name] = table.put(name, self.served.open(folder))

        show = self.served.denoiser.base.pictures

        def shown(latents: torch.Tensor) -> torch.Tensor:
            self.shown.append(latents.clone())
            return show(latents)

        self.shown: list[torch.Tensor] = []
        self.served.denoiser.base.pictures = shown  # type: ignore[method-assign]

    def job(self, adapter: str, ask: PictureAsk) -> Under:
        """A request, admitted."""
        under = Under(self.residents[adapter], ask)
        self.served.admit([under.job])
        return under

    def draw(self, *orders: tuple[str, PictureAsk]) -> list[Any]:
        """What becomes of requests that come together, in their order."""
        jobs = [Under(self.residents[adapter], ask) for adapter, ask in orders]
        self.served.admit([each.job for each in jobs])
        self.run()
        return [each.end for each in jobs]

    def latent(self, adapter: str, ask: PictureAsk) -> torch.Tensor:
        """That of a picture drawn alone."""
        self.shown.clear()
        picture = self.draw((adapter, ask))[0]
        assert isinstance(picture, DrawnPicture)
        return self.shown[0][0]

    def run(self) -> list[int]:
        """Until nothing is under way; the rows of each step."""
        rows = []
        while self.served.busy:
            rows.append(self.served.step())
        return rows


def closest(latent: torch.Tensor, among: Sequence[torch.Tensor]) -> float:
    """How far the nearest of batches of latents (B, C, h, w) is from one (C, h, w), as a share of its largest."""
    own = [each for batch in among if batch.shape[1:] == latent.shape for each in batch]
    return min(float((each - latent).abs().max()) for each in own) / float(latent.abs().max())
