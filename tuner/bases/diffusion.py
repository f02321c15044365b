"""What a Stable Diffusion pipeline is, read from its small files alone: no weights, no torch.

`base_model` holds the short name of the embedded pipeline (garment_sd), a local folder, or a hub id with an optional
revision. Other pipelines, inpainting among them, are refused by name. Of the hub's weights nothing is known here:
whether there are safetensors shows when they are downloaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from tuner.bases.hub import UNREACHABLE, fetch
from tuner.data.hub import is_hub_id
from tuner.errors import BaseModelError

EMBEDDED = "garment_sd"
PIPELINE = "StableDiffusionPipeline"
# The parts whose weights a study opens. A safety checker beside them is not looked at.
_PARTS = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "CLIPTextModel"}
_FILES = {
    "unet": "unet/config.json",
    "vae": "vae/config.json",
    "text_encoder": "text_encoder/config.json",
    "tokenizer": "tokenizer/tokenizer_config.json",
    "scheduler": "scheduler/scheduler_config.json",
}
_INDEX = "model_index.json"
PREDICTIONS = ("epsilon", "v_prediction")
"""What a UNet may be trained to say, as schedulers name it."""
_SAMPLE = 2**20  # bytes
_POSITIONS = 77  # of CLIP's text encoders, whose config leaves out what is usual

# Ends of the names of the modules that an adapter may train, as PEFT matches them.
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""Attention of the UNet, to itself and to the text."""
FEED_FORWARD = ("ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")
"""The rest of the UNet's transformers. What leads in and out is linear in some bases, a 1 x 1 convolution in others."""
CONVOLUTION = ("conv1", "conv2", "conv_in", "conv_out", "conv_shortcut", "conv")
"""Convolutions of the UNet; `conv` is in what halves and doubles the resolution."""
TEXT = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
"""Attention and feed-forward of the text encoder."""


@dataclass(frozen=True)
class DiffusionFacts:
    """A pipeline at a glance. `source` is what diffusers opens: a folder or a hub id. `checksum` is the weights'
    SHA-256 where the project knows it, a digest of parts of them in other folders, or the revision. `unet`, `vae` and
    `scheduler` are their configs; `text_length` is in tokens, with the two that begin and end a text."""

    name: str
    source: str
    revision: str | None
    checksum: str
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    text_length: int

    @property
    def width(self) -> int:
        """Channels of the UNet's widest block."""
        return int(max(self.unet["block_out_channels"]))

    @property
    def scale(self) -> int:
        """How many pixels of a side become one latent."""
        return int(2 ** (len(self.vae["block_out_channels"]) - 1))

    @property
    def step(self) -> int:
        """What a side in pixels must be a multiple of, so that every block of the UNet halves it in whole latents."""
        return int(self.scale * 2 ** (len(self.unet["block_out_channels"]) - 1))

    @property
    def resolution(self) -> int | None:
        """The side in pixels that the UNet was trained for; None where its config does not say, or is not square."""
        size = self.unet.get("sample_size")
        if isinstance(size, list) and len(set(map(str, size))) == 1:
            size = size[0]
        return size * self.scale if _is_count(size) else None


def describe_diffusion(base_model: str, revision: str | None = None) -> DiffusionFacts:
    """Look a pipeline up. Raises BaseModelError, with all that is wrong, if it is not there, is no Stable Diffusion, or
    a folder lacks safetensors."""
    if base_model == EMBEDDED:
        from tuner.bases import garment_sd

        return _from_folder(base_model, garment_sd.locate(), garment_sd.SHA256)
    path = Path(base_model).expanduser()
    if path.is_dir():
        return _from_folder(base_model, path, _digest(path))
    if path.is_file():
        raise BaseModelError(
            f"base_model = {base_model!r}: it is a file, and a pipeline is a folder. Convert a checkpoint of one file: "
            f"diffusers.{PIPELINE}.from_single_file(file).save_pretrained(folder)."
        )
    if not is_hub_id(base_model):
        raise BaseModelError(
            f"base_model = {base_model!r}: it is neither the embedded pipeline ({EMBEDDED}), nor a folder, nor a "
            "hub id."
        )
    return _from_hub(base_model, revision)


def known_targets(facts: DiffusionFacts) -> tuple[str, ...]:
    """The target modules that this base has, those of the UNet first."""
    blocks = [*facts.unet.get("down_block_types", ()), *facts.unet.get("up_block_types", ())]
    middle = facts.unet.get("mid_block_type", "UNetMidBlock2DCrossAttn")
    attends = any("CrossAttn" in str(block) for block in (*blocks, middle))
    sampled = len(facts.unet["block_out_channels"]) > 1
    convolutions = [name for name in CONVOLUTION if sampled or name != "conv"]
    return (*(ATTENTION + FEED_FORWARD if attends else ()), *convolutions, *TEXT)


