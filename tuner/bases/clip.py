"""A model that puts pictures and texts into one space (FashionCLIP and its kind), opened through open_clip.

`clip_model` holds `garment_clip` (the embedded one), a local folder, or `hf-hub:org/name`. Nothing at the top needs
torch, so that `check_clip` is light.
"""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.bases.clip_files import CONFIG, PACKAGE, ClipFiles, find_clip, refusal, weights_of
from tuner.bases.minilm import sha256

if TYPE_CHECKING:
    import numpy as np
    import torch

CHUNK = 64  # pictures or texts in one forward


def check_clip(name: str) -> None:
    """Refuse a wrong `clip_model` before anything heavy loads: what is missing or damaged here. Of a model on the hub
    only the config is asked for; whether its weights are safetensors shows when it is opened. Raises BaseModelError."""
    found = find_clip(name)
    if found.hub_id is None:
        weights_of(found)


@dataclass(frozen=True)
class ClipModel:
    """An opened model, frozen, fp32. `source` is the folder of its files, `checksum` the SHA-256 of its weights,
    `scale` what a cosine is multiplied with to give a logit, `width` the D of its embeddings."""

    name: str
    source: str
    checksum: str
    scale: float
    width: int
    device: torch.device
    _model: Any = field(repr=False)
    _prepare: Callable[[Any], torch.Tensor] = field(repr=False)
    _tokenize: Callable[[list[str]], torch.Tensor] = field(repr=False)

    @classmethod
    def open(cls, name: str, device: torch.device) -> ClipModel:
        """The model on a device. The global random state of torch stays as it is. Raises BaseModelError."""
        import torch

        from tuner.bases.load import quiet

        found = find_clip(name)
        weights = weights_of(found)
        with quiet(), _silent_root(), torch.random.fork_rng(devices=[]):
            try:
                model, prepare, tokenize = _open(found, weights)
                scale = float(model.logit_scale.detach().exp())
            except Exception as error:  # a config can name anything, and fail in any way
                reason = textwrap.shorten(str(error) or type(error).__name__, 300)
                raise refusal(
                    name,
                    f"it cannot be opened: {reason.rstrip('.')}",
                    f"Check that {CONFIG} and {weights.name} are of one model",
                ) from error
        model.to(device)  # what a device cannot hold is no mistake of the model's
        width = found.settings["model_cfg"]["embed_dim"]
        return cls(name, str(weights.parent), sha256(weights), scale, width, device, model, prepare, tokenize)

    def images(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
        """Embeddings (N, width) of pictures, uint8 (H, W, 3) of any sizes: fp32 on the CPU, of length 1. Pictures are
        resized (antialiased), cropped and normalised as the model's config says."""
        import torch
        from PIL import Image

        def encode(part: Sequence[np.ndarray]) -> torch.Tensor:
            ready = torch.stack([self._prepare(Image.fromarray(picture)) for picture in part])
            found: torch.Tensor = self._model.encode_image(ready.to(self.device), normalize=True)
            return found

        return self._in_chunks(encode, pictures)

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings (N, width) of texts: fp32 on the CPU, of length 1. A text that is too long is cut at its end."""

        def encode(part: Sequence[str]) -> torch.Tensor:
            found: torch.Tensor = self._model.encode_text(self._tokenize(list(part)).to(self.device), normalize=True)
            return found

        return self._in_chunks(encode, texts)

    def _in_chunks(self, encode: Callable[[Any], torch.Tensor], items: Sequence[Any]) -> torch.Tensor:
        import torch

        with torch.no_grad():
            parts = [encode(items[start : start + CHUNK]).float().cpu() for start in range(0, len(items), CHUNK)]
        return torch.cat([torch.empty(0, self.width), *parts])


def _open(found: ClipFiles, weights: Path) -> tuple[Any, Any, Any]:
    """Model on the CPU, what makes its input of a picture, and what makes tokens of texts."""
    import open_clip
    from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer

    folder = f"local-dir:{found.folder}"
    model, _, prepare = open_clip.create_model_and_transforms(folder, load_weights=False, pretrained_text=False)
    open_clip.load_checkpoint(model, str(weights))
    model.eval().requires_grad_(False)
    text = found.text
    if not text.get("hf_tokenizer_name"):
        return model, prepare, open_clip.get_tokenizer(folder)
    tokenize = HFTokenizer(
        text["hf_tokenizer_name"] if found.hub_id else str(found.folder),
        context_length=text.get("context_length", DEFAULT_CONTEXT_LENGTH),
        tokenizer_mode=text.get("tokenizer_mode"),
        **{**text.get("tokenizer_kwargs", {}), "trust_remote_code": False},  # whatever the config asks for
    )
    return model, prepare, tokenize


@contextmanager
def _silent_root() -> Iterator[None]:
    """open_clip logs through the root logger, and where that has no handler, gives it one that prints: neither."""
    root, handler = logging.getLogger(), logging.NullHandler()

    def others(record: logging.LogRecord) -> bool:
        return PACKAGE not in Path(record.pathname).parts

    root.addHandler(handler)
    root.addFilter(others)
    try:
        yield
    finally:
        root.removeFilter(others)
        root.removeHandler(handler)
