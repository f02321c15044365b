"""After the search: the top k are trained again from fresh seeds, and the winner is chosen on the mean.

The score a trial won the search with is the luckiest of many and counts for nothing here: only the fresh seeds do, so
the mean and its 95 % interval (Student's t over seeds) are honest. The adapter that is kept is the re-run of the
winner with the best validation score; the test split is never looked at for a choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tuner.config import StudyConfig
from tuner.engine.contract import Report, TrialSpec
from tuner.errors import StudyError
from tuner.score import mean_interval, overall_score
from tuner.store.records import COMPLETE, Rerun, TrialRecord, Winner
from tuner.study.recorder import Recorder
from tuner.study.runner import Runner, Trained
from tuner.study.sampler import seed_of
from tuner.tasks.task import TaskSpec


def top(trials: Sequence[TrialRecord], count: int) -> list[TrialRecord]:
    """The best `count` finished trials, best first; of equal ones the earlier."""
    finished = [trial for trial in trials if trial.state == COMPLETE and trial.score is not None]
    return sorted(finished, key=lambda trial: (-(trial.score or 0.0), trial.number))[:count]


def rerun(config: StudyConfig, recorder: Recorder, runner: Runner) -> None:
    """Train the top k from each of their seeds, but for those that a study before its interruption trained already.

    Raises StudyError if no trial finished."""
    best = top(recorder.trials(), config.search.top_k)
    if not best:
        failed = next((trial.message for trial in recorder.trials() if trial.message), "none was run")
        raise StudyError(f"no trial finished, so there is nothing to choose from. The first said: {failed}.")
    done = {(each.trial_id, each.seed) for each in recorder.snapshot().reruns}
    wanted: dict[str, tuple[TrialRecord, TrialSpec]] = {}
    for trial in best:
        for number in range(1, config.search.top_k_seeds + 1):
            seed = seed_of(config.search.seed, trial.number, number)
            if (trial.trial_id, seed) not in done or recorder.folder.rerun(trial.trial_id, seed) is None:
                run_id = f"{trial.trial_id}-seed-{seed}"
                wanted[run_id] = (trial, TrialSpec(run_id, trial.params, seed))

    progress: dict[str, TrialRecord] = {
        run_id: TrialRecord(run_id, trial.number, trial.params, spec.seed) for run_id, (trial, spec) in wanted.items()
    }

    def on_report(report: Report) -> None:
        progress[report.trial_id] = progress[report.trial_id].with_report({**report.metrics, "samples": report.samples})
        recorder.watched.tell("on_report", progress[report.trial_id], report)

    def on_trained(trained: Trained) -> None:
        trial, spec = wanted[trained.spec.trial_id]
        recorder.folder.save_rerun(trial.trial_id, spec.seed, trained.checkpoint)
        recorder.add_rerun(Rerun(trial.trial_id, spec.seed, dict(trained.best.metrics), dict(trained.test)))
        recorder.watched.tell("on_trial_end", replace(progress[spec.trial_id], state=COMPLETE))

    if wanted:
        runner.train([spec for _, spec in wanted.values()], on_report, on_trained)


def choose_winner(
    config: StudyConfig, spec: TaskSpec, trials: Sequence[TrialRecord], reruns: Sequence[Rerun]
) -> tuple[Winner, Rerun]:
    """The configuration with the highest mean over seeds, and the re-run whose adapter is kept. One that failed from
    some seeds comes behind those that failed from fewer. Raises StudyError if no re-run ended."""
    by_trial: dict[str, list[Rerun]] = {}
    for each in reruns:
        by_trial.setdefault(each.trial_id, []).append(each)
    if not by_trial:
        raise StudyError("none of the best trials could be trained again, so no winner can be named. See logs.txt.")

    def merit(trial_id: str) -> tuple[int, float]:
        scores = [each.validation["score"] for each in by_trial[trial_id]]
        return min(len(scores), config.search.top_k_seeds), _mean(scores)

    chosen = max(by_trial, key=merit)
    runs = by_trial[chosen]
    scores = [each.validation["score"] for each in runs]
    metrics = mean_metrics([each.validation for each in runs])
    params = next(trial.params for trial in trials if trial.trial_id == chosen)
    winner = Winner(
        trial_id=chosen,
        params=params,
        score=_mean(scores),
        interval=mean_interval(scores),
        seeds=len(runs),
        metrics=metrics,
        test=mean_metrics([each.test for each in runs]),
        grades=_grades(metrics, config, spec),
        adapter="best",
    )
    return winner, max(runs, key=lambda each: each.validation["score"])


def mean_metrics(many: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of every metric that all of them have."""
    return {name: _mean([each[name] for each in many]) for name in many[0] if all(name in each for each in many)}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _grades(metrics: Mapping[str, float], config: StudyConfig, spec: TaskSpec) -> dict[str, str]:
    if not all(metric in metrics for metric in spec.sources.values()):
        return {}  # an engine that reports the score alone has no components to grade
    raw = {component: metrics[metric] for component, metric in spec.sources.items()}
    return overall_score(raw, config.score, spec.bands).grades
