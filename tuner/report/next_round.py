"""What the next round should reach, whether there should be one, and the config that runs it.

A series has converged when the total loss, every measure and the overall score have reached the values of `rounds:` in
the config, or when so many rounds were run; what was not measured never converges. The next config is the study's own
with what the evidence advises in place, each change below its reason.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.config import StudyConfig
from tuner.config_file import config_to_yaml, parse_yaml
from tuner.config_rules import largest
from tuner.config_space import Constant, Entry, contains, describe, nearest, parse_entry, same
from tuner.config_yaml import to_yaml
from tuner.errors import StudyError
from tuner.report.advice import Advice
from tuner.report.evidence import active, chosen_params
from tuner.report.rounds import Round
from tuner.report.schema import AdvicePart
from tuner.report.settings import Settings
from tuner.report.standing import Standing, best_trial
from tuner.score_benchmark import TOTAL_LOSS
from tuner.store.records import StudyRecord

_WIDTH = 116


@dataclass(frozen=True)
class TargetLine:
    """What to aim at in one number: `target` = min(limit, factor * now), for the loss as for a similarity. `reached`
    when `now` is at the limit or beyond; NaN is not."""

    name: str
    title: str
    now: float
    target: float
    reached: bool


@dataclass(frozen=True)
class Convergence:
    """Whether another round is worth it. `reasons` are sentences on what was reached, `missing` on what was not."""

    converged: bool
    reasons: tuple[str, ...]
    missing: tuple[str, ...]


def targets(settings: Settings, standing: Standing) -> list[TargetLine]:
    """The next round's targets: the loss, then every measure that the task gives one."""
    benchmark = settings.judged_by
    loss = standing.averages.get(TOTAL_LOSS, math.nan)
    aim = benchmark.loss_target
    lines = [TargetLine(TOTAL_LOSS, "total loss", loss, aim.of(loss), loss <= aim.limit)]
    for each in benchmark.measures:
        if each.target is not None:
            now = standing.averages.get(each.name, math.nan)
            lines.append(TargetLine(each.name, each.title, now, each.target.of(now), now >= each.target.limit))
    return lines


def convergence(settings: Settings, standing: Standing, rounds: Sequence[Round]) -> Convergence:
    """Whether the series that ends with this standing has converged. A round without an overall score does not
    count."""
    wanted, benchmark = settings.rounds, settings.judged_by
    loss, overall = standing.averages.get(TOTAL_LOSS, math.nan), standing.overall
    checks = [("total loss", loss, wanted.loss, loss <= wanted.loss, "at most")]
    for each in benchmark.measures:
        if each.converged is not None:
            now = standing.averages.get(each.name, math.nan)
            checks.append((each.title, now, each.converged, now >= each.converged, "at least"))
    checks.append(("overall score", overall, wanted.overall, overall >= wanted.overall, "at least"))
    reasons = [
        f"{_capital(what)}: {now:.3f}, and {word} {limit:g} is enough." for what, now, limit, met, word in checks if met
    ]
    missing = [
        f"{_capital(what)}: {_number(now)}, and should be {word} {limit:g}."
        for what, now, limit, met, word in checks
        if not met
    ]
    done = sum(math.isfinite(each.overall_score) for each in rounds)
    enough = done >= wanted.most
    if enough:
        reasons.insert(0, f"{done} rounds were run, and {wanted.most} are the most there should be.")
    return Convergence(enough or not missing, tuple(reasons), tuple(missing))


