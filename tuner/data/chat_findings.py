"""What may be wrong with question-answer rows, each as the indices of the rows it is found in.

Knows nothing of reports: which of these are left out and which are only told is `validate_chat.py`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from tuner.data.chat_row import ChatRow, asked, sameness
from tuner.data.chinese import chinese_script
from tuner.data.classification import identity
from tuner.data.findings import holds_control, holds_html, holds_mojibake
from tuner.data.language import detect_language, detect_script

MAX_CHARS = 4000
Found = dict[str, list[int]]
Rows = Mapping[str, Sequence[ChatRow]]


def is_empty(row: ChatRow) -> bool:
    """Whether there is nothing to ask or nothing to learn."""
    return not (row.question.strip() and row.answer.strip())


def whole(row: ChatRow) -> str:
    """All that stands in a row: every turn and the answer."""
    return "\n".join([*(turn.text for turn in row.turns), row.answer])


# Findings that one row shows by itself: name, what the rows do, test.
ALONE: tuple[tuple[str, str, Callable[[ChatRow], bool]], ...] = (
    ("empty_question", "have no question and are left out", lambda row: not row.question.strip()),
    ("empty_answer", "have no answer and are left out", lambda row: not row.answer.strip()),
    ("html", "hold HTML tags or entities", lambda row: holds_html(whole(row))),
    ("too_long", f"are longer than {MAX_CHARS:,} characters, all turns together", lambda row: _length(row) > MAX_CHARS),
    ("encoding", "hold signs of a wrong encoding (\ufffd or mojibake)", lambda row: holds_mojibake(whole(row))),
    ("control", "hold control characters", lambda row: holds_control(whole(row))),
    ("wrong_script", "have an answer in another script than the question", lambda row: _is_other_script(row)),
    ("key_facts", "have key facts that do not stand in their own answer", lambda row: bool(missing_facts(row))),
)


def duplicates(named: Rows) -> Found:
    """Rows that ask and answer the same as an earlier one of their split."""
    found: Found = {}
    for split, rows in named.items():
        seen: set[tuple[tuple[str, ...], str]] = set()
        found[split] = []
        for index, row in enumerate(rows):
            key = (asked(row), identity(row.answer))
            if key in seen and not is_empty(row):
                found[split].append(index)
            seen.add(key)
    return found


def contradictions(named: Rows) -> Found:
    """Rows that ask the same as an earlier one of their split and answer otherwise."""
    found: Found = {}
    for split, rows in named.items():
        first: dict[tuple[str, ...], str] = {}
        filled = [(index, row) for index, row in enumerate(rows) if not is_empty(row)]
        found[split] = [i for i, r in filled if first.setdefault(asked(r), identity(r.answer)) != identity(r.answer)]
    return found


def leaks(named: Rows) -> Found:
    """Rows that stand in a later split as well: test keeps all of its rows, validation all that are not in test."""
    keys = {split: [frozenset() if is_empty(row) else sameness(row) for row in rows] for split, rows in named.items()}
    found: Found = {}
    held: set[tuple[str, ...]] = set()
    for split in reversed(list(named)):
        found[split] = [index for index, own in enumerate(keys[split]) if own & held]
        held.update(*keys[split])
    return {split: found[split] for split in named}


def other_chinese(named: Rows) -> tuple[Found, str]:
    """Rows whose Chinese answer is not in the script that most Chinese answers are in, and the name of that script."""
    scripts = {
        split: [chinese_script(row.answer) if detect_language([row.answer]) == "zh" else None for row in rows]
        for split, rows in named.items()
    }
    counts = Counter(script for found in scripts.values() for script in found if script)
    usual = max(counts, key=lambda script: counts[script], default="")
    return {s: [i for i, script in enumerate(own) if script not in (None, usual)] for s, own in scripts.items()}, usual


def unknown_categories(named: Rows, known: Collection[str]) -> tuple[Found, list[str]]:
    """Rows of a category that is not `known`, and the names of those categories. A row without one is of no unknown
    category."""
    found = {s: [i for i, row in enumerate(rows) if row.category not in ("", *known)] for s, rows in named.items()}
    return found, sorted({named[split][index].category for split, rows in found.items() for index in rows})


def missing_facts(row: ChatRow) -> list[str]:
    """The key facts none of whose alternatives stands in the answer, whatever the case, spacing and width."""
    answer = identity(row.answer)
    return [fact for fact in row.key_facts if not any(part in answer for part in _alternatives(fact))]


def _alternatives(fact: str) -> list[str]:
    return [part for part in map(identity, fact.split("|")) if part]


def _length(row: ChatRow) -> int:
    return sum(len(turn.text) for turn in row.turns) + len(row.answer)


def _is_other_script(row: ChatRow) -> bool:
    scripts = {detect_script([row.question]), detect_script([row.answer])}
    return len(scripts) == 2 and "unknown" not in scripts
