"""Everything that a report says of a study, as one `TrainingReport`: from its record, its outputs, its series.

Works for a study in any state: what is not there is null and named in `missing`. Writes nothing, draws nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from tuner.errors import TunerError
from tuner.monitor.alerts import find_alerts, free_mb
from tuner.report.advice import advise
from tuner.report.before_after import before_after
from tuner.report.importance import importance
from tuner.report.next_round import convergence, targets
from tuner.report.performance import performance
from tuner.report.rounds import Round, rounds_of, series_of
from tuner.report.schema import (
    AdapterPart,
    AdvicePart,
    AlertPart,
    BenchmarkAnalysis,
    ConvergencePart,
    Distribution,
    ImportancePart,
    ItemPart,
    MeasurePart,
    RerunPart,
    RoundPart,
    StartPart,
    StudyPart,
    TargetPart,
    TrainingReport,
)
from tuner.report.settings import Settings, settings_of
from tuner.report.standing import Standing, standing
from tuner.report.trials import rerun_groups
from tuner.report.tuning_score import tuning_score
from tuner.report.words import summary
from tuner.score import grade
from tuner.score_benchmark import TOTAL_LOSS, Benchmark, distribution, judge_item, versus_reference
from tuner.store.files import finite
from tuner.store.outputs import Outputs, read_outputs
from tuner.store.records import StudyRecord

_MB = 1e6


def analyse(folder: Path, record: StudyRecord, now: float, preset: str | None = None) -> TrainingReport:
    """The report of the study in `folder`. `now` in seconds since the epoch; `preset` weighs the outputs otherwise than
    the study's config does. Raises ConfigError for a config that cannot be, as an unknown preset."""
    settings = settings_of(record, preset)
    outputs, missing = outputs_of(folder, record)
    stands = standing(record, settings.judged_by, outputs)
    rounds, said = _rounds(folder, record, preset)
    score, unscored = tuning_score(record, settings)
    benchmark = _benchmark(settings, stands)
    start = _start(record, score.overall_tuning_score)
    found = importance(record)
    mattered = ImportancePart(shares=found.shares, basis=found.basis)
    compared = before_after(outputs if stands.items else None, settings.judged_by)
    return TrainingReport(
        analysis_time=datetime.fromtimestamp(now).astimezone().isoformat(timespec="seconds"),
        study=StudyPart(
            name=record.name,
            task=record.task,
            base_model=record.base_model,
            state=record.state,
            created=record.created,
            finished=record.finished,
            trials=dict(Counter(trial.state for trial in record.trials)),
            command=record.command,
            versions=record.versions,
        ),
        summary=summary(record, settings, score, benchmark, compared, start, mattered),
        missing=(*unscored, *missing, *said, *_unmeasured(settings.judged_by, stands)),
        benchmark_analysis=benchmark,
        lora_tuning=score,
        measures=_measures(settings.judged_by, stands),
        items=_items(stands, outputs, settings.judged_by),
        before_after=compared,
        data=finite(dict(record.data)),
        adapter=_adapter(folder, record),
        start_point=start,
        importance=mattered,
        reruns=_reruns(record),
        engines=tuple(finite(dict(engine)) for engine in record.engines),
        performance=finite(asdict(performance(record))),
        alerts=tuple(
            AlertPart(**finite(asdict(alert))) for alert in find_alerts(record, settings, stands, free_mb(folder), now)
        ),
        advice=tuple(AdvicePart(**finite(asdict(each))) for each in advise(record, settings, stands, outputs)),
        targets=tuple(TargetPart(**finite(asdict(each))) for each in targets(settings, stands)),
        convergence=ConvergencePart(**asdict(convergence(settings, stands, rounds))),
        rounds=tuple(_round(each) for each in rounds),
    )


def outputs_of(folder: Path, record: StudyRecord) -> tuple[Outputs | None, list[str]]:
    """The outputs of a study's winner, and a sentence where there are none or they cannot be read."""
    try:
        found = read_outputs(folder)
    except TunerError as error:
        return None, [f"The outputs of the winner are left out: {error}"]
    if found is None:
        why = "the study has no winner yet" if record.winner is None else "the study has left none"
        return None, [f"No outputs were judged one by one: {why}."]
    return found, []


def _rounds(folder: Path, record: StudyRecord, preset: str | None) -> tuple[list[Round], list[str]]:
    """The series that ends with this study; a series that cannot be read costs the report no more than that."""
    try:
        return rounds_of(series_of(folder, record), preset), []
    except TunerError as error:
        return [], [f"Earlier rounds are left out: {error}"]


