"""What a base model is, read from its small files alone: no weights, no torch.

`base_model` holds a short name of an embedded base (minilm, shoe_chat), a local folder, or a hub id with an optional
revision. The facts are enough to refuse a wrong config before anything heavy starts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.bases import minilm, shoe_chat
from tuner.bases.hub import UNREACHABLE, fetch
from tuner.errors import BaseModelError

EMBEDDED = {"minilm": (minilm.locate, minilm.SHA256), "shoe_chat": (shoe_chat.locate, shoe_chat.SHA256)}
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


@dataclass(frozen=True)
class BaseFacts:
    """A base model at a glance. `source` is what transformers opens: a folder or a hub id. `checksum` is the weights'
    SHA-256 where the project knows it, or the revision. `languages` are codes as in `tuner.data.language`."""

    name: str
    source: str
    revision: str | None
    config: Mapping[str, Any]
    languages: tuple[str, ...]
    checksum: str

    @property
    def model_type(self) -> str:
        """The architecture's name in transformers, "" where the config has none."""
        return str(self.config.get("model_type", ""))


def describe(base_model: str, revision: str | None = None) -> BaseFacts:
    """Look a base up. Raises BaseModelError if it is not there, is not a model or has no safetensors."""
    if base_model in EMBEDDED:
        locate, checksum = EMBEDDED[base_model]
        return _from_folder(base_model, locate(), checksum)
    path = Path(base_model).expanduser()
    if path.is_dir():
        return _from_folder(base_model, path, "")
    if path.exists() or not _HUB_ID.fullmatch(base_model):
        raise BaseModelError(
            f"base_model = {base_model!r}: it is neither an embedded base ({', '.join(EMBEDDED)}), nor a folder, "
            "nor a hub id."
        )
    return _from_hub(base_model, revision)


def companion(facts: BaseFacts, name: str) -> Path | None:
    """A small file that lies beside the weights (tokenizer.json), None where the base has none."""
    folder = Path(facts.source)
    if folder.is_dir():
        path = folder / name
        return path if path.is_file() else None
    try:
        return fetch(facts.source, name, facts.revision)
    except Exception:  # what is not there and what cannot be reached look alike; the config was reached before
        return None


def _from_folder(name: str, folder: Path, checksum: str) -> BaseFacts:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it holds no object")
    except (OSError, ValueError) as error:
        raise BaseModelError(
            f"base_model = {name!r}: {folder}/config.json cannot be read ({error}). "
            "Name a folder that save_pretrained wrote."
        ) from error
    if not any(folder.glob("*.safetensors")):
        raise BaseModelError(
            f"base_model = {name!r}: {folder} holds no .safetensors file, and no other format is opened. "
            "Convert it with model.save_pretrained(folder, safe_serialization=True)."
        )
    return BaseFacts(name, str(folder), None, config, _languages(folder / "tokenizer.json"), checksum)


def _from_hub(name: str, revision: str | None) -> BaseFacts:
    files = {}
    for file in ("config.json", "tokenizer.json"):
        try:
            files[file] = fetch(name, file, revision)
        except Exception as error:
            if file == "tokenizer.json":
                continue  # older repositories keep vocab.txt alone
            raise BaseModelError(
                f"base_model = {name!r}: the hub cannot be asked for it ({type(error).__name__}). {UNREACHABLE}."
            ) from error
    config = json.loads(files["config.json"].read_text(encoding="utf-8"))
    languages = _languages(files["tokenizer.json"]) if "tokenizer.json" in files else ()
    return BaseFacts(name, name, revision, config, languages, f"revision {revision or 'main'}")


def _languages(tokenizer: Path) -> tuple[str, ...]:
    """Which scripts a vocabulary was made for: a word list that is a twentieth Chinese reads Chinese; 8,000 Latin
    words, English."""
    try:
        vocabulary = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]["vocab"]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    words = [entry[0] if isinstance(entry, list) else entry for entry in vocabulary]
    chinese = sum(1 for word in words if any("\u4e00" <= letter <= "\u9fff" for letter in word))
    latin = sum(1 for word in words if re.search(r"[a-zA-Z]{3}", word))
    found = []
    if chinese * 20 >= len(words):
        found.append("zh")
    if latin >= 8000 and latin * 3 >= len(words):
        found.append("en")
    return tuple(found)
