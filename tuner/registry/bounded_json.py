"""JSON that was written by others: no key may come twice, and nothing may be nested deeper than a reader expects."""

from __future__ import annotations

import json
from typing import Any


def parse_json(data: bytes, depth: int) -> Any:
    """Parse UTF-8 JSON of at most `depth` levels. Raises ValueError, with a sentence."""
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8 ({error.reason} at byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON ({error})") from error
    except RecursionError as error:
        raise ValueError(f"it is nested more than {depth} levels deep") from error
    level = [found] if isinstance(found, dict | list) else []
    for _ in range(depth):
        level = [child for each in level for child in _inside(each)]
    if level:
        raise ValueError(f"it is nested more than {depth} levels deep")
    return found


def _inside(holder: Any) -> list[Any]:
    values = holder.values() if isinstance(holder, dict) else holder
    return [value for value in values if isinstance(value, dict | list)]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice in one object")
    return found
