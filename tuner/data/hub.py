"""Data sets of the Hugging Face hub as Tables, through `datasets`, which is imported only when one is asked for.

An id is `owner/name` or `name`, with `:configuration` after it where the data set has several. What is in the cache is
read without a network; HF_HUB_OFFLINE and HF_DATASETS_OFFLINE are honoured. No code of a data set is ever run.
"""

from __future__ import annotations

import re
from typing import Any

from tuner.data.table import Table
from tuner.errors import DataError, Problem

_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(:[\w.-]+)?")


def is_hub_id(source: str) -> bool:
    """Whether a source could be a hub id by its shape."""
    return bool(_ID.fullmatch(source)) and ".." not in source


def load_hub(source: str, name: str = "data.source") -> dict[str, Table]:
    """Every split of a data set by its name. `name` is the config path for messages. Raises DataError."""
    identity, _, configuration = source.partition(":")
    try:
        import datasets

        loaded: Any = datasets.load_dataset(identity, configuration or None)
    except Exception as error:  # the library and the network fail in too many ways to list
        said = " ".join(str(error).split()) or type(error).__name__
        rule = f"there is no such file or folder, and it cannot be loaded from the hub: {said[:300]}"
        cure = "Check the name and the network, or download the data and name the file."
        raise DataError(Problem(name, source, rule, cure)) from error
    tables = {}
    for split, data in loaded.items():
        rows = tuple(dict(row) for row in data)
        numbers = tuple(range(1, len(rows) + 1))
        tables[str(split)] = Table(f"{source}[{split}]", tuple(data.column_names), rows, numbers, "row")
    return tables
