"""The figures of the space: what mattered, parallel coordinates, and the heat map of rank and learning rate.

Optuna's own pictures in the report's colours and words. Each function returns its figure, or says why there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tuner.report.figures import (
    MIDDLE,
    SCALE,
    Shown,
    escaped,
    finished_trials,
    from_optuna,
    hover,
    is_log,
    is_winner,
    laid_out,
    log_axis,
    marks,
)
from tuner.report.optuna_study import numbers, plain, study_of
from tuner.report.panels import WIN
from tuner.report.trials import searched, value_text
from tuner.store.records import COMPLETE, StudyRecord, TrialRecord

if TYPE_CHECKING:
    import optuna


def importance(record: StudyRecord, page: Mapping[str, Any]) -> Shown:
    """Shares of the score's variance, as the report has found them."""
    key, title = "importance", "What mattered"
    found: Mapping[str, Any] = page.get("importance") or {}
    shares: Mapping[str, float] = found.get("shares") or {}
    basis = str(found.get("basis") or "not analysed")
    points = [(trial, trial.score) for trial in record.trials if trial.score is not None]
    if not shares or not points:
        return Shown(key, title, f"It cannot be said which hyperparameters mattered: {basis}.")
    study = study_of(points, list(shares), record.config.get("space", {}))
    figure = from_optuna(lambda plots: plots.plot_param_importances(study, evaluator=_known(shares)))
    names = [str(name) for name in figure.data[0].y]
    figure.data[0].update(
        x=[100 * shares[name] for name in names],
        y=[escaped(name.replace("_", " ")) for name in names],
        name="share",
        text=[f"{100 * shares[name]:.0f} %" if shares[name] >= 0.01 else "< 1 %" for name in names],
        marker={"color": "#0072B2"},
        hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
    )
    figure.update_xaxes(title_text="share of the score's variance, %", range=[0, 115 * max(shares.values())])
    figure.update_yaxes(title_text="", showgrid=False, ticks="")
    caption = (
        f"How much of the score's ups and downs each hyperparameter explains (fANOVA; {basis}). "
        "Tune the long bars first; what has a short bar may stay as it is."
    )
    return Shown(key, title, caption, laid_out(figure, height=90 + 34 * max(len(names), 3), bargap=0.4))


def parallel_coordinates(record: StudyRecord, study: optuna.Study) -> Shown:
    """Finished trials as lines through their hyperparameters."""
    key, title = "parallel", "Parallel coordinates"
    finished = finished_trials(record)
    names = [name for name in searched(record) if any(name in trial.params for trial in finished)]
    if len(finished) < 2 or not names:
        return Shown(key, title, "Fewer than two trials have finished with a score, so there is nothing to compare.")
    figure = from_optuna(lambda plots: plots.plot_parallel_coordinate(study, params=names, target_name="score"))
    *lines, bar = figure.data
    held = _by_height(finished)
    for line in lines:
        trials = held[line.y[0]]
        won = any(is_winner(record, trial) for trial in trials)
        line.update(
            line={"color": WIN if won else _shade(line.y[0]), "width": 4 if won else 1.6},
            opacity=1.0 if won else 0.75,
            customdata=None,
            text="<br><br>".join(hover(record, trial) for trial in trials),
            hovertemplate="%{text}<extra></extra>",
        )
    bar.marker.update(colorscale=SCALE)
    bar.marker.colorbar.update(title=None, thickness=12)
    figure.data = (*sorted(lines, key=lambda line: float(line.y[0])), bar)  # the best are drawn last, on top
    columns = ["score", *sorted(names)]
    whole = {place for place, name in enumerate(columns) if _whole(study, name, finished)}
    notes = [note for note in figure.layout.annotations if note.x not in whole]
    for note in notes:
        note.update(text=escaped(_words(columns[int(note.x)], note.text, finished)), font={"size": 11, "color": None})
    look = {"showarrow": False, "xanchor": "right", "xshift": -4, "font": {"size": 11}}
    for place in whole:  # Optuna's ticks of whole numbers lie between them
        low, *_, high = values = _steps([trial.params[columns[place]] for trial in finished])
        notes += [{"x": place, "y": (v - low) / (high - low), "text": f"{v:,}", **look} for v in values]
    last = [note for note in notes if note["x"] == len(columns) - 1]
    for note in last:  # on the outer side, where no line crosses them
        note.update(xanchor="left", xshift=6)
    figure.layout.annotations = notes
    room = 0.2 + 0.055 * max(len(note["text"]) for note in last)
    figure.update_xaxes(
        ticktext=[escaped(name.replace("_", " ")) for name in columns],
        side="top",
        range=[-0.45, len(columns) - 1 + room],
    )
    for shape in figure.layout.shapes:
        shape.line.color = MIDDLE
    caption = (
        "One line a finished trial, from its score on the left through its hyperparameters; green lines score high, "
        "the thick one is the winner. Where the green lines run together, that value matters and is found."
    )
    return Shown(key, title, caption, laid_out(figure, height=400), wide=True)