def _benchmark(settings: Settings, stands: Standing) -> BenchmarkAnalysis:
    benchmark, averages = settings.judged_by, stands.averages
    keys = {each.name: each.key for each in benchmark.measures}
    ordered = [TOTAL_LOSS, *keys]
    return BenchmarkAnalysis(
        source=stands.source,
        average_metrics={f"avg_{keys.get(name, name)}": finite(averages[name]) for name in ordered},
        performance_distribution=Distribution(**distribution(stands.items)) if stands.items else None,
        benchmark_comparison=finite(versus_reference(averages, benchmark)),
        weights=dict(benchmark.weights),
        grades={
            **{each.name: grade(averages[each.name], each.band) for each in benchmark.measures},
            TOTAL_LOSS: grade(averages[TOTAL_LOSS], settings.bands[TOTAL_LOSS]),
        },
    )


def _measures(benchmark: Benchmark, stands: Standing) -> tuple[MeasurePart, ...]:
    return tuple(
        MeasurePart(
            name=each.name,
            metric=each.metric,
            key=each.key,
            title=each.title,
            average=finite(stands.averages[each.name]),
            grade=grade(stands.averages[each.name], each.band),
            reference=each.reference,
            weight=benchmark.weights.get(each.name, 0.0),
            alert_below=each.alert_below,
        )
        for each in benchmark.measures
    )


def _unmeasured(benchmark: Benchmark, stands: Standing) -> list[str]:
    lacking = [each.title for each in benchmark.measures if not math.isfinite(stands.averages[each.name])]
    if not lacking or len(lacking) == len(benchmark.measures):
        return []  # where nothing was measured at all, that is said already
    return [f"Not measured on {stands.source}: {', '.join(lacking)}."]


def _items(stands: Standing, outputs: Outputs | None, benchmark: Benchmark) -> tuple[ItemPart, ...]:
    texts = {} if outputs is None else {item.name: item for item in outputs.items}
    bases = {name: judge_item(name, text.base_metrics, benchmark) for name, text in texts.items() if text.base_metrics}
    return tuple(
        ItemPart(
            name=item.name,
            grade=item.grade,
            total_loss=finite(item.total_loss),
            similarities=finite(dict(item.similarities)),
            input=texts[item.name].input,
            expected=texts[item.name].expected,
            answer=texts[item.name].answer,
            base_answer=texts[item.name].base_answer,
            base_total_loss=finite(bases[item.name].total_loss) if item.name in bases else None,
            base_similarities=finite(dict(bases[item.name].similarities)) if item.name in bases else {},
        )
        for item in stands.items
    )


def _adapter(folder: Path, record: StudyRecord) -> AdapterPart | None:
    winner = record.winner
    if winner is None:
        return None
    files = sorted((folder / winner.adapter).glob("*.safetensors"))
    return AdapterPart(
        trial=next((trial.number for trial in record.trials if trial.trial_id == winner.trial_id), None),
        params=finite(winner.params),
        seeds=winner.seeds,
        size_mb=finite(winner.metrics.get("adapter_mb")),
        files_mb=sum(path.stat().st_size for path in files) / _MB if files else None,
        path=winner.adapter,
        validation=finite(winner.metrics),
        test=finite(winner.test),
    )


def _start(record: StudyRecord, overall: float | None) -> StartPart | None:
    """The first start point's trial, which is what one would train without a search."""
    points: Sequence[Any] = record.config.get("start_points") or ()
    first = next((trial for trial in record.trials if trial.number == 0), None)
    if not points or first is None or first.score is None:
        return None
    gain = None if overall is None or record.winner is None else overall - first.score
    if record.winner is not None and record.winner.trial_id == first.trial_id:
        gain = 0.0  # what other seeds changed is not the search's doing
    return StartPart(trial=0, params=finite(first.params), score=first.score, gain=gain)


def _reruns(record: StudyRecord) -> tuple[RerunPart, ...]:
    return tuple(
        RerunPart(trial=g.number, scores=g.scores, mean=g.mean, interval=g.interval, winner=g.winner)
        for g in rerun_groups(record)
    )


def _round(each: Round) -> RoundPart:
    plain: Mapping[str, Any] = finite(asdict(each))
    return RoundPart(**{name: plain[name] for name in RoundPart.model_fields})
