"""Training logs that programs leave, as numbers: whatever can be read is, whatever cannot is counted and named.

Forms: lines that hold a dict of metrics, as Hugging Face's Trainer prints (`{'loss': 0.4, 'epoch': 1.2}`), also behind
a progress bar or a prefix such as `[INFO|2025-01-02 10:11:12] callbacks:143 >> `, or as JSON; `trainer_state.json`;
flat JSON of results (`predict_results.json`, `all_results.json`); and what a study of this tuner leaves, `logs.txt` and
`study.json`. No text is evaluated. Knows nothing of what a metric means.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tuner.data.formats import load_json
from tuner.data.lines import MAX_LINE_BYTES, require_file, unreadable
from tuner.errors import DataError, Problem

TRAINING, RESULTS, STUDY = "training log", "results", "study"
"""What a log can be: entries over time, one set of final numbers, or the trials of a search."""

_TOTALS = re.compile(r"(train|eval|predict|test)_(runtime|samples_per_second|steps_per_second)|total_flos|predict_\S+")
_NAMES = r"loss|train_loss|eval_\w+|train_runtime|grad_norm|predict_[\w-]+"  # each makes a dict one of metrics
_METRIC = re.compile(rf"(['\"])(?:{_NAMES})\1\s*:")
_RESULT = re.compile(r"(train|eval|predict|test)_\S+")
_PAIR = re.compile(
    r"""\s*(['"])(?P<name>[^'"]+)\1\s*:\s*"""
    r"""(?P<value>'[^']*'|"[^"]*"|[^\s,'"{}\[\]()][^,'"{}\[\]()]*?)\s*(?:,|$)"""
)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d")
_TRIAL_END = re.compile(
    r" INFO trial \D*(?P<number>\d+): (?P<state>complete|pruned|failed|interrupted) after (?P<reports>\d+) reports, "
    r"score (?P<score>\S+)\. "
)
_NUMBERS = ("loss", "grad_norm", "learning_rate", "epoch")  # what is of no use unless it is a number
_NOTHING = ("none", "null", "", "true", "false")


Points = list[tuple[float, float]]
"""A curve: where an entry stands on the axis, and its value."""


@dataclass(frozen=True)
class Entry:
    """One set of metrics. `line` is where it stands (in JSON, its place in the list, from 1); `time` is in seconds
    since the epoch, None where the log does not say. `label` is a trial's state in the log of a study."""

    line: int
    metrics: Mapping[str, float]
    time: float | None = None
    label: str = ""


@dataclass(frozen=True)
class Broken:
    """A line that began an entry and could not be read."""

    line: int
    why: str


@dataclass(frozen=True)
class TrainingLog:
    """A log. `entries` in the order of the file; `totals` are the numbers said once, at the end; `lines` is how many
    lines (or list items) there were."""

    name: str
    form: str
    entries: tuple[Entry, ...] = ()
    totals: Mapping[str, float] = field(default_factory=dict)
    broken: tuple[Broken, ...] = ()
    lines: int = 0

    def points(self, metric: str) -> Points:
        """(place, value) of a metric over all entries, NaN and infinity included."""
        return series(self.entries, metric, self.axis())

    def names(self) -> list[str]:
        """Every metric of the entries, in the order of first appearance."""
        return list(dict.fromkeys(name for entry in self.entries for name in entry.metrics))

    def axis(self) -> str:
        """What places entries: "epoch" or a step count if all with a loss have one, else "entry", their number."""
        placed = [entry.metrics for entry in self.entries if "loss" in entry.metrics or "eval_loss" in entry.metrics]
        for name in ("epoch", "step", "current_steps"):
            if placed and all(name in metrics for metrics in placed):
                return name
        return "entry"

    def runs(self) -> list[tuple[Entry, ...]]:
        """The entries cut where training began anew: where epochs or steps fall back."""
        axis, last = self.axis(), -math.inf
        found: list[list[Entry]] = []
        for entry in self.entries:
            at = entry.metrics.get(axis, last)
            if not found or at < last:
                found.append([entry])
            else:
                found[-1].append(entry)
            last = at
        return [tuple(run) for run in found]


def series(entries: tuple[Entry, ...], metric: str, axis: str) -> Points:
    """(place, value) of a metric wherever it stands; NaN and infinity are kept."""
    return [
        (entry.metrics.get(axis, float(number)), entry.metrics[metric])
        for number, entry in enumerate(entries, 1)
        if metric in entry.metrics
    ]


def finite_points(points: Points) -> Points:
    """A curve without NaN and infinity."""
    return [(place, value) for place, value in points if math.isfinite(value)]


def count_entries(number: int) -> str:
    """How many, in words: 1 entry, 2 entries."""
    return f"{number:,} entr{'y' if number == 1 else 'ies'}"


def read_log(path: Path) -> TrainingLog:
    """The log in a file, or in a folder that a trainer or a study left. Raises DataError for what is no log at all."""
    name = path.resolve().name
    if path.is_dir():
        path = _in_folder(path)
    require_file(path, "log")
    log = _from_json(path) if path.suffix.lower() == ".json" else _from_lines(path)
    log = None if log is None else replace(log, name=name)
    if log is None or not (log.entries or log.totals):
        broken = f"; {count_entries(len(log.broken))} could not be read" if log and log.broken else ""
        rule = f"there is no training metric in it{broken}"
        cure = "Give a log with lines like {'loss': 0.4, 'epoch': 1.0}, a trainer_state.json or a study's folder."
        raise DataError(Problem("log", str(path), rule, cure))
    return log


def _in_folder(folder: Path) -> Path:
    """The file that says most: of the last checkpoint where only those have one."""
    for name in ("study.json", "trainer_state.json", "trainer_log.jsonl"):
        if (folder / name).is_file():
            return folder / name
    states = {
        int(step): path
        for path in folder.glob("checkpoint-*/trainer_state.json")
        if (step := path.parent.name.rpartition("-")[2]).isdigit()
    }
    if states:
        return states[max(states)]
    rule = "the folder holds none of study.json, trainer_state.json and trainer_log.jsonl"
    raise DataError(Problem("log", str(folder), rule, "Name the log file itself."))


def _from_lines(path: Path) -> TrainingLog:
    entries: list[Entry] = []
    totals: dict[str, float] = {}
    broken: list[Broken] = []
    form, number = TRAINING, 0
    for number, line in _lines(path):
        if line is None:
            broken.append(Broken(number, f"longer than {MAX_LINE_BYTES:,} bytes"))
            continue
        if ended := _TRIAL_END.search(line):
            form = STUDY
            trial, reports, score = int(ended["number"]), int(ended["reports"]), _number(ended["score"])
            entries.append(Entry(number, _of_trial(trial, reports, score), _time(line), ended["state"]))
            continue
        if " INFO trial " in line:  # a study's hyperparameters
            continue
        for start, body, closed in _dicts(line):
            found = _pairs(body) if closed else "the line ends inside the entry"
            if isinstance(found, str):
                broken.append(Broken(number, found))
            else:
                _take(found, number, _time(line[:start]), entries, totals)
    return TrainingLog(path.name, form, tuple(entries), totals, tuple(broken), number)


def _lines(path: Path) -> Iterator[tuple[int, str | None]]:
    """Number and text of each line, None for one that is too long. Bytes that are not UTF-8 become the sign for that:
    they stand in messages, not in numbers."""
    number, whole = 0, True
    try:
        with path.open("rb") as file:
            while raw := file.readline(MAX_LINE_BYTES):
                number += whole
                began, whole = whole, raw.endswith(b"\n") or len(raw) < MAX_LINE_BYTES
                if began:
                    yield number, raw.decode("utf-8", errors="replace") if whole else None
    except OSError as error:
        raise unreadable(path, "log", error) from error


def _dicts(line: str) -> Iterator[tuple[int, str, bool]]:
    """Where a dict that names a metric begins, its inside, and whether it is closed; of nested ones the innermost."""
    start = line.find("{")
    while start >= 0:
        following = line.find("{", start + 1)
        end = line.find("}", start)
        if following < 0 or 0 <= end < following:
            body = line[start + 1 : end] if end >= 0 else line[start + 1 :]
            if _METRIC.search(body):
                yield start, body, end >= 0
        start = following


def _pairs(body: str) -> dict[str, float] | str:
    """The numbers of a dict's inside, or why it cannot be read."""
    found: dict[str, float] = {}
    at = 0
    while body[at:].strip():
        pair = _PAIR.match(body, at)
        if pair is None:
            return f"{body[at:].strip()[:30]!r} is no 'name': number"
        name, value = pair["name"], pair["value"].strip().strip("'\"")
        number = _number(value)
        if number is not None:
            found[name] = number
        elif name.endswith(_NUMBERS) and value.lower() not in _NOTHING:
            return f"{name} is {value[:30]!r}, which is no number"
        at = pair.end()
    return found


def _take(
    metrics: dict[str, float], line: int, time: float | None, entries: list[Entry], totals: dict[str, float]
) -> None:
    """What is said once goes to the totals, all else is an entry."""
    if "lr" in metrics:  # LLaMA-Factory's trainer_log.jsonl
        metrics["learning_rate"] = metrics.pop("lr")
    once = {name: value for name, value in metrics.items() if _TOTALS.fullmatch(name)}
    totals.update(once)
    rest = {name: value for name, value in metrics.items() if name not in once}
    if set(rest) - {"epoch", "step"}:
        if "train_loss" in rest and "loss" not in rest:  # the mean over all steps, said at the end
            totals["train_loss"] = rest["train_loss"]
        else:
            entries.append(Entry(line, rest, time))


def _from_json(path: Path) -> TrainingLog | None:
    value = load_json(path, "log")
    if isinstance(value, list):
        value = {"log_history": value}
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("log_history"), list):
        return _from_history(path.name, value["log_history"])
    if isinstance(value.get("trials"), list):
        return _from_study(path.name, value["trials"])
    if not any(_RESULT.fullmatch(str(name)) for name in value):
        return None
    totals = {str(name): number for name, cell in value.items() if (number := _number(cell)) is not None}
    return TrainingLog(path.name, RESULTS, totals=totals, lines=1)


