"""A task that trains nothing: its trials are judged as they stand, and are at their end at once."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.tasks.fashion import toy
from tuner import tasks
from tuner.engine.packing import Packing
from tuner.tasks.fashion.task import FashionTask
from tuner.tasks.task import Prepared


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> FashionTask:
    """Prompts for a toy base."""
    root = tmp_path_factory.mktemp("toy")
    config = toy.make_config(toy.make_base(root / "base"), toy.make_clip(root / "clip"), space={"mode": "prompt"})
    return FashionTask(config, toy.task_device(), Prepared(toy.make_data(), {}))


@pytest.fixture
def packing(task: FashionTask) -> Packing:
    config = toy.make_config(Path("base"), Path("clip"), space={"mode": "prompt"})
    spec = tasks.spec("fashion").for_rows({"trains": False})
    found = Packing(task, spec, config, toy.task_device(), 3)
    found.start(toy.make_spec("a", epochs=3))
    found.start(toy.make_spec("b", seed=2, strategy="minimal", guidance=5.0, quality_words=True))
    return found


def test_the_first_report_is_the_last(packing: Packing) -> None:
    reports = packing.advance(["a", "b"])
    assert [(each.trial_id, each.index, each.done, each.status) for each in reports] == [
        ("a", 0, True, "ok"), ("b", 0, True, "ok"),
    ]  # fmt: skip
    for each in reports:
        assert all(math.isfinite(value) for value in each.metrics.values())
        assert 0 < each.metrics["score"] <= 1
        assert each.metrics["efficiency"] == each.metrics["adapter_mb"] == each.metrics["step"] == 0
        assert {"ssim", "fashion_clip", "colour"} <= each.metrics.keys()
    assert [each.samples for each in reports] == [30, 10], "all rows of all epochs count as seen"
    assert packing.samples_left() == 0


def test_nothing_is_learnt_and_there_are_no_weights(packing: Packing, monkeypatch: pytest.MonkeyPatch) -> None:
    def losses(*_: object) -> None:
        raise AssertionError("nothing is trained")

    monkeypatch.setattr(packing.task, "losses", losses)
    packing.advance(["a", "b"])
    assert packing.store.weights.numel() == 0
    assert packing.adapter("a", "best")[0] == packing.adapter("a", "last")[0] == {}


def test_trials_are_judged_by_their_own_hyperparameters(packing: Packing) -> None:
    first, second = (report.metrics for report in packing.advance(["a", "b"]))
    assert first["ssim"] != second["ssim"]
    alone = packing.report(["b"])[0].metrics
    assert alone["ssim"] == pytest.approx(second["ssim"], abs=2e-3)


def test_the_test_split_is_judged_and_shown(packing: Packing) -> None:
    packing.advance(["a"])
    found = packing.evaluate("a", "test")
    assert 0 < found["score"] <= 1
    assert found["efficiency"] == 0
    assert [each.name for each in packing.outputs("a", "test", 2)] == ["image_1", "image_2"]


def test_a_checkpoint_without_weights_goes_on(task: FashionTask, packing: Packing) -> None:
    report = packing.advance(["a"])[0]
    data = packing.checkpoint("a")
    packing.stop("a")
    packing.start(toy.make_spec("a", epochs=3), data)
    again = packing.advance(["a"])[0]
    assert (again.index, again.done) == (1, True)
    assert again.metrics["score"] == pytest.approx(report.metrics["score"], abs=1e-3)
