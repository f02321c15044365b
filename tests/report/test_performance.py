"""How a study used its machines: sums, means and peaks that can be checked by hand, and None where nothing is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.store.factory import study
from tuner.report.performance import EnginePerformance, Performance, Point, performance
from tuner.store.records import COMPLETE, RUNNING, StudyRecord, TrialRecord


def report(time: float | None, samples: float = 100.0, cpu: float | None = 50.0, **metrics: Any) -> dict[str, Any]:
    """A report `time` seconds after the study began; the engine's rates rise with it."""
    found: dict[str, Any] = {"score": 0.5, "samples": samples, **metrics}
    if time is not None:
        found["time"] = time
    if cpu is not None:
        found |= {"cpu_percent": cpu, "memory_mb": 1000 - cpu, "engine_samples_per_second": 10 * cpu}
        found["engine_tokens_per_second"] = 200 * cpu
    return found


def trial(number: int, engine: str, *reports: dict[str, Any], finished: float | None = 60.0) -> TrialRecord:
    return TrialRecord(
        f"t{number}", number, {}, 0, COMPLETE if finished else RUNNING, engine, reports, started=5.0, finished=finished
    )


def made(*trials: TrialRecord, **changes: Any) -> Performance:
    """Of a study from second 10 to second 110 on two engines."""
    engines = ({"name": "a", "device": "cuda:0", "dtype": "bf16"}, {"name": "b", "device": "cpu", "dtype": "fp32"})
    record = StudyRecord("s", "sentiment", "minilm", {}, "", created=10.0, finished=110.0, engines=engines)
    return performance(replace(record, trials=trials, **changes))


def test_each_engine_has_its_own_means_peaks_and_points() -> None:
    a, b = made(
        trial(0, "a", report(3, cpu=20, device_memory_mb=500), report(9, cpu=80, device_memory_mb=700)),
        trial(1, "b", report(4, cpu=40)),
        trial(2, "a", report(6, cpu=50, device_memory_mb=600)),
    ).engines
    assert (a.name, a.device, a.dtype, a.reports) == ("a", "cuda:0", "bf16", 3)
    assert (a.mean_cpu_percent, a.peak_cpu_percent) == (50, 80)
    assert (a.peak_memory_mb, a.peak_device_memory_mb) == (980, 700)
    assert (a.mean_samples_per_second, a.peak_samples_per_second) == (500, 800)
    assert (a.mean_tokens_per_second, a.peak_tokens_per_second) == (10_000, 16_000)
    assert a.points == (
        Point(3, 200, 4000, 20, 980, 500),
        Point(6, 500, 10_000, 50, 950, 600),
        Point(9, 800, 16_000, 80, 920, 700),
    )
    assert (b.name, b.device, b.dtype, b.reports) == ("b", "cpu", "fp32", 1)
    assert b.peak_device_memory_mb is None
    assert b.points == (Point(4, 400, 8000, 40, 960, None),)


def test_trials_that_report_together_share_one_point() -> None:
    a, _ = made(
        trial(0, "a", report(3.01, cpu=20), report(9, cpu=80)),
        trial(1, "a", report(3.0, cpu=20)),
        trial(2, "a", report(3.02, cpu=20)),
        trial(3, "b", report(2.99, cpu=20)),
    ).engines
    assert [point.seconds for point in a.points] == [3.0, 9]
    assert a.reports == 4
    assert a.mean_cpu_percent == 50


def test_engines_that_the_record_does_not_list() -> None:
    found = made(trial(0, "", report(3)), trial(1, "gone", report(4)), trial(2, "never ran")).engines
    assert [(each.name, each.device, each.reports) for each in found] == [
        ("a", "cuda:0", 0),
        ("b", "cpu", 0),
        ("", "", 1),
        ("gone", "", 1),
    ]
    assert found[0] == EnginePerformance("a", "cuda:0", "bf16", 0, *[None] * 8, ())


def test_sums_are_of_the_last_reports() -> None:
    found = made(
        trial(0, "a", report(3, tokens_seen=900, train_seconds=2), report(9, 200, tokens_seen=1800, train_seconds=4)),
        trial(1, "b", report(4, 300, tokens_seen=3000, train_seconds=5), finished=90.0),
        trial(2, "a"),
    )
    assert (found.rows, found.tokens, found.train_seconds) == (500, 4800, 9)
    assert (found.wall_seconds, found.search_seconds, found.rows_per_second) == (100, 80, 6.25)


def test_a_study_that_runs_is_as_long_as_its_last_report_says() -> None:
    found = made(trial(0, "a", report(3), report(25)), trial(1, "b", report(20), finished=None), finished=None)
    assert (found.rows, found.wall_seconds, found.search_seconds, found.rows_per_second) == (200, 25, 25, 8)


def test_what_was_not_measured_is_none() -> None:
    """Reports of older versions: no time, nothing of the engine; and null, as NaN is saved."""
    old = trial(0, "a", report(None, cpu=None), finished=None)
    found = made(old, trial(1, "a", report(7, cpu=None, cpu_percent=None), finished=None), finished=None)
    assert found.engines[0] == EnginePerformance("a", "cuda:0", "bf16", 2, *[None] * 8, ())
    assert (found.rows, found.tokens, found.train_seconds) == (200, None, None)
    assert made(old, finished=None).wall_seconds is None
    assert made(old, finished=None).rows_per_second is None
    assert made(trial(0, "a", report(None))).engines[0].points == ()


def test_a_sum_with_a_gap_is_none() -> None:
    found = made(trial(0, "a", report(3, tokens_seen=900)), trial(1, "a", report(4)))
    assert found.tokens is None
    assert found.rows == 200


def test_a_part_of_a_measurement_is_kept() -> None:
    a, _ = made(trial(0, "a", report(3, cpu=None, memory_mb=700, cpu_percent=float("nan")))).engines
    assert a.points == (Point(3, None, None, None, 700, None),)
    assert (a.mean_cpu_percent, a.peak_memory_mb) == (None, 700)


def test_a_study_as_it_is_saved() -> None:
    record = study()
    found = performance(StudyRecord.from_json(record.to_json()))
    assert found == performance(record)
    (engine,) = found.engines
    assert (engine.name, engine.device, engine.dtype) == ("cpu", "cpu", "bf16")
    assert engine.reports == sum(len(each.reports) for each in record.trials)
    assert engine.peak_cpu_percent == max(r["cpu_percent"] for each in record.trials for r in each.reports)
    assert found.rows == sum(each.reports[-1]["samples"] for each in record.trials if each.reports)
    assert found.tokens == 21 * found.rows
    assert found.train_seconds == pytest.approx(found.rows / 410)


def test_a_study_without_trials() -> None:
    found = performance(study(trials=0))
    assert (found.rows, found.tokens, found.train_seconds, found.rows_per_second) == (0, None, None, 0)
    assert [engine.reports for engine in found.engines] == [0]
