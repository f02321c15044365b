"""Advice for the next round: for each hyperparameter a rule of thumb, beside what the study's own trials say.

A rule of thumb goes by one number of the study's standing. The rules are the task's own, and for what it has no rule
for those below, from the project's own practice. Knows nothing of how the evidence is found: `report/evidence.py` does.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from typing import Any

from tuner import tasks
from tuner.config_rules import COMMON_HYPERPARAMETERS
from tuner.report.evidence import Evidence, chosen_params, evidence
from tuner.report.settings import Settings
from tuner.report.standing import Standing
from tuner.report.trials import value_text
from tuner.score_benchmark import TOTAL_LOSS, Benchmark, Rule
from tuner.store.outputs import Outputs
from tuner.store.records import StudyRecord

OVERALL = "overall"

# the last step is "not above 0.8", and a step ends below its edge: so the edge is the next number after 0.8
_RANK = Rule("rank", OVERALL, ((0.4, 64), (0.6, 48), (math.nextafter(0.8, 1.0), 32)), 16)
GENERAL = (
    Rule("learning_rate", TOTAL_LOSS, ((0.8, 2e-4), (0.6, 3e-4), (0.4, 5e-4), (0.2, 8e-4)), 1e-3, above=True),
    _RANK,
)
"""Rules of thumb for a task that has none of its own for the hyperparameter. Alpha is as large as the rank."""


@dataclass(frozen=True)
class Advice:
    """What to do about one hyperparameter. `now` is the winner's value, or the best trial's, in words ("" before the
    first report). `rule_of_thumb` is None where no rule says anything. `evidence` is what the study's own trials call
    for ("stay", "widen up", "narrow"...), and `entry` the entry of the next round's space as plain data, None where it
    stays as it is: it follows the evidence alone."""

    hyperparameter: str
    now: str
    rule_of_thumb: float | None
    rule_reason: str
    evidence: str
    evidence_reason: str
    entry: dict[str, Any] | None


def advise(record: StudyRecord, settings: Settings, standing: Standing, outputs: Outputs | None = None) -> list[Advice]:
    """Advice for every hyperparameter that the study searched or that a rule knows, those of the space first. From
    `outputs` on test rows it reads whether the winner overfitted the validation rows."""
    found = evidence(record)
    rules = {rule.hyperparameter: rule for rule in rules_of(settings.judged_by)}
    not_searched = Evidence("stay", "It was not searched, so the trials say nothing of it.")
    gap = _gap(record, settings, outputs)
    advice = []
    for name in dict.fromkeys([*found, *(["epochs"] if gap else []), *rules]):
        says = found.get(name, not_searched)
        value, reason = _rule(rules.get(name), settings, standing)
        because = f"{says.reason} {gap}".strip() if name == "epochs" else says.reason
        advice.append(Advice(name, _now(record, name), value, reason, says.words, because, says.entry))
    return advice


def rules_of(benchmark: Benchmark) -> tuple[Rule, ...]:
    """The task's own rules, and the general ones for what it has none for."""
    rules = {rule.hyperparameter: rule for rule in (*GENERAL, *benchmark.rules)}
    return tuple({"alpha": replace(rules["rank"], hyperparameter="alpha"), **rules}.values())


def _rule(rule: Rule | None, settings: Settings, standing: Standing) -> tuple[float | None, str]:
    """What a rule advises, and why."""
    if rule is None:
        return None, "There is no rule of thumb for it."
    value = standing.overall if rule.measure == OVERALL else standing.averages.get(rule.measure, math.nan)
    what = _title(rule.measure, settings.judged_by)
    advised = rule.of(value)
    if not math.isfinite(advised):
        return None, f"{what}: not measured, so the rule says nothing."
    also = ", as large as the rank" if rule.hyperparameter == "alpha" else ""
    return advised, f"{what} {value:.3f}: {_step(rule, value)} the rule says {value_text(advised)}{also}."


def _gap(record: StudyRecord, settings: Settings, outputs: Outputs | None) -> str:
    """A sentence where the winner is worse on test rows than on validation rows by more than chance explains: by 3
    standard errors of the mean over test rows, as both means have one."""
    metric = settings.sources["quality"]
    if record.winner is None or outputs is None or outputs.split != "test":
        return ""
    before = record.winner.metrics.get(metric)
    values = [item.metrics[metric] for item in outputs.items if metric in item.metrics]
    if before is None or len(values) < 2:
        return ""
    now = statistics.fmean(values)
    if not before - now > 3 * statistics.stdev(values) / math.sqrt(len(values)):
        return ""
    return (
        f"The winner's {metric.replace('_', ' ')} is {before:.3f} on validation rows and {now:.3f} on {len(values)} "
        "test rows, a larger gap than chance explains: it overfitted."
    )


def _step(rule: Rule, value: float) -> str:
    edges = [edge for edge, _ in rule.steps]
    beyond = next((edge for edge in edges if (value > edge if rule.above else value < edge)), None)
    if beyond is None:
        return f"at {edges[-1]:g} and below" if rule.above else f"beyond {edges[-1]:g}"
    if rule.above:
        return f"above {beyond:g}"
    return f"below {beyond:g}" if beyond == float(f"{beyond:g}") else f"up to {beyond:g}"


def _title(measure: str, benchmark: Benchmark) -> str:
    if measure in (OVERALL, TOTAL_LOSS):
        return {OVERALL: "Overall score", TOTAL_LOSS: "Total loss"}[measure]
    title = benchmark.measure(measure).title
    return f"{title[:1].upper()}{title[1:]}"


def _now(record: StudyRecord, name: str) -> str:
    """The value in use, in words."""
    chosen = chosen_params(record)
    if not chosen:
        return ""
    if name in chosen:
        return value_text(chosen[name])
    defaults = {**COMMON_HYPERPARAMETERS, **tasks.spec(record.task).hyperparameters}
    return f"{value_text(defaults[name])} (default)" if name in defaults else "not set"
