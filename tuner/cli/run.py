"""The whole round for a task: tune, infer, analyse, report, alerts, advice. Takes the options of `tuner tune`. A stage
that fails is named and the round goes on with what worked; the exit code then is 1.

Knows nothing of how a stage does its work: it calls what the single verbs call, in order.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from tuner import tasks
from tuner.cli import study_options
from tuner.cli.advise import print_advice
from tuner.cli.monitor import item_line
from tuner.cli.report import print_alerts, print_report
from tuner.cli.summary import print_summary
from tuner.cli.terminal import console, say
from tuner.cli.watched import tune
from tuner.config import StudyConfig
from tuner.errors import ConfigError, Problem, StudyError, TunerError
from tuner.report.schema import TrainingReport
from tuner.store.files import read_study
from tuner.store.records import COMPLETE, INTERRUPTED, StudyRecord

SHOWN = 8  # outputs that the terminal shows one by one; the report has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tuner run`."""
    parser.add_argument(
        "--in-process", action="store_true", help="run without Ray, in one loop that goes the same way every time"
    )
    parser.add_argument("--quiet", action="store_true", help="print no progress of the search")
    study_options.add_arguments(parser)


def execute(options: argparse.Namespace) -> int:
    """Run the round. 0 when every stage worked, 1 when one did not, 130 when the search was interrupted. Raises
    ConfigError for options that cannot be."""
    from tuner.study.launch import study_name

    config = study_options.load(options)
    mode = tasks.spec(config.task).chain_mode(config)
    if mode is not None:
        rule = "is several studies and their comparison, and this verb is the round of one study"
        raise ConfigError(Problem("space.mode", mode, rule, f"Use: tuner tune {config.task} --mode {mode} ..."))
    # named now, so that the later stages find the study whatever becomes of it
    config = config.model_copy(update={"name": study_name(config, time.time())})
    return Round(config, options, console()).run()


@dataclass
class Round:
    """One round, stage by stage. `ended` holds how each stage went: "" is well, else what was wrong; `skipped` says why
    a stage had nothing to do."""

    config: StudyConfig
    options: argparse.Namespace
    out: Console

    def __post_init__(self) -> None:
        self.ended: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self._record: StudyRecord | None = None
        self._report: TrainingReport | None = None

    @property
    def folder(self) -> Path:
        """Where the study lies."""
        return self.config.results / str(self.config.name)

    def run(self) -> int:
        """All stages; the exit code."""
        stages: dict[str, Callable[[], None]] = {
            "tune": self._tune,
            "infer": self._infer,
            "analyse": self._analyse,
            "report": self._write,
            "alerts": self._alerts,
            "advice": self._advice,
        }
        for number, (name, stage) in enumerate(stages.items(), 1):
            say(self.out, Text(f"\n[{number}/{len(stages)}] {name}", style="bold cyan"))
            self.ended[name] = self._attempt(stage)
            if self._record is not None and self._record.state == INTERRUPTED:
                print_summary(self.out, self.folder, self._record)
                return 130
        self._close()
        return 1 if any(self.ended.values()) else 0

    def _attempt(self, stage: Callable[[], None]) -> str:
        """Run a stage; what was wrong with it, or "". An error that leaves no study behind ends the round."""
        try:
            stage()
        except TunerError as error:
            if self._record is None or getattr(self.options, "debug", False):
                raise
            wrong = str(error)
        except Exception as error:
            if self._record is None or getattr(self.options, "debug", False):
                raise
            wrong = f"an unexpected error, {type(error).__name__}: {error}. --debug shows the traceback."
        else:
            return ""
        say(self.out, Text.assemble(("failed: ", "bold red"), wrong))
        return wrong

    def _tune(self) -> None:
        taken = self.folder.exists()  # by another study, which is none of this round's business
        try:
            self._record = tune(self.config, self.options, self.out, report=False)
        finally:
            if self._record is None and not taken and (self.folder / "study.json").exists():
                self._record = read_study(self.folder)
        if self._record.state not in (COMPLETE, INTERRUPTED):
            raise StudyError(f"study {self._record.name} is {self._record.state}. See {self.folder / 'logs.txt'}.")

    def _infer(self) -> None:
        from tuner.report.inference import ALIKE, infer, nothing_trained

        if why := nothing_trained(self._known()):
            self.skipped["infer"] = why
            say(self.out, Text.assemble(("skipped: ", "yellow"), why))
            return
        with Progress(console=self.out, transient=True, disable=not self.out.is_terminal) as shown:
            bar = shown.add_task("answering", total=None)
            found = infer(
                self.folder, self._known(), lambda done, total: shown.update(bar, completed=done, total=total)
            )
        say(
            self.out, f"The saved adapter, loaded afresh, answers {found.same} of {found.answered} rows as in training."
        )
        if not found.sound:
            raise StudyError(
                f"fewer than {ALIKE:.0%} of its answers are those of its training, so do not use it. First to differ: "
                f"{', '.join(found.different[:3])}."
            )

    def _analyse(self) -> None:
        from tuner.report.analysis import analyse

        self._report = analyse(self.folder, self._known(), time.time())
        print_report(self.out, self._report)
        for item in self._report.items[:SHOWN]:
            say(self.out, item_line(item.name, item.grade, item.total_loss, item.similarities))
        if len(self._report.items) > SHOWN:
            say(self.out, f"... and {len(self._report.items) - SHOWN:,} more, in the report.")

    def _write(self) -> None:
        from tuner.report.training_report import write_report

        files = write_report(self.folder, self._known(), self._analysed())
        for path in files.named.values():
            say(self.out, f"  {path}")

    def _alerts(self) -> None:
        alerts = self._analysed().alerts
        print_alerts(self.out, alerts)
        if not alerts:
            say(self.out, "None.")

    def _advice(self) -> None:
        print_advice(self.out, self._analysed())

    def _known(self) -> StudyRecord:
        assert self._record is not None  # else the round has ended with the first stage
        return self._record

    def _analysed(self) -> TrainingReport:
        if self._report is None:
            raise StudyError("the study was not analysed.")
        return self._report

    def _close(self) -> None:
        """What worked and what did not, and the end of the study."""
        if self._record is not None:
            self.out.print()
            print_summary(self.out, self.folder, self._record)
        wrong = {name: sentence for name, sentence in self.ended.items() if sentence}
        worked = ", ".join(name for name in self.ended if name not in {**wrong, **self.skipped}) or "nothing"
        say(self.out, Text.assemble("\n", ("Worked: ", "green"), worked))
        for name, why in self.skipped.items():
            say(self.out, Text.assemble(("Skipped: ", "yellow"), f"{name}: {why}"))
        for name, sentence in wrong.items():
            say(self.out, Text.assemble(("Failed: ", "bold red"), f"{name}: {sentence}"))
