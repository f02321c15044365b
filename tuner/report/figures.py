"""What all interactive figures of a report share: one theme in light and dark, hover texts, and axes people can read.

A figure is a plotly figure without a title; its title and a caption that says how to read it stand around it on the
page. Colours are those of `report/panels.py`. Texts from data are escaped, for plotly reads tags in them. Plotly is
imported when a figure is made. Knows nothing of the page.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuner.report.optuna_study import numbers, quiet
from tuner.report.panels import LOOKS, WIN
from tuner.report.trials import params_text, searched, state_word
from tuner.store.records import COMPLETE, FAILED, INTERRUPTED, PRUNED, RUNNING, StudyRecord, TrialRecord

if TYPE_CHECKING:
    import plotly.graph_objects as go

SCORE = "overall tuning score"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
MIDDLE = "#87929e"
"""A grey that is seen on white and on black."""
SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800", MIDDLE)
"""Of Okabe and Ito, the yellow darker so that it is seen on white."""
GRADE_COLOURS = {
    "excellent": "#009E73",
    "good": "#56B4E9",
    "average": "#E69F00",
    "poor": "#D55E00",
    "none": MIDDLE,
    "unmeasured": MIDDLE,
}
SCALE = ((0.0, "#c3ccd4"), (0.55, "#56B4E9"), (1.0, "#009E73"))
"""From weak to strong scores, for lines: the weak fade on white and stay calm on black."""
SYMBOLS = {COMPLETE: "circle", PRUNED: "square", FAILED: "x", INTERRUPTED: "diamond", RUNNING: "triangle-up"}


@dataclass(frozen=True)
class Shown:
    """One figure's place on the page. `caption` says what it shows and how to read it, or why there is no figure.
    `wide` figures take a row of their own."""

    key: str
    title: str
    caption: str
    figure: go.Figure | None = None
    wide: bool = False

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.figure.layout.height) if self.figure is not None and self.figure.layout.height else 360

    def to_json(self) -> dict[str, Any]:
        """Plain data and layout for plotly.js, numbers that are not finite as null. Raises ValueError where there is no
        figure."""
        if self.figure is None:
            raise ValueError(f"there is no figure {self.key}")
        made: dict[str, Any] = json.loads(self.figure.to_json())
        made["layout"].pop("template", None)  # the page has one for all
        return made


def themes() -> dict[str, dict[str, Any]]:
    """Plotly templates "light" and "dark": the page puts the one that fits on every figure."""
    return {
        "light": _theme(ink="#1f2933", soft="#5d6874", grid="#e6e9ec", edge="#c3cad1", card="#ffffff"),
        "dark": _theme(ink="#e4e8ec", soft="#9aa5b1", grid="#2b333b", edge="#46515c", card="#181f26"),
    }


def _theme(ink: str, soft: str, grid: str, edge: str, card: str) -> dict[str, Any]:
    axis = {
        "gridcolor": grid,
        "linecolor": edge,
        "zerolinecolor": grid,
        "tickcolor": edge,
        "tickfont": {"color": soft},
        "title": {"font": {"color": soft, "size": 12}, "standoff": 10},
        "ticklabelstandoff": 4,
        "automargin": True,
    }
    bar = {"outlinewidth": 0, "thickness": 12, "tickfont": {"color": soft}, "title": {"font": {"color": soft}}}
    return {
        "layout": {
            "font": {"family": FONT, "size": 12, "color": ink},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": list(SERIES),
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"font": {"color": ink}, "bgcolor": "rgba(0,0,0,0)"},
            "hoverlabel": {
                "bgcolor": card,
                "bordercolor": edge,
                "font": {"color": ink, "family": FONT},
                "align": "left",
            },
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": soft, "activecolor": ink},
            "annotationdefaults": {"font": {"color": soft}, "bgcolor": card, "opacity": 0.9},
        },
        "data": {
            "scatter": [{"marker": {"colorbar": bar}}],
            "contour": [{"colorbar": bar}],
            "bar": [{"textfont": {"color": ink}}],
        },
    }


def laid_out(figure: go.Figure, height: int = 360, **layout: Any) -> go.Figure:
    """The figure in the shape that all have: no title, the legend above, slim margins."""
    figure.update_layout(
        title=None,
        template=None,
        autosize=True,
        height=height,
        margin={"l": 8, "r": 8, "t": 12, "b": 8},
        legend={"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom", "traceorder": "normal"},
        hovermode="closest",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    figure.update_layout(**layout)
    return figure


def from_optuna(draw: Callable[[Any], go.Figure]) -> go.Figure:
    """A picture that `draw` makes with `optuna.visualization`, without its notices on the terminal."""
    with quiet():
        from optuna import visualization

        return draw(visualization)


def escaped(text: Any) -> str:
    """Text from data as plotly shows it letter by letter."""
    return html.escape(str(text), quote=False)


def hover(record: StudyRecord, trial: TrialRecord, *more: str) -> str:
    """What a trial's mark says: its number, state, score, hyperparameters, and why it ended."""
    names = searched(record)
    lines = [f"<b>trial {trial.number}</b>, {escaped(state_word(trial.state))}{' (winner)' * is_winner(record, trial)}"]
    lines += [f"score {trial.score:.4f}"] if trial.score is not None else ["no score"]
    lines += [escaped(params_text({name: trial.params[name]})) for name in names if name in trial.params]
    lines += [escaped(trial.message)] * bool(trial.message)
    return "<br>".join([*lines, *more])


