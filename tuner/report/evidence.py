"""What a study's own trials say of its search space: where the best lie, what did not matter, who overfitted.

The best are the top quarter of the trials with a score, at least 3. A range is widened where two thirds of them lie in
its outer tenth, and narrowed to where they lie when that leaves at most two thirds of it; both on the range's own
scale, logarithmic or not. The margin is the span of the k best / (k - 1) on each side: k points drawn evenly from an
interval span (k - 1) / (k + 1) of it on average. A value is dropped that was tried and is not among the best. What
chance alone brings about in more than one case of five is no evidence. Constants are the user's decision and stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from tuner.config_rules import largest
from tuner.config_space import Choice, Constant, Entry, IntRange, contains, describe, parse_entry, same
from tuner.report.importance import MIN_TRIALS, ROUGH_BELOW, Importance, importance
from tuner.report.ranges import Range, beyond, end_share, place, within
from tuner.report.standing import best_trial
from tuner.report.trials import searched, value_text
from tuner.store.records import COMPLETE, StudyRecord, TrialRecord

EDGE = 0.1  # of a range, on its own scale
MOST = 2 / 3  # of the best trials; and of a range, to be worth narrowing
UNIMPORTANT = 0.05  # of the score's variance
TRIED = 3  # so often a value has had its chance
LUCK = 0.2  # what comes by chance more often than this is no evidence
FALL = 0.01  # of the score, from a trial's best report to its last: more than the noise between two reports
RISE = 1.02  # of the lowest validation loss
SHOWN = 6  # of many values or trials


@dataclass(frozen=True)
class Evidence:
    """`words` say what to do ("stay", "widen up"...), `reason` why, with the numbers. `entry` is the entry of the next
    round's space as plain data, None where it stays as it is."""

    words: str
    reason: str
    entry: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Trials:
    """The trials with a score, the best of them, the parameters to keep, and what mattered."""

    scored: Sequence[TrialRecord]
    best: Sequence[TrialRecord]
    chosen: Mapping[str, Any]
    mattered: Importance
    finished: int

    def values(self, name: str) -> list[Any]:
        """The best trials' values of a hyperparameter; conditional ones not every trial has."""
        return [trial.params[name] for trial in self.best if name in trial.params]

    @property
    def called(self) -> str:
        """ "the best 4 of 16 trials"."""
        return f"the best {len(self.best)} of {len(self.scored)} trials"