def next_space(record: StudyRecord, advice: Sequence[Advice | AdvicePart]) -> str:
    """The whole config of the next round as YAML that `load_config` reads, with the reason above every change. Its
    start point is the winner, else the best trial. Raises StudyError where no trial has a score, ConfigError where the
    study's own config cannot be."""
    if not chosen_params(record):
        raise StudyError(f"study {record.name} has no trial with a score, so there is nothing to go on from.")
    before = StudyConfig.model_validate(record.config)
    chosen = active(before.space, chosen_params(record))
    says = {each.hyperparameter: each for each in advice if each.entry is not None}
    space, notes = _space(before.space, says)
    start = {
        name: chosen[name] if contains(entry, chosen[name]) else nearest(entry, chosen[name])
        for name, entry in space.items()
        if name in chosen and not isinstance(entry, Constant)
    }
    seed = (before.search.seed + 1) % 2**32
    search: dict[str, Any] = {"seed": seed}
    notes["search.seed"] = f"was {before.search.seed}. Another seed tries other points of the same space."
    most = largest(space.get("epochs"))
    asha = before.search.asha
    if asha is not None and most is not None and asha.grace_epochs > most:
        search["asha"] = asha.model_copy(update={"grace_epochs": most})
        notes["search.asha"] = f"grace_epochs was {asha.grace_epochs:g}, which is above the most epochs now."
    moved = [name for name, value in start.items() if not same(value, chosen[name])]
    notes["start_points"] = f"Tried first: {_from_whom(record)}" + (
        f", with the nearest {', '.join(moved)} that the new space has." if moved else "."
    )
    after = before.model_copy(
        update={
            "name": None,
            "space": space,
            "start_points": [start] if start else [],
            "search": before.search.model_copy(update=search),
        }
    )
    head = [f"The round after {record.name}, written from what its trials say."]
    head += ["They call for no change of the space."] * (not says)
    data = parse_yaml(config_to_yaml(StudyConfig.model_validate(after.model_dump())), "the next round")
    del data["name"]
    return "\n".join([*_comment(" ".join(head)), "", *_lines(data, notes)])


def _space(
    before: Mapping[str, Entry], says: Mapping[str, Advice | AdvicePart]
) -> tuple[dict[str, Entry], dict[str, str]]:
    """The next round's entries, and a note by its place for each that changes. An entry whose condition can no longer
    hold goes."""
    space: dict[str, Entry] = {}
    notes: dict[str, str] = {}
    left_out: list[str] = []
    for name, old in before.items():
        entry = parse_entry(says[name].entry) if name in says else old
        when = None if isinstance(entry, Constant) else entry.when
        lost = [parent for parent, values in (when or {}).items() if not _possible(space.get(parent), values)]
        if lost:
            left_out.append(f"{name} is left out: its condition on {' and '.join(lost)} cannot hold any more.")
            continue
        space[name] = entry
        if name in says:
            notes[f"space.{name}"] = f"{says[name].evidence}, was {describe(old)}. {says[name].evidence_reason}"
    if left_out:
        notes["space"] = " ".join(left_out)
    return space, notes


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not measured"


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _possible(parent: Entry | None, values: Sequence[Any]) -> bool:
    return parent is not None and any(contains(parent, value) for value in values)


def _from_whom(record: StudyRecord) -> str:
    if record.winner is not None:
        return f"the winner of {record.name}"
    best = best_trial(record)
    return f"trial {best.number}, the best of {record.name}" if best is not None else ""


def _lines(data: Mapping[str, Any], notes: Mapping[str, str]) -> Iterator[str]:
    """YAML with the notes as comments, each above its place."""
    for key, value in data.items():
        yield from _comment(notes.get(key, ""))
        if not isinstance(value, dict) or not value:
            yield to_yaml({key: value}).rstrip()
            continue
        yield f"{key}:"
        for name, part in value.items():
            yield from (f"  {line}" for line in _comment(notes.get(f"{key}.{name}", "")))
            yield textwrap.indent(to_yaml({name: part}), "  ").rstrip()
    yield ""


def _comment(text: str) -> list[str]:
    # a sign that YAML takes for a line end would end the comment
    plain = "".join(sign if sign.isprintable() else " " for sign in text)
    return [f"# {line}" for line in textwrap.wrap(plain, _WIDTH)]
