"""Look at your data and write a commented config for it, ready for `tuner tune --config`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tuner.cli.init import run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tuner init`."""
    parser.add_argument("data", type=Path, metavar="DATA", help="a csv, tsv, json or jsonl file, or a folder of them")
    parser.add_argument(
        "--out", type=Path, default=Path("study.yaml"), metavar="FILE", help="where to write it (study.yaml)"
    )
    parser.add_argument(
        "--task",
        metavar="TASK",
        help="sentiment for texts with labels, shoe_qa for questions with answers (as the columns' names say)",
    )
    parser.add_argument("--force", action="store_true", help="replace the file if it is there")


def execute(options: argparse.Namespace) -> int:
    """Write the config and say what to do with it. Raises DataError, ConfigError, StoreError."""
    print(run(options.data, options.out, options.force, options.task))
    return 0
