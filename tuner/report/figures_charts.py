"""The figures of the results: data, adapter sizes, grades, similarities, rounds, and where the score comes from.

Each function returns its figure, or says why there is none.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tuner.config import AlertConfig
from tuner.report.figures import GRADE_COLOURS, MIDDLE, SERIES, Shown, escaped, laid_out
from tuner.report.panels import WIN
from tuner.score_benchmark import TOTAL_LOSS
from tuner.store.records import StudyRecord

MAX_LABELS = 8
LINES = (("reference", "reference", "#AA4499"), ("alert_below", "alert below", "#B00020"))
"""Values that a measure's average is held against: where they stand, their name, their colour."""
COMPONENTS = {
    "efficiency": ("training_efficiency", "training efficiency"),
    "quality": ("generation_quality", "quality"),
    "preservation": ("feature_preservation", "feature preservation"),
}


def charts(record: StudyRecord, page: Mapping[str, Any]) -> list[Shown]:
    """Those of the report's last part, in its order."""
    return [
        data_bars(page),
        adapter_sizes(record),
        grades_pie(page),
        similarity_bars(page),
        round_trend(record, page),
    ]


def label_counts(page: Mapping[str, Any]) -> tuple[list[str], dict[str, list[int]]]:
    """Splits, and rows by label in each of them; the rarest labels together where there are many. Rows whose label is
    not known, or that have none, are "rows"."""
    splits: Mapping[str, Any] = (page.get("data") or {}).get("splits") or {}
    names = [name for name, split in splits.items() if (split or {}).get("total_samples")]
    counts: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        found = splits[name].get("label_counts") or {"rows": splits[name]["total_samples"]}
        for label, count in found.items():
            counts.setdefault(str(label), [0] * len(names))[place] = int(count)
    ranked = sorted(counts, key=lambda label: -sum(counts[label]))
    if len(ranked) > MAX_LABELS:
        rare = ranked[MAX_LABELS - 1 :]
        other = [sum(column) for column in zip(*(counts[label] for label in rare), strict=True)]
        counts = {label: counts[label] for label in counts if label not in rare}
        counts[f"{len(rare)} other labels"] = other
    return names, counts


