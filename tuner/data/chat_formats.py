"""From a Table to conversations, in whatever format it is: question/answer, Alpaca or ShareGPT, seen from its columns.

Knows nothing of files or splits. Each row of a table becomes a conversation or is named in a problem.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.data.chat_row import ChatRow, Turn
from tuner.data.table import SYNONYMS, Table, guess_column
from tuner.data.turns import BrokenRow, cleaned, is_blank, parsed, read_history, read_turns
from tuner.errors import Problem

Conversation = tuple[ChatRow, ...]

# The columns that each field usually stands in; the n-th of question and the n-th of answer belong together.
USUAL: Mapping[str, tuple[str, ...]] = {
    "question": ("question", "instruction"),
    "answer": ("answer", "output"),
    "input": ("input",),
    "system": ("system",),
    "history": ("history",),
    "key_facts": ("key_facts",),
    "category": ("category",),
    "level": ("level",),
    "conversations": ("conversations", "messages"),
}
_OPTIONAL = ("input", "system", "history", "key_facts", "category", "level")
_NO_PAIR = ("input", "history")  # what a conversation has in its turns
_NAMES = {("question", "answer"): "question/answer", ("instruction", "output"): "alpaca"}


@dataclass(frozen=True)
class Format:
    """How the rows of a table are read: the column of each field."""

    name: str
    columns: Mapping[str, str]

    @property
    def required(self) -> tuple[str, ...]:
        """The columns without which there is no row."""
        fields = ("conversations",) if "conversations" in self.columns else ("question", "answer")
        return tuple(self.columns[field] for field in fields)


def read_conversations(
    table: Table, renamed: Mapping[str, str], problems: list[Problem], notes: list[str]
) -> list[Conversation]:
    """The conversations of a table, one for each row, in its order; every answer of one is a ChatRow.

    `renamed` maps fields to columns; a column that this table does not have is left to the usual names. Mistakes go to
    `problems`, all of them, and what a person may want to know to `notes`.
    """
    formats = formats_of(table.columns, renamed)
    if not formats:
        problems.append(_no_format(table, renamed))
        return []
    conversations: list[Conversation] = []
    broken: dict[str, list[tuple[str, BrokenRow]]] = {}
    read_as: Counter[str] = Counter()
    several: list[str] = []
    halves: list[tuple[str, Mapping[str, Any]]] = []
    named = {field: column for field, column in renamed.items() if column in table.columns}
    used = {column for form in formats for column in form.columns.values()}
    for index, cells in enumerate(table.rows):
        where = table.where(index)
        try:
            chosen, others = _format_of(cells, formats, named)
            conversations.append(_conversation(cells, chosen, where))
        except BrokenRow as error:
            broken.setdefault(error.kind, []).append((where, error))
        else:
            read_as[chosen.name] += 1
            used.update(chosen.columns.values())
            if others:
                several.append(where)
            if any(is_blank(cells.get(column)) for column in chosen.required):
                halves.append((where, cells))
    for kind, found in broken.items():
        rule = f"{len(found)} row{'s' if len(found) > 1 else ''} {kind}: {_places([where for where, _ in found])}"
        values = [error.value for _, error in found if error.value is not None][:3]
        problems.append(Problem(f"data ({table.name})", values or None, rule, found[0][1].cure))
    parts = ", ".join(f"{count} rows as {name}" for name, count in read_as.items())
    notes.append(f"{table.name}: read {parts or 'no rows'}.")
    if several:
        names = ", ".join(form.name for form in formats)
        notes.append(
            f"{table.name}: {len(several)} rows fill more than one of {names} and are read as the first they fill: "
            f"{_places(several)}."
        )
    lost = {where: _texts(cells, used) for where, cells in halves}
    if places := [where for where, columns in lost.items() if columns]:
        columns = ", ".join(map(repr, dict.fromkeys(column for found in lost.values() for column in found)))
        notes.append(
            f"{table.name}: {len(places)} rows lack a question or an answer, but have text in columns that are not "
            f"used ({columns}): {_places(places)}. If it stands there, name them in data.columns."
        )
    if unused := [column for column in table.columns if column not in used]:
        notes.append(f"{table.name}: columns not used: {', '.join(map(repr, unused))}.")
    return conversations


def formats_of(there: Collection[str], renamed: Mapping[str, str]) -> list[Format]:
    """Every format whose columns are there, the one a row is read by first where it fills several. What `renamed` names
    goes before the usual columns."""
    named = {field: column for field, column in renamed.items() if column in there}
    candidates = {field: (named[field],) if field in named else usual for field, usual in USUAL.items()}
    questions, answers = candidates["question"], candidates["answer"]
    if "question" in named or "answer" in named:
        pairs = [(question, answer) for question in questions for answer in answers if question != answer]
    else:
        pairs = list(zip(questions, answers, strict=True))
    talks = [{"conversations": column} for column in candidates["conversations"]]
    asked = [{"question": question, "answer": answer} for question, answer in pairs]
    formats = []
    for required in [*talks, *asked] if "conversations" in named else [*asked, *talks]:
        if any(column not in there for column in required.values()):
            continue
        columns = dict(required)
        for field in _OPTIONAL:
            column = candidates[field][0]
            fits = "question" in required or field not in _NO_PAIR
            if fits and column in there and column not in required.values():
                columns[field] = column
        key = tuple(required.values())
        name = "sharegpt" if "conversations" in required else _NAMES.get((key[0], key[1]), f"{key[0]}/{key[1]}")
        formats.append(Format(name, columns))
    return formats


def _format_of(cells: Mapping[str, Any], formats: Sequence[Format], named: Mapping[str, str]) -> tuple[Format, bool]:
    """The format that a row is read by, and whether it fills another one too. A row with question or answer alone is
    read as it is: whether that is enough is not asked here. `named` are the columns that the user chose. Raises
    BrokenRow."""
    filled = [form for form in formats if not any(is_blank(cells.get(column)) for column in form.required)]
    if filled:
        return filled[0], len(filled) > 1
    if crossed := _crosswise(cells, formats, named):
        return crossed, False
    pairs = [form for form in formats if "question" in form.columns]
    for form in pairs:
        if not all(is_blank(cells.get(column)) for column in form.required):
            return form, False
    for form in pairs:
        if all(column in cells for column in form.required):
            return form, False
    names = " or ".join("/".join(form.required) for form in formats)
    found = ", ".join(_texts(cells, ())) or None
    raise BrokenRow(f"fill none of {names}", found, "Fill them, name the columns in data.columns, or delete the rows.")


def _crosswise(cells: Mapping[str, Any], formats: Sequence[Format], named: Mapping[str, str]) -> Format | None:
    """The question of one format with the answer of another ("question/output"), or either under another name that
    people give it, where a row that fills no format has text in both; beside it stands what stands beside the others.
    A field that the user named is read from there alone."""
    beside = {field: column for form in formats for field, column in form.columns.items() if field in _OPTIONAL}
    folded = {column.casefold().strip(): column for column in _texts(cells, beside.values())}
    pair: dict[str, str] = {}
    for field in ("question", "answer"):
        wanted = (named[field].casefold().strip(),) if field in named else (*USUAL[field], *SYNONYMS[field])
        column = next((folded[name] for name in wanted if name in folded), None)
        if column is None or column in pair.values():
            return None
        pair[field] = column
    return Format("/".join(pair.values()), {**pair, **beside})


def _texts(cells: Mapping[str, Any], without: Collection[str]) -> list[str]:
    """The columns in which a row has text, but for some."""
    return [
        column for column, cell in cells.items() if isinstance(cell, str) and cell.strip() and column not in without
    ]


def _conversation(cells: Mapping[str, Any], form: Format, where: str) -> Conversation:
    """The rows of one conversation: one for each answer, which has the turns before it as its prompt. Key facts belong
    to the last answer."""
    columns = form.columns
    cell = {field: cells.get(column) for field, column in columns.items()}
    facts = _facts(cell.get("key_facts"))
    category, level = _text(cell.get("category")), _text(cell.get("level"))
    system = _text(cell.get("system"))
    before = (Turn("system", system),) if system else ()
    if "conversations" in columns:
        turns = read_turns(cell["conversations"])
        if before and turns[0].role == "system" and turns[0] != before[0]:
            raise BrokenRow("have a system turn and another text in the system column", None, "Leave one of them out.")
        turns = turns if turns[0].role == "system" else (*before, *turns)
    else:
        question = "\n".join(part for part in (_text(cell["question"]), _text(cell.get("input"))) if part)
        answer = Turn("assistant", _text(cell["answer"]))
        history = read_history(cell.get("history"))
        return (ChatRow((*before, *history, Turn("user", question)), answer.text, facts, category, level, where),)
    ends = [index for index, turn in enumerate(turns) if turn.role == "assistant"]
    return tuple(
        ChatRow(
            turns[:end],
            turns[end].text,
            facts if end == ends[-1] else (),
            category,
            level,
            f"{where}, answer {number}" if len(ends) > 1 else where,
        )
        for number, end in enumerate(ends, 1)
    )


def _text(cell: Any) -> str:
    if isinstance(cell, list | dict):
        cure = "Choose other columns in data.columns."
        raise BrokenRow("have a list or an object where text should be", cell, cure)
    return "" if cell is None else cleaned(str(cell))


def _facts(cell: Any) -> tuple[str, ...]:
    value = parsed(cell)
    if isinstance(value, str):
        value = re.split("[;\uff1b]", value)  # and the semicolon of a Chinese keyboard
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(fact, str) for fact in value):
        cure = 'Use ["one", "two|or this"] or "one; two|or this".'
        raise BrokenRow("have key facts that are neither a list of texts nor a text", value, cure)
    return tuple(cleaned(fact) for fact in value if fact.strip())


def _no_format(table: Table, renamed: Mapping[str, str]) -> Problem:
    there = ", ".join(map(repr, table.columns)) or "none"
    rule = (
        f"{table.name} has neither question and answer, nor instruction and output, nor conversations or messages; "
        f"its columns are {there}"
    )
    guessed = {"question": _guess("question", table.columns, renamed)}
    rest = [column for column in table.columns if column != guessed["question"]]
    guessed["answer"] = _guess("answer", rest, renamed)
    talk = _guess("conversations", table.columns, renamed)
    if talk and None in guessed.values():
        guessed = {"conversations": talk}
    columns = ", ".join(f"{field}: {column or 'NAME'}" for field, column in guessed.items())
    return Problem("data.columns", dict(renamed) or None, rule, f"Say which hold them: columns: {{{columns}}}.")


def _guess(field: str, there: Sequence[str], renamed: Mapping[str, str]) -> str | None:
    return guess_column(field, renamed.get(field, USUAL[field][0]), there)


def _places(places: Iterable[str]) -> str:
    listed = list(places)
    return ", ".join(listed[:3]) + (" ..." if len(listed) > 3 else "")
