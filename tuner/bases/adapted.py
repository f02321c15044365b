"""A saved adapter on its base, as anybody would load it: plain transformers and PEFT."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from tuner.bases.describe import BaseFacts, describe
from tuner.bases.load import quiet
from tuner.errors import StoreError


@dataclass(frozen=True)
class SavedAdapter:
    """An adapter's folder: `details` are what its task wrote into tuner.json, `facts` those of its base."""

    folder: Path
    details: Mapping[str, Any]
    facts: BaseFacts

    @classmethod
    def open(cls, folder: Path) -> SavedAdapter:
        """Read a folder without its weights. Raises StoreError if it is not an adapter of this project, BaseModelError
        for its base."""
        try:
            details = json.loads((folder / "tuner.json").read_text(encoding="utf-8"))
            revision = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("revision")
            base_model = details["base_model"]
            if not isinstance(base_model, str):
                raise ValueError(f"its base is {base_model!r:.40}")
            with safe_open(folder / "adapter_model.safetensors", framework="pt"):
                pass  # else PEFT, which misses the file, asks the hub for it
        except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError, RecursionError) as error:
            raise not_an_adapter(folder, error) from error
        return cls(folder, details, describe(base_model, revision))

    def check_base(self, name: str, revision: str | None) -> None:
        """Raises StoreError if the adapter is not of this base, which is served."""
        if (self.facts.name, self.facts.revision) != (name, revision):
            raise StoreError(f"{self.folder} is of the base {self.facts.name}, and {name} is served.")

    def on(self, base: Any) -> Any:
        """The adapter on its loaded base, in eval mode. Raises StoreError if they do not fit."""
        from peft import PeftModel

        try:
            with quiet():
                return PeftModel.from_pretrained(base, str(self.folder)).eval()
        except (OSError, ValueError, RuntimeError, LookupError, TypeError) as error:
            reason = str(error).strip().split("\n")[0]
            raise StoreError(f"{self.folder} does not fit its base {self.facts.name}: {reason}") from error


def not_an_adapter(folder: Path, error: Exception) -> StoreError:
    """What to raise where a folder is not a saved adapter of this project."""
    return StoreError(f"{folder} is not a saved adapter: {error}. Name a study's best folder.")
