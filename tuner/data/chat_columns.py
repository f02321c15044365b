"""Which columns of a user's table are probably its questions and answers, or its conversations.

A guess for `tuner init` to write down where the user can see and change it; nothing else acts on it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tuner.data.chat_formats import USUAL, formats_of
from tuner.data.columns import Column
from tuner.data.table import SYNONYMS, Table
from tuner.data.turns import is_blank, parsed

# How sure a guess is: from the usual names, from others that people use, from what the columns hold.
USUAL_NAMES, OTHER_NAMES, CONTENT = 2, 1, 0

_TALKS = (*USUAL["conversations"], *SYNONYMS["conversations"])
# What goes with a question, where it stands under a name that only looks otherwise.
_BESIDE: Mapping[str, tuple[str, ...]] = {
    "input": ("input", "context"),
    "system": ("system", "system prompt"),
    "history": ("history",),
    "key_facts": ("key facts", "keyfacts"),
}


@dataclass(frozen=True)
class ChatColumns:
    """`renamed` maps fields to columns and is empty where all have their usual names; `sure` is one of the above."""

    renamed: Mapping[str, str]
    sure: int


def named_chat(table: Table) -> ChatColumns | None:
    """The columns whose names speak of questions and answers, or of conversations that hold lists; None if there are
    none."""
    usable = [name for name in table.columns if _folded(name) not in _TALKS or _holds_lists(table, name)]
    if formats := formats_of(usable, {}):
        asked = any("question" in form.columns for form in formats)
        return ChatColumns(_beside(table.columns, asked=asked), USUAL_NAMES)
    folded = {_folded(name): name for name in reversed(usable)}
    question = _first(folded, (*USUAL["question"], *SYNONYMS["question"]))
    answer = _first(folded, (*USUAL["answer"], *SYNONYMS["answer"]))
    if question is not None and answer is not None:
        usual = (_folded(question), _folded(answer)) in zip(USUAL["question"], USUAL["answer"], strict=True)
        renamed = {"question": question, "answer": answer}
        beside = _beside(table.columns, (question, answer), asked=True)
        return ChatColumns({**renamed, **beside}, USUAL_NAMES if usual else OTHER_NAMES)
    talk = _first(folded, _TALKS)
    if talk is None:
        return None
    sure = USUAL_NAMES if _folded(talk) in USUAL["conversations"] else OTHER_NAMES
    return ChatColumns({"conversations": talk, **_beside(table.columns, asked=False)}, sure)


def placed_chat(table: Table, columns: Sequence[Column]) -> ChatColumns | None:
    """A guess for names that say nothing: of two columns of text the first asks and the second answers; one column of
    lists holds conversations. None where there are others than these."""
    texts = [column.name for column in columns if column.type == "text"]
    lists = [column.name for column in columns if column.type == "nested" and _holds_lists(table, column.name)]
    if len(texts) == 2:
        return ChatColumns({"question": texts[0], "answer": texts[1]}, CONTENT)
    return ChatColumns({"conversations": lists[0]}, CONTENT) if len(lists) == 1 else None


def _beside(there: Sequence[str], taken: Collection[str] = (), *, asked: bool) -> dict[str, str]:
    """What else goes into a row, where its column has not the usual name: turns hold their own history and input."""
    folded = {_folded(name): name for name in reversed(there) if name not in taken}
    found = {}
    for field, names in _BESIDE.items():
        column = _first(folded, names)
        if column is not None and field not in there and (asked or field not in ("input", "history")):
            found[field] = column
    return found


def _folded(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").split())


def _first(folded: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((folded[name] for name in names if name in folded), None)


def _holds_lists(table: Table, name: str) -> bool:
    """Whether the first cell that holds anything is a list, or one as JSON text: a column of such a name may as well
    hold plain text."""
    cells = (row.get(name) for row in table.rows)
    return isinstance(parsed(next((cell for cell in cells if not is_blank(cell)), None)), list)
