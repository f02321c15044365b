"""The figures of how a study used its machines: speed, CPU and memory over time, and when each trial ran.

Each function returns its figure, or says why there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tuner.report.figures import SERIES, Shown, escaped, from_optuna, hover, laid_out
from tuner.report.optuna_study import optuna_study
from tuner.report.panels import LOOKS
from tuner.report.trials import state_word
from tuner.store.records import RUNNING, StudyRecord

if TYPE_CHECKING:
    import plotly.graph_objects as go

LANES = (
    ("samples_per_second", "rows a second"),
    ("cpu_percent", "CPU, %"),
    ("memory_mb", "memory, MB"),
    ("device_memory_mb", "GPU memory, MB"),
)


def engine_points(page: Mapping[str, Any]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Name and measurements of each engine that has some."""
    engines = (page.get("performance") or {}).get("engines") or []
    found = [(str(engine.get("name") or "engine not named"), engine.get("points") or []) for engine in engines]
    return [(name, points) for name, points in found if points]


def work(page: Mapping[str, Any]) -> Shown:
    """Speed, CPU and memory of the engines over time."""
    from plotly.subplots import make_subplots

    key, title = "work", "The machines' work over time"
    engines = engine_points(page)
    lanes = [lane for lane in LANES if any(point.get(lane[0]) is not None for _, points in engines for point in points)]
    if not lanes:
        return Shown(key, title, "This study has not recorded what its machines did.")
    figure: go.Figure = make_subplots(rows=len(lanes), cols=1, shared_xaxes=True, vertical_spacing=0.07)
    for row, (field, words) in enumerate(lanes, 1):
        for place, (name, points) in enumerate(engines):
            figure.add_scatter(
                x=[point["seconds"] for point in points], y=[point.get(field) for point in points], row=row, col=1,
                name=escaped(name), legendgroup=str(place), showlegend=row == 1, mode="lines",
                line={"color": SERIES[place % len(SERIES)], "width": 1.8}, connectgaps=True,
                hovertemplate="%{fullData.name}, %{x:,.0f} s: %{y:,.4g}<extra></extra>",
            )  # fmt: skip
        figure.update_yaxes(title_text=words, rangemode="tozero", row=row, col=1)
    figure.update_xaxes(title_text="seconds since the study began", row=len(lanes), col=1)
    caption = (
        "One line an engine. Rows a second are those of all trials that it trains together; CPU is its own process."
    )
    return Shown(
        key, title, caption, laid_out(figure, height=110 + 130 * len(lanes), showlegend=len(engines) > 1), wide=True
    )


def timeline(record: StudyRecord) -> Shown:
    """When each trial ran."""
    key, title = "timeline", "When each trial ran"
    if not record.trials or any(not trial.started for trial in record.trials):
        return Shown(key, title, "The record does not say when each trial began.")
    study = optuna_study(record)
    figure = from_optuna(lambda plots: plots.plot_timeline(study))
    for bars in figure.data:
        here = [record.trials[place] for place in bars.y]
        # Optuna has one word for all that ended without a value
        bars.update(
            name=" or ".join(dict.fromkeys(state_word(trial.state) for trial in here)),
            text=[hover(record, trial) for trial in here],
            y=[trial.number for trial in here],
            hovertemplate="%{text}<extra></extra>",
            marker={"color": [LOOKS.get(trial.state, LOOKS[RUNNING])[0] for trial in here], "line": {"width": 0}},
        )
    figure.update_xaxes(title_text="local time")
    figure.update_yaxes(title_text="trial", autorange="reversed")
    caption = "One bar a trial from its start to its end. Bars that overlap were trained together; gaps are time lost."
    return Shown(
        key, title, caption, laid_out(figure, height=min(520, 160 + 14 * len(record.trials)), bargap=0.25), wide=True
    )
