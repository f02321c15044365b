"""What a saved fashion adapter's tuner.json says: its base, what was trained, and how it draws.

Knows nothing of weights; `saving.py` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.bases.adapted import not_an_adapter
from tuner.bases.diffusion import DiffusionFacts
from tuner.tasks.fashion.asking import USUAL
from tuner.tasks.fashion.features import Feature
from tuner.tasks.fashion.prompting import Prompting
from tuner.tasks.fashion.prompts import PromptPlan
from tuner.tasks.fashion.saving import DETAILS, MODEL
from tuner.tasks.fashion.settings import DEFAULTS


@dataclass(frozen=True)
class SavedDetails:
    """`told` is all of the file. `side` is in pixels. `train` is "lora", "full" or, where prompts were searched,
    "nothing"."""

    told: Mapping[str, Any]
    base_model: str
    revision: str | None
    checksum: str
    train: str
    side: int
    steps: int
    guidance: float
    negative_prompt: str
    clip_model: str
    plan: PromptPlan | None
    common: tuple[Feature, ...]

    @classmethod
    def open(cls, folder: Path) -> SavedDetails:
        """Read a folder's. Raises StoreError if it is not an adapter of this task."""
        try:
            told = json.loads((folder / DETAILS).read_text(encoding="utf-8"))
            if told["task"] != "fashion":
                raise ValueError(f"it is one of the task {told['task']}")
            prompts = told.get("prompts")
            found = cls(
                told,
                str(told["base_model"]),
                told.get("revision"),
                str(told["checksum"]),
                str(told["train"]),
                int(told["resolution"]),
                int(told["inference_steps"]),
                float(told["guidance"]),
                str(told["negative_prompt"]),
                str(told["clip_model"]),
                PromptPlan.from_json(prompts["plan"]) if prompts else None,
                tuple(Feature(**each) for each in prompts["common"]) if prompts else (),
            )
            if found.train == "full" and not (folder / MODEL).is_dir():  # else it would be looked for on the hub
                raise FileNotFoundError(f"there is no {MODEL} in it")
        except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise not_an_adapter(folder, error) from error
        return found

    @classmethod
    def of_base(cls, facts: DiffusionFacts) -> SavedDetails:
        """What an adapter that changes nothing would say of this base, with the defaults of the task."""
        return cls(
            {},
            facts.name,
            facts.revision,
            facts.checksum,
            "nothing",
            facts.resolution or USUAL,
            DEFAULTS["inference_steps"],
            DEFAULTS["guidance"],
            DEFAULTS["negative_prompt"],
            DEFAULTS["clip_model"],
            None,
            (),
        )

    def asked(self, prompt: str) -> str:
        """What to draw where somebody typed this prompt: with what the training pictures have in common, where prompts
        were searched (`Prompting.asked`)."""
        return Prompting.asked(self.plan, prompt, self.common) if self.plan else prompt