def evidence(record: StudyRecord) -> dict[str, Evidence]:
    """What the trials say of every hyperparameter that the space lets vary, and of the epochs."""
    varied = searched(record)
    entries: dict[str, Entry] = {}
    found: dict[str, Evidence] = {}
    for name, raw in (record.config.get("space") or {}).items():
        try:
            entries[name] = parse_entry(raw)
        except ValidationError:
            found[name] = Evidence("stay", "Its entry in the space cannot be read.")
    scored = sorted(
        (replace(trial, params=active(entries, trial.params)) for trial in record.trials if trial.score is not None),
        key=lambda trial: (-(trial.score or 0.0), trial.number),
    )
    told = {name: entry for name, entry in entries.items() if name in varied or name == "epochs"}
    if len(scored) < MIN_TRIALS:
        have = f"{len(scored)} trial{'s have' if len(scored) != 1 else ' has'} a score"
        few = Evidence("stay", f"Too few to tell: {have}, and {MIN_TRIALS} are needed.")
        return {**dict.fromkeys(told, few), **found}
    trials = _Trials(
        scored,
        scored[: max(3, len(scored) // 4)],
        active(entries, chosen_params(record)),
        importance(record),
        sum(trial.state == COMPLETE for trial in scored),
    )
    for name, entry in told.items():
        made = _epochs(entry, trials) if name == "epochs" else _of(name, entry, trials)
        if made is not None:
            found[name] = made
    return found


def active(space: Mapping[str, Entry], params: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a space that a trial had by its conditions. Where one does not hold, `params` have the
    default, which nobody chose."""
    found: dict[str, Any] = {}
    for name, entry in space.items():
        when = {} if isinstance(entry, Constant) else entry.when or {}
        holds = all(
            parent in found and any(same(found[parent], value) for value in values) for parent, values in when.items()
        )
        if holds and name in params:
            found[name] = params[name]
    return found


def chosen_params(record: StudyRecord) -> Mapping[str, Any]:
    """The winner's hyperparameters, else those of the best trial so far; empty before the first report."""
    if record.winner is not None:
        return record.winner.params
    best = best_trial(record)
    return {} if best is None else best.params


def plain_entry(entry: Entry) -> dict[str, Any]:
    """An entry as plain data, without what is default."""
    return {"type": entry.type, **entry.model_dump(exclude_defaults=True)}


def _of(name: str, entry: Entry, trials: _Trials) -> Evidence | None:
    """None where there is nothing to choose."""
    if isinstance(entry, Constant) or (isinstance(entry, Range) and entry.low == entry.high):
        return None
    share = trials.mattered.shares.get(name)
    explains = "" if share is None else f" It explains {100 * share:.0f} % of the score's variance."
    minor = share is not None and share < UNIMPORTANT
    value = trials.chosen.get(name)
    if minor and trials.finished >= ROUGH_BELOW and contains(entry, value):
        reason = f"One value is enough.{explains}"
        return Evidence(f"fix at {value_text(value)}", reason, _fixed(entry, value))
    values = [value for value in trials.values(name) if contains(entry, value)]
    if len(values) < 3:
        count = len(values) or "none"
        return Evidence("stay", f"Too few to tell: {count} of {trials.called} {'have' if count != 1 else 'has'} it.")
    if isinstance(entry, Choice):
        return _choice(name, entry, trials, minor, explains)
    return _edge(name, entry, values, minor, explains) or _cluster(name, entry, values, trials, explains)


def _edge(name: str, entry: Range, values: Sequence[float], minor: bool, explains: str) -> Evidence | None:
    """Widen, where most of the best lie at an end."""
    for side, word, end in ((1, "up", entry.high), (-1, "down", entry.low)):
        there = [
            value for value in values if (place(entry, value) >= 1 - EDGE if side > 0 else place(entry, value) <= EDGE)
        ]
        if len(there) < MOST * len(values) or _luck(len(there), len(values), end_share(entry, EDGE)) > LUCK:
            continue
        where = "upper" if side > 0 else "lower"
        listed = _few([value_text(value) for value in there])
        reason = f"{len(there)} of the best {len(values)} lie at the {where} end of {describe(entry)} ({listed})"
        if minor:
            return Evidence("stay", f"{reason}, but it matters little.{explains}")
        further = beyond(name, entry, side)
        if further is None:
            return Evidence("stay", f"{reason}, and there is nothing to try beyond {value_text(end)}.{explains}")
        wider = entry.model_copy(update={"high" if side > 0 else "low": further})
        reason = f"{reason}, so better ones may lie beyond: on to {value_text(further)}.{explains}"
        return Evidence(f"widen {word}", reason, plain_entry(wider))
    return None


def _cluster(name: str, entry: Range, values: Sequence[float], trials: _Trials, explains: str) -> Evidence:
    """Narrow, where the best lie close together."""
    low, high = min(values), max(values)
    what = f"{value_text(low)} to {value_text(high)}" if low < high else value_text(low)
    spread = f"T{trials.called[1:]} have {what} of {describe(entry)}"
    margin = max((place(entry, high) - place(entry, low)) / (len(values) - 1), EDGE / 2)
    kept = place(entry, trials.chosen[name]) if contains(entry, trials.chosen.get(name)) else place(entry, low)
    narrower = within(entry, min(place(entry, low) - margin, kept), max(place(entry, high) + margin, kept))
    if place(entry, narrower.high) - place(entry, narrower.low) > MOST:
        return Evidence("stay", f"{spread}: too far apart to narrow it.{explains}")
    if narrower.low == narrower.high:
        return Evidence(f"fix at {value_text(low)}", f"{spread}.{explains}", _fixed(entry, low))
    reason = f"{spread}; with a margin that leaves {describe(narrower)}.{explains}"
    return Evidence("narrow", reason, plain_entry(narrower))


def _choice(name: str, entry: Choice, trials: _Trials, minor: bool, explains: str) -> Evidence:
    """Drop the values that had their chance and never came among the best."""
    best, among = trials.values(name), trials.called
    having = sum(name in trial.params for trial in trials.scored)
    dropped, kept, counts = [], [], []
    for value in entry.values:
        tried = sum(name in trial.params and same(trial.params[name], value) for trial in trials.scored)
        count = sum(same(each, value) for each in best)
        luck = math.comb(having - tried, len(best)) / math.comb(having, len(best))
        if count or tried < TRIED or luck > LUCK or same(trials.chosen.get(name), value):
            kept.append(value)
            counts += [f"{value_text(value)} ({count})"] * bool(count)
        else:
            dropped.append(f"{value_text(value)} (tried {tried} times)")
    if not dropped:
        return Evidence("stay", f"Among {among}: {', '.join(counts)}.{explains}")
    reason = f"None of {among} has {' or '.join(dropped)}"
    if minor:
        return Evidence("stay", f"{reason}, but it matters little.{explains}")
    left = _fixed(entry, kept[0]) if len(kept) == 1 else plain_entry(entry.model_copy(update={"values": kept}))
    return Evidence("narrow", f"{reason}.{explains}", left)


def _epochs(entry: Entry, trials: _Trials) -> Evidence | None:
    """Fewer epochs where the best overfitted, more where they still rose at the end; else as every other range."""
    long = [trial for trial in trials.scored if trial.state == COMPLETE and len(trial.reports) > 1]
    over = [trial for trial in long if overfitted(trial)]
    who = f" Trial{'s' if len(over) > 1 else ''} {_numbers(over)} overfitted." if over else ""
    best = [trial for trial in trials.best if trial in long and math.isfinite(_best_epoch(trial))]
    usual = _of("epochs", entry, trials)
    high = entry.high if isinstance(entry, IntRange) else None
    tops = [trial for trial in best if overfitted(trial)]
    if best and len(tops) > len(best) / 2:
        enough = max(math.ceil(_best_epoch(trial)) for trial in best)
        reason = (
            f"{len(tops)} of the best {len(best)} with several reports overfitted (trials {_numbers(tops)}): they were "
            f"past their best at the end, and none was at its best after epoch {enough}."
        )
        if enough >= (largest(entry) or 0):
            return Evidence("stay", f"{reason} Fewer epochs would not reach that.")
        if isinstance(entry, Constant):
            return Evidence("fewer", f"{reason} The space holds it constant, so lower it there.")
        return Evidence("fewer", reason, _at_most(entry, enough))
    if usual is None:
        return Evidence("stay", f"It is not searched.{who}") if who else None
    if usual.words == "widen up":
        rising = [t for t in best if t.best == len(t.reports) - 1 and t.params.get("epochs") == high]
        if len(rising) < MOST * len(trials.best):
            words = f"{len(rising)} of the best {len(trials.best)} trials still rose at the end of {high} epochs"
            return Evidence("stay", f"Only {words}: more are not called for.{who}")
        reason = f"{len(rising)} of the best {len(trials.best)} trials still rose at their end. {usual.reason}{who}"
        return Evidence("more", reason, usual.entry)
    return Evidence(usual.words, usual.reason + who, usual.entry)


def _at_most(entry: Entry, enough: int) -> dict[str, Any] | None:
    """The entry without the epochs that nobody needs; None where it has no fewer that are enough."""
    if isinstance(entry, Choice):
        top = min(value for value in entry.values if value >= enough)
        kept = [value for value in entry.values if value <= top]
        return plain_entry(entry.model_copy(update={"values": kept})) if len(kept) < len(entry.values) else None
    if not isinstance(entry, IntRange):
        return None
    high = entry.low + -(-(enough - entry.low) // entry.step) * entry.step
    if high <= entry.low:
        return _fixed(entry, enough)
    return plain_entry(entry.model_copy(update={"high": high})) if high < entry.high else None


def overfitted(trial: TrialRecord) -> bool:
    """Whether a trial went on for too long: its score fell from its best report to its last, or its validation loss
    rose from its lowest while its training loss fell."""
    if trial.score is None or len(trial.reports) < 2:
        return False
    last = trial.reports[-1]
    if _number(last, "score") < trial.score - FALL:
        return True
    losses = [_number(report, "validation_loss") for report in trial.reports]
    if not all(math.isfinite(loss) for loss in losses):
        return False
    lowest = losses.index(min(losses))
    return losses[-1] > RISE * losses[lowest] and _number(last, "loss") < _number(trial.reports[lowest], "loss")


def _best_epoch(trial: TrialRecord) -> float:
    """How many epochs a trial had seen at its best report; NaN where it does not say."""
    return math.nan if trial.best is None else _number(trial.reports[trial.best], "epoch")


def _number(report: Mapping[str, float | None], name: str) -> float:
    value = report.get(name)
    return math.nan if value is None else value


def _fixed(entry: Entry, value: Any) -> dict[str, Any]:
    """One value; as a choice where the entry has a condition, which a constant cannot have."""
    if isinstance(entry, Constant) or entry.when is None:
        return plain_entry(Constant(value=value))
    return plain_entry(Choice(values=[value], when=entry.when))


def _luck(successes: int, tries: int, chance: float) -> float:
    """How often at least so many of the tries succeed, by the binomial distribution."""
    return math.fsum(math.comb(tries, k) * chance**k * (1 - chance) ** (tries - k) for k in range(successes, tries + 1))


def _numbers(trials: Sequence[TrialRecord]) -> str:
    return _few([str(number) for number in sorted(trial.number for trial in trials)])


def _few(words: Sequence[str]) -> str:
    """The first of many."""
    more = len(words) - SHOWN
    return ", ".join(words[:SHOWN]) + (f" and {more} more" if more > 0 else "")