def finished_trials(record: StudyRecord) -> list[TrialRecord]:
    """The trials that ran to their end and have a score: those that Optuna compares."""
    return [trial for trial in record.trials if trial.state == COMPLETE and trial.score is not None]


def is_winner(record: StudyRecord, trial: TrialRecord) -> bool:
    """Whether the trial is the study's winner."""
    return record.winner is not None and record.winner.trial_id == trial.trial_id


def marks(
    record: StudyRecord, trials: Sequence[TrialRecord], xs: Sequence[Any], ys: Sequence[Any], **more: Any
) -> list[go.Scatter]:
    """Marks of trials, a trace a state that its legend names; the winner has a star besides."""
    traces = []
    places = list(zip(trials, xs, ys, strict=True))
    for state, (colour, _) in LOOKS.items():
        here = [(trial, x, y) for trial, x, y in places if trial.state == state]
        if here:
            look = {"color": colour, "symbol": SYMBOLS[state], "size": 8, "line": {"width": 1, "color": "white"}}
            traces.append(_scatter(record, here, f"{state_word(state)} ({len(here)})", look, **more))
    won = [(trial, x, y) for trial, x, y in places if is_winner(record, trial)]
    if won:
        look = {"color": WIN, "symbol": "star", "size": 16, "line": {"width": 1, "color": "white"}}
        traces.append(_scatter(record, won, "winner", look, **more))
    return traces


def _scatter(
    record: StudyRecord, places: Sequence[tuple[TrialRecord, Any, Any]], name: str, look: dict[str, Any], **more: Any
) -> go.Scatter:
    import plotly.graph_objects as go

    return go.Scatter(
        x=[x for _, x, _ in places],
        y=[y for _, _, y in places],
        mode="markers",
        name=name,
        marker=look,
        customdata=[hover(record, trial) for trial, _, _ in places],
        hovertemplate="%{customdata}<extra></extra>",
        **more,
    )


def log_axis(values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis over positive values, with plain numbers at steps that people count in."""
    low, high = min(values), max(values)
    room = max(0.05 * math.log10(high / low), 0.03)
    whole = all(float(value).is_integer() for value in values)
    ticks: list[float]
    if whole:
        ticks = [2.0**power for power in range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)]
    else:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [step * 10.0**power for power in powers for step in ((1, 3) if high / low < 1e4 else (1,))]
    span = (math.log10(low) - room, math.log10(high) + room)
    kept = [tick for tick in ticks if span[0] <= math.log10(tick) <= span[1]]
    if len(kept) < 2:  # a narrow range lies between such steps
        kept = sorted({float(f"{low:.3g}"), float(f"{high:.3g}"), *kept})
    return {
        "type": "log",
        "range": list(span),
        "tickvals": kept,
        "ticktext": [f"{tick:g}" for tick in kept],
    }


def is_log(record: StudyRecord, name: str, values: Sequence[Any]) -> bool:
    """Whether a hyperparameter's axis is logarithmic: where the space is, or where its choices double and double."""
    entry = record.config.get("space", {}).get(name, {})
    if not values or not numbers(values) or min(values) <= 0 or min(values) == max(values):
        return False
    return bool(entry.get("log")) or (entry.get("type") == "choice" and max(values) >= 8 * min(values))
