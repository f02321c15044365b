"""The figures of the search: its history, the rungs, the Pareto fronts of score and cost, and the re-runs.

Optuna's own pictures, in the report's colours and words, where Optuna has the picture; what it leaves out (stopped and
failed trials, the winner) is drawn into them. Each function returns its figure, or says why there is none.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tuner.report.figures import (
    MIDDLE,
    SCORE,
    Shown,
    finished_trials,
    from_optuna,
    hover,
    is_winner,
    laid_out,
    marks,
)
from tuner.report.figures_space import heat_map, importance, parallel_coordinates
from tuner.report.optuna_study import optuna_study, pareto_study
from tuner.report.panels import LOOKS, WIN, rung_places
from tuner.report.trials import rerun_groups
from tuner.store.records import PRUNED, RUNNING, StudyRecord, TrialRecord

if TYPE_CHECKING:
    import optuna


def search_figures(record: StudyRecord, page: Mapping[str, Any]) -> list[Shown]:
    """All of the search, in the order in which one reads them."""
    study = optuna_study(record)
    return [
        history(record, study),
        importance(record, page),
        parallel_coordinates(record, study),
        heat_map(record, study),
        rungs(record, study),
        pareto(record, "adapter_mb"),
        pareto(record, "train_seconds"),
        reruns(record),
    ]


def history(record: StudyRecord, study: optuna.Study) -> Shown:
    """Score of every trial in the order of their start, with the best of the finished ones so far."""
    import plotly.graph_objects as go

    key, title = "history", "Search history"
    if not record.trials:
        return Shown(key, title, "No trial has begun.")
    finished = finished_trials(record)
    figure = go.Figure()
    if finished:
        best = from_optuna(lambda plots: plots.plot_optimization_history(study, target_name=SCORE)).data[1]
        best.update(x=[trial.number for trial in finished], name="best so far", hoverinfo="skip")
        best.update(line={"shape": "hv", "color": MIDDLE, "width": 2})
        figure.add_trace(best)
    scored = [trial for trial in record.trials if trial.score is not None]
    figure.add_traces(marks(record, scored, [t.number for t in scored], [t.score for t in scored]))
    without = [trial for trial in record.trials if trial.score is None]
    if without:  # on the lower edge, so that nobody reads a score off it
        figure.add_traces(
            marks(record, without, [t.number for t in without], [0.01] * len(without), yaxis="y2", cliponaxis=False)
        )
        hidden = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
        figure.update_layout(yaxis2=hidden)
    figure.update_xaxes(title_text="trial, in order of start", tickformat=",d")
    figure.update_yaxes(title_text=SCORE, selector={"overlaying": None})
    caption = (
        "One mark a trial, higher is better. The line is the best score that a finished trial has reached so far: "
        "where it is flat for long, more trials of this space bring little."
    )
    caption += " Trials without a score stand on the lower edge." * bool(without)
    return Shown(key, title, caption, laid_out(figure))


def rungs(record: StudyRecord, study: optuna.Study) -> Shown:
    """Learning curves with the rungs at which ASHA stops trials."""
    key, title = "rungs", "Rungs: who was stopped where"
    figure = from_optuna(lambda plots: plots.plot_intermediate_values(study))
    if not figure.data:  # Optuna draws none that failed or was interrupted
        return Shown(key, title, "No trial that runs, was stopped or has finished has reported a score yet.")
    held = {f"Trial{place}": trial for place, trial in enumerate(record.trials)}
    ends: list[tuple[TrialRecord, Any, Any]] = []
    for curve in figure.data:
        trial = held[curve.name]
        won = is_winner(record, trial)
        colour, _ = LOOKS.get(trial.state, LOOKS[RUNNING])
        ends.append((trial, curve.x[-1], curve.y[-1]))
        curve.update(
            line={"color": WIN if won else colour, "width": 4 if won else 1.4},
            mode="lines" if len(curve.x) > 1 else "markers",
            marker={"size": 1, "color": colour},
            opacity=1.0 if won else 0.55,
            showlegend=False,
            hoverinfo="skip",
        )
    figure.data = tuple(sorted(figure.data, key=lambda curve: is_winner(record, held[curve.name])))
    trials, xs, ys = zip(*ends, strict=True)
    figure.add_traces(marks(record, trials, xs, ys))
    last = max(xs)
    found = rung_places(record)
    # a report comes at a rung or, where a batch crosses it, a little later
    ends_at = [bisect.bisect_right(found, x) for trial, x in zip(trials, xs, strict=True) if trial.state == PRUNED]
    for number, at in enumerate(found, 1):
        stopped = ends_at.count(number)
        text = f"rung {number}" + (f": {stopped} stopped" if stopped else "")
        figure.add_vline(at, line={"color": MIDDLE, "width": 1, "dash": "dot"})
        figure.add_annotation(x=at, y=0, yref="paper", text=text, textangle=-90, xanchor="right", yanchor="bottom")
        figure.layout.annotations[-1].update(showarrow=False, font={"size": 10}, bgcolor="rgba(0,0,0,0)")
    figure.update_xaxes(title_text="training rows seen", range=[0, 1.04 * last], tickformat=",d")
    figure.update_yaxes(title_text=SCORE)
    caption = "One curve a trial; a mark stands at its last report, a square where it was stopped early. " + (
        "At each dotted line trials are compared, and the weaker ones are stopped."
        if found
        else "This search stopped none by comparing them."
    )
    return Shown(key, title, caption, laid_out(figure, height=400, showlegend=True))


_COSTS = {
    "adapter_mb": ("pareto_size", "Pareto front: score and adapter size", "adapter size, MB", "size"),
    "train_seconds": ("pareto_time", "Pareto front: score and training time", "seconds in training steps", "time"),
}


def pareto(record: StudyRecord, cost: str) -> Shown:
    """Score against what it costs: "adapter_mb" or "train_seconds" of each finished trial's best report."""
    key, title, axis, word = _COSTS[cost]
    held: dict[tuple[float, float], list[TrialRecord]] = {}
    for trial in finished_trials(record):
        value = trial.reports[trial.best or 0].get(cost)
        if value is not None and trial.score is not None:
            held.setdefault((value, trial.score), []).append(trial)
    study = pareto_study(record, [cost])
    if not study.get_trials(deepcopy=False):
        return Shown(key, title, f"No finished trial has reported its {axis.split(',')[0]}.")
    figure = from_optuna(lambda plots: plots.plot_pareto_front(study, target_names=[axis, SCORE]))
    others, front = figure.data
    for trace, name, colour in ((others, "beaten by another", MIDDLE), (front, "on the front", "#0072B2")):
        at = [held[x, y] for x, y in zip(trace.x, trace.y, strict=True)]
        trace.update(
            name=f"{name} ({len(at)})",
            showlegend=bool(at),
            marker={"color": colour, "size": 9, "showscale": False, "line": {"width": 1, "color": "white"}},
            text=["<br><br>".join(hover(record, trial, f"{axis}: {x:,.3g}") for trial in ts)
                  for ts, x in zip(at, trace.x, strict=True)],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    steps = sorted(set(zip(front.x, front.y, strict=True)))
    figure.add_scatter(
        x=[x for x, _ in steps], y=[y for _, y in steps], mode="lines", showlegend=False, hoverinfo="skip",
        line={"shape": "hv", "color": "#0072B2", "width": 1.5, "dash": "dot"},
    )  # fmt: skip
    won = [(trial, at) for at, trials in held.items() for trial in trials if is_winner(record, trial)]
    if won:
        stars = marks(record, [trial for trial, _ in won], [x for _, (x, _) in won], [y for _, (_, y) in won])
        figure.add_trace(stars[-1])
    figure.update_xaxes(title_text=axis)
    figure.update_yaxes(title_text=SCORE)
    caption = (
        f"Finished trials; up and to the left is better. No other trial beats those on the front in both score and "
        f"{word}: look there for a cheaper adapter that is nearly as good as the winner."
    )
    return Shown(key, title, caption, laid_out(figure))


def reruns(record: StudyRecord) -> Shown:
    """The best configurations on several seeds."""
    import plotly.graph_objects as go

    key, title = "reruns", "The best again, on other seeds"
    groups = rerun_groups(record)
    if not groups:
        return Shown(key, title, "No trial was re-run on other seeds, so it is not known how much of a score is luck.")
    figure = go.Figure()
    names = [f"trial {group.number}{' (winner)' * group.winner}" for group in groups]
    colours = [WIN if group.winner else "#0072B2" for group in groups]
    halves = [(group.interval[1] - group.interval[0]) / 2 if group.interval else 0.0 for group in groups]
    figure.add_scatter(
        x=[score for group in groups for score in group.scores],
        y=[name for name, group in zip(names, groups, strict=True) for _ in group.scores],
        mode="markers", name="one seed", marker={"color": MIDDLE, "size": 7, "opacity": 0.8},
        hovertemplate="%{y}, one seed: %{x:.4f}<extra></extra>",
    )  # fmt: skip
    for number, (name, colour, half, group) in enumerate(zip(names, colours, halves, groups, strict=True)):
        figure.add_scatter(
            x=[group.mean], y=[name], mode="markers", name="mean and its 95 % interval", showlegend=number == 0,
            marker={"color": colour, "size": 12, "symbol": "diamond", "line": {"width": 1, "color": "white"}},
            error_x={"type": "data", "array": [half], "color": colour, "thickness": 2, "width": 6, "visible": half > 0},
            customdata=[f"{group.interval[0]:.4f} to {group.interval[1]:.4f}" if group.interval else "one seed only"],
            hovertemplate="%{y}: mean %{x:.4f} (%{customdata})<extra></extra>",
        )  # fmt: skip
    searched_scores = [(group.search_score, name) for group, name in zip(groups, names, strict=True)]
    known = [(score, name) for score, name in searched_scores if score is not None]
    if known:
        figure.add_scatter(
            x=[score for score, _ in known], y=[name for _, name in known], mode="markers", name="in the search",
            marker={"symbol": "line-ns", "size": 16, "line": {"width": 2.5, "color": "#E69F00"}},
            hovertemplate="%{y} in the search: %{x:.4f}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text=SCORE)
    figure.update_yaxes(autorange="reversed", type="category")
    caption = (
        "A single score is partly luck, so the best configurations were trained again from other seeds and the winner "
        "was chosen on the mean. Intervals that overlap mean: too close to call."
    )
    return Shown(key, title, caption, laid_out(figure, height=130 + 56 * len(groups)), wide=True)
