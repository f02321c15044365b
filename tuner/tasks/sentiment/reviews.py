"""The project's own reviews: 3,200 texts written by hand, in three splits beside this file (see data/README.md).

Read through the same loader as a user's files, from wherever the package is installed.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from tuner.config import DataConfig
from tuner.data.classification import Splits, load_splits

LABEL_NAMES = ("negative", "positive")


@cache
def embedded_splits() -> Splits:
    """Train (2,000), validation (400) and test (800), balanced; 0 is negative, 1 positive."""
    with resources.as_file(resources.files(__package__).joinpath("data")) as folder:
        own = load_splits(DataConfig(source=str(folder)), {"text": "text", "label": "label"})
    return Splits(own.train, own.validation, own.test, own.notes, LABEL_NAMES)
