"""A mode that is several studies one after the other: the first, what it hands over, the second, the comparison.

Begun again under the same name it goes on where it stopped: a study that is complete is used as it is, any other is
resumed. The first is not extended once the second has begun. --quiet leaves the comparison. Knows nothing of tasks:
what the studies are and what lies between them, the task's `Chain` says.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tuner import tasks
from tuner.cli.study_options import full_name, space_path
from tuner.cli.summary import print_summary
from tuner.cli.terminal import say
from tuner.cli.watched import tune
from tuner.config import StudyConfig
from tuner.config_file import config_to_yaml, load_config
from tuner.errors import ConfigError, StudyError
from tuner.store.files import read_study, write_text
from tuner.store.records import COMPLETE, INTERRUPTED, StudyRecord
from tuner.tasks.chain import Comparison
from tuner.tasks.task import TaskSpec


def run_pipeline(mode: str, config: StudyConfig, options: argparse.Namespace, out: Console) -> int:
    """Run the studies of a config of that mode, or go on with them, and print the comparison. `options` as for `tune`.
    0 when complete, 130 when interrupted. Raises TunerError, before anything is written where that can be."""
    from tuner.study.launch import study_name

    spec = tasks.spec(config.task)
    config = config.model_copy(update={"name": study_name(config, time.time())})
    folder = config.results / str(config.name)
    _check_folder(spec, mode, config, folder)
    chain = spec.chain(mode, config, lambda wanted: _own_config(spec, wanted))
    begun = _begun(chain.second)
    for study in (chain.first, chain.second):
        if _begun(study):
            _check_same(spec, study)
    write_text(folder / "config.yaml", config_to_yaml(config))

    def tell(text: Text | str) -> None:
        if not options.quiet:
            say(out, text)

    tell(Text(f"\n[1/4] study {chain.first.name}", style="bold cyan"))
    # with more trials it could have another winner, which the samples that the second study learns from are not of
    first = _study(chain.first, options, out, tell, extend=not begun)
    if first.state == INTERRUPTED:
        return _stopped(config, out)
    tell(Text("\n[2/4] samples", style="bold cyan"))
    for sentence in chain.hand_over(first, fixed=begun):
        tell(sentence)
    tell(Text(f"\n[3/4] study {chain.second.name}", style="bold cyan"))
    second = _study(chain.second, options, out, tell, extend=True)
    if second.state == INTERRUPTED:
        return _stopped(config, out)
    tell(Text("\n[4/4] comparison", style="bold cyan"))
    _show(chain.compare(first, second), out)
    return 0


def _check_folder(spec: TaskSpec, mode: str, config: StudyConfig, folder: Path) -> None:
    """Raises StudyError if the folder is there and not that of a pipeline of this mode and name, or if the rows lie in
    it."""
    if (folder / "study.json").exists():
        raise StudyError(f"{config.name!r} is the name of a study in {config.results}. Choose another --name.")
    if (folder.exists() or folder.is_symlink()) and not _is_ours(spec, mode, config, folder / "config.yaml"):
        raise StudyError(
            f"{folder} exists already, and its config.yaml is not that of a {mode} named {config.name}. Choose another "
            "--name."
        )
    data = config.data
    for source in (data.source, data.train, data.validation, data.test):
        path = Path(source or "")
        if source and path.exists() and path.resolve().is_relative_to(folder.resolve()):
            raise StudyError(
                f"the data {source} lies in {folder}, where the {mode} writes its own. Move it, or choose another "
                "--name."
            )


def _is_ours(spec: TaskSpec, mode: str, config: StudyConfig, path: Path) -> bool:
    """Whether the config at `path` is one that `run_pipeline` wrote for this mode and name."""
    try:
        found = load_config(path, extra_hyperparameters=set(spec.hyperparameters), extra_bands=set(spec.bands))
    except ConfigError:
        return False
    return (found.task, found.name, spec.chain_mode(found)) == (config.task, config.name, mode)


def _begun(config: StudyConfig) -> bool:
    return (config.results / str(config.name) / "study.json").exists()


def _own_config(spec: TaskSpec, mode: str) -> StudyConfig:
    """The config of a mode's own search space. Raises ConfigError."""
    config = load_config(
        space_path(spec, spec.modes[mode]),
        base={"task": spec.name},
        extra_hyperparameters=set(spec.hyperparameters),
        extra_bands=set(spec.bands),
    )
    return config.model_copy(update={"base_model": full_name(spec, config.base_model)})


def _study(
    config: StudyConfig, options: argparse.Namespace, out: Console, tell: Callable[[str], None], *, extend: bool
) -> StudyRecord:
    """Run a study, go on with it, or take it as it is where it is complete and either has the trials that the config
    asks for or must not `extend`. Raises StudyError if it ends without a winner."""
    folder, begun = config.results / str(config.name), _begun(config)
    if begun:
        record = read_study(folder)
        asked = record.config["search"]["trials"]
        if record.state == COMPLETE and (not extend or config.search.trials <= asked):
            kept = "" if config.search.trials <= asked else ": the next study has begun with what it chose"
            tell(f"It is complete already, with {len(record.trials)} trials, and is used as it is{kept}.")
            return record
    record = tune(config, options, out, report=True, resume=begun)
    if not options.quiet:
        print_summary(out, folder, record)
    if record.state not in (COMPLETE, INTERRUPTED):
        raise StudyError(f"study {record.name} is {record.state}. See {folder / 'logs.txt'}.")
    return record


def _check_same(spec: TaskSpec, config: StudyConfig) -> None:
    """Raises StudyError if the study so far was made with another config, or its rows have changed since."""
    from tuner.study.resume import check_config, check_data
    from tuner.study.space import Space

    record = read_study(config.results / str(config.name))
    check_config(record, config, Space(config.space, spec.hyperparameters), spec.hyperparameters)
    check_data(record, spec.prepare(config).summary)


def _stopped(config: StudyConfig, out: Console) -> int:
    say(out, f"\nStopped. The same command with --name {config.name} goes on with the pipeline.")
    return 130


def _show(comparison: Comparison, out: Console) -> None:
    """The ways side by side, a value a row so that few columns fit a narrow terminal; the advice; the files."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    for way in comparison.ways:
        table.add_column(way.title, justify="right", style="green" if way.name == comparison.best else "")
    for key, heading in comparison.columns.items():
        table.add_row(heading, *(_number(way.values.get(key, math.nan)) for way in comparison.ways))
    out.print(table)
    say(out, f"\n{comparison.recommendation}\n")
    for path in comparison.files:
        say(out, f"  {path}")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
