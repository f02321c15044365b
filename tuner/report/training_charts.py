"""The results of a study in one picture: data, adapter sizes, grades, similarities, loss curves, rounds, performance.

A panel without data says so in words. Matplotlib is imported when the picture is drawn, and opens no window. The search
itself is in the other picture (`report/charts.py`).
"""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.report.charts import picture
from tuner.report.figures import GRADE_COLOURS, SERIES
from tuner.report.figures_charts import (
    LINES,
    grade_counts,
    label_counts,
    limits,
    measured,
    sizes_by_rank,
    trend_series,
)
from tuner.report.figures_work import engine_points
from tuner.report.panels import INK, LOOKS, SOFT, WIN, say
from tuner.report.trials import state_word
from tuner.score_benchmark import TOTAL_LOSS
from tuner.store.records import RUNNING, StudyRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LONGEST = 30


def draw_training_charts(record: StudyRecord, page: Mapping[str, Any], path: Path) -> None:
    """Draw the results as a PNG of 1600 x 1400 pixels; `page` is what the HTML page shows. Raises StoreError when it
    cannot be written."""
    with picture(path, 16, 14) as figure:
        _headline(figure, record, page)
        top = figure.add_gridspec(1, 3, left=0.055, right=0.975, top=0.88, bottom=0.665, wspace=0.26)
        middle = figure.add_gridspec(1, 2, left=0.125, right=0.975, top=0.585, bottom=0.37, wspace=0.16)
        low = figure.add_gridspec(1, 2, left=0.055, right=0.94, top=0.285, bottom=0.075, wspace=0.14)
        data_panel(figure.add_subplot(top[0]), page)
        size_panel(figure.add_subplot(top[1]), record)
        grades_panel(figure.add_subplot(top[2]), page)
        similarity_panel(figure.add_subplot(middle[0]), page)
        loss_panel(figure.add_subplot(middle[1]), record)
        rounds_panel(figure.add_subplot(low[0]), record, page)
        work_panel(figure.add_subplot(low[1]), page)


def data_panel(axes: Axes, page: Mapping[str, Any]) -> None:
    """Rows by split and label."""
    axes.set(title="Data", ylabel="rows")
    names, counts = label_counts(page)
    if not names:
        say(axes, "the record does not say\nhow many rows there were")
        return
    floor = [0] * len(names)
    for place, (label, values) in enumerate(counts.items()):
        axes.bar(names, values, bottom=floor, width=0.55, color=SERIES[place], label=_short(label))
        floor = [below + value for below, value in zip(floor, values, strict=True)]
    for place, total in enumerate(floor):
        axes.annotate(f"{total:,}", (place, total), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=10)
    axes.margins(y=0.12)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(False, axis="x")
    if len(counts) > 1:
        axes.legend()


def size_panel(axes: Axes, record: StudyRecord) -> None:
    """Mean adapter size by rank, with its range."""
    axes.set(title="Adapter size", xlabel="LoRA rank", ylabel="MB of trained parameters")
    sizes = sizes_by_rank(record)
    if not sizes:
        say(axes, "no trial has reported\nthe size of its adapter")
        return
    won = record.winner.params.get("rank") if record.winner is not None else None
    means = [statistics.fmean(values) for values in sizes.values()]
    spread = [
        [mean - min(values) for mean, values in zip(means, sizes.values(), strict=True)],
        [max(values) - mean for mean, values in zip(means, sizes.values(), strict=True)],
    ]
    colours = [WIN if rank == won else "#0072B2" for rank in sizes]
    bars: dict[str, Any] = {"ecolor": SOFT, "capsize": 3, "error_kw": {"lw": 1}}
    axes.bar([f"{rank:g}" for rank in sizes], means, width=0.65, color=colours, yerr=spread, **bars)
    if len(sizes) > 12:
        axes.tick_params(axis="x", labelrotation=90)
    axes.grid(False, axis="x")
    if won in sizes:
        axes.set_xlabel("LoRA rank (green: the winner's)")


def grades_panel(axes: Axes, page: Mapping[str, Any]) -> None:
    """How many outputs have which grade."""
    axes.set(title="Grades of the outputs")
    counts = grade_counts(page)
    if not counts:
        say(axes, "no outputs were judged\none by one")
        return
    total = sum(counts.values())
    axes.pie(
        list(counts.values()), startangle=90, counterclock=False, radius=1.1,
        colors=[GRADE_COLOURS[word] for word in counts],
        wedgeprops={"width": 0.42, "edgecolor": "white", "linewidth": 2},
    )  # fmt: skip
    share = 100 * (counts.get("excellent", 0) + counts.get("good", 0)) / total
    axes.text(0, 0, f"{share:.0f} %\ngood or better", ha="center", va="center", fontsize=12)
    words = [f"{word}: {count:,} ({100 * count / total:.0f} %)" for word, count in counts.items()]
    axes.legend(axes.patches, words, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncol=2, borderpad=0)


