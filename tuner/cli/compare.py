"""Compare studies of one task, round by round and by base model: scores, losses, what changed, which is best, and
whether their numbers can be compared at all.

Without names: the series that the newest study ends, or every study of --task or on --base-model. Reads files only.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from tuner import tasks
from tuner.cli.find import add_results, all_studies, find_study
from tuner.cli.study_options import full_name
from tuner.cli.terminal import console, say
from tuner.errors import ConfigError, StoreError, StudyError
from tuner.report.rounds import OVERALL, BaseBest, Round, best_by_base, rounds_of, series_of
from tuner.report.settings import Settings, settings_of
from tuner.report.trials import format_seconds
from tuner.score_benchmark import TOTAL_LOSS
from tuner.store.files import finite
from tuner.store.records import StudyRecord

Study = tuple[Path, StudyRecord]
Interval = tuple[float, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tuner compare`."""
    parser.add_argument(
        "studies", nargs="*", metavar="STUDY", help="their names; the series of the newest study if none is given"
    )
    parser.add_argument("--base-model", metavar="NAME", help="compare all studies on this base model")
    parser.add_argument("--task", metavar="TASK", help="compare all studies of this task")
    add_results(parser)
    parser.add_argument(
        "--chart", type=Path, metavar="FILE", help="where to draw the rounds (rounds.png in the results folder)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def execute(options: argparse.Namespace) -> int:
    """Print the comparison and draw it. Raises StudyError for studies that are not there or have several tasks,
    ConfigError for a config that cannot be, StoreError for the chart."""
    studies = _chosen(options)
    rounds = rounds_of(studies)
    records = [record for _, record in studies]
    newest = max(records, key=lambda record: record.created)
    settings = settings_of(newest)
    bases = best_by_base(rounds, records)
    said = verdict(rounds, {record.name: record.winner.interval for record in records if record.winner is not None})
    chart, where = _draw(rounds, settings, options)
    if options.json:
        found = {
            "task": newest.task,
            "rounds": [asdict(each) for each in rounds],
            "base_models": [asdict(each) for each in bases],
            "verdict": said,
            "chart": None if chart is None else str(chart),
        }
        print(json.dumps(finite(found), indent=1, ensure_ascii=False))
        return 0
    out = console()
    out.print(_rounds_table(rounds, settings))
    out.print()
    if len(bases) > 1:
        out.print(_bases_table(bases))
        out.print()
    for sentence in said:
        say(out, sentence)
    say(out, where)
    return 0


def _draw(rounds: Sequence[Round], settings: Settings, options: argparse.Namespace) -> tuple[Path | None, str]:
    """The chart, None if there is none, and a sentence on it. Raises StoreError for a chart that was asked for."""
    from tuner.report.rounds_chart import draw_rounds

    chart = options.chart or options.results / "rounds.png"
    try:
        drawn = draw_rounds(rounds, settings, chart)
    except StoreError as error:
        if options.chart is not None:
            raise
        return None, f"No chart: {error}"
    return (chart, f"The chart: {chart}") if drawn else (None, "Nothing was measured yet, so there is nothing to draw.")


def verdict(rounds: Sequence[Round], intervals: dict[str, Interval | None]) -> list[str]:
    """Which round is best, whether by more than chance, and whether the numbers can be compared. `intervals` are the
    95 % intervals of the scores by study."""
    ranked = sorted(
        (each for each in rounds if math.isfinite(each.overall_score)), key=lambda each: -each.overall_score
    )
    if not ranked:
        return ["No round has an overall score yet.", *_unlike(rounds)]
    best = ranked[0]
    spread = intervals.get(best.study)
    shown = f" (95 % interval {spread[0]:.4f} to {spread[1]:.4f})" if spread else ""
    said = [f"Best: round {best.iteration}, {best.study}, with an overall score of {best.overall_score:.4f}{shown}."]
    if len(rounds) == 1:
        return [*said, "It is the only round, so there is nothing to compare it with yet.", *_unlike(rounds)]
    if len(ranked) > 1:
        other = ranked[1]
        overlap = _overlap(spread, intervals.get(other.study))
        if overlap is not None:
            word = "overlaps" if overlap else "lies above"
            end = "the difference may be chance" if overlap else "the difference is more than the chance of the seeds"
            said.append(f"Its interval {word} that of round {other.iteration}, the next best: {end}.")
    if all(each.comparable for each in rounds):
        said.append("All rounds were measured alike, so their numbers can be compared.")
    else:
        said.append("Not all rounds were measured alike, so which is best is no more than a hint:")
    return [*said, *_unlike(rounds)]


def _unlike(rounds: Sequence[Round]) -> list[str]:
    return [f"Round {each.iteration}: {each.reason}" for each in rounds if each.reason]


def _overlap(first: Interval | None, second: Interval | None) -> bool | None:
    """None where one is not known."""
    return None if first is None or second is None else first[0] <= second[1] and second[0] <= first[1]


def _chosen(options: argparse.Namespace) -> list[Study]:
    if options.studies:
        if options.base_model or options.task:
            raise StudyError("name studies, or give --base-model or --task, not both.")
        return _named(options.results, options.studies)
    if options.base_model is None and options.task is None:
        folder, record = find_study(options.results, None)
        return series_of(folder, record)
    return _on_base(options.results, options.base_model, options.task)


def _named(results: Path, names: Sequence[str]) -> list[Study]:
    found, wrong = [], []
    for name in dict.fromkeys(names):
        try:
            found.append(find_study(results, name))
        except (StudyError, StoreError) as error:
            wrong.append(str(error))
    if wrong:
        raise StudyError("\n".join(wrong))
    return found


def _on_base(results: Path, base: str | None, task: str | None) -> list[Study]:
    """All studies of a task, on a base model if one is named by its short or its full name."""
    if task is not None:
        tasks.spec(task)  # an unknown one is named with those there are
    found = [
        (folder, record)
        for folder, record in all_studies(results)
        if task in (None, record.task)
        and (base is None or _full(record.task, record.base_model) == _full(record.task, base))
    ]
    if not found:
        what = f"{task} study" if task else "study"
        raise StudyError(f"there is no {what}{f' on {base}' if base else ''} in {results}.")
    several = sorted({record.task for _, record in found})
    if len(several) > 1:
        raise StudyError(f"studies on {base} are of several tasks: {', '.join(several)}. Name one with --task.")
    return found


def _full(task: str, base: str) -> str:
    try:
        return full_name(tasks.spec(task), base)
    except ConfigError:  # of a task that is gone no short names are known
        return base


def _rounds_table(rounds: Sequence[Round], settings: Settings) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("round", justify="right")
    table.add_column("study", overflow="fold")
    measures = settings.judged_by.measures
    for heading in ("overall", "change", "total loss", "change", *(each.name for each in measures)):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in rounds:
        table.add_row(
            f"{each.iteration}" if each.comparable else f"{each.iteration}*",
            each.study,
            _number(each.overall_score),
            _percent(each.improvement[OVERALL]),
            _number(each.total_loss),
            _percent(each.improvement[TOTAL_LOSS]),
            *(_number(each.averages.get(measure.name, math.nan)) for measure in measures),
        )
    return table


def _bases_table(bases: Sequence[BaseBest]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("base model", "studies", "best overall", "95 % interval", "in", "adapter MB", "took"):
        table.add_column(heading, justify="left" if heading in ("base model", "in") else "right", overflow="fold")
    for each in bases:
        table.add_row(
            each.base_model,
            str(each.studies),
            _number(each.overall_score),
            f"{each.interval[0]:.4f} to {each.interval[1]:.4f}" if each.interval else "-",
            each.study,
            f"{each.adapter_mb:.3g}" if each.adapter_mb is not None else "-",
            format_seconds(each.seconds) if each.seconds is not None else "-",
        )
    return table


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "-"


def _percent(change: float | None) -> str:
    return "-" if change is None else f"{change:+.1f} %"
