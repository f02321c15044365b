"""The curves of training logs in one picture, one colour a log.

Panels that no log has anything for are left out. Matplotlib is imported when a chart is drawn, and opens no window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.data.training_logs import STUDY, TrainingLog, finite_points
from tuner.report.charts import picture
from tuner.report.log_verdict import Verdict, overlaps
from tuner.report.panels import INK, LOOKS, SOFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of Okabe and Ito, which colour-blind people tell apart; more logs begin again, with another line."""

_LINES = ("-", "--", ":", "-.")
_WIDE = 20.0  # times the lowest value: from here on a logarithmic axis shows more
_LONGEST = 34

Draw = Callable[["Axes", Sequence[TrainingLog]], None]


def draw_logs(logs: Sequence[TrainingLog], verdicts: Sequence[Verdict], path: Path) -> bool:
    """Draw all logs as a PNG, 1600 pixels wide; False, and no file, where they hold nothing that can be drawn. Raises
    StoreError when it cannot be written."""
    panels = [draw for has, draw in _PANELS if any(has(log) for log in logs)]
    if not panels:
        return False
    rows = math.ceil(len(panels) / 2)
    height = 2.0 + 4.2 * rows
    with picture(path, 16, height) as figure:
        grid = figure.add_gridspec(
            rows, 2 if len(panels) > 1 else 1, left=0.06, right=0.97, top=1 - 1.6 / height, bottom=0.75 / height,
            hspace=0.42, wspace=0.16,
        )  # fmt: skip
        title = (
            f"{_short(logs[0].name, _LONGEST)}: {verdicts[0].word}" if len(logs) == 1 else f"{len(logs)} training logs"
        )
        figure.text(0.06, 1 - 0.5 / height, title, fontsize=20, weight="bold", va="center")
        if len(logs) == 1:
            figure.text(0.06, 1 - 0.85 / height, _short(verdicts[0].reason, 170), fontsize=11, color=SOFT, va="center")
        for number, draw in enumerate(panels):
            alone = number == len(panels) - 1 and number % 2 == 0 and number > 0
            axes = figure.add_subplot(grid[number // 2, :] if alone else grid[number // 2, number % 2])
            draw(axes, logs)
    return True


def _curves(title: str, unit: str, metrics: Mapping[str, str], form: str = "") -> Draw:
    """Draws metrics, each with its name in the legend: the first as a line, others as dots. Where `form` says how the
    axis writes a number, it is linear; else it is logarithmic where the values ask for it."""

    def draw(axes: Axes, logs: Sequence[TrainingLog]) -> None:
        axes.set(title=title, ylabel=unit)
        low, high = math.inf, 0.0
        for number, log in enumerate(logs):
            for metric, what in metrics.items():
                points = finite_points(log.points(metric))
                if not points:
                    continue
                look: dict[str, Any] = {"lw": 1.6, "ls": _line(number)}
                if metric not in list(metrics)[:1] or len(points) == 1:
                    look |= {"marker": "o", "ms": 5, "ls": "--"}
                axes.plot(*zip(*points, strict=True), color=_colour(number), label=_label(log, logs, what), **look)
                values = [value for _, value in points if value > 0]
                low, high = min([low, *values]), max([high, *values])
        if form:
            axes.yaxis.set_major_formatter(lambda value, _: format(value, form))
        else:
            _scale(axes, low, high)
        _finish(axes, logs)

    return draw


def _trials(axes: Axes, logs: Sequence[TrainingLog]) -> None:
    axes.set(title="Score of every trial, and the best so far", xlabel="trial", ylabel="overall tuning score")
    for number, log in enumerate(each for each in logs if each.form == STUDY):
        scored = [(e.metrics["trial"], e.metrics["score"], e.label) for e in log.entries if "score" in e.metrics]
        best = list(accumulate((score for _, score, _ in scored), max))
        if scored:
            axes.step([at for at, _, _ in scored], best, where="post", color=_colour(number), lw=1.6, label=log.name)
        for state in dict.fromkeys(label for _, _, label in scored):
            colour, marker = LOOKS.get(state, (INK, "o"))
            here = [(at, score) for at, score, label in scored if label == state]
            xs, ys = zip(*here, strict=True)
            axes.scatter(xs, ys, s=48, color=colour, marker=marker, label=state or None, zorder=3)
    axes.legend()


def _answers(axes: Axes, logs: Sequence[TrainingLog]) -> None:
    axes.set(title="Predicted answers against the references", xlabel="0 to 100")
    having = [(number, log, overlaps(log.totals)) for number, log in enumerate(logs) if overlaps(log.totals)]
    names = list(dict.fromkeys(name for _, _, found in having for name in found))
    height = 0.8 / len(having)
    for row, (number, log, found) in enumerate(having):
        places = [place + row * height for place, name in enumerate(names) if name in found]
        values = [found[name] for name in names if name in found]
        axes.barh(places, values, height=0.9 * height, color=_colour(number), label=_label(log, logs, ""))
        for place, value in zip(places, values, strict=True):
            axes.annotate(f"{value:.1f}", (value, place), xytext=(5, 0), textcoords="offset points", va="center")
    middle = 0.4 - height / 2
    axes.set_yticks([place + middle for place in range(len(names))], [name.removeprefix("predict_") for name in names])
    axes.set_xlim(0, 108)
    axes.invert_yaxis()
    if len(having) > 1:
        axes.legend()


def _scale(axes: Axes, low: float, high: float) -> None:
    """A logarithmic axis with plain numbers where the values ask for one."""
    if high > _WIDE * low:
        from matplotlib.ticker import NullFormatter

        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())


def _finish(axes: Axes, logs: Sequence[TrainingLog]) -> None:
    kinds = {log.axis() for log in logs if log.form != STUDY}
    axes.set_xlabel(" or ".join(sorted(kind.replace("_", " ") for kind in kinds)))
    axes.margins(x=0.02)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def _label(log: TrainingLog, logs: Sequence[TrainingLog], what: str) -> str:
    return what if len(logs) == 1 else f"{_short(log.name, _LONGEST)} {what}".strip()


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _line(number: int) -> str:
    return _LINES[number // len(COLOURS) % len(_LINES)]


def _has(*metrics: str) -> Callable[[TrainingLog], bool]:
    return lambda log: log.form != STUDY and any(finite_points(log.points(metric)) for metric in metrics)


_PANELS: tuple[tuple[Callable[[TrainingLog], bool], Draw], ...] = (
    (_has("loss", "eval_loss"), _curves("Loss", "loss", {"loss": "training", "eval_loss": "evaluation"})),
    (_has("learning_rate"), _curves("Learning rate", "learning rate", {"learning_rate": ""}, ".2g")),
    (_has("grad_norm"), _curves("Gradient norm, before clipping", "norm", {"grad_norm": ""})),
    (_has("throughput"), _curves("Throughput", "tokens a second", {"throughput": ""}, ",.0f")),
    (_has("num_input_tokens_seen"), _curves("Tokens read", "tokens", {"num_input_tokens_seen": ""}, ",.0f")),
    (lambda log: log.form == STUDY, _trials),
    (lambda log: bool(overlaps(log.totals)), _answers),
)
