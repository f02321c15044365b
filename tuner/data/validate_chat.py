"""Is this data fit to teach a model to answer? Everything that is wrong with the rows, found before a model loads.

Problems stop a study, warnings do not; rows without a question or an answer and rows that stand in two splits are
counted, and left out by `clean_chats`. Knows nothing of tokenizers: the task adds with `with_truncated` what its model
cuts short, and leaves out with `without` the rows that have no answer left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tuner.data import chat_findings
from tuner.data.chat import ChatSplits
from tuner.data.chat_row import ChatRow
from tuner.data.findings import MIN_TRAIN_ROWS, Verdict, note_finding
from tuner.errors import Problem


@dataclass(frozen=True)
class ChatStatistics:
    """One split, of the rows that are left. Languages as `detect_language` has them; rows without a category are
    counted under ""; lengths are in characters, 0.0 where there are no rows."""

    total_samples: int
    languages: Mapping[str, int]
    categories: Mapping[str, int]
    mean_question_characters: float
    mean_answer_characters: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "total_samples": self.total_samples,
            "languages": dict(self.languages),
            "categories": dict(self.categories),
            "mean_question_characters": round(self.mean_question_characters, 1),
            "mean_answer_characters": round(self.mean_answer_characters, 1),
        }


@dataclass(frozen=True)
class ChatReport(Verdict):
    """What was found. `counts` maps a finding to its rows per split; `drop` holds, per split, the indices that
    `clean_chats` leaves out, `unsupervised` those of the rows it leaves that `without` leaves out; `truncated` is how
    many rows of each split the task's model cuts short. Both are None before the task has counted. `left` are the rows
    that all this is about."""

    statistics: Mapping[str, ChatStatistics]
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    drop: Mapping[str, frozenset[int]]
    left: ChatSplits = field(repr=False)
    truncated: Mapping[str, int] | None = None
    unsupervised: Mapping[str, tuple[int, ...]] | None = None

    def with_truncated(
        self, truncated: Mapping[str, int], unsupervised: Mapping[str, Sequence[int]], max_length: int
    ) -> ChatReport:
        """This report with what tokenising found: how many rows per split are longer than `max_length` tokens, and the
        indices, in the cleaned splits, of those where no token of the answer is left. The latter are left out."""
        counts = {finding: dict(found) for finding, found in self.counts.items()}
        warnings = list(self.warnings)
        parts = [f"{count} of {split}" for split, count in truncated.items() if count]
        cure = "Raise data.max_length to keep them whole."
        if parts:
            warnings.append(f"Rows longer than {max_length} tokens are cut short: {', '.join(parts)}. {cure}")
        named = self.left.named()
        gone = {split: tuple(sorted(set(unsupervised.get(split, ())))) for split in named}
        places = {split: [named[split][index].where for index in found] for split, found in gone.items()}
        sentence = f"have a question that fills {max_length} tokens, so that no answer is left, and are left out"
        note_finding("unsupervised", sentence, places, counts, warnings)
        left = without(self.left, gone)
        reason = f"have no answer left within {max_length} tokens"
        known = {problem.name for problem in self.problems}
        few = [p for p in _too_few(self.left, left, reason, "Raise data.max_length") if p.name not in known]
        return replace(
            self,
            statistics={split: _statistics(rows) for split, rows in left.named().items()},
            problems=(*self.problems, *few),
            warnings=tuple(warnings),
            counts=counts,
            left=left,
            truncated=dict(truncated),
            unsupervised=gone,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for study.json, reports and the model card."""
        gone = self.unsupervised
        return {
            "ok": self.ok,
            "problems": [str(problem) for problem in self.problems],
            "warnings": list(self.warnings),
            "counts": {finding: dict(splits) for finding, splits in self.counts.items()},
            "splits": {split: statistics.to_json() for split, statistics in self.statistics.items()},
            "truncated": None if self.truncated is None else dict(self.truncated),
            "unsupervised": None if gone is None else {split: len(found) for split, found in gone.items()},
        }


