"""The five panels of a study's chart, each on axes that it is given.

Colours are those of Okabe and Ito, which colour-blind people tell apart, and every state has its own marker. A panel
without data says so in words. Knows nothing of the page around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tuner.report.importance import importance
from tuner.report.trials import rerun_groups, samples_seen, state_word
from tuner.store.records import COMPLETE, FAILED, INTERRUPTED, PRUNED, RUNNING, StudyRecord, TrialRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, SOFT, GRID, WIN = "#1f2933", "#6b7680", "#e3e7eb", "#009E73"
LOOKS = {  # state: colour, marker
    COMPLETE: ("#0072B2", "o"),
    PRUNED: ("#E69F00", "s"),
    FAILED: ("#D55E00", "X"),
    INTERRUPTED: ("#8a8f98", "D"),
    RUNNING: ("#56B4E9", "^"),
}


def search_panel(axes: Axes, record: StudyRecord) -> None:
    """Score of each trial in order, and the best so far."""
    from matplotlib.ticker import MaxNLocator

    axes.set(title="The search: score of every trial", xlabel="trial, in order of start", ylabel="overall tuning score")
    scored = [(trial.number, trial.score) for trial in record.trials if trial.score is not None]
    if not record.trials:
        say(axes, "no trial has begun")
        return
    if scored:
        numbers, scores = zip(*sorted(scored), strict=True)
        best = list(accumulate(scores, max))
        end = max(trial.number for trial in record.trials)
        axes.step([*numbers, end], [*best, best[-1]], where="post", color=INK, lw=1.6, alpha=0.75, label="best so far")
    for state, (colour, marker) in LOOKS.items():
        points = [trial for trial in record.trials if trial.state == state]
        if not points:
            continue
        label = f"{state_word(state)} ({len(points)})"
        have = [(trial.number, trial.score) for trial in points if trial.score is not None]
        if have:
            _marks(axes, have, 62, colour, marker, label=label)
        none = [(trial.number, 0.0) for trial in points if trial.score is None]
        if none:  # no score: on the axis itself, so that nobody reads a number off it
            place = axes.get_xaxis_transform()
            shown = None if have else label
            _marks(axes, none, 70, colour, marker, zorder=5, clip_on=False, transform=place, label=shown)
    for trial in _winners(record):
        if trial.score is not None:
            _marks(axes, [(trial.number, trial.score)], 330, WIN, "*", zorder=6, label="winner")
    axes.margins(x=0.03, y=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(
        loc="upper left", bbox_to_anchor=(0.0, -0.15), ncol=6, handletextpad=0.4, columnspacing=1.2, borderpad=0
    )


def curves_panel(axes: Axes, record: StudyRecord) -> None:
    """Score over training rows, the winner in front, stopped trials ending where they were stopped."""
    axes.set(
        title="Learning curves: who was stopped, and when", xlabel="training rows seen", ylabel="overall tuning score"
    )
    winners = {trial.trial_id for trial in _winners(record)}
    drawn = 0
    for trial in sorted(record.trials, key=lambda trial: trial.trial_id in winners):
        points = [(r["samples"], r["score"]) for r in trial.reports if r.get("samples") and _finite(r.get("score"))]
        if not points:
            continue
        drawn += 1
        colour, marker = LOOKS.get(trial.state, LOOKS[RUNNING])
        won = trial.trial_id in winners
        xs, ys = [x for x, _ in points], [y for _, y in points]
        if won:
            axes.plot(xs, ys, color=WIN, lw=3.2, zorder=5)
            _marks(axes, points[-1:], 230, WIN, "*", zorder=6)
        else:
            axes.plot(xs, ys, color=colour, lw=1.3, alpha=0.6, zorder=2)
            _marks(axes, points[-1:], 46, colour, marker)
    if not drawn:
        say(axes, "no trial has reported yet")
        return
    axes.margins(x=0.03, y=0.1)
    right = axes.get_xlim()[1]
    for index, rung in enumerate(rung_places(record)):
        if rung < right:
            axes.axvline(rung, color=SOFT, lw=1, ls=(0, (2, 3)), zorder=1)
            place = axes.get_xaxis_transform()
            axes.text(rung, 0.99, f" rung {index + 1}", transform=place, va="top", fontsize=9, color=SOFT)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def plane_panel(axes: Axes, record: StudyRecord) -> None:
    """Where in rank and learning rate good scores lie."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set(title="Where good scores lie", xlabel="learning rate (log scale)", ylabel="LoRA rank (log scale)")
    points = [t for t in record.trials if _positive(t.params.get("rank")) and _positive(t.params.get("learning_rate"))]
    if not points:
        say(axes, "no trial names a rank\nand a learning rate")
        return
    axes.set_xscale("log")
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0e}".replace("e-0", "e-"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    for trial in _winners(record):
        place = (trial.params["learning_rate"], trial.params["rank"])
        axes.scatter(*place, s=520, marker="o", fc="none", ec=WIN, lw=2.6, zorder=2)
        text: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "color": WIN, "weight": "bold"}
        axes.annotate("winner", place, xytext=(0, 15), **text)
    scores = [trial.score for trial in points if trial.score is not None]
    colours: dict[str, Any] = {"cmap": "cividis", "vmin": min(scores, default=0), "vmax": max(scores, default=1)}
    for state, (_, marker) in LOOKS.items():
        here = [trial for trial in points if trial.state == state]
        xy = [(trial.params["learning_rate"], trial.params["rank"]) for trial in here if trial.score is not None]
        values = [trial.score for trial in here if trial.score is not None]
        if xy:
            xs, ys = zip(*xy, strict=True)
            shown = axes.scatter(xs, ys, c=values, s=120, marker=marker, ec=INK, lw=0.6, **colours)
        none = [(trial.params["learning_rate"], trial.params["rank"]) for trial in here if trial.score is None]
        _marks(axes, none, 70, "white", marker, ec=SOFT, lw=1.3)
    axes.margins(0.12)
    if scores:
        bar = axes.figure.colorbar(shown, ax=axes, pad=0.03, aspect=24)
        bar.ax.set_title("score", fontsize=10, fontweight="normal", loc="left", pad=6)
        bar.outline.set_visible(False)


