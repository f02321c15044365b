"""The command line's dashed options on top of a config: which there are, where each goes, how its text is read.

Works on the plain mapping that YAML gives, before it is validated, so that a value from the command line is held to
the same rules as one from a file. Knows nothing of the command line's own parser.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tuner.config_rules import COMMON_HYPERPARAMETERS, NUMBER, REQUIRED_HYPERPARAMETERS, WHOLE, did_you_mean, kind_of
from tuner.config_space import Entry, contains, describe, nearest, parse_entry
from tuner.config_yaml import scalar
from tuner.errors import Problem


@dataclass(frozen=True)
class Override:
    """One option: its config path, a help sentence, what its value looks like, and how its text is read: as a YAML
    "scalar", as "text", as a comma-separated "list", or as an entry of the "space"."""

    path: str
    help: str
    metavar: str
    kind: str = "scalar"


_RANGE = "VALUE|LOW..HIGH|A,B,C"

OVERRIDES: Mapping[str, Override] = {
    "name": Override("name", "Name of the study and of its folder.", "TEXT", "text"),
    "base-model": Override("base_model", "Base model: a short name, a hub id or a folder.", "NAME", "text"),
    "revision": Override("revision", "Commit of the base model on the hub, 40 hexadecimal digits.", "COMMIT", "text"),
    "data": Override("data.source", "Data: embedded, a file, a folder or a hub id.", "SOURCE", "text"),
    "train": Override("data.train", "File with the training rows.", "FILE", "text"),
    "validation": Override("data.validation", "File with the validation rows.", "FILE", "text"),
    "test": Override("data.test", "File with the test rows.", "FILE", "text"),
    "text-column": Override("data.columns.text", "Column that holds the text.", "COLUMN", "text"),
    "label-column": Override("data.columns.label", "Column that holds the label.", "COLUMN", "text"),
    "question-column": Override("data.columns.question", "Column that holds the question.", "COLUMN", "text"),
    "answer-column": Override("data.columns.answer", "Column that holds the answer.", "COLUMN", "text"),
    "train-samples": Override("data.train_samples", "Use at most so many training rows.", "N"),
    "validation-samples": Override("data.validation_samples", "Use at most so many validation rows.", "N"),
    "test-samples": Override("data.test_samples", "Use at most so many test rows.", "N"),
    "max-length": Override("data.max_length", "Cut texts after so many tokens.", "TOKENS"),
    "trials": Override("search.trials", "How many configurations to try.", "N"),
    "seed": Override("search.seed", "Seed of all that is random; the same seed gives the same study.", "N"),
    "startup-trials": Override("search.startup_trials", "Spread so many over the space before the search learns.", "N"),
    "concurrent": Override("search.concurrent", "Train at most so many trials at once.", "N"),
    "reports-per-epoch": Override("search.reports_per_epoch", "Score each trial so often an epoch.", "N"),
    "patience": Override("search.patience", "End a trial after so many reports without better quality.", "N"),
    "grace-epochs": Override("search.asha.grace_epochs", "Stop no trial before so many epochs.", "EPOCHS"),
    "reduction-factor": Override("search.asha.reduction_factor", "At each rung one in so many goes on.", "FACTOR"),
    "top-k": Override("search.top_k", "Train so many of the best again over several seeds.", "N"),
    "top-k-seeds": Override("search.top_k_seeds", "How many seeds for each of the best.", "N"),
    "time-budget": Override("search.time_budget_minutes", "Start no trial after so many minutes.", "MINUTES"),
    "device": Override("devices", "Device to use: auto, cuda, cuda:N, mps or cpu.", "NAME", "list"),
    "devices": Override("devices", "Several devices, separated by commas: cuda,cpu.", "NAMES", "list"),
    "precision": Override("precision", "Number format of the frozen base: auto, fp32, bf16 or fp16.", "NAME", "text"),
    "results": Override("results", "Folder for everything that studies write.", "FOLDER", "text"),
    "rank": Override("space.rank", "Rank of the adapter.", _RANGE, "space"),
    "learning-rate": Override("space.learning_rate", "Learning rate.", _RANGE, "space"),
    "epochs": Override("space.epochs", "Passes over the training rows.", _RANGE, "space"),
    "alpha": Override("space.alpha", "Scale of the adapter: it acts with alpha / rank.", _RANGE, "space"),
    "dropout": Override("space.dropout", "Dropout in front of the adapter.", _RANGE, "space"),
    "target-modules": Override(
        "space.target_modules", "Modules that get an adapter; slashes separate sets.", "A,B[/C,D]", "space"
    ),
    "batch-size": Override("space.batch_size", "Rows per training step.", _RANGE, "space"),
    "accumulation": Override("space.accumulation", "Batches whose gradients make one step.", _RANGE, "space"),
    "warmup-ratio": Override("space.warmup_ratio", "Share of steps in which the learning rate rises.", _RANGE, "space"),
    "warmup-steps": Override("space.warmup_steps", "Steps in which the learning rate rises.", _RANGE, "space"),
    "schedule": Override(
        "space.schedule",
        "Learning rate after the warm-up: constant, linear, cosine or cosine_with_restarts.",
        "NAME|A,B",
        "space",
    ),
    "restarts": Override("space.restarts", "Cycles of cosine_with_restarts.", _RANGE, "space"),
    "weight-decay": Override("space.weight_decay", "Weight decay of AdamW.", _RANGE, "space"),
}
"""Every option that any task has, by its name without the two dashes. A task's own hyperparameters come on top."""


