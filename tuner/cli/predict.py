"""Answer with the best adapter of a study, or with any saved adapter.

The task says how an adapter answers (`TaskSpec.predictor`); this module finds the adapter, reads the texts and prints.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.cli.find import adapter_folder, add_results, all_studies, find_study
from tuner.errors import ConfigError, Problem, StudyError
from tuner.store.records import StudyRecord

if TYPE_CHECKING:
    from tuner.tasks.task import Streaming

BATCH = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tuner predict`."""
    parser.add_argument("task", metavar="TASK", help="a task's name, as sentiment")
    parser.add_argument(
        "text", metavar="TEXT", nargs="+", help="what to answer to; - reads one text a line from standard input"
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--study", metavar="STUDY", help="whose best adapter answers (the task's newest finished study)"
    )
    chosen.add_argument("--adapter", type=Path, metavar="DIR", help="a saved adapter's folder instead of a study's")
    add_results(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line, for programs")


def execute(options: argparse.Namespace) -> int:
    """Print one answer a text. Raises ConfigError, StudyError, StoreError, BaseModelError."""
    from tuner import tasks
    from tuner.tasks.task import Streaming

    spec = tasks.spec(options.task)
    adapter = _adapter(options)
    texts = list(_texts(options.text))
    if not texts:
        raise ConfigError(
            Problem("text", "", "there is nothing to answer to", "Give a text, or lines on standard input.")
        )
    predictor = spec.predictor(adapter)
    if isinstance(predictor, Streaming) and not options.json:
        _stream(predictor, texts)
        return 0
    for batch in _batches(texts):
        for text, answer in zip(batch, predictor.predict(batch), strict=True):
            if options.json:
                print(json.dumps({"input": text, **answer}, ensure_ascii=False), flush=True)
            else:
                print(_line(text, answer), flush=True)
    return 0


def _stream(predictor: Streaming, texts: Sequence[str]) -> None:
    """Each answer as it is written; where there are several, under its question."""
    for number, text in enumerate(texts):
        if len(texts) > 1:
            print(f"{chr(10) * bool(number)}> {text}", flush=True)
        for piece in predictor.stream(text):
            print(piece, end="", flush=True)
        print(flush=True)


def _adapter(options: argparse.Namespace) -> Path:
    if options.adapter is not None:
        if not (options.adapter / "adapter_config.json").is_file():
            raise StudyError(
                f"adapter = {str(options.adapter)!r}: there is no adapter_config.json in it. "
                "Name a folder in PEFT format, as results/<study>/best."
            )
        adapter: Path = options.adapter
        return adapter
    if options.study is None:
        return adapter_folder(*_newest_with_adapter(options.results, options.task))
    folder, record = find_study(options.results, options.study)
    if record.task != options.task:
        raise StudyError(
            f"study {record.name} is of the task {record.task}, not {options.task}. "
            f"Use: tuner predict {record.task} ..."
        )
    return adapter_folder(folder, record)


def _newest_with_adapter(results: Path, task: str) -> tuple[Path, StudyRecord]:
    done = [pair for pair in all_studies(results) if pair[1].task == task and pair[1].winner is not None]
    return done[0] if done else find_study(results, None, task)


def _texts(arguments: Iterable[str]) -> Iterator[str]:
    for argument in arguments:
        if argument == "-":
            yield from (line.strip() for line in sys.stdin if line.strip())
        elif argument.strip():
            yield argument


def _batches(texts: list[str]) -> Iterator[list[str]]:
    rows = iter(texts)
    while batch := list(islice(rows, BATCH)):
        yield batch


def _line(text: str, answer: dict[str, Any]) -> str:
    parts = [f"{value:.3f}" if isinstance(value, float) else str(value) for value in answer.values() if _plain(value)]
    return "\t".join([*parts, text])


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float)