def data_bars(page: Mapping[str, Any]) -> Shown:
    """Rows by split and label."""
    import plotly.graph_objects as go

    key, title = "data_bars", "Data"
    names, counts = label_counts(page)
    if not names:
        return Shown(key, title, "The record does not say how many rows there were.")
    figure = go.Figure()
    for place, (label, values) in enumerate(counts.items()):
        figure.add_bar(
            x=[escaped(name) for name in names], y=values, name=escaped(label), marker_color=SERIES[place],
            hovertemplate="%{x}, %{fullData.name}: %{y:,} rows<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(title_text="rows", tickformat=",d")
    caption = (
        "Rows of each split, by label. The adapter learns from train, the search compares on validation, and test is "
        "looked at once, at the end."
    )
    return Shown(key, title, caption, laid_out(figure, barmode="stack", bargap=0.45, showlegend=len(counts) > 1))


def adapter_sizes(record: StudyRecord) -> Shown:
    """Adapter size by rank."""
    import plotly.graph_objects as go

    key, title = "adapter_sizes", "Adapter size"
    sizes = sizes_by_rank(record)
    if not sizes:
        return Shown(key, title, "No trial has reported the size of its adapter together with a rank.")
    won = record.winner.params.get("rank") if record.winner is not None else None
    names = [f"{rank:g}" for rank in sizes]
    means = [statistics.fmean(values) for values in sizes.values()]
    figure = go.Figure()
    figure.add_bar(
        x=names, y=means, marker_color=[WIN if rank == won else "#0072B2" for rank in sizes],
        customdata=[[len(values), min(values), max(values)] for values in sizes.values()],
        error_y={
            "type": "data", "symmetric": False, "color": MIDDLE, "thickness": 1.5,
            "array": [max(values) - mean for values, mean in zip(sizes.values(), means, strict=True)],
            "arrayminus": [mean - min(values) for values, mean in zip(sizes.values(), means, strict=True)],
        },
        hovertemplate="rank %{x}: %{y:.3g} MB, mean of %{customdata[0]} trials "
        "(%{customdata[1]:.3g} to %{customdata[2]:.3g})<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title_text="LoRA rank", type="category")
    figure.update_yaxes(title_text="adapter size, MB", rangemode="tozero")
    caption = (
        "Mean size of the trials' adapters by rank, in MB (10^6 bytes) of trained parameters; the whiskers reach from "
        "the smallest to the largest, which differ in the modules they train."
    )
    caption += " The winner's rank is green." * (won in sizes)
    return Shown(key, title, caption, laid_out(figure, bargap=0.35, showlegend=False))


def sizes_by_rank(record: StudyRecord) -> dict[float, list[float]]:
    """Sizes in MB of the adapters of each rank, ranks ascending."""
    found: dict[float, list[float]] = {}
    for trial in record.trials:
        rank = trial.params.get("rank")
        sizes = [report["adapter_mb"] for report in trial.reports if report.get("adapter_mb") is not None]
        if sizes and isinstance(rank, int | float):
            found.setdefault(float(rank), []).append(sizes[-1])
    return dict(sorted(found.items()))


def grades_pie(page: Mapping[str, Any]) -> Shown:
    """How many outputs have which grade."""
    import plotly.graph_objects as go

    key, title = "grades", "Grades of the outputs"
    counts = grade_counts(page)
    if not counts:
        return Shown(key, title, "No outputs were judged one by one.")
    figure = go.Figure()
    figure.add_pie(
        labels=list(counts), values=list(counts.values()), hole=0.62, sort=False, direction="clockwise",
        marker={"colors": [GRADE_COLOURS[word] for word in counts], "line": {"width": 2, "color": "rgba(0,0,0,0)"}},
        textinfo="percent", textposition="outside",
        hovertemplate="%{label}: %{value:,} of " + f"{sum(counts.values()):,}" + " (%{percent})<extra></extra>",
    )  # fmt: skip
    good = counts.get("excellent", 0) + counts.get("good", 0)
    share = f"<b>{100 * good / sum(counts.values()):.0f} %</b><br>good or excellent"
    figure.add_annotation(text=share, showarrow=False, x=0.5, y=0.5, font={"size": 15})
    caption = "Every held-out output has one grade. An excellent one needs the best band and a small loss as well."
    return Shown(key, title, caption, laid_out(figure, margin={"l": 8, "r": 8, "t": 24, "b": 32}))


def grade_counts(page: Mapping[str, Any]) -> dict[str, int]:
    """Outputs by grade, best first, without grades that none has."""
    found: Mapping[str, Any] = (page.get("benchmark_analysis") or {}).get("performance_distribution") or {}
    return {word: int(count) for word, count in found.items() if count}


def measured(page: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The measures that have an average."""
    return [measure for measure in page.get("measures") or [] if measure.get("average") is not None]


def similarity_bars(page: Mapping[str, Any]) -> Shown:
    """The averages of the measures, with their reference and alert values."""
    import plotly.graph_objects as go

    key, title = "similarities", "Similarities"
    found = measured(page)
    if not found:
        return Shown(key, title, "No similarity was measured yet.")
    # the value stands with the name: on the bar a line would hide it
    names = [
        f"{escaped(measure['title']).replace(' (', '<br>(')}<br><b>{measure['average']:.3f}</b>" for measure in found
    ]
    figure = go.Figure()
    figure.add_bar(
        y=names, x=[measure["average"] for measure in found], orientation="h", showlegend=False,
        marker_color=[GRADE_COLOURS[measure.get("grade") or "none"] for measure in found],
        customdata=[measure.get("grade") or "none" for measure in found],
        hovertemplate="%{y}: %{x:.4f} (%{customdata})<extra></extra>",
    )  # fmt: skip
    for field, words, colour in LINES:
        known = [
            (measure[field], name) for measure, name in zip(found, names, strict=True) if measure.get(field) is not None
        ]
        if not known:
            continue
        xs, ys = [value for value, _ in known], [name for _, name in known]
        line = {
            "symbol": "line-ns",
            "size": 30,
            "line": {"width": 7, "color": "white"},
        }  # so that it is seen on any bar
        figure.add_scatter(x=xs, y=ys, mode="markers", marker=line, name="", showlegend=False, hoverinfo="skip")
        line |= {"line": {"width": 3, "color": colour}}
        said = "%{y}, " + words + ": %{x:.4f}<extra></extra>"
        figure.add_scatter(x=xs, y=ys, mode="markers", marker=line, name=words, hovertemplate=said)
    low = min(0.0, *(measure["average"] for measure in found))
    figure.update_xaxes(title_text="mean similarity, 1 is best", range=[low, 1.02])
    figure.update_yaxes(autorange="reversed")
    caption = "Mean similarity to what was wanted, coloured by its grade. Lines mark the reference and the alert value."
    return Shown(key, title, caption, laid_out(figure, height=150 + 56 * len(found), bargap=0.4))


def limits(record: StudyRecord, page: Mapping[str, Any]) -> dict[str, float]:
    """The alert line of each series of a trend: the overall score, the total loss, each measure."""
    alerts = AlertConfig.model_validate(record.config.get("alerts") or {})
    found = {"overall": alerts.overall_below, TOTAL_LOSS: alerts.total_loss_above}
    for measure in page.get("measures") or []:
        if measure.get("alert_below") is not None:
            found[measure["name"]] = measure["alert_below"]
    return found


def trend_series(page: Mapping[str, Any]) -> dict[str, tuple[str, list[float | None]]]:
    """Title and value a round of the overall score, of each measure, and of the total loss, if any round has one."""
    rounds: Sequence[Mapping[str, Any]] = page.get("rounds") or []
    titles = {measure["name"]: measure["title"] for measure in page.get("measures") or []}
    series = {"overall": ("overall tuning score", [each.get("overall_score") for each in rounds])}
    for name, title in titles.items():
        series[name] = (str(title), [(each.get("averages") or {}).get(name) for each in rounds])
    series[TOTAL_LOSS] = ("total loss", [each.get("total_loss") for each in rounds])
    return {name: pair for name, pair in series.items() if any(value is not None for value in pair[1])}


def round_trend(record: StudyRecord, page: Mapping[str, Any]) -> Shown:
    """Scores and losses over the rounds of a series."""
    from plotly.subplots import make_subplots

    key, title = "rounds", "Rounds"
    rounds: Sequence[Mapping[str, Any]] = page.get("rounds") or []
    series = trend_series(page)
    if len(rounds) < 2 or not series:
        return Shown(key, title, "This is the first study of its series, so there is no trend yet.")
    alerts = limits(record, page)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.09, row_heights=[0.6, 0.4])
    at = [int(each["iteration"]) for each in rounds]
    for place, (name, (words, values)) in enumerate(series.items()):
        row, colour = (2 if name == TOTAL_LOSS else 1), SERIES[place % len(SERIES)]
        figure.add_scatter(
            x=at, y=values, name=escaped(words), mode="lines+markers", line={"color": colour, "width": 2.5},
            marker={"size": 8}, customdata=[escaped(each["study"]) for each in rounds], row=row, col=1,
            hovertemplate="round %{x} (%{customdata}), %{fullData.name}: %{y:.4f}<extra></extra>",
        )  # fmt: skip
        if name in alerts:
            line = {"color": colour, "width": 1.2, "dash": "dot"}
            figure.add_hline(alerts[name], row=row, col=1, line=line)
    figure.update_xaxes(tickmode="array", tickvals=at, showgrid=False)
    figure.update_xaxes(title_text="round", row=2, col=1)
    figure.update_yaxes(title_text="higher is better", row=1, col=1)
    figure.update_yaxes(title_text="lower is better", row=2, col=1)
    caption = (
        "The studies of this series, oldest first. Dotted lines in the same colour are the values at which an alert "
        "sounds: scores should stay above theirs, the loss below."
    )
    return Shown(key, title, caption, laid_out(figure, height=440), wide=True)


def score_breakdown(page: Mapping[str, Any]) -> Shown:
    """Points of the overall score by component."""
    import plotly.graph_objects as go

    key, title = "breakdown", "Where the score comes from"
    tuning: Mapping[str, Any] = page.get("lora_tuning") or {}
    weights: Mapping[str, Any] = tuning.get("weights") or {}
    rows = []
    for name, (place, words) in COMPONENTS.items():
        score, weight = (tuning.get(place) or {}).get("score"), weights.get(name)
        if score is not None and weight:
            rows.append((words, weight * score, weight * (1 - score), weight))
    if not rows:
        return Shown(key, title, "No component of the score was measured yet.")
    names = [words for words, *_ in rows]
    figure = go.Figure()
    figure.add_bar(
        y=names, x=[gained for _, gained, _, _ in rows], orientation="h", name="reached", marker_color="#0072B2",
        text=[f"{gained:.3f}" for _, gained, _, _ in rows], textposition="auto",
        customdata=[weight for *_, weight in rows], hovertemplate="%{y}: %{x:.3f} of %{customdata:.2f}<extra></extra>",
    )  # fmt: skip
    figure.add_bar(
        y=names, x=[lost for _, _, lost, _ in rows], orientation="h", name="still to gain",
        marker={"color": MIDDLE, "opacity": 0.3}, hovertemplate="%{y}: %{x:.3f} still to gain<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title_text="points of the overall tuning score")
    figure.update_yaxes(autorange="reversed")
    caption = (
        "Each component gives its continuous score times its weight; the sum is the overall tuning score. The longest "
        "pale bar is where the next round can gain most."
    )
    return Shown(
        key, title, caption, laid_out(figure, height=130 + 48 * len(rows), barmode="stack", bargap=0.4), wide=True
    )
