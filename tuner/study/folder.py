"""Where a study keeps its files, and which checkpoints of a trial stay: the best and the newest.

    results/<study>/config.yaml study.json rungs.json study.db logs.txt best/ outputs/
                    trials/<id>/config.yaml metrics.json checkpoint-<report>/state.safetensors
                    seed-<seed>/state.safetensors

Knows paths and bytes, nothing of what the bytes mean.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

import yaml

from tuner.errors import StoreError
from tuner.store.files import write_bytes, write_json, write_text
from tuner.store.records import TrialRecord

STATE = "state.safetensors"


class StudyFolder:
    """The folder of one study. Every method that writes raises StoreError when the disk refuses."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._best: dict[str, tuple[float, int]] = {}

    @property
    def database(self) -> Path:
        """The Optuna database."""
        return self.path / "study.db"

    @property
    def logs(self) -> Path:
        """The log of the study in words."""
        return self.path / "logs.txt"

    @property
    def rungs(self) -> Path:
        """ASHA's rungs."""
        return self.path / "rungs.json"

    @property
    def adapter(self) -> Path:
        """The best adapter, in PEFT format."""
        return self.path / "best"

    @property
    def outputs(self) -> Path:
        """What the best adapter answers to held-out rows, as `store.outputs` writes it."""
        return self.path / "outputs"

    def trial(self, trial_id: str) -> Path:
        """The folder of one trial."""
        return self.path / "trials" / trial_id

    def forget_others(self, known: Collection[str]) -> None:
        """Remove everything of trials other than these."""
        for path in (self.path / "trials").glob("*"):
            if path.name not in known:
                shutil.rmtree(path, ignore_errors=True)

    def write_trial_config(self, trial: TrialRecord) -> None:
        """The trial's hyperparameters and seed, as config.yaml."""
        content = {"trial": trial.trial_id, "number": trial.number, "seed": trial.seed, "params": dict(trial.params)}
        write_text(self.trial(trial.trial_id) / "config.yaml", yaml.safe_dump(content, sort_keys=False))

    def write_trial_metrics(self, trial: TrialRecord) -> None:
        """The trial's state and the metrics of its reports so far, as metrics.json."""
        content = {"state": trial.state, "message": trial.message, "best": trial.best, "reports": list(trial.reports)}
        write_json(self.trial(trial.trial_id) / "metrics.json", content)

    def save_checkpoint(self, trial_id: str, index: int, score: float, data: bytes) -> None:
        """Keep the checkpoint of report `index`, and of the older ones of this run of the study only the best."""
        write_bytes(self._checkpoint(trial_id, index) / STATE, data)
        best = self._best.get(trial_id)
        if best is None or score > best[0]:
            best = self._best[trial_id] = (score, index)
        for old in self._indices(trial_id):
            if old not in (index, best[1]):
                shutil.rmtree(self._checkpoint(trial_id, old), ignore_errors=True)

    def newest_checkpoint(self, trial_id: str) -> bytes | None:
        """The bytes of the newest checkpoint of a trial; None where there is none."""
        return self._read(trial_id, max(self._indices(trial_id), default=None))

    def save_rerun(self, trial_id: str, seed: int, data: bytes) -> None:
        """Keep the state of a trial that was trained again from another seed."""
        write_bytes(self.trial(trial_id) / f"seed-{seed}" / STATE, data)

    def rerun(self, trial_id: str, seed: int) -> bytes | None:
        """The state kept by `save_rerun`, or None."""
        path = self.trial(trial_id) / f"seed-{seed}" / STATE
        return path.read_bytes() if path.is_file() else None

    def write_adapter(self, files: Mapping[str, bytes]) -> None:
        """Replace the best adapter. A reader finds the old one or the new one, whole, or for a moment between two
        renames none. What the old one answered to held-out rows goes first: outputs belong to the adapter beside
        them."""
        shutil.rmtree(self.outputs, ignore_errors=True)
        fresh, old = self.path / ".best.new", self.path / ".best.old"
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        for name, data in files.items():
            target = fresh / name
            if not target.resolve().is_relative_to(fresh.resolve()):
                raise StoreError(f"an adapter's file cannot be called {name!r}: it would lie outside its folder.")
            write_bytes(target, data)
        if self.adapter.exists():
            self.adapter.rename(old)
        fresh.rename(self.adapter)
        shutil.rmtree(old, ignore_errors=True)

    def _checkpoint(self, trial_id: str, index: int) -> Path:
        return self.trial(trial_id) / f"checkpoint-{index:04d}"

    def _indices(self, trial_id: str) -> list[int]:
        found = self.trial(trial_id).glob(f"checkpoint-*/{STATE}")
        return sorted(int(path.parent.name.removeprefix("checkpoint-")) for path in found)

    def _read(self, trial_id: str, index: int | None) -> bytes | None:
        return None if index is None else (self._checkpoint(trial_id, index) / STATE).read_bytes()
