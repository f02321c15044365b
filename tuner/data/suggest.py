"""A commented study config for the user's own data: every line says why, from what was found in the file.

The text for labelled rows is written here, that for question-answer rows in `suggest_chat.py`. Knows rules of thumb, no
models: what a base can do is asked when the study starts. The text holds under `StudyConfig`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.data.classification import KNOWN_PAIRS
from tuner.data.columns import Column, guess_fields, profile
from tuner.data.formats import read_table
from tuner.data.language import NAMES, detect_language
from tuner.data.load import folder_tables
from tuner.data.suggest_chat import chat_config
from tuner.data.suggest_lines import decimal, described, other_language, quoted, source_reason
from tuner.data.suggest_task import TASKS, choose
from tuner.data.table import Table
from tuner.errors import ConfigError, Problem

# Above this many rows a search learns as much from a sample, in a fraction of the time.
_MANY_ROWS, _SAMPLE = 20_000, 6_000


@dataclass(frozen=True)
class _Base:
    """A base that init may propose: `adapter_mb` is a rank 8 adapter on query and value in fp32."""

    name: str
    learning_rate: float
    adapter_mb: float
    chars_per_token: float
    why: str


_MINILM = _Base("minilm", 1e-3, 0.3, 3.5, "small, made for English, and here without a network")
_BERT_CHINESE = _Base("bert-base-chinese", 5e-4, 1.2, 1.0, "made for Chinese; fetched from the hub at first use")


@dataclass(frozen=True)
class Suggestion:
    """A config as YAML text, and the task that it is for."""

    task: str
    text: str


def suggest_config(path: Path, task: str | None = None) -> Suggestion:
    """A YAML config for a data file, or a folder with a train file, for `task` or for the one that the train table's
    columns speak of. Raises DataError if the data cannot be read, has no columns that fit or has those of both tasks,
    ConfigError for a task of which nothing is known here."""
    if task is not None and task not in TASKS:
        rule = f"init knows only {' and '.join(TASKS)}"
        raise ConfigError(Problem("--task", task, rule, "Leave it out to go by the data's columns."))
    tables = folder_tables(path) if path.is_dir() else {"train": read_table(path, "data.source")}
    columns = profile(tables["train"])
    chosen = choose(tables["train"], columns, task)
    if chosen.chat is None:
        return Suggestion(chosen.task, _labelled(path, tables, columns))
    return Suggestion(chosen.task, chat_config(path, tables, columns, chosen.chat))


def _labelled(path: Path, tables: Mapping[str, Table], columns: Sequence[Column]) -> str:
    table = tables["train"]
    text, label = guess_fields(table, columns)
    language = detect_language(str(row.get(text.name) or "") for row in table.rows)
    base = _BERT_CHINESE if language == "zh" else _MINILM
    rows = len(table)
    cut = [split for split in ("validation", "test") if split not in tables]
    share = 0.05 if rows > _MANY_ROWS else 0.15
    train_rows = round(rows * (1 - share * len(cut)))
    sampled = min(train_rows, _SAMPLE) if rows > _MANY_ROWS else train_rows
    lines = [
        f"# A sentiment study on {quoted(path.name)}, written by `tuner init` from {rows:,} rows.",
        "# Change what you know better.",
        "# What was found in its columns:",
        *(f"#   {described(column)}" for column in columns),
        "",
        "task: sentiment  # two classes: 0 is negative, 1 is positive",
        f"base_model: {base.name}  # the texts: {NAMES.get(language, 'no known script')}; this base: {base.why}",
        *other_language(language),
        "",
        "data:",
        f"  source: {quoted(str(path))}  # {source_reason(tables)}",
        "  columns:",
        f"    text: {quoted(text.name)}  # the longest strings: {text.mean_length:.0f} characters on average",
        f"    label: {quoted(label.name)}  # only {label.distinct} distinct values",
        *_labels(label),
        *_max_length(text, base),
        *(
            f"  {split}_share: {share}  # no {split} file, so about {round(share * rows):,} rows are cut for it"
            for split in cut
        ),
        *([f"  split_seed: 0  # the same number cuts the same rows ({' and '.join(cut)})"] if cut else []),
        *(
            [f"  train_samples: {sampled}  # enough to rank configurations; delete it to use all {train_rows:,} rows"]
            if sampled < train_rows
            else []
        ),
        "",
        *_space(base, sampled),
    ]
    return "\n".join(lines) + "\n"


_NEGATIVE = ("neg", "bad", "sad", "angry", "hate", "poor", "dislike", "down", "false", "no", "差", "负", "消极")
_POSITIVE = ("pos", "good", "happy", "love", "great", "like", "up", "true", "yes", "好", "正", "积极")


def _labels(label: Column) -> list[str]:
    """The mapping of label values to classes, with a reason beside each. 0 and 1 need none."""
    values = sorted(label.values, key=_order)
    if set(values) <= {"0", "1"}:
        return [f"  # labels are 0 and 1 already ({_counts(label, values)})"]
    chosen = _classes(values)
    lines = ["  labels:"]
    for value in values:
        number, reason = chosen[value]
        lines.append(f"    {quoted(value)}: {number}  # {label.values[value]:,} rows; {reason}")
    return lines


def _counts(label: Column, values: Sequence[str]) -> str:
    return ", ".join(f"{value}: {label.values[value]:,} rows" for value in values)


def _order(value: str) -> tuple[float, str]:
    try:
        return float(value), value
    except ValueError:
        return math.inf, value


def _classes(values: Sequence[str]) -> dict[str, tuple[int, str]]:
    folded = {value: value.casefold() for value in values}
    for pair in KNOWN_PAIRS:
        if set(folded.values()) <= set(pair):
            return {value: (pair.index(key), "a usual name of this class") for value, key in folded.items()}
    if all(math.isfinite(_order(value)[0]) for value in values):
        middle = (_order(values[0])[0] + _order(values[-1])[0]) / 2
        return {value: _half(_order(value)[0], middle) for value in values}
    chosen: dict[str, tuple[int, str]] = {}
    for value, key in folded.items():
        negative, positive = (any(key.startswith(word) for word in words) for words in (_NEGATIVE, _POSITIVE))
        if negative != positive:
            chosen[value] = (1 if positive else 0, "judged by its name")
    unknown = [value for value in values if value not in chosen]
    classes = {number for number, _ in chosen.values()}
    for position, value in enumerate(unknown):
        # Both classes must be there; beyond that there is nothing to go by, and the comment says so.
        number = 1 if classes == {0} or (not classes and position == len(unknown) - 1) else 0
        chosen[value] = (number, "a guess: CHECK IT, or delete such rows if they are neither")
    return chosen


def _half(number: float, middle: float) -> tuple[int, str]:
    if number == middle:
        return 0, "the middle of the scale: CHECK IT, or delete such rows if they are neither"
    return (1, "the upper half of the scale") if number > middle else (0, "the lower half of the scale")


def _max_length(text: Column, base: _Base) -> list[str]:
    tokens = text.p95_length / base.chars_per_token + 2
    length = min(256, max(16, 16 * math.ceil(tokens / 16)))
    reason = f"95 % of the texts have at most {text.p95_length} characters, about {tokens:.0f} tokens"
    return [f"  max_length: {length}  # {reason}; longer ones are cut short"]


def _space(base: _Base, rows: int) -> list[str]:
    low, high = (2, 8) if rows < 500 else (1, 4) if rows < 5_000 else (1, 2)
    batches = (4, 8) if rows < 200 else (8, 16) if rows < 5_000 else (16, 32)
    epochs = min(high, max(low, 2))
    steps = max(1, rows // batches[0]) * epochs
    edge = base.adapter_mb / steps
    rate = base.learning_rate
    return [
        "space:",
        "  # the capacity of an adapter; each doubling may help, so the scale is logarithmic",
        "  rank: {type: int, low: 2, high: 32, log: true}",
        f"  # around {rate:g}, which suits LoRA on this base; what matters is its order of magnitude",
        f"  learning_rate: {{type: float, low: {decimal(rate / 10)}, high: {decimal(rate * 5)}, log: true}}",
        f"  # {rows:,} training rows: {'few rows need more passes' if rows < 500 else 'more passes would over-fit'}",
        f"  epochs: {{type: int, low: {low}, high: {high}}}",
        "  # how strongly an adapter acts, over its rank",
        "  alpha: {type: choice, values: [8, 16, 32]}",
        "  # against over-fitting; 0.0 is often best on a small base",
        "  dropout: {type: choice, values: [0.0, 0.1]}",
        "  # attention layers that get an adapter: the usual two, or all three",
        "  target_modules: {type: choice, values: [[query, value], [query, key, value]]}",
        f"  # about {rows // batches[0]:,} or {rows // batches[1]:,} steps an epoch",
        f"  batch_size: {{type: choice, values: [{batches[0]}, {batches[1]}]}}",
        "",
        "start_points:  # tried first, so that the search is never worse than a sensible hand-made choice",
        f"  - {{rank: 8, learning_rate: {decimal(rate)}, epochs: {epochs}, alpha: 16, dropout: 0.0,",
        f"     target_modules: [query, value], batch_size: {batches[0]}}}",
        "",
        "search:",
        "  trials: 16  # enough for the sampler to leave its random start-up behind",
        "  seed: 0  # the same number searches the same way",
        "  asha: {grace_epochs: 0.5, reduction_factor: 3}  # weak trials stop after half an epoch; a third goes on",
        "",
        "score:",
        "  bands:",
        f"    # a rank 8 adapter, about {base.adapter_mb} MB, takes {steps:,} steps here: {decimal(edge)} MB each",
        f"    efficiency: {{excellent: {decimal(edge * 1.2)}, good: {decimal(edge * 3)}, average: {decimal(edge * 8)}, "
        "higher_is_better: false}",
    ]