def importance_panel(axes: Axes, record: StudyRecord) -> None:
    """Which hyperparameters moved the score."""
    found = importance(record)
    axes.set(title="What mattered (fANOVA)")
    if not found.shares:
        say(axes, found.basis.replace(": ", ":\n"))
        return
    names = list(reversed(found.shares))
    shares = [100 * found.shares[name] for name in names]
    axes.barh([name.replace("_", " ") for name in names], shares, color="#0072B2", height=0.62)
    for index, share in enumerate(shares):
        text = f"{share:.0f} %" if share >= 1 else "< 1 %"
        axes.annotate(text, (share, index), xytext=(5, 0), textcoords="offset points", va="center", fontsize=10)
    axes.set_xlim(0, max(shares) * 1.16)
    axes.set_xlabel(f"share of the score's variance, %\n({found.basis})")
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)


def rerun_panel(axes: Axes, record: StudyRecord) -> None:
    """The top k on several seeds: how sure the choice is."""
    groups = list(reversed(rerun_groups(record)))
    count = len(groups)
    axes.set(title=f"The best {count} again, other seeds" if count > 1 else "The best again, other seeds")
    if not groups:
        say(axes, "not re-run on other seeds")
        return
    for y, group in enumerate(groups):
        colour = WIN if group.winner else "#0072B2"
        if group.interval:
            axes.plot(group.interval, [y, y], color=colour, lw=7, alpha=0.22, solid_capstyle="butt")
        axes.scatter(group.scores, [y] * len(group.scores), s=34, c=colour, alpha=0.75, ec="white", lw=0.6, zorder=3)
        axes.scatter([group.mean], [y], s=90, marker="D", c=colour, ec="white", lw=1, zorder=4)
        if group.search_score is not None:
            axes.scatter([group.search_score], [y], s=150, marker="|", c=SOFT, lw=1.8, zorder=2)
        axes.text(group.mean, y + 0.11, f"{group.mean:.3f}", ha="center", fontsize=10, color=colour, weight="bold")
    names = [f"trial {group.number}" + ("\n(winner)" if group.winner else "") for group in groups]
    axes.set_yticks(range(count), names)
    axes.set_ylim(-0.6, count - 0.4)
    axes.margins(x=0.08)
    axes.set_xlabel(
        "overall tuning score (diamond: mean, band: 95 % interval,\ndots: seeds, tick: the same trial in the search)"
    )
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)


def _marks(
    axes: Axes, points: Sequence[tuple[float, float]], size: float, colour: str, marker: str, **more: Any
) -> None:
    """Markers with a white rim, so that those that overlap stay apart. `size` in square points."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    axes.scatter(xs, ys, **{"s": size, "c": colour, "marker": marker, "ec": "white", "lw": 0.8, "zorder": 3, **more})


def _winners(record: StudyRecord) -> list[TrialRecord]:
    """The winning trial, if there is one yet."""
    return [trial for trial in record.trials if record.winner is not None and trial.trial_id == record.winner.trial_id]


def rung_places(record: StudyRecord) -> list[float]:
    """Where ASHA decides, in training rows, up to the longest trial; the rows of a pass are read off a report."""
    search: Mapping[str, Any] = record.config.get("search", {})
    asha = search.get("asha")
    reports = [report for trial in record.trials for report in trial.reports]
    passes = [round(r["samples"] / r["epoch"]) for r in reports if r.get("epoch") and r.get("samples")]
    if not asha or not passes:
        return []
    longest = max(samples_seen(trial) for trial in record.trials)
    rungs, rung = [], asha["grace_epochs"] * passes[0]
    while 0 < rung < longest:
        rungs.append(rung)
        rung *= asha["reduction_factor"]
    return rungs


def say(axes: Axes, text: str) -> None:
    """Words in place of data that is not there."""
    axes.grid(False)
    axes.set(xticks=[], yticks=[], facecolor="#f7f8fa", xlabel="", ylabel="")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=SOFT, fontsize=12)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < float("inf")


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0
