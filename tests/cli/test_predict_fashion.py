"""`tuner predict fashion` with a toy adapter: pictures in files, the same as the predictor draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tasks.fashion import toy
from tests.tasks.fashion.conftest import base, clip  # noqa: F401
from tuner.cli.main import main
from tuner.tasks.fashion.predict import FashionPredictor
from tuner.tasks.task import Drawing

LONG = "a red dress of pure silk"  # 19 letters, and the toy reads 14


@pytest.fixture
def adapter(base: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:  # noqa: F811
    """A saved adapter in the folder to run in."""
    packing = toy.make_packing(base, clip)
    packing.start(toy.make_spec("a"))
    toy.far(packing)
    toy.save(packing, tmp_path / "adapter")
    monkeypatch.chdir(tmp_path)
    return "adapter"


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_prompt_becomes_a_file(adapter: str, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["predict", "fashion", "--adapter", adapter, "a hat"]
    assert main([*command, "--out", "a.png"]) == 0
    assert capfd.readouterr() == ("a.png\ta hat\n", ""), "what diffusers has to say is no business of the user"
    assert main([*command, "a coat", "--out", "b.png", "--seed", "5"]) == 0
    predictor = FashionPredictor(Path(adapter))
    assert isinstance(predictor, Drawing)
    assert np.array_equal(pixels("a.png"), predictor.draw("a hat"))
    assert np.array_equal(pixels("b-1.png"), predictor.draw("a hat", 5))
    assert np.array_equal(pixels("b-2.png"), predictor.draw("a coat", 5))
    assert not np.array_equal(pixels("a.png"), pixels("b-1.png"))


def test_a_prompt_that_is_too_long_draws_what_is_read_of_it(adapter: str, capfd: pytest.CaptureFixture[str]) -> None:
    predictor = FashionPredictor(Path(adapter))
    assert [predictor.unread(text) for text in ("a hat", LONG[:18], LONG)] == ["", "", "pure silk"]
    assert main(["predict", "fashion", "--adapter", adapter, LONG, "--out", "a.png"]) == 0
    assert capfd.readouterr().err == ('Warning: the text is too long; what stands from "pure silk" on is not read.\n')
    assert np.array_equal(predictor.draw(LONG, 3), predictor.draw(LONG + " and wool", 3))


def test_a_folder_that_is_no_adapter_is_a_sentence(adapter: str, capfd: pytest.CaptureFixture[str]) -> None:
    (Path(adapter) / "tuner.json").unlink()
    assert main(["predict", "fashion", "--adapter", adapter, "a hat"]) == 1
    assert "there is no tuner.json in it" in capfd.readouterr().err
