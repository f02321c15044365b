"""What a study will take, before it is launched: memory and time on each device, from steps measured on it.

For each device an engine comes up in this process, trains a few steps of the largest adapters that the space holds,
alone and packed, and evaluates them once; where engines share the device, one is measured and the others are taken to
be as fast beside it, which on a CPU says some 10 % too much. The rest is arithmetic on the space and on ASHA's rungs,
and is an estimate: how many trials are stopped early is known only afterwards. Devices of other nodes of a cluster are
not looked at.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from tuner import tasks
from tuner.config import COMMON_HYPERPARAMETERS, Choice, Constant, FloatRange, IntRange, StudyConfig
from tuner.device import select_devices
from tuner.device_host import cores
from tuner.engine.contract import EngineSettings, TrialSpec
from tuner.engine.placement import BUSY_TRIALS, MOST_TRIALS, share_cores

STARTUP_SECONDS = 12.0  # Ray and the engine's imports, on two cores


@dataclass(frozen=True)
class DevicePlan:
    """One device: how many engines share it, how many adapters they pack together and why, megabytes of a base and of
    each more adapter with its activations (None where the device does not tell), training rows a second of one adapter
    alone and of all packed, and seconds of one evaluation of them all."""

    name: str
    label: str
    dtype: str
    reason: str
    engines: int
    pack: int
    why: str
    base_mb: float
    adapter_mb: float | None
    memory_mb: float
    alone_rows_per_second: float
    packed_rows_per_second: float
    evaluation_seconds: float


@dataclass(frozen=True)
class Plan:
    """A study's cost. `rows` are training rows over all trials of the search, `rerun_rows` those of the top-k re-runs;
    `seconds` is the whole study, start included."""

    devices: tuple[DevicePlan, ...]
    trials: int
    train_rows: int
    rows: int
    rerun_rows: int
    reports: int
    seconds: float
    warnings: tuple[str, ...]


def make_plan(config: StudyConfig) -> Plan:
    """Measure and add up. Raises ConfigError, DataError, BaseModelError, DeviceError as a study would."""
    from tuner.engine.trainer import DeviceEngine

    spec = tasks.spec(config.task)
    prepared = spec.prepare(config)
    params = largest(config, dict(spec.hyperparameters))
    found = []
    train_rows = 0
    for device in select_devices(config.devices, config.precision):
        threads = share_cores(cores(), config.search.concurrent).threads if device.kind == "cpu" else (1,)
        pack, why = pack_size(config, device.kind, len(threads))
        engines = min(len(threads), pack)
        packed = -(-pack // engines)
        settings = EngineSettings(
            config, device.name, threads[0], packed, f"engine:{device.name}", {"prepared": prepared}
        )
        engine = DeviceEngine(settings)
        try:
            measured = engine.measure([TrialSpec(f"plan-{number}", params, number) for number in range(packed)])
            train_rows = engine.info().train_rows
        finally:
            engine.close()
        used = engines * measured.base_mb + pack * (measured.adapter_mb or 0.0)
        if measured.fitting < packed:
            why, pack = f"more do not fit in {device.memory_mb:,.0f} MB", measured.fitting * engines
        elif used < device.memory_mb:
            why += f", and {used:,.0f} of {device.memory_mb:,.0f} MB hold them"
        found.append(
            DevicePlan(
                device.name,
                device.label,
                device.dtype_name,
                device.reason,
                engines,
                pack,
                why,
                measured.base_mb,
                measured.adapter_mb,
                device.memory_mb,
                measured.alone_rows_per_second,
                measured.packed_rows_per_second * engines,
                measured.evaluation_seconds,
            )
        )
    return _added_up(config, tuple(found), train_rows, prepared.warnings)


def pack_size(config: StudyConfig, kind: str, engines: int) -> tuple[int, str]:
    """How many trials a device of this kind trains at once on its engines, by the search's own rule, and why."""
    most, trials = MOST_TRIALS[kind], config.search.trials
    pack = min(most, trials, config.concurrency(most, engines * BUSY_TRIALS[kind]))
    if pack == config.search.concurrent:
        return pack, "search.concurrent says so"
    if pack == trials:
        return pack, f"the study has {pack} trial{'s' if pack != 1 else ''}"
    if pack < most:
        return pack, "so that the later trials learn from the earlier ones"
    return pack, f"a {kind} packs up to {most}"


def largest(config: StudyConfig, own: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters of the most expensive trial of the space: the highest rank, the most target modules."""
    params = {**COMMON_HYPERPARAMETERS, **own}
    for name, entry in config.space.items():
        if isinstance(entry, Constant):
            params[name] = entry.value
        elif isinstance(entry, Choice):
            params[name] = max(entry.values, key=_size)
        else:
            params[name] = entry.high
    params["learning_rate"] = min(float(params["learning_rate"]), 1e-4)
    return params


def _size(value: Any) -> tuple[float, str]:
    """Orders the values of a choice by what they cost: numbers by themselves, lists by how long they are."""
    if isinstance(value, list):
        return len(value), str(value)
    return (value, "") if isinstance(value, int | float) else (0, str(value))


def expected_epochs(config: StudyConfig) -> float:
    """Mean epochs of a trial when ASHA lets 1 / reduction_factor pass at each rung."""
    entry = config.space["epochs"]
    if isinstance(entry, IntRange):
        lengths = list(range(entry.low, entry.high + 1, entry.step))
    elif isinstance(entry, FloatRange):
        lengths = [round(entry.low), round(entry.high)]
    else:
        lengths = list(entry.values) if isinstance(entry, Choice) else [entry.value]
    asha = config.search.asha
    if asha is None:
        return statistics.fmean(lengths)
    spent = []
    for length in lengths:
        alive, at, rung, total = 1.0, 0.0, asha.grace_epochs, 0.0
        while at < length:
            end = min(rung, length)
            total += alive * (end - at)
            at, rung, alive = end, rung * asha.reduction_factor, alive / asha.reduction_factor
        spent.append(total)
    return statistics.fmean(spent)


def _added_up(config: StudyConfig, devices: tuple[DevicePlan, ...], train_rows: int, warnings: tuple[str, ...]) -> Plan:
    search = config.search
    epochs = expected_epochs(config)
    rows = round(search.trials * epochs * train_rows)
    longest = config.space["epochs"]
    full = (
        longest.high
        if isinstance(longest, IntRange | FloatRange)
        else max(getattr(longest, "values", [getattr(longest, "value", 1)]))
    )
    rerun_rows = round(search.top_k * search.top_k_seeds * full * train_rows) if search.top_k_seeds else 0
    reports = round((search.trials * epochs + search.top_k * search.top_k_seeds * full) * search.reports_per_epoch)
    rate = sum(device.packed_rows_per_second for device in devices)
    # evaluations of all devices go on side by side; each serves its share of the reports, a pack at a time
    evaluation = statistics.fmean(device.evaluation_seconds / device.pack for device in devices) / len(devices)
    seconds = STARTUP_SECONDS + (rows + rerun_rows) / max(rate, 1e-9) + reports * evaluation
    return Plan(devices, search.trials, train_rows, rows, rerun_rows, reports, seconds, warnings)
