"""What is known of a running study, gathered from its events: counts, best so far, rungs, time left.

Pure bookkeeping that both kinds of progress display read. Knows no terminal, no Ray and no clock: times come in as
arguments, in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tuner.store.records import COMPLETE, FAILED, INTERRUPTED, PRUNED, RUNNING, StudyRecord, TrialRecord

PHASES = {"search": "searching", "rerun": "running the best again over more seeds", "export": "saving the best adapter"}


@dataclass
class StudyState:
    """The newest record of each trial, in the order they began, and the best score after each report."""

    record: StudyRecord
    began: float
    phase: str = "search"
    trials: dict[str, TrialRecord] = field(default_factory=dict)
    best_history: list[float] = field(default_factory=list)
    reruns: dict[str, TrialRecord] = field(default_factory=dict)
    trained: int = 0
    """Samples that the search trained since `began`; a resumed study's earlier ones are not among them."""
    phase_began: float = 0.0

    def __post_init__(self) -> None:
        for trial in self.record.trials:
            self.trials[trial.trial_id] = trial

    def enter(self, phase: str, now: float) -> None:
        """The study goes on to its next phase."""
        self.phase, self.phase_began = phase, now

    def update(self, trial: TrialRecord) -> None:
        """Take in a trial's newest record. What reports after the search is a re-run of a trial, not one more trial."""
        if self.phase != "search":
            self.reruns[trial.trial_id] = trial
            return
        self.trained += max(0, samples_of(trial) - samples_of(self.trials.get(trial.trial_id)))
        self.trials[trial.trial_id] = trial
        best = self.best
        if best is not None and best.score is not None:
            self.best_history.append(best.score)

    @property
    def wanted(self) -> int:
        """How many trials the study is asked to run."""
        return int(self.record.config.get("search", {}).get("trials", 0))

    def count(self, state: str) -> int:
        """How many trials are in a state."""
        return sum(trial.state == state for trial in self.trials.values())

    @property
    def ended(self) -> int:
        """How many trials will not train any more."""
        return sum(self.count(state) for state in (COMPLETE, PRUNED, FAILED))

    @property
    def running(self) -> list[TrialRecord]:
        """Trials that train now, in the order they began."""
        return [trial for trial in self.trials.values() if trial.state == RUNNING]

    @property
    def retrained(self) -> int:
        """How many re-runs have ended."""
        return sum(trial.state == COMPLETE for trial in self.reruns.values())

    @property
    def retrain(self) -> int:
        """How many re-runs there will be."""
        search = self.record.config.get("search", {})
        return min(int(search.get("top_k", 0)), self.count(COMPLETE)) * int(search.get("top_k_seeds", 0))

    @property
    def in_view(self) -> list[TrialRecord]:
        """What trains now: running trials, or in the re-run phase the re-runs that have not ended."""
        return self.running if self.phase == "search" else [t for t in self.reruns.values() if t.state == RUNNING]

    @property
    def best(self) -> TrialRecord | None:
        """The trial with the highest score so far, the earliest of equals; None before the first report."""
        scored = [trial for trial in self.trials.values() if trial.score is not None]
        return max(scored, key=lambda trial: trial.score or 0.0, default=None)

    def counts(self) -> str:
        """ "5 of 16 trials done (2 complete, 3 stopped early), 4 running"; kinds that did not occur are left
        out. A trial is known to run from its first report on."""
        kinds = [(COMPLETE, "complete"), (PRUNED, "stopped early"), (FAILED, "failed"), (INTERRUPTED, "interrupted")]
        parts = ", ".join(f"{self.count(state)} {word}" for state, word in kinds if self.count(state))
        done = f"{self.ended} of {self.wanted} trials done" + (f" ({parts})" if parts else "")
        return f"{done}, {len(self.running)} running" if self.running else done

    def rungs(self) -> list[tuple[int, int]]:
        """(samples, trials that got there) for each of ASHA's rungs up to the longest trial; empty without ASHA."""
        asha = self.record.config.get("search", {}).get("asha")
        rows = self.train_rows
        if not asha or not rows:
            return []
        reached = [samples_of(trial) for trial in self.trials.values()]
        longest = max([self._planned(trial) for trial in self.trials.values()], default=0)
        rungs: list[tuple[int, int]] = []
        level = asha["grace_epochs"] * rows
        while level <= longest and asha["reduction_factor"] > 1:
            rungs.append((round(level), sum(samples >= round(level) for samples in reached)))
            level *= asha["reduction_factor"]
        return rungs

    def seconds_left(self, now: float) -> float | None:
        """An estimate for the phase, from the samples trained so far; None before there is anything to go by.

        Trials yet to come are taken to last as long as those that have ended did on average, which counts in what ASHA
        saves; before any has ended, they are taken to run to their end, so that the first estimates are too long
        rather than too short. A running trial that has outlived the average is taken to run to its end.
        """
        if self.phase == "rerun":
            return self._rerun_seconds_left(now)
        elapsed = now - self.began
        if self.phase != "search" or elapsed <= 0 or self.trained == 0:
            return None
        over = [samples_of(trial) for trial in self.trials.values() if trial.state in (COMPLETE, PRUNED)]
        planned = [self._planned(trial) for trial in self.running]
        typical = sum(over) / len(over) if over else sum(planned) / max(1, len(planned))
        left = sum(self._expected(trial, typical) - samples_of(trial) for trial in self.running)
        left += typical * max(0, self.wanted - self.ended - len(self.running))
        return elapsed * left / self.trained

    def _rerun_seconds_left(self, now: float) -> float | None:
        """Re-runs train to their end; those that have not reported yet are taken to be as long as those that have."""
        seen = sum(samples_of(trial) for trial in self.reruns.values())
        if not seen or now <= self.phase_began:
            return None
        planned = sum(self._planned(trial) for trial in self.reruns.values())
        wanted = planned * max(1.0, self.retrain / len(self.reruns))
        return (now - self.phase_began) * max(0.0, wanted - seen) / seen

    @property
    def train_rows(self) -> int:
        """Rows of one epoch, 0 while unknown."""
        return next((int(engine["train_rows"]) for engine in self.record.engines if engine.get("train_rows")), 0)

    def _expected(self, trial: TrialRecord, typical: float) -> float:
        planned, samples = self._planned(trial), samples_of(trial)
        return max(samples, planned if samples >= typical else min(planned, typical))

    def _planned(self, trial: TrialRecord) -> float:
        return float(trial.params.get("epochs", 0)) * self.train_rows or float(samples_of(trial))


