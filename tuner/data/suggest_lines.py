"""What the configs of `tuner init` have in common, whatever the task: how names, numbers and findings are written.

Knows nothing of tasks or bases.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from tuner.data.columns import Column
from tuner.data.language import NAMES
from tuner.data.table import Table


def quoted(value: str) -> str:
    """Any string as YAML and on one line: a double-quoted YAML scalar reads JSON's escapes. Signs that YAML takes for
    line ends are not printable, and escaped; in YAML's way, as it knows no surrogate pairs."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else f"\\U{ord(sign):08x}" for sign in text)


def decimal(value: float) -> str:
    """Three digits, never in the form 1e-05, which YAML 1.1 reads as a string. Above 0."""
    digits = max(0, 2 - math.floor(math.log10(value)))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def described(column: Column, nested: str = "not used") -> str:
    """What a column holds, for a comment; `nested` says what becomes of lists and objects."""
    if column.type == "nested":
        return f"{quoted(column.name)}: lists or objects, {nested}"
    empty = f", {column.empty} empty" if column.empty else ""
    return (
        f"{quoted(column.name)}: {column.type}, {column.distinct:,} distinct, "
        f"{column.mean_length:.0f} characters on average, 95 % have at most {column.p95_length}{empty}"
    )


def source_reason(tables: Mapping[str, Table]) -> str:
    """What was read, and as which splits."""
    if len(tables) == 1:
        return "one file, read as train"
    return f"a folder with {', '.join(f'{split} ({len(table):,} rows)' for split, table in tables.items())}"


def other_language(language: str) -> list[str]:
    """A comment where no base that comes along is made for this language."""
    if language in ("en", "zh", "unknown"):
        return []
    return [f"# No base here is made for {NAMES[language]}: name one of the hub, or a folder, in base_model."]
