"""A series of studies in one picture: total loss, similarities and overall score over its rounds.

Dashed lines show where an alert sounds, dotted ones what counts as converged. Matplotlib is imported when a chart is
drawn, and opens no window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.report.charts import picture
from tuner.report.log_charts import COLOURS
from tuner.report.panels import INK, LOOKS, SOFT, WIN
from tuner.report.rounds import Round
from tuner.report.settings import Settings
from tuner.store.records import FAILED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALERT = LOOKS[FAILED][0]
_Limit = tuple[str, float | None, str]  # its name, its value, its colour
_ALERTS, _GOALS = (0, (5, 3)), (0, (1, 2))


def draw_rounds(rounds: Sequence[Round], settings: Settings, path: Path) -> bool:
    """Draw rounds as a PNG of 1600 x 620 pixels; False, and no file, where nothing was measured in any. `settings` has
    the measures and the values of alerts and convergence. Raises StoreError when it cannot be written."""
    if not any(math.isfinite(value) for each in rounds for value in _values(each)):
        return False
    with picture(path, 16, 6.2) as figure:
        _draw(figure, rounds, settings)
    return True


def _draw(figure: Figure, rounds: Sequence[Round], settings: Settings) -> None:
    alerts, wanted = settings.alerts, settings.rounds
    measures = settings.judged_by.measures
    averages = {each.title: [one.averages.get(each.name, math.nan) for one in rounds] for each in measures}
    grid = figure.add_gridspec(
        1, 3, left=0.05, right=0.975, top=0.79, bottom=0.21, wspace=0.16, width_ratios=(1, 1.5, 1)
    )
    axes = [figure.add_subplot(grid[place]) for place in range(3)]
    figure.text(0.05, 0.93, _headline(rounds), fontsize=20, weight="bold", va="center")
    figure.text(0.05, 0.87, _below(rounds), fontsize=11, color=SOFT, va="center")
    axes[0].set(title="Total loss: less is better")
    _lines(axes[0], rounds, {"total loss": [each.total_loss for each in rounds]}, (INK,))
    _limits(axes[0], [("alert above", alerts.total_loss_above, ALERT)], [("converged at", wanted.loss, WIN)])
    axes[1].set(title="Similarities: more is better")
    _lines(axes[1], rounds, averages, COLOURS)
    named = [(each, COLOURS[place % len(COLOURS)]) for place, each in enumerate(measures)]
    _limits(
        axes[1],
        [(f"alert: {each.name}", each.alert_below, colour) for each, colour in named],
        [(f"converged: {each.name}", each.converged, colour) for each, colour in named],
    )
    axes[1].legend(loc="upper left", bbox_to_anchor=(0.0, -0.14), ncol=2, borderpad=0)
    axes[2].set(title="Overall tuning score: more is better")
    _lines(axes[2], rounds, {"overall": [each.overall_score for each in rounds]}, (WIN,))
    _limits(axes[2], [("alert below", alerts.overall_below, ALERT)], [("converged at", wanted.overall, WIN)])


def _headline(rounds: Sequence[Round]) -> str:
    measured = [each for each in rounds if math.isfinite(each.overall_score)]
    count = f"{len(rounds)} round{'s' if len(rounds) != 1 else ''}"
    if not measured:
        return f"{count}, none with an overall score"
    best = max(measured, key=lambda each: each.overall_score)
    return f"{count}: the best overall score is {best.overall_score:.3f}, in round {best.iteration}"


def _below(rounds: Sequence[Round]) -> str:
    first, last = rounds[0].study, rounds[-1].study
    names = first if len(rounds) == 1 else f"{first} to {last}"
    unlike = any(not each.comparable for each in rounds)
    return names + ("   |   hollow: not measured as the round before was" if unlike else "")


def _lines(axes: Axes, rounds: Sequence[Round], series: Mapping[str, Sequence[float]], colours: Sequence[str]) -> None:
    """A line a series, with a gap where nothing was measured."""
    at = [each.iteration for each in rounds]
    for number, (title, values) in enumerate(series.items()):
        colour = colours[number % len(colours)]
        axes.plot(at, values, color=colour, lw=2, label=title)
        for each, value in zip(rounds, values, strict=True):
            fill = colour if each.comparable else "white"
            axes.plot([each.iteration], [value], "o", ms=8, mfc=fill, mec=colour, mew=1.8, zorder=3)
    axes.set_xlabel("round")
    axes.set_xticks(at[:: -(-len(at) // 12)])
    # room on the right for what the limits are called
    axes.set_xlim(at[0] - 0.3, at[-1] + max(0.7, 0.5 * (at[-1] - at[0])))
    if not any(math.isfinite(value) for values in series.values() for value in values):
        axes.text(0.35, 0.5, "not measured", transform=axes.transAxes, ha="center", color=SOFT, fontsize=12)


def _limits(axes: Axes, alerts: Sequence[_Limit], goals: Sequence[_Limit]) -> None:
    """Labelled lines across a panel; those of one value share a line, and labels keep clear of each other."""
    labels: list[tuple[float, str, str]] = []
    for found, line in ((alerts, _ALERTS), (goals, _GOALS)):
        by_value: dict[float, list[tuple[str, str]]] = {}
        for name, value, colour in found:
            if value is not None:
                by_value.setdefault(value, []).append((name, colour))
        for value, named in by_value.items():
            colour = named[0][1] if len(named) == 1 else SOFT
            axes.axhline(value, color=colour, lw=1.2, ls=line, zorder=1)
            labels.append((value, f"{_together([name for name, _ in named])} {value:g}", colour))
    low, high = axes.get_ylim()
    room = 0.06 * (high - low)
    axes.set_ylim(low - room, high + room)
    lowest = -math.inf
    for value, text, colour in sorted(labels):
        lowest = max(value + 0.2 * room, lowest + 0.9 * room)
        axes.text(0.99, lowest, text, transform=axes.get_yaxis_transform(), ha="right", fontsize=9, color=colour)


def _together(names: Sequence[str]) -> str:
    """ "alert: certainty, preservation" """
    kind = names[0].partition(": ")[0]
    return names[0] if len(names) == 1 else f"{kind}: {', '.join(name.partition(': ')[2] for name in names)}"


def _values(each: Round) -> tuple[float, ...]:
    return (each.overall_score, each.total_loss, *each.averages.values())
