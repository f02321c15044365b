"""Answer with the best adapter of a study, or with any saved adapter.

The task says how an adapter answers (`TaskSpec.predictor`); this module finds the adapter, reads the texts, and prints
the answers or saves what was drawn.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.cli import picture_file
from tuner.cli.find import adapter_folder, add_results, all_studies, find_study
from tuner.errors import ConfigError, Problem, StudyError
from tuner.store.records import StudyRecord

if TYPE_CHECKING:
    from tuner.tasks.task import Drawing, Streaming

BATCH = 32
SEEDS = 2**63
QUOTED = 60  # characters of what is not read


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
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="where to save what a task draws, .png or .jpg; of several texts FILE-1, FILE-2 and so on",
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="what the saved pictures begin with: the same text and seed give the same picture (the text's own seed)",
    )
    add_results(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line, for programs")


def execute(options: argparse.Namespace) -> int:
    """Print one answer a text. Raises ConfigError, StudyError, StoreError, BaseModelError."""
    from tuner import tasks
    from tuner.tasks.task import Drawing, Streaming

    spec = tasks.spec(options.task)
    adapter = _adapter(options)
    texts = list(_texts(options.text))
    if problems := list(_problems(texts, options.out, options.seed)):
        raise ConfigError(problems)
    predictor = spec.predictor(adapter)
    if isinstance(predictor, Drawing):
        _warn(predictor, texts)
        if options.out is not None:
            _draw(predictor, texts, options)
            return 0
    elif options.out is not None:
        raise ConfigError(
            Problem("out", str(options.out), f"the task {options.task} draws no pictures", "Ask it without --out.")
        )
    if isinstance(predictor, Streaming) and not options.json:
        _stream(predictor, texts)
        return 0
    for batch in _batches(texts):
        for text, answer in zip(batch, predictor.predict(batch), strict=True):
            if options.json:
                print(json.dumps({"input": text, **answer}, ensure_ascii=False), flush=True)
            else:
                print(_line(text, answer), flush=True)
    if isinstance(predictor, Drawing) and not options.json:
        print("This is what is seen in the pictures; --out FILE.png saves them.", file=sys.stderr)
    return 0


def _problems(texts: Sequence[str], out: Path | None, seed: int | None) -> Iterator[Problem]:
    if not texts:
        yield Problem("text", "", "there is nothing to answer to", "Give a text, or lines on standard input.")
    if out is not None:
        yield from picture_file.problems_of(out)
    if seed is not None and not 0 <= seed < SEEDS:
        yield Problem("seed", seed, "it must be a whole number from 0 to 2**63 - 1")
    if seed is not None and out is None:
        yield Problem("seed", seed, "a seed is of pictures that are saved", "Add --out FILE.png.")


def _warn(predictor: Drawing, texts: Iterable[str]) -> None:
    """Say what of the texts is too long to be read."""
    for text in texts:
        if cut := predictor.unread(text):
            shown = cut if len(cut) <= QUOTED else f"{cut[:QUOTED].rstrip()}..."
            print(f'Warning: the text is too long; what stands from "{shown}" on is not read.', file=sys.stderr)


def _draw(predictor: Drawing, texts: Sequence[str], options: argparse.Namespace) -> None:
    """Save the picture of each text, and print where it lies as soon as it is there."""
    for text, path in zip(texts, picture_file.places(options.out, len(texts)), strict=True):
        started = time.perf_counter()
        picture_file.save(path, predictor.draw(text, options.seed))
        seconds = round(time.perf_counter() - started, 3)
        if options.json:
            print(json.dumps({"input": text, "file": str(path), "seconds": seconds}, ensure_ascii=False), flush=True)
        else:
            print(f"{path}\t{text}", flush=True)


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
        if not (options.adapter / "tuner.json").is_file():
            raise StudyError(
                f"adapter = {str(options.adapter)!r}: there is no tuner.json in it. "
                "Name a folder that a study has saved, as results/<study>/best."
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
