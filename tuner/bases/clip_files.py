"""The files of an open_clip model: where its config and its weights lie, with no torch.

Weights are safetensors or none: open_clip itself takes a pickled file where it finds no other, so it is never asked to
look for them.
"""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from tuner.bases.hub import UNREACHABLE, fetch
from tuner.errors import BaseModelError

PACKAGE = "open_clip"
EMBEDDED = "garment_clip"
CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_HUB = re.compile(r"hf-hub:(\w[\w.-]*/\w[\w.-]*)")
_CONVERT = f"Save its state_dict with safetensors.torch.save_file as {WEIGHTS[0]}"


@dataclass(frozen=True)
class ClipFiles:
    """A model's config and where it lies. `hub_id` is None for a folder; for the hub, `folder` is one commit's."""

    name: str
    folder: Path
    hub_id: str | None
    settings: dict[str, Any]

    @property
    def text(self) -> dict[str, Any]:
        """What the config says of texts and their tokenizer."""
        part: dict[str, Any] = self.settings["model_cfg"]["text_cfg"]
        return part


def find_clip(name: str) -> ClipFiles:
    """Look a `clip_model` up by its config, which the hub is asked for if it lies there. Raises BaseModelError."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise refusal(name, "the package open_clip is not installed", "Run `pip install open_clip_torch`")
    hub_id = None
    if name == EMBEDDED:
        from tuner.bases import garment_clip

        folder = garment_clip.locate()
    elif (path := Path(name).expanduser()).is_dir():
        folder = path
    elif on_hub := _HUB.fullmatch(name):
        hub_id = on_hub[1]
        folder = _config_from_hub(name, hub_id)
    else:
        raise refusal(
            name,
            f"it is neither {EMBEDDED}, nor a folder, nor a model on the hub",
            "Write one of the hub as hf-hub:org/name",
        )
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        parts = settings["model_cfg"]
        if not isinstance(parts["vision_cfg"], dict) or not isinstance(parts["text_cfg"], dict):
            raise ValueError("vision_cfg and text_cfg are no objects")
        if not isinstance(parts["embed_dim"], int):
            raise ValueError("embed_dim is no whole number")
    except (OSError, ValueError, RecursionError) as error:
        raise _bad_config(name, folder, str(error)) from error
    except (LookupError, TypeError) as error:
        raise _bad_config(name, folder, "it lacks model_cfg with embed_dim, vision_cfg and text_cfg") from error
    return ClipFiles(name, folder, hub_id, settings)


def _bad_config(name: str, folder: Path, reason: str) -> BaseModelError:
    return refusal(
        name, f"{folder / CONFIG} cannot be read ({reason})", "Name a folder or a repository that open_clip wrote"
    )


def _config_from_hub(name: str, hub_id: str) -> Path:
    """The folder that a commit's files are kept in, its config there."""
    try:
        return fetch(hub_id, CONFIG, None).parent
    except Exception as error:  # the client's own, its HTTP library's, the disk's
        if _absent(error):
            raise refusal(
                name, f"the hub has it, but without {CONFIG}", "Name a model that was made for open_clip"
            ) from error
        raise _unreachable(name, error) from error


def _absent(error: Exception) -> bool:
    """Whether the hub was reached and has no such file."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    # what was not asked for, as in offline mode, is told by a kind of the same error
    return isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)


def _unreachable(name: str, error: Exception) -> BaseModelError:
    return refusal(
        name,
        f"the hub cannot be asked for it ({type(error).__name__})",
        UNREACHABLE,
    )


def weights_of(found: ClipFiles) -> Path:
    """The model's weights, their header sound; those of the hub are downloaded, of the config's commit. Raises
    BaseModelError."""
    path = _weights_in(found) if found.hub_id is None else _weights_from_hub(found, found.hub_id)
    try:
        with safe_open(path, framework="np"):
            return path
    except (OSError, SafetensorError) as error:
        raise refusal(found.name, f"{path} is damaged ({error})", "Fetch or save it again") from error


def _weights_in(found: ClipFiles) -> Path:
    for name in WEIGHTS:
        if (path := found.folder / name).is_file():
            return path
    pickled = sorted(path.name for path in found.folder.iterdir() if path.suffix in _PICKLED)
    if pickled:
        raise refusal(
            found.name,
            f"its weights are pickled ({', '.join(pickled)}), and a pickle is never opened: it can run code",
            f"{_CONVERT} beside it",
        )
    raise refusal(found.name, f"{found.folder} holds no {WEIGHTS[0]}", _CONVERT)


def _weights_from_hub(found: ClipFiles, hub_id: str) -> Path:
    for name in WEIGHTS:
        try:
            return fetch(hub_id, name, found.folder.name)
        except Exception as error:  # the client's own, its HTTP library's, the disk's
            if not _absent(error):
                raise _unreachable(found.name, error) from error
    raise refusal(
        found.name,
        f"the hub has no {WEIGHTS[0]} of it, and a pickled file is never opened: it can run code",
        f"{_CONVERT} in a folder with its {CONFIG}, and name that folder",
    )


def refusal(name: str, rule: str, cure: str) -> BaseModelError:
    """What to raise of a `clip_model`."""
    return BaseModelError(f"clip_model = {name!r}: {rule}. {cure}.")
