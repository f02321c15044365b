"""A toy task whose outputs are pictures, judged as fashion images are, for tests of reports."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.store.factory import study
from tuner import tasks
from tuner.store.outputs import Output, Outputs
from tuner.store.records import StudyRecord


@pytest.fixture
def with_pictures_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task "pictures" can be found by its name."""
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(Path(__file__).parent / "tasks")])


def metrics(place: float) -> dict[str, float]:
    """Metrics of a picture, better from 0 to 1."""
    return {"ssim": 0.2 + 0.6 * place, "fashion_clip": 0.25 + 0.6 * place, "colour": 0.1 + 0.7 * place}


def pictures_study(name: str = "pictures", created: float = 1000.0, place: float = 0.5) -> StudyRecord:
    """A finished study of pictures."""
    record = study(name=name, created=created, task="pictures", base_model="renderer")
    trials = tuple(
        replace(trial, reports=tuple({**report, **metrics(report["accuracy"])} for report in trial.reports))
        for trial in record.trials
    )
    assert record.winner is not None
    winner = replace(record.winner, metrics={**record.winner.metrics, **metrics(place)}, test=metrics(place - 0.05))
    return replace(record, trials=trials, winner=winner)


def pictures_outputs(count: int = 9, best: float = 1.0) -> Outputs:
    """So many pictures, from the best to the worst, each with its reference and what the base drew, which is
    always a quarter of the way."""
    items = []
    for number in range(count):
        place = best * (1 - number / max(1, count - 1))
        colour = (round(40 + 200 * place), 90, round(240 - 200 * place))
        pictures = {"expected": png((40, 90, 60)), "base": png((128, 128, 128)), "adapter": png(colour)}
        name = f"image_{number + 1}.jpg"
        items.append(
            Output(
                name, f"a coat, number {number + 1}", "", "", "", metrics(place), pictures, base_metrics=metrics(0.25)
            )
        )
    return Outputs("t000", "test", tuple(items))


def png(colour: tuple[int, int, int], size: int = 48) -> bytes:
    """A picture of one colour."""
    rows = b"".join(b"\x00" + bytes(colour) * size for _ in range(size))
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + chunks
