"""Texts as the encoder of the base, or of an adapter of it, reads them; encoded once and kept.

Adapters that leave the text encoder as it is share the base's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch

from tuner.lora.table import AdapterTable, Resident
from tuner.tasks.fashion.denoise import TEXT_ENCODER, Denoiser

_KEPT = 1024  # texts: a quarter of a gigabyte of Stable Diffusion 1.5's


class AdaptedTexts:
    """Of one denoiser and the adapters in a table. One thread."""

    def __init__(self, denoiser: Denoiser, table: AdapterTable) -> None:
        self._denoiser = denoiser
        self._table = table
        # by the adapter itself and not by its key, under which another may come back
        self._kept: OrderedDict[tuple[Resident, str], torch.Tensor] = OrderedDict()

    def encoded(self, wanted: Sequence[tuple[Resident, str]]) -> list[torch.Tensor]:
        """What the encoder makes of each adapter's text, (L, D) each; all new ones in two forwards at most."""
        keys = [(carrying(self._table, adapter, TEXT_ENCODER), text) for adapter, text in wanted]
        new: dict[Resident, list[str]] = {}
        for adapter, text in dict.fromkeys(keys):
            if (adapter, text) in self._kept:
                self._kept.move_to_end((adapter, text))
            else:
                new.setdefault(adapter, []).append(text)
        if bare := new.pop(self._table.base, None):
            base = self._denoiser.base
            found = base.encode(base.tokens(bare))
            self._kept.update(zip(((self._table.base, text) for text in bare), found, strict=True))
        if new:
            pack = self._table.pack(list(new), self._denoiser.base.dtype)
            found = self._denoiser.texts(pack, list(new.values()))
            names = [(adapter, text) for adapter, texts in new.items() for text in texts]
            self._kept.update(zip(names, found, strict=True))
        encoded = [self._kept[key] for key in keys]
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return encoded


def carrying(table: AdapterTable, adapter: Resident, part: str) -> Resident:
    """Who a part of the pipeline carries for an adapter: the base where the adapter leaves that part as it is."""
    return adapter if any(name.startswith(part) for name in adapter.shape.targets) else table.base
