"""Is this data fit to train a classifier on? Everything that is wrong with the rows, found before a model loads.

Problems stop a study, warnings do not; rows without text or standing in two splits are counted, and dropped by `clean`.
Knows nothing of tokenizers: the task adds how many texts its model truncates with `with_truncated`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tuner.data.classification import Row, Splits, identity
from tuner.data.findings import MIN_TRAIN_ROWS, Verdict, holds_control, holds_html, holds_mojibake, note_finding
from tuner.errors import Problem

MIN_CHARS, MAX_CHARS = 5, 500
MAX_BALANCED_RATIO = 3.0


@dataclass(frozen=True)
class SplitStatistics:
    """The classes of one split, after `clean`. `imbalance_ratio` is the largest class over the smallest, None where a
    class has no row; balanced means a ratio of at most 3.0."""

    total_samples: int
    label_counts: Mapping[int, int]
    imbalance_ratio: float | None
    is_balanced: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values; labels become strings, as JSON wants."""
        return {
            "total_samples": self.total_samples,
            "label_counts": {str(label): count for label, count in self.label_counts.items()},
            "imbalance_ratio": None if self.imbalance_ratio is None else round(self.imbalance_ratio, 4),
            "is_balanced": self.is_balanced,
        }


@dataclass(frozen=True)
class ValidationReport(Verdict):
    """What was found. `counts` maps a finding to its rows per split; `drop` holds, per split, the indices that `clean`
    leaves out; `truncated` is how many texts of each split the task's model cuts short, None before it has counted."""

    statistics: Mapping[str, SplitStatistics]
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    drop: Mapping[str, frozenset[int]] = field(default_factory=dict)
    truncated: Mapping[str, int] | None = None

    def with_truncated(self, truncated: Mapping[str, int], max_length: int) -> ValidationReport:
        """This report with the number of texts per split that are longer than `max_length` tokens, and a warning."""
        parts = [f"{count} of {split}" for split, count in truncated.items() if count]
        cure = "Raise data.max_length to keep them whole."
        text = f"Texts longer than {max_length} tokens are cut short: {', '.join(parts)}. {cure}"
        return replace(self, truncated=dict(truncated), warnings=(*self.warnings, text) if parts else self.warnings)

    def to_json(self) -> dict[str, Any]:
        """Plain values for study.json, reports and the model card."""
        return {
            "ok": self.ok,
            "problems": [str(problem) for problem in self.problems],
            "warnings": list(self.warnings),
            "counts": {finding: dict(splits) for finding, splits in self.counts.items()},
            "splits": {split: statistics.to_json() for split, statistics in self.statistics.items()},
            "truncated": None if self.truncated is None else dict(self.truncated),
        }


def validate_classification(splits: Splits, labels: int = 2) -> ValidationReport:
    """Look at every row. `labels` is the number of classes: labels are 0 to labels - 1. Raises nothing: see
    `ValidationReport.raise_problems`."""
    named = splits.named()
    counts: dict[str, dict[str, int]] = {}
    warnings: list[str] = []
    for finding, sentence, test in _FINDINGS:
        places = {split: [row.where for row in rows if test(row.text)] for split, rows in named.items()}
        note_finding(finding, sentence, places, counts, warnings)
    for finding, sentence, places in (
        ("duplicates", "repeat a text of their own split", {s: _repeats(rows) for s, rows in named.items()}),
        ("contradictions", "repeat a text with another label", {s: _contradictions(r) for s, r in named.items()}),
    ):
        note_finding(finding, sentence, places, counts, warnings)
    leaking = _leaking(named)
    note_finding(
        "leaks",
        "stand in another split as well and are left out (of train for validation and test, of validation for test)",
        {split: [named[split][index].where for index in sorted(found)] for split, found in leaking.items()},
        counts,
        warnings,
    )
    drop = {
        split: frozenset(leaking[split] | {index for index, row in enumerate(rows) if not row.text.strip()})
        for split, rows in named.items()
    }
    kept = {s: [row for i, row in enumerate(rows) if i not in drop[s]] for s, rows in named.items()}
    statistics = {split: _statistics(rows, labels) for split, rows in kept.items()}
    problems = _problems(named, kept, statistics, labels, warnings)
    return ValidationReport(statistics, tuple(problems), tuple(warnings), counts, drop)


