"""The real base once, end to end: rows, training in a pack, a saved adapter that answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.toy import make_spec
from tuner.config import StudyConfig
from tuner.engine.contract import EngineSettings
from tuner.engine.trainer import DeviceEngine
from tuner.tasks.sentiment.predict import SentimentPredictor


@pytest.mark.slow
def test_minilm_learns_and_its_adapter_answers(tmp_path: Path) -> None:
    config = StudyConfig.model_validate(
        {
            "task": "sentiment", "base_model": "minilm", "space": {"rank": 8, "learning_rate": 2e-3, "epochs": 2},
            "data": {"train_samples": 480, "validation_samples": 80, "test_samples": 20},
            "search": {"reports_per_epoch": 1}, "devices": ["cpu"], "precision": "fp32",
        }
    )  # fmt: skip
    engine = DeviceEngine(EngineSettings(config, "cpu", threads=1, max_pack=2))
    try:
        engine.start(make_spec("weak", rank=2, learning_rate=1e-6, epochs=2))
        engine.start(make_spec("good", rank=8, learning_rate=2e-3, epochs=2))
        for _ in range(2):
            weak, good = engine.advance_all(["weak", "good"])
        assert good.metrics["accuracy"] > weak.metrics["accuracy"] + 0.05
        assert good.metrics["accuracy"] > 0.6
        assert weak.metrics["preservation"] > good.metrics["preservation"]
        files = engine.export("good")
    finally:
        engine.close()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    predictor = SentimentPredictor(tmp_path)
    loved, hated = predictor.predict(["I loved every minute of it.", "A complete waste of money, awful."])
    assert (loved["name"], hated["name"]) == ("positive", "negative")