def _digest(folder: Path) -> str:
    """A number that tells weights apart by each file's size, beginning and end: to read gigabytes whole would take
    longer than to load them. Files that differ in the middle alone look the same."""
    digest = hashlib.sha256()
    for path in sorted(path for part in _PARTS for path in (folder / part).glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()} {size}".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLE))
            file.seek(max(0, size - _SAMPLE))
            digest.update(file.read(_SAMPLE))
    return f"sample {digest.hexdigest()}"


def _from_folder(name: str, folder: Path, checksum: str) -> DiffusionFacts:
    configs, problems = _read(lambda file: folder / file)
    if configs:
        problems += [
            f"{part}/ holds no .safetensors file, and no other format is opened"
            for part in _PARTS
            if not any((folder / part).glob("*.safetensors"))
        ]
    return _facts(name, str(folder), None, checksum, configs, problems)


def _from_hub(name: str, revision: str | None) -> DiffusionFacts:
    def download(file: str) -> Path:
        try:
            return fetch(name, file, revision)
        except Exception as error:
            raise BaseModelError(
                f"base_model = {name!r}: the hub cannot be asked for its {file} ({type(error).__name__}). "
                f"{UNREACHABLE}."
            ) from error

    configs, problems = _read(download)
    return _facts(name, name, revision, f"revision {revision or 'main'}", configs, problems)


def _read(find: Callable[[str], Path]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The configs by part, none of a pipeline of another kind, and what is wrong with the index and with them."""
    problems: list[str] = []
    index = _read_json(find(_INDEX), _INDEX, problems)
    if index is None:
        return {}, problems
    kind = index.get("_class_name")
    if kind != PIPELINE:
        return {}, [f"it is a pipeline of the class {kind}, and only {PIPELINE} can be tuned"]
    for part, wanted in _PARTS.items():
        named = index.get(part)
        found = named[1] if isinstance(named, list) and len(named) == 2 else named
        if found != wanted:
            problems.append(f"{_INDEX} names {found} as its {part}, where {wanted} is needed")
    configs = {part: _read_json(find(file), file, problems) for part, file in _FILES.items()}
    return {part: config if config is not None else {} for part, config in configs.items()}, problems


def _read_json(path: Path, file: str, problems: list[str]) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.append(f"{file} cannot be read ({error})")
        return None
    if isinstance(content, dict):
        return content
    problems.append(f"{file} cannot be read (it holds no object)")
    return None


def _facts(
    name: str,
    source: str,
    revision: str | None,
    checksum: str,
    configs: Mapping[str, Mapping[str, Any]],
    problems: list[str],
) -> DiffusionFacts:
    """Raises BaseModelError with all problems, and with what the configs contradict each other in."""
    if configs and not problems:
        problems = list(_contradictions(configs["unet"], configs["vae"]))
        kind = configs["scheduler"].get("prediction_type", "epsilon")
        if kind not in PREDICTIONS:
            problems.append(f"it predicts {kind!r}, and only {' and '.join(PREDICTIONS)} are trained here")
    if problems:
        raise BaseModelError(
            f"base_model = {name!r}: {'; '.join(problems)}. Name a folder that {PIPELINE}.save_pretrained wrote."
        )
    lengths = (configs["tokenizer"].get("model_max_length"), configs["text_encoder"].get("max_position_embeddings"))
    # A tokenizer without a limit has one of 10 ** 30.
    text_length = min([each for each in lengths if _is_count(each)] or [_POSITIONS])
    unet, vae, scheduler = (configs[part] for part in ("unet", "vae", "scheduler"))
    return DiffusionFacts(name, source, revision, checksum, unet, vae, scheduler, text_length)


def _contradictions(unet: Mapping[str, Any], vae: Mapping[str, Any]) -> list[str]:
    problems = []
    for part, config in (("unet", unet), ("vae", vae)):
        widths = config.get("block_out_channels")
        if not isinstance(widths, list) or not widths or not all(map(_is_count, widths)):
            problems.append(f"{_FILES[part]} has no block_out_channels")
    channels = vae.get("latent_channels")
    for side, end in (("in_channels", "takes"), ("out_channels", "gives")):
        if unet.get(side) != channels:
            problems.append(f"its UNet {end} {unet.get(side)} channels, and its VAE's latents have {channels}")
    return problems


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