def clean(splits: Splits, report: ValidationReport) -> Splits:
    """The splits without the rows that the report drops: empty ones, and those that stand in another split."""
    kept = {
        split: tuple(row for index, row in enumerate(rows) if index not in report.drop.get(split, ()))
        for split, rows in splits.named().items()
    }
    return replace(splits, train=kept["train"], validation=kept["validation"], test=kept["test"])


_FINDINGS: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
    ("empty", "have no text and are left out", lambda text: not text.strip()),
    ("html", "hold HTML tags or entities", holds_html),
    ("too_short", f"are shorter than {MIN_CHARS} characters", lambda text: 0 < len(text.strip()) < MIN_CHARS),
    ("too_long", f"are longer than {MAX_CHARS} characters", lambda text: len(text) > MAX_CHARS),
    ("encoding", "hold signs of a wrong encoding (� or mojibake)", holds_mojibake),
    ("control", "hold control characters", holds_control),
)


def _repeats(rows: Sequence[Row]) -> list[str]:
    seen: set[str] = set()
    found = []
    for row in rows:
        key = identity(row.text)
        if key and key in seen:
            found.append(row.where)
        seen.add(key)
    return found


def _contradictions(rows: Sequence[Row]) -> list[str]:
    first: dict[str, int] = {}
    texted = [row for row in rows if row.text.strip()]
    return [row.where for row in texted if first.setdefault(identity(row.text), row.label) != row.label]


def _leaking(named: Mapping[str, Sequence[Row]]) -> dict[str, set[int]]:
    """Indices of rows to leave out, so that test keeps all of its rows and validation all that are not in test."""
    texts = {split: {identity(row.text) for row in rows} - {""} for split, rows in named.items()}
    held = {"train": texts["validation"] | texts["test"], "validation": texts["test"], "test": set[str]()}
    return {s: {i for i, row in enumerate(rows) if identity(row.text) in held[s]} for s, rows in named.items()}


def _statistics(rows: Sequence[Row], labels: int) -> SplitStatistics:
    found = Counter(row.label for row in rows)
    counts = {label: found[label] for label in sorted({*range(labels), *found})}
    smallest = min(counts.values(), default=0)
    ratio = max(counts.values()) / smallest if smallest else None
    return SplitStatistics(len(rows), counts, ratio, ratio is not None and ratio <= MAX_BALANCED_RATIO)


def _problems(
    named: Mapping[str, Sequence[Row]],
    kept: Mapping[str, Sequence[Row]],
    statistics: Mapping[str, SplitStatistics],
    labels: int,
    warnings: list[str],
) -> list[Problem]:
    problems: list[Problem] = []
    for split, rows in named.items():
        outside = [row for row in rows if not 0 <= row.label < labels]
        if outside:
            values = sorted({row.label for row in outside})
            places = ", ".join(row.where for row in outside[:3])
            rule = f"{len(outside)} rows have labels outside 0 to {labels - 1}: {places}"
            problems.append(Problem(f"data.{split}", values[:10], rule, "Map every label to a class in data.labels."))
    for split, rows in kept.items():
        present = {label for label, count in statistics[split].label_counts.items() if count}
        missing = sorted(set(range(labels)) - present)
        if split == "train" and len(rows) < MIN_TRAIN_ROWS:
            gone = len(named[split]) - len(rows)
            rule = f"a study needs at least {MIN_TRAIN_ROWS} training rows"
            if gone:
                rule += f", and {gone} were left out as empty or leaking"
            problems.append(Problem("data.train rows", len(rows), rule, "Add rows."))
        elif not rows:
            rule = "there are no rows left to measure on"
            problems.append(Problem(f"data.{split} rows", 0, rule, "Add rows, or leave it out to cut it from train."))
        if len(present) == 1 and (len(rows) > 1 or split == "train"):
            rule = "every row has this label, so there is nothing to learn or to measure"
            problems.append(Problem(f"data.{split} labels", present.pop(), rule, "Add rows of the other classes."))
        elif missing and rows:
            warnings.append(f"{split} has no rows of class {', '.join(map(str, missing))}.")
        elif rows and not statistics[split].is_balanced:
            ratio = statistics[split].imbalance_ratio
            warnings.append(f"{split} is unbalanced: its largest class is {ratio:.1f} times its smallest.")
    return problems