def similarity_panel(axes: Axes, page: Mapping[str, Any]) -> None:
    """Mean similarities with their reference and alert values."""
    from matplotlib.patheffects import withStroke

    axes.set(title="Similarities, 1 is best")
    found = measured(page)
    if not found:
        say(axes, "no similarity was measured yet")
        return
    # the value stands with the name: on the bar a line would hide it
    names = [f"{textwrap.fill(str(measure['title']), 18)}\n{measure['average']:.3f}" for measure in found]
    values = [measure["average"] for measure in found]
    axes.barh(names, values, height=0.55, color=[GRADE_COLOURS[measure.get("grade") or "none"] for measure in found])
    for field, words, colour in LINES:
        known = [(measure[field], place) for place, measure in enumerate(found) if measure.get(field) is not None]
        for number, (value, place) in enumerate(known):
            look: dict[str, Any] = {
                "color": colour,
                "lw": 3,
                "path_effects": [withStroke(linewidth=6, foreground="white")],
            }
            axes.plot([value, value], [place - 0.38, place + 0.38], label=None if number else words, **look)
    axes.set_xlim(min(0.0, *values), 1.0)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.08), ncol=2, borderpad=0)


def loss_panel(axes: Axes, record: StudyRecord) -> None:
    """Training loss of every trial, the winner in front."""
    axes.set(title="Training loss of every trial", xlabel="training rows seen", ylabel="loss")
    named: set[str] = set()
    winner = record.winner.trial_id if record.winner is not None else ""
    for trial in sorted(record.trials, key=lambda trial: trial.trial_id == winner):
        points = [(r.get("samples"), r.get("loss")) for r in trial.reports]
        known = [(x, y) for x, y in points if x is not None and y is not None and math.isfinite(y)]
        if not known:
            continue
        won = trial.trial_id == winner
        label = "winner" if won else state_word(trial.state)
        colour = WIN if won else LOOKS.get(trial.state, LOOKS[RUNNING])[0]
        look: dict[str, Any] = {"lw": 3, "zorder": 5} if won else {"lw": 1.2, "alpha": 0.6}
        xs, ys = zip(*known, strict=True)
        axes.plot(xs, ys, color=colour, marker="o" if len(xs) == 1 else "", ms=4, label=label, **look)
        if label in named:
            axes.lines[-1].set_label("")
        named.add(label)
    if not named:
        say(axes, "no trial has reported a loss yet")
        return
    axes.margins(x=0.03)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.legend(ncol=len(named))


def rounds_panel(axes: Axes, record: StudyRecord, page: Mapping[str, Any]) -> None:
    """Scores and loss over the rounds of a series, with alert lines."""
    from matplotlib.ticker import MaxNLocator

    axes.set(title="Rounds (dotted: where an alert sounds)", xlabel="round")
    rounds, series = page.get("rounds") or [], trend_series(page)
    if len(rounds) < 2 or not series:
        say(axes, "the first study of its series:\nthere is no trend yet")
        return
    alerts = limits(record, page)
    at = [each["iteration"] for each in rounds]
    for place, (name, (words, values)) in enumerate(series.items()):
        colour = SERIES[place % len(SERIES)]
        known = [(x, y) for x, y in zip(at, values, strict=True) if y is not None]
        xs, ys = zip(*known, strict=True)
        label = f"{words} (lower is better)" if name == TOTAL_LOSS else words
        axes.plot(xs, ys, color=colour, lw=2.2, marker="o", ls="--" if name == TOTAL_LOSS else "-", label=_short(label))
        if name in alerts:
            axes.axhline(alerts[name], color=colour, lw=1, ls=":")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16), ncol=3, borderpad=0, fontsize=9)


def work_panel(axes: Axes, page: Mapping[str, Any]) -> None:
    """Rows a second of each engine, and its CPU."""
    axes.set(title="Performance", xlabel="seconds since the study began", ylabel="rows a second (solid)")
    engines = engine_points(page)
    if not engines:
        say(axes, "this study has not recorded\nwhat its machines did")
        return
    right = axes.twinx()
    right.set(ylabel="CPU, % (dotted)", ylim=(0, 105))
    right.grid(False)
    for place, (name, points) in enumerate(engines):
        colour = SERIES[place % len(SERIES)]
        for side, field, line in ((axes, "samples_per_second", "-"), (right, "cpu_percent", ":")):
            known = [(point["seconds"], point[field]) for point in points if point.get(field) is not None]
            if known:
                xs, ys = zip(*known, strict=True)
                side.plot(xs, ys, color=colour, lw=1.6, ls=line, label=_short(name) if side is axes else None)
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right")


def _headline(figure: Figure, record: StudyRecord, page: Mapping[str, Any]) -> None:
    tuning: Mapping[str, Any] = page.get("lora_tuning") or {}
    score, grade = tuning.get("overall_tuning_score"), tuning.get("overall_grade") or "none"
    text = "no score yet" if score is None else f"overall tuning score {score:.3f}"
    figure.text(0.055, 0.963, f"{record.name}: {text}", fontsize=21, weight="bold", color=INK)
    graded = [] if grade == "none" else [f"graded {grade}"]
    source = (page.get("benchmark_analysis") or {}).get("source")
    facts = [*graded, f"{record.task} on {record.base_model}", *([f"measured on {source}"] if source else [])]
    figure.text(0.055, 0.938, "   |   ".join(facts), fontsize=11, color=SOFT)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