def _from_history(name: str, history: list[Any]) -> TrainingLog:
    entries: list[Entry] = []
    totals: dict[str, float] = {}
    broken = []
    for place, item in enumerate(history, 1):
        if not isinstance(item, dict):
            broken.append(Broken(place, f"{str(item)[:30]!r} is no set of metrics"))
        elif any(re.fullmatch(_NAMES, str(key)) for key in item):
            metrics = {str(key): number for key, cell in item.items() if (number := _number(cell)) is not None}
            _take(metrics, place, None, entries, totals)
    return TrainingLog(name, TRAINING, tuple(entries), totals, tuple(broken), len(history))


def _from_study(name: str, trials: list[Any]) -> TrainingLog:
    entries, broken = [], []
    for place, trial in enumerate(trials, 1):
        if not isinstance(trial, dict) or not isinstance(trial.get("reports"), list):
            broken.append(Broken(place, "this is no trial"))
            continue
        scores = [_number(report.get("score")) for report in trial["reports"] if isinstance(report, dict)]
        best = max((score for score in scores if score is not None and math.isfinite(score)), default=None)
        metrics = _of_trial(place - 1, len(trial["reports"]), best)
        entries.append(Entry(place, metrics, _number(trial.get("finished")), str(trial.get("state", ""))))
    return TrainingLog(name, STUDY, tuple(entries), {}, tuple(broken), len(trials))


def _of_trial(number: int, reports: int, score: float | None) -> dict[str, float]:
    metrics = {"trial": float(number), "reports": float(reports)}
    return metrics if score is None else {**metrics, "score": score}


def _number(value: Any) -> float | None:
    """A number as any program writes it, NaN and infinity included; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _time(text: str) -> float | None:
    found = _TIME.search(text)
    try:
        return datetime.fromisoformat(found[0]).timestamp() if found else None
    except (ValueError, OverflowError):
        return None