def samples_of(trial: TrialRecord | None) -> int:
    """Training rows a trial has seen by its newest report; 0 before the first, and for None."""
    return int(trial.reports[-1].get("samples", 0)) if trial is not None and trial.reports else 0


def searched_names(record: StudyRecord) -> list[str]:
    """Names of the hyperparameters that the study varies, in the order of its config."""
    space: dict[str, Any] = record.config.get("space", {})
    return [name for name, entry in space.items() if not isinstance(entry, dict) or entry.get("type") != "constant"]


def describe_params(params: dict[str, Any], names: list[str] | None = None) -> str:
    """ "rank 8, learning rate 0.0012, epochs 2": the named ones, or all that have a value."""
    chosen = [name for name in (params if names is None else names) if params.get(name) is not None]
    return ", ".join(f"{name.replace('_', ' ')} {format_value(params[name])}" for name in chosen)


def format_value(value: Any) -> str:
    """A hyperparameter's value as a person writes it: 0.0012, 8, query+value."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return "+".join(map(str, value))
    return str(value)


def sparkline(values: list[float], width: int) -> str:
    """The newest shape of a series in block characters, at most `width` of them; flat series lie in the middle."""
    if not values:
        return ""
    step = max(1, -(-len(values) // width))
    points = values[::-1][::step][::-1]
    low, high = min(points), max(points)
    blocks = "▁▂▃▄▅▆▇█"
    return "".join(blocks[round((v - low) / (high - low) * 7)] if high > low else blocks[3] for v in points)
