"""Say what a study will take, before it is launched: memory and time on each device, from a few measured steps. Takes
the options of `tuner tune`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from tuner import tasks
from tuner.cli import study_options
from tuner.cli.terminal import console
from tuner.errors import ConfigError, Problem
from tuner.study.plan import DevicePlan, Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tuner plan`."""
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    study_options.add_arguments(parser)


def execute(options: argparse.Namespace) -> int:
    """Measure and print. Raises TunerError as the study would, ConfigError for a mode that is several studies."""
    config = study_options.load(options)
    spec = tasks.spec(config.task)
    mode = spec.chain_mode(config)
    if mode is not None:
        others = " or ".join(f"--mode {name}" for name in spec.modes if name not in spec.chains)
        rule = "is several studies and their comparison, and this verb plans one study"
        raise ConfigError(Problem("space.mode", mode, rule, f"Plan one of them: tuner plan {config.task} {others} ..."))
    out = console()
    from tuner.study.plan import make_plan

    if not options.json:
        out.print(f"Measuring {config.task} on {config.base_model} ...", markup=False)
    plan = make_plan(config)
    if options.json:
        print(json.dumps(asdict(plan), indent=1))
        return 0
    for line in lines(plan):
        out.print(line, markup=False, soft_wrap=True)
    return 0


def lines(plan: Plan) -> list[str]:
    """The plan in sentences."""
    found = [line for device in plan.devices for line in _device(device)]
    found += [f"Warning: {warning}" for warning in plan.warnings]
    found += [
        "",
        f"search   {plan.trials} trials on {plan.train_rows:,} rows: about {plan.rows:,} rows with early stopping",
        f"re-runs  the best again from other seeds, at most {plan.rerun_rows:,} rows",
        f"time     about {_duration(plan.seconds)} with {plan.reports} evaluations, if the machine is idle",
    ]
    return found


def _device(device: DevicePlan) -> list[str]:
    adapter = "unknown" if device.adapter_mb is None else f"{device.adapter_mb:,.0f} MB"
    shared = "1 engine" if device.engines == 1 else f"{device.engines} engines of one base each"
    return [
        f"{device.name}  {device.label}",
        f"  dtype   {device.dtype}: {device.reason}",
        f"  memory  base {device.base_mb:,.0f} MB, each adapter at work {adapter}, of {device.memory_mb:,.0f} MB",
        f"  pack    {device.pack} adapters at once on {shared}: {device.why}",
        f"  speed   {device.alone_rows_per_second:,.0f} rows/s alone, {device.packed_rows_per_second:,.0f} packed",
    ]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
