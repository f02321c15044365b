"""TensorBoard's event files: one folder a run, scalars, pictures and the HPARAMS plugin's messages in them.

Uses TensorBoard's own messages and record format, without torch or TensorFlow, and imports them when first used. Files
are opened only to append, so that 200 trials need no 200 open files. Knows nothing of when to write: that is
`report/tensorboard.py`'s part. For one thread.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tuner.store.records import COMPLETE, FAILED, PRUNED, StudyRecord, TrialRecord


class RunFiles:
    """Turns scalars, pictures and trials into TensorBoard's messages, kept in memory per run until `flush`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # TensorBoard reads a run's files in the order of their names: those of a resumed study come after the first.
        self._name = f"events.out.tfevents.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        self._sessions: set[str] = set()
        self._begun: set[str] = set()
        self._pending: dict[str, list[bytes]] = {}

    def experiment(self, record: StudyRecord, metrics: Mapping[str, str]) -> None:
        """What the HPARAMS tab compares: the space's hyperparameters and `metrics` (tag to title)."""
        from tensorboard.plugins.hparams import api_pb2

        space = record.config.get("space", {})
        experiment = api_pb2.Experiment(
            description=f"{record.task} on {record.base_model}",
            time_created_secs=record.created,
            hparam_infos=[_hparam(name, entry) for name, entry in space.items() if entry.get("type") != "constant"],
            metric_infos=[
                api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=title)
                for tag, title in metrics.items()
            ],
        )
        self._add(".", record.created, 0, [_hparams_value("experiment", experiment=experiment)])

    def session_start(self, trial: TrialRecord, wall: float) -> None:
        """Name a trial's hyperparameters, once. `wall` in seconds since the epoch."""
        from tensorboard.plugins.hparams import plugin_data_pb2

        if trial.trial_id in self._sessions:
            return
        self._sessions.add(trial.trial_id)
        info = plugin_data_pb2.SessionStartInfo(start_time_secs=trial.started or wall)
        for name, value in trial.params.items():
            if value is not None:
                _assign(info.hparams[name], value)
        self._add(trial.trial_id, wall, 0, [_hparams_value("session_start_info", session_start_info=info)])

    def session_end(self, trial: TrialRecord, wall: float) -> None:
        """How a trial ended. To be stopped early is a success of the search, not a failure of the trial."""
        from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

        statuses = {COMPLETE: api_pb2.STATUS_SUCCESS, PRUNED: api_pb2.STATUS_SUCCESS, FAILED: api_pb2.STATUS_FAILURE}
        info = plugin_data_pb2.SessionEndInfo(
            status=statuses.get(trial.state, api_pb2.STATUS_UNKNOWN), end_time_secs=trial.finished or wall
        )
        self._add(trial.trial_id, wall, 0, [_hparams_value("session_end_info", session_end_info=info)])

    def scalars(self, run: str, wall: float, step: int, values: Mapping[str, float]) -> None:
        """One point on each curve; values that are not finite leave a gap. `wall` in seconds since the epoch."""
        from tensorboard.compat.proto import summary_pb2

        points = [
            summary_pb2.Summary.Value(tag=tag, simple_value=value)
            for tag, value in values.items()
            if value is not None and math.isfinite(value)
        ]
        if points:
            self._add(run, wall, step, points)

    def picture(self, run: str, wall: float, tag: str, png: bytes, size: tuple[int, int], caption: str) -> None:
        """A picture, `size` its width and height in pixels; the caption is read as Markdown. `wall` in seconds since
        the epoch."""
        from tensorboard.compat.proto import summary_pb2

        image = summary_pb2.Summary.Image(width=size[0], height=size[1], colorspace=3, encoded_image_string=png)
        said = summary_pb2.SummaryMetadata(summary_description=caption)
        self._add(run, wall, 0, [summary_pb2.Summary.Value(tag=tag, image=image, metadata=said)])

    def flush(self) -> None:
        """Append what is pending to the files. Raises OSError."""
        from tensorboard.summary.writer.record_writer import RecordWriter

        for run, events in self._pending.items():
            folder = self._folder / run
            folder.mkdir(parents=True, exist_ok=True)
            with open(folder / self._name, "ab") as file:
                writer = RecordWriter(file)
                for event in events:
                    writer.write(event)
        self._pending.clear()

    def _add(self, run: str, wall: float, step: int, values: Iterable[Any]) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2

        pending = self._pending.setdefault(run, [])
        if run not in self._begun:
            self._begun.add(run)
            pending.append(event_pb2.Event(wall_time=wall, file_version="brain.Event:2").SerializeToString())
        event = event_pb2.Event(wall_time=wall, step=step, summary=summary_pb2.Summary(value=list(values)))
        pending.append(event.SerializeToString())


def _hparams_value(name: str, **content: Any) -> Any:
    """A message of the HPARAMS plugin in a summary that has no number of its own."""
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    return summary_pb2.Summary.Value(
        tag=f"_hparams_/{name}",
        metadata=metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**content)),
        tensor=metadata.NULL_TENSOR,
    )


def _assign(message: Any, value: Any) -> str:
    """Put a hyperparameter into a message as the plugin can show it: a list as its comma-separated items, other
    structures as JSON. Returns the kind it took."""
    if isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, int | float):
        message.number_value = value
    elif isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        message.string_value = ", ".join(value)
    else:
        message.string_value = value if isinstance(value, str) else json.dumps(value, default=str)
    kind: str = message.WhichOneof("kind")
    return kind


def _hparam(name: str, entry: Mapping[str, Any]) -> Any:
    """A hyperparameter of the space with its range or its choices."""
    from tensorboard.plugins.hparams import api_pb2

    info = api_pb2.HParamInfo(name=name, type=api_pb2.DATA_TYPE_FLOAT64)
    if entry.get("type") in ("int", "float"):
        info.domain_interval.min_value, info.domain_interval.max_value = entry["low"], entry["high"]
        return info
    choices = [value for value in entry.get("values", ()) if value is not None]
    kinds = {_assign(info.domain_discrete.values.add(), choice) for choice in choices}
    if kinds == {"bool_value"}:
        info.type = api_pb2.DATA_TYPE_BOOL
    elif kinds != {"number_value"}:
        info.type = api_pb2.DATA_TYPE_STRING
    return info
