"""What was said in a conversation, read from a cell: ShareGPT's and OpenAI's lists of turns, Alpaca's pairs of history.

Knows nothing of tables: what breaks a rule is a `BrokenRow` that names the kind, and the caller says where it stands.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

from tuner.data.chat_row import Turn

# The roles as data sets call them, without case.
ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_NAMES, _TEXTS = ("from", "role"), ("value", "content")


class BrokenRow(Exception):
    """A row that cannot be read. `kind` is a clause for several rows ("begin with an assistant's turn"), `value` what
    is wrong in this one, `cure` what to do."""

    def __init__(self, kind: str, value: Any = None, cure: str = "Correct them or delete them.") -> None:
        self.kind, self.value, self.cure = kind, value, cure
        super().__init__(kind)


def is_blank(cell: Any) -> bool:
    """Whether a cell holds nothing: None, or no more than space."""
    return cell is None or (isinstance(cell, str) and not cell.strip())


def cleaned(text: str) -> str:
    """The text without space around it; half of a surrogate pair, which is no character and which tokenizers refuse, is
    U+FFFD: the sign of a wrong encoding."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text).strip()


def parsed(cell: Any) -> Any:
    """The cell; the list that it writes down where it is one as JSON text, as csv has it."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def read_turns(cell: Any) -> tuple[Turn, ...]:
    """The turns of a conversation: perhaps a system's, then user and assistant by turns, an assistant's last.

    `cell` is a list of {"from": ..., "value": ...} or {"role": ..., "content": ...}, or that as JSON text. Raises
    BrokenRow.
    """
    value = parsed(cell)
    if not isinstance(value, list) or not value:
        raise BrokenRow("hold no list of turns where a conversation should be", value)
    turns = tuple(_turn(entry) for entry in value)
    spoken = turns[1:] if turns[0].role == "system" else turns
    if any(turn.role == "system" for turn in spoken):
        raise BrokenRow("have a system turn that is not the first")
    if spoken and spoken[0].role == "assistant":
        raise BrokenRow("begin with an assistant's turn")
    for one, other in pairwise(spoken):
        if one.role == other.role:
            raise BrokenRow(f"have two turns of the {one.role} in a row")
    if not spoken or spoken[-1].role != "assistant":
        raise BrokenRow("do not end with an assistant's turn")
    return turns


def read_history(cell: Any) -> tuple[Turn, ...]:
    """The turns of [[user, assistant], ...], or of that as JSON text; none of a blank cell. Raises BrokenRow."""
    value = parsed(cell)
    if is_blank(value):
        return ()
    if not isinstance(value, list | tuple) or not all(_is_pair(pair) for pair in value):
        raise BrokenRow("have a history that is no list of [user, assistant] pairs of texts", value)
    roles = ("user", "assistant")
    return tuple(Turn(role, cleaned(text)) for pair in value for role, text in zip(roles, pair, strict=True))


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(text, str) for text in pair)


def _turn(entry: Any) -> Turn:
    if not isinstance(entry, dict):
        raise BrokenRow('have a turn that is no object like {"role": "user", "content": "..."}', entry)
    name = next((entry[key] for key in _NAMES if entry.get(key) is not None), None)
    text = next((entry[key] for key in _TEXTS if entry.get(key) is not None), None)
    role = ROLES.get(name.strip().casefold()) if isinstance(name, str) else None
    if role is None:
        raise BrokenRow("have a turn of an unknown role", name, f"The roles are {', '.join(ROLES)}.")
    if not isinstance(text, str):
        raise BrokenRow("have a turn whose text is not a string", text)
    return Turn(role, cleaned(text))