def apply_overrides(
    raw: dict[str, Any], overrides: Iterable[tuple[str, Any]], own: Collection[str] = ()
) -> tuple[list[Problem], list[str], dict[str, str]]:
    """Write options into `raw`. `own` are the task's hyperparameters. A value None means the option was not given.

    Returns problems, notes (what moved besides what was named), and which option set each config path."""
    problems: list[Problem] = []
    notes: list[str] = []
    set_by: dict[str, str] = {}
    before = {"base_model": raw.get("base_model"), "revision": raw.get("revision")}
    for given, value in overrides:
        option = given.removeprefix("--").replace("_", "-")
        if value is None:
            continue
        found = _find(option, raw, own)
        if found is None:
            known = [*OVERRIDES, *(name.replace("_", "-") for name in own)]
            problems.append(Problem(f"--{option}", value, "is not a known option", did_you_mean(option, known, "--")))
            continue
        set_by[found.path] = f"--{option}"
        if found.kind == "space":
            problems.extend(_set_entry(raw, found.path.removeprefix("space."), value, option, notes))
        else:
            _set(raw, found.path, _read(found.kind, value))
    if "base_model" in set_by and raw["base_model"] != before["base_model"]:
        if before["revision"] is not None and "revision" not in set_by:
            raw.pop("revision", None)
            notes.append("revision belonged to the file's base model, so the newest is used; pin it with --revision")
        if before["base_model"] is not None:
            notes.append(
                f"the ranges, target modules and bands of this search space were written for {before['base_model']}, "
                f"not for {raw['base_model']}"
            )
    return problems, notes, set_by


def _find(option: str, raw: Mapping[str, Any], own: Collection[str]) -> Override | None:
    if option in OVERRIDES:
        return OVERRIDES[option]
    name = option.replace("-", "_")
    known = {*REQUIRED_HYPERPARAMETERS, *COMMON_HYPERPARAMETERS, *own}
    if isinstance(raw.get("space"), Mapping):
        known.update(raw["space"])
    return Override(f"space.{name}", f"Hyperparameter {name} of the task.", _RANGE, "space") if name in known else None


def _read(kind: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if kind == "list":
        return [part.strip() for part in value.split(",")]
    if kind == "text" or not value.strip():
        return value  # no text must not become null, which would silently take the default
    return scalar(value.strip())


def _set(raw: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    place: Any = raw
    for parent in parents:
        if place.get(parent) is None:
            place[parent] = {}
        place = place[parent]
        if not isinstance(place, dict):
            return  # the file has something else there, which validation reports
    place[last] = value


def _set_entry(raw: dict[str, Any], name: str, value: Any, option: str, notes: list[str]) -> list[Problem]:
    space = raw.setdefault("space", {})
    if not isinstance(space, dict):
        return []
    old = space.get(name)
    made = entry_from_text(name, value, old) if isinstance(value, str) else _entry_from_value(name, value)
    if made is None:
        cure = f"Write --{option} with a value, a range low..high, or values separated by commas."
        return [Problem(f"space.{name}", value, "is no value, range or list of values", cure)]
    space[name] = made
    try:
        entry = parse_entry(made)
    except ValidationError:
        return []  # reported with the rest
    _move_start_points(raw, name, old, entry, f"--{option} {value}", notes)
    return []


def entry_from_text(name: str, text: str, old: Any = None) -> Any:
    """The entry in YAML's form that an option's text means; None if it means none. Log, step and when of the entry that
    it replaces are kept where they still fit; a learning rate is searched by orders of magnitude."""
    text = text.strip()
    if name == "target_modules":
        sets = [[part.strip() for part in each.split(",")] for each in text.split("/")]
        return sets[0] if len(sets) == 1 else {"type": "choice", "values": sets}
    kept = old if isinstance(old, Mapping) else {}
    when = {"when": kept["when"]} if kept.get("when") is not None else {}
    if ".." in text:
        ends = re.fullmatch(r"(.*?[^.])\.\.([^.].*|\.\d.*)", text)
        low, high = (scalar(end.strip()) for end in ends.groups()) if ends else (None, None)
        if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)):
            return None
        log = kept.get("log", name == "learning_rate")
        ranged = {"low": low, "high": high, "log": log, **when}
        if not isinstance(low, int) or not isinstance(high, int):
            # where only whole numbers go, a fraction is kept as it is, so that the rule can name it
            return {"type": "int" if kind_of(name) == WHOLE else "float", **ranged}
        if kind_of(name) == NUMBER and kept.get("type") != "int":
            return {"type": "float", **ranged}
        step = kept.get("step", 1)
        step = step if isinstance(step, int) and step <= max(high - low, 1) else 1
        return {"type": "int", "step": step, **ranged}
    if "," in text:
        return {"type": "choice", "values": [scalar(part.strip()) for part in text.split(",")], **when}
    return scalar(text) if text else None


def _entry_from_value(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple) and name != "target_modules":
        return {"type": "choice", "values": list(value)}
    return list(value) if isinstance(value, tuple) else value


def _move_start_points(raw: dict[str, Any], name: str, old: Any, entry: Entry, option: str, notes: list[str]) -> None:
    """Bring start points inside a space that an option made smaller. A point that was outside its own file's space
    stays there and is reported as the mistake it is."""
    points = raw.get("start_points")
    if not isinstance(points, list):
        return
    try:
        before = parse_entry(old) if old is not None else None
    except ValidationError:
        return
    for position, point in enumerate(points):
        if not isinstance(point, dict) or name not in point or contains(entry, point[name]):
            continue
        value = point[name]
        if before is not None and not contains(before, value):
            continue
        point[name] = nearest(entry, value)
        moved = f"start_points[{position}].{name} moves from {value} to {point[name]}"
        notes.append(f"{moved}, because {option} allows {describe(entry)}")
    distinct: list[Any] = []
    for point in points:
        if point not in distinct:
            distinct.append(point)
    raw["start_points"] = distinct
