"""What a training log says about the training, in a word, a reason and an advice; and which of several logs did best.

Rules of thumb, in this order; the first that holds is the verdict. Levels are medians over a tenth of the entries, so
that one lucky batch decides nothing. Training loss alone never proves that a model is good: without an evaluation the
verdict says so. A log that holds several runs is judged by its last.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tuner.data.training_logs import RESULTS, STUDY, Entry, Points, TrainingLog, count_entries, finite_points, series

RISEN = 1.05  # evaluation loss so far above its lowest point has turned up
BY_HEART = 0.05  # a mean training loss at which a model repeats the training rows
PASSES = 3  # so many passes make that possible
MOVED = 0.02  # a loss that fell by less has not moved
SPIKE = 10.0  # times the median gradient norm
MANY = 95.0  # an overlap with the reference answers, of 100, that copies them
_FEWEST = 4


@dataclass(frozen=True)
class Verdict:
    """`word` in a few words, `reason` with the numbers it rests on, `advice`, and `notes` of what else stands out."""

    word: str
    reason: str
    advice: str
    notes: tuple[str, ...] = ()


def judge(log: TrainingLog) -> Verdict:
    """The verdict on one log. A log with nothing to judge gets the word "nothing to judge"."""
    if log.form == STUDY:
        verdict = _judge_study(log)
    elif log.entries and any("loss" in entry.metrics or "eval_loss" in entry.metrics for entry in log.entries):
        verdict = _judge_training(log)
    elif any(name.startswith("predict_") for name in log.totals):
        verdict = _judge_answers(log.totals)
    else:
        verdict = Verdict("nothing to judge", "It holds no loss and no measure of answers.", "")
    return replace(verdict, notes=(*verdict.notes, *_notes(log)))


def compare(logs: Sequence[TrainingLog]) -> str:
    """Which of several logs did best, and by what; or why that cannot be said."""
    if all(log.form == STUDY for log in logs):
        highest = {log.name: max(values) for log in logs if (values := _values(log.points("score")))}
        if not highest:
            return "They cannot be ranked: no trial has a score."
        best = max(highest, key=lambda name: highest[name])
        return f"{best} has the best score, {highest[best]:.4f}, if all score the same rows by the same weights."
    if any(log.form == STUDY for log in logs):
        return "They cannot be ranked: a study's scores and a trainer's losses are of two kinds."
    lowest = {log.name: min(values) for log in logs if (values := _values(log.points("eval_loss")))}
    if len(lowest) == len(logs):
        best = min(lowest, key=lambda name: lowest[name])
        return f"{best} reached the lowest evaluation loss, {plain(lowest[best])}, if all evaluate the same rows."
    if lowest:
        without = [log.name for log in logs if log.name not in lowest]
        have = "has" if len(without) == 1 else "have"
        return (
            f"They cannot be ranked: {' and '.join(without)} {have} no evaluation loss, and a lower training loss "
            "proves nothing."
        )
    return "They cannot be ranked: none has an evaluation loss, and a lower training loss proves nothing."


def _judge_training(log: TrainingLog) -> Verdict:
    run, axis = log.runs()[-1], log.axis()
    losses, evaluations = series(run, "loss", axis), series(run, "eval_loss", axis)
    if found := _diverged(run, axis):
        return found
    norms = _values(series(run, "grad_norm", axis))
    if len(norms) >= _FEWEST and max(norms) == 0:
        reason = "The gradient norm is 0 at every entry: nothing that is trained has an effect on the loss."
        return Verdict("not learning", reason, "Check which modules are trained and that labels are not all masked.")
    if len(evaluations) >= 2:
        return _judge_evaluated(losses, evaluations, axis)
    return _judge_unseen(losses, evaluations, run, axis)


def _diverged(run: tuple[Entry, ...], axis: str) -> Verdict | None:
    advice = "Lower the learning rate, warm up longer, or use bf16 where it was fp16."
    for metric in ("loss", "eval_loss"):
        for entry, (place, value) in zip(
            (e for e in run if metric in e.metrics), series(run, metric, axis), strict=True
        ):
            if not math.isfinite(value):
                reason = f"{metric} stops being a finite number at {_at(axis, place)} (line {entry.line})."
                return Verdict("diverged", reason, advice)
    zeros = [e for e in run if e.metrics.get("loss") == 0 and not e.metrics.get("grad_norm", math.nan) > 0]
    if len(zeros) >= 2 and any("grad_norm" in entry.metrics for entry in zeros):
        reason = f"From line {zeros[0].line} on the loss is exactly 0 and no gradient is left: numbers have overflowed."
        return Verdict("diverged", reason, advice)
    return None


def _judge_evaluated(losses: Points, evaluations: Points, axis: str) -> Verdict:
    place, lowest = min(evaluations, key=lambda point: point[1])
    last_place, last = evaluations[-1]
    fitted = f", while training loss fell to {plain(_level(losses, last=True))}" if _falls(losses) else ""
    if last > RISEN * lowest and last_place > place:
        rise = f"{100 * (last / lowest - 1):.0f} %" if lowest > 0 else "far"
        reason = f"Evaluation loss was lowest at {_at(axis, place)} ({plain(lowest)}) and is {rise} higher at the end"
        advice = f"Keep the checkpoint of {_at(axis, place)}; train less, with a lower rank, more dropout or more data."
        return Verdict("overfitting", f"{reason} ({plain(last)}){fitted}.", advice)
    earlier = evaluations[: max(1, len(evaluations) * 2 // 3)]
    before = min(value for _, value in earlier)
    fell = 1 - last / before if before > 0 else 0.0
    if fell > MOVED:
        reason = f"Evaluation loss is at its lowest at the end ({plain(last)}), {100 * fell:.0f} % lower than before."
        return Verdict("still learning", reason, "Train longer, or raise the learning rate.")
    reason = f"Evaluation loss levels off at {plain(last)}; its lowest is {plain(lowest)} at {_at(axis, place)}."
    return Verdict("converged", reason, "More of the same brings little: change data, rank or learning rate.")


def _judge_unseen(losses: Points, evaluations: Points, run: tuple[Entry, ...], axis: str) -> Verdict:
    if not losses:
        return Verdict("too short to judge", f"It holds {len(evaluations)} evaluation and no training loss.", "")
    first, last = _level(losses), _level(losses, last=True)
    epochs = max((entry.metrics["epoch"] for entry in run if "epoch" in entry.metrics), default=math.nan)
    if epochs >= PASSES and last <= BY_HEART:
        reason = (
            f"After {epochs:,.0f} passes over the training rows their loss is {plain(last)}: the model has them by "
            "heart. There is no evaluation loss, so this is overfitting until validation says otherwise."
        )
        return Verdict(
            "overfitting, until validation says otherwise", reason, "Evaluate on rows that are not trained on."
        )
    blind = "Evaluate on other rows too: training loss cannot tell learning from learning by heart."
    if len(losses) < _FEWEST:
        return Verdict("too short to judge", f"It holds {len(losses)} training loss{'es' * (len(losses) > 1)}.", blind)
    lowest = min(statistics.median(v for _, v in losses[i : i + _width(losses)]) for i in range(len(losses)))
    if last > max(1.2 * lowest, lowest + MOVED) and last > RISEN * _level(losses[: len(losses) // 2 + 1], last=True):
        reason = f"Training loss rises: it had been {plain(lowest)} and ends at {plain(last)}."
        return Verdict("diverging", reason, "Lower the learning rate or warm up longer.")
    if last > (1 - MOVED) * first:
        reason = f"Training loss begins at {plain(first)} and ends at {plain(last)}."
        return Verdict("not learning", reason, "Raise the learning rate, and check the labels and what is trained.")
    before = _level(losses[: max(1, len(losses) * 2 // 3)], last=True)
    if before - last > 0.1 * (first - last):
        reason = f"Training loss still falls at the end: from {plain(first)} to {plain(last)}."
        return Verdict("still learning", reason, blind)
    reason = f"Training loss levels off: from {plain(first)} to {plain(last)}."
    return Verdict("converged on the training rows", reason, blind)


def overlaps(totals: Mapping[str, float]) -> dict[str, float]:
    """Of final numbers those that measure what predicted answers share with the references."""
    return {name: value for name, value in totals.items() if name.lower().startswith(("predict_bleu", "predict_rouge"))}


def _judge_answers(totals: Mapping[str, float]) -> Verdict:
    found = overlaps(totals)
    if not found:
        return Verdict("nothing to judge", "It holds times, and no measure of the answers.", "")
    bad = [name for name, value in found.items() if not 0 <= value <= 100]
    if bad:
        return Verdict("not believable", f"{', '.join(bad)} lies outside 0 to 100.", "Check how it was computed.")
    mean = statistics.fmean(found.values())
    shown = ", ".join(f"{name.removeprefix('predict_')} {value:.1f}" for name, value in found.items())
    reason = f"{shown}: on average {mean:.0f} of 100 shared with the reference answers."
    note = "Overlap counts words, not truth: right answers in other words score low, wrong ones in the same words high."
    if mean >= MANY:
        return Verdict("too good", reason, "Check that the predicted rows were not trained on.", (note,))
    for least, word in ((50, "close to the references"), (30, "fair"), (10, "weak"), (0, "poor")):
        if mean >= least:
            return Verdict(word, reason, "Read a few answers beside their references.", (note,))
    raise AssertionError("a share of 100 lies in one of the bands")


def _judge_study(log: TrainingLog) -> Verdict:
    states = [entry.label for entry in log.entries]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    scores = finite_points([(place, entry.metrics.get("score", math.nan)) for place, entry in enumerate(log.entries)])
    total = f"{len(states)} trials: {counted}."
    if not scores:
        return Verdict("no result", f"{total} None has a score.", "`tuner status` says why trials failed.")
    place, best = max(scores, key=lambda point: point[1])
    trial = log.entries[int(place)].metrics["trial"]
    reason = f"{total} The best score, {best:.4f}, is that of trial {trial:.0f}."
    if states.count("failed") > len(states) / 3:
        return Verdict("many trials fail", reason, "Narrow the space: `tuner status` says why each failed.")
    if len(scores) >= 2 * _FEWEST and place >= 0.8 * (len(states) - 1):
        return Verdict("still finding better", reason, "Go on with more trials.")
    return Verdict("settled" if len(scores) >= 2 * _FEWEST else "few trials", reason, "")


def _notes(log: TrainingLog) -> tuple[str, ...]:
    notes = []
    runs, axis = log.runs(), log.axis()
    if log.form not in (RESULTS, STUDY) and len(runs) > 1:
        notes.append(f"It holds {len(runs)} runs; the last begins at line {runs[-1][0].line} and is the one judged.")
    run = runs[-1] if runs else ()
    norms = finite_points(series(run, "grad_norm", axis))
    if len(norms) >= _FEWEST:
        usual = statistics.median(value for _, value in norms)
        spikes = [(place, value) for place, value in norms if usual > 0 and value > SPIKE * usual]
        if spikes:
            place, most = max(spikes, key=lambda point: point[1])
            notes.append(
                f"The gradient norm is more than {SPIKE:g} times its median at {len(spikes)} of {len(norms)} "
                f"entries, at most {plain(most)} at {_at(axis, place)}: clip it, or look at the rows there."
            )
    rates = finite_points(series(run, "learning_rate", axis))
    if len(rates) >= _FEWEST:
        notes.append(_schedule(rates, axis))
    if log.broken:
        shown = "; ".join(f"line {each.line}: {each.why}" for each in log.broken[:3])
        more = f"; and {len(log.broken) - 3} more" if len(log.broken) > 3 else ""
        notes.append(f"{count_entries(len(log.broken))} could not be read ({shown}{more}).")
    return tuple(notes)


def _schedule(rates: Points, axis: str) -> str:
    values = [value for _, value in rates]
    place, peak = max(rates, key=lambda point: point[1])
    if max(values) - min(values) <= 1e-6 * abs(peak):
        return f"The learning rate is {peak:.3g} throughout."
    rise = f"rises to {peak:.3g} at {_at(axis, place)}" if place > rates[0][0] else f"begins at {peak:.3g}"
    return f"The learning rate {rise} and ends at {values[-1]:.3g}."


def _values(points: Points) -> list[float]:
    return [value for _, value in finite_points(points)]


def _width(points: Points) -> int:
    return max(1, len(points) // 10)


def _level(points: Points, last: bool = False) -> float:
    """The median of the first, or the last, tenth of a curve."""
    chosen = points[-_width(points) :] if last else points[: _width(points)]
    return statistics.median(value for _, value in chosen) if chosen else math.nan


def _falls(points: Points) -> bool:
    return len(points) >= 2 and _level(points, last=True) < _level(points)


def _at(axis: str, place: float) -> str:
    return f"{axis.removeprefix('current_').removesuffix('s')} {place:,.4g}" if place < 1000 else f"{axis} {place:,.0f}"


def plain(value: float) -> str:
    """A number with as many digits as help."""
    return f"{value:.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