def heat_map(record: StudyRecord, study: optuna.Study) -> Shown:
    """Score over learning rate and rank."""
    import plotly.graph_objects as go

    key, title, x, y = "heat_map", "Rank and learning rate", "learning_rate", "rank"
    both = [trial for trial in record.trials if numbers([trial.params.get(x), trial.params.get(y)])]
    finished = [trial for trial in both if trial.state == COMPLETE and trial.score is not None]
    if not finished:
        return Shown(key, title, "No finished trial has both a rank and a learning rate with a score.")
    drawn = all(
        name in searched(record)
        and len({trial.params[name] for trial in finished}) > 1
        and numbers([trial.params[name] for trial in record.trials if name in trial.params])
        for name in (x, y)
    )
    figure = go.Figure()
    if drawn:
        surface = from_optuna(lambda plots: plots.plot_contour(study, params=[y, x], target_name="score")).data[0]
        bar = {"title": {"text": "score"}, "thickness": 12}
        surface.update(colorscale="Cividis", line={"width": 0.4}, colorbar=bar)
        figure.add_trace(surface)
    figure.add_traces(marks(record, both, [t.params[x] for t in both], [t.params[y] for t in both]))
    for name, update in ((x, figure.update_xaxes), (y, figure.update_yaxes)):
        values = [trial.params[name] for trial in both]
        log = is_log(record, name, values)
        update(title_text=f"{'LoRA rank' if name == y else 'learning rate'}{' (log scale)' * log}", showgrid=False)
        if log:
            update(**log_axis(values))
    caption = "The ground is the score, read between finished trials, so far from any mark it is a guess. " * drawn
    caption += "Marks are trials. Good ground in the middle is found; good ground at an edge calls for a wider range."
    return Shown(key, title, caption, laid_out(figure, height=400))


def _known(shares: Mapping[str, float]) -> Any:
    """An evaluator that knows the answer, so that the page shows the shares that the report names."""
    from optuna.importance import BaseImportanceEvaluator

    class Known(BaseImportanceEvaluator):
        def evaluate(self, study: Any, params: Any = None, *, target: Any = None) -> dict[str, float]:
            return dict(shares)

    return Known()


def _by_height(finished: Sequence[TrialRecord]) -> dict[float, list[TrialRecord]]:
    """Trials by where Optuna puts their score on an axis from 0 to 1, which is all that it says of whose a line is."""
    scores = [trial.score or 0.0 for trial in finished]
    low, high = min(scores), max(scores)
    held: dict[float, list[TrialRecord]] = {}
    for trial, score in zip(finished, scores, strict=True):
        held.setdefault(0.5 if low == high else (score - low) / (high - low), []).append(trial)
    return held


def _whole(study: optuna.Study, name: str, finished: Sequence[TrialRecord]) -> bool:
    """Whether an axis holds whole numbers, evenly spaced, of every trial."""
    from optuna.distributions import FloatDistribution

    held = study.get_trials(deepcopy=False)[0].distributions.get(name)
    values = [trial.params.get(name) for trial in finished]
    even = isinstance(held, FloatDistribution) and not held.log
    return even and len(set(values)) > 1 and all(isinstance(value, int) for value in values)


def _steps(values: Sequence[int]) -> list[int]:
    """A few whole numbers from the least to the largest value."""
    low, high = min(values), max(values)
    count = next(count for count in (5, 4, 3, 2, 1) if (high - low) % count == 0)
    return list(range(low, high + 1, (high - low) // count)) if high - low >= count else list(range(low, high + 1))


def _shade(share: float) -> str:
    from plotly.colors import sample_colorscale

    colour: str = sample_colorscale([list(stop) for stop in SCALE], [share], colortype="rgb")[0]
    return colour


def _words(name: str, text: str, trials: Sequence[TrialRecord]) -> str:
    """A tick's text on the axis of a hyperparameter: values as everywhere in the report."""
    values = [trial.params[name] for trial in trials if name in trial.params]
    if text == "None":
        return "default" if None in values and all(name in trial.params for trial in trials) else "not used"
    known = {str(plain(value)): value_text(value) for value in values if not numbers([value])}
    known["None (value)"] = "default"
    words = known.get(text, text)
    return words if len(words) <= 24 else words[:23] + "…"