def validate_chats(splits: ChatSplits, known_categories: Collection[str] = ()) -> ChatReport:
    """Look at every row. `known_categories` are those that the task knows: where some rows have one of them, another
    one is probably a typing error; rows that share none have categories of their own, which are fine. Raises nothing:
    see `ChatReport.raise_problems`."""
    named = splits.named()
    counts: dict[str, dict[str, int]] = {}
    warnings: list[str] = []

    def note(finding: str, sentence: str, found: Mapping[str, Sequence[int]]) -> None:
        places = {split: [named[split][index].where for index in indices] for split, indices in found.items()}
        note_finding(finding, sentence, places, counts, warnings)

    for finding, sentence, test in chat_findings.ALONE:
        note(finding, sentence, {s: [i for i, row in enumerate(rows) if test(row)] for s, rows in named.items()})
    note("duplicates", "repeat question and answer of their own split", chat_findings.duplicates(named))
    note("contradictions", "repeat a question with another answer", chat_findings.contradictions(named))
    others, usual = chat_findings.other_chinese(named)
    odd = "Simplified" if usual == "traditional" else "Traditional"
    note("other_chinese", f"have an answer in {odd} Chinese, most others are {usual.capitalize()}", others)
    if any(row.category in known_categories for rows in named.values() for row in rows):
        unknown, names = chat_findings.unknown_categories(named, known_categories)
        listed = f"{_listed(names)}; known are {_listed(sorted(known_categories))}"
        note("unknown_category", f"have a category that is not known ({listed})", unknown)
    leaks = chat_findings.leaks(named)
    note(
        "leaks",
        "stand in another split as well and are left out (of train for validation and test, of validation for test)",
        leaks,
    )
    drop = {
        split: frozenset([*leaks[split], *(i for i, row in enumerate(rows) if chat_findings.is_empty(row))])
        for split, rows in named.items()
    }
    left = without(splits, drop)
    cure = "Name the column that holds the answers in data.columns.answer."
    problems = [
        Problem(f"data.{split} answers", None, f"all {len(rows)} rows have no answer", cure)
        for split, rows in named.items()
        if rows and not any(row.answer.strip() for row in rows)
    ]
    # A split without answers has no rows left either, for that one reason.
    told = {problem.name.replace(" answers", " rows") for problem in problems}
    few = _too_few(splits, left, "were left out as empty or leaking", "Add rows")
    problems.extend(problem for problem in few if problem.name not in told)
    statistics = {split: _statistics(rows) for split, rows in left.named().items()}
    return ChatReport(statistics, tuple(problems), tuple(warnings), counts, drop, left)


def clean_chats(splits: ChatSplits, report: ChatReport) -> ChatSplits:
    """The splits without the rows that the report drops: empty ones, and those that stand in another split."""
    return without(splits, report.drop)


def without(splits: ChatSplits, indices: Mapping[str, Collection[int]]) -> ChatSplits:
    """The splits without the rows at these indices."""
    gone = {split: frozenset(found) for split, found in indices.items()}
    left = {
        split: tuple(row for index, row in enumerate(rows) if index not in gone.get(split, ()))
        for split, rows in splits.named().items()
    }
    return replace(splits, train=left["train"], validation=left["validation"], test=left["test"])


def _too_few(before: ChatSplits, left: ChatSplits, reason: str, cure: str) -> list[Problem]:
    """What stops a study once rows are gone: `reason` says why they are, `cure` what brings them back."""
    problems = []
    for split, rows in left.named().items():
        gone = len(before.named()[split]) - len(rows)
        why = f", and {gone} {reason}" if gone else ""
        if split == "train" and len(rows) < MIN_TRAIN_ROWS:
            rule = f"a study needs at least {MIN_TRAIN_ROWS} training rows{why}"
            problems.append(Problem("data.train rows", len(rows), rule, f"{cure}."))
        elif not rows:
            rule = f"there are no rows left to measure on{why}"
            cut = f"{cure}, or leave it out to cut it from train."
            problems.append(Problem(f"data.{split} rows", 0, rule, cut))
    return problems


def _statistics(rows: Sequence[ChatRow]) -> ChatStatistics:
    count = max(len(rows), 1)
    return ChatStatistics(
        len(rows),
        dict(Counter(row.language for row in rows).most_common()),
        dict(sorted(Counter(row.category for row in rows).items())),
        sum(len(row.question) for row in rows) / count,
        sum(len(row.answer) for row in rows) / count,
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:12])) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
