"""Sounds a study's alerts while it runs: on the terminal, in its log, to a webhook.

An observer of a study. It looks when a trial has ended, once a second at most, and at the end; each alert is announced
once, and again only after it has ceased. Knows nothing of what an alert is (`alerts.py`) or of how it is shown.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tuner.engine.contract import Report
from tuner.errors import StoreError
from tuner.monitor.alerts import find_alerts, free_mb
from tuner.monitor.webhook import Webhook
from tuner.report.settings import Settings, settings_of
from tuner.report.standing import standing
from tuner.store.outputs import Outputs, read_outputs
from tuner.store.records import StudyRecord, TrialRecord
from tuner.study.observer import Phase

LOOK_EVERY = 1.0
"""Seconds between two looks while trials end, at least."""

_log = logging.getLogger(__name__)


class Alarms:
    """Announces the alerts of one study. `results` is the folder of all studies, `say` prints a line, `clock` gives
    seconds and never runs backwards."""

    def __init__(self, results: Path, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._results = results
        self._say = say
        self._clock = clock
        self._record: StudyRecord | None = None
        self._settings: Settings | None = None
        self._webhook: Webhook | None = None
        self._trials: dict[str, TrialRecord] = {}
        self._searching = True
        self._sounding: frozenset[str] = frozenset()
        self._due = 0.0

    def on_start(self, record: StudyRecord) -> None:
        """Read how the study is judged."""
        self._record, self._settings = record, settings_of(record)
        self._trials = {trial.trial_id: trial for trial in record.trials}
        if self._settings.alerts.webhook is not None:
            self._webhook = Webhook(self._settings.alerts.webhook)
        self._due = self._clock()

    def on_phase(self, phase: Phase) -> None:
        """Trials that report after the search are trained again and are no more trials of it."""
        self._searching = phase == "search"

    def on_report(self, trial: TrialRecord, report: Report) -> None:
        """Look, if the last look is a second ago."""
        self.on_trial_end(trial)

    def on_trial_end(self, trial: TrialRecord) -> None:
        """Look, if the last look is a second ago."""
        if self._searching:
            self._trials[trial.trial_id] = trial
        if self._record is not None and self._clock() >= self._due:
            self._look(replace(self._record, trials=tuple(self._trials.values())), None)
            self._due = self._clock() + LOOK_EVERY

    def on_end(self, record: StudyRecord) -> None:
        """Look at the whole study, the outputs of its winner among it, and wait a little for the webhook."""
        if self._settings is None:  # it was interrupted before it began
            return
        self._look(record, self._outputs(record))
        if self._webhook is not None:
            self._webhook.close()

    def _look(self, record: StudyRecord, outputs: Outputs | None) -> None:
        assert self._settings is not None
        now = time.time()
        stands = standing(record, self._settings.judged_by, outputs)
        found = find_alerts(record, self._settings, stands, free_mb(self._results), now)
        for alert in found:
            if alert.name not in self._sounding:
                _log.warning("alert %s (%s): %s", alert.name, alert.level, alert.message)
                if self._webhook is not None:
                    self._webhook.post(alert, record.name, record.task, now)
                self._tell(f"Alert ({alert.level}): {alert.message}")
        self._sounding = frozenset(alert.name for alert in found)

    def _tell(self, line: str) -> None:
        """Print a line. A terminal that is gone, or that lacks a letter, silences itself and nothing else."""
        try:
            self._say(line)
        except (OSError, ValueError) as error:
            _log.warning("no alert is printed any more: %s", error)
            self._say = lambda _: None

    def _outputs(self, record: StudyRecord) -> Outputs | None:
        if record.winner is None:
            return None
        try:
            return read_outputs(self._results / record.name)
        except StoreError as error:
            _log.warning("the winner's outputs are not looked at for alerts: %s", error)
            return None
