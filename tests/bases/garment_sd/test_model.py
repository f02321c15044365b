"""The pipeline that is shipped: whole, small enough, and drawing what it is told."""

import json
import shutil
from pathlib import Path

import pytest

from tuner.bases import garment_clip, garment_sd
from tuner.bases.clip import ClipModel
from tuner.bases.garment_sd.quality import drawn, named_right, open_pipeline
from tuner.bases.garments.captions import caption
from tuner.bases.garments.sample import general
from tuner.device import select_devices
from tuner.errors import BaseModelError


def test_it_is_whole_and_both_picture_models_are_small() -> None:
    files = [*garment_sd.locate().rglob("*.safetensors"), *garment_clip.locate().rglob("*.safetensors")]
    assert len(files) == 4
    assert sum(path.stat().st_size for path in files) <= 15e6
    assert not [path for path in garment_sd.locate().rglob("*.json") if "/tmp" in path.read_text(encoding="utf-8")]


def test_its_quality_is_recorded() -> None:
    found = json.loads((garment_sd.FOLDER / "quality.json").read_text(encoding="utf-8"))
    assert found["garment_and_colour"] >= 0.9
    assert found["captions"] >= 300


@pytest.mark.slow
def test_captions_that_it_has_not_met_are_drawn_as_they_say() -> None:
    looks = general(23, 20)
    pictures = drawn(open_pipeline(garment_sd.locate()), [caption(look) for look in looks])
    found = named_right(ClipModel.open("garment_clip", select_devices(["cpu"])[0].torch), pictures, looks)
    assert found["garment_and_colour"] >= 0.8  # of 20, when of 300 it is 0.97


def test_weights_that_are_missing_or_others_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "model"
    shutil.copytree(garment_sd.FOLDER, copy)
    monkeypatch.setattr(garment_sd, "FOLDER", copy)
    locate = garment_sd.locate.__wrapped__
    assert locate() == copy
    weights = copy / garment_sd.PARTS[1]
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BaseModelError, match="damaged or was built anew"):
        locate()
    weights.unlink()
    with pytest.raises(BaseModelError, match=r"unet/diffusion_pytorch_model\.safetensors are missing"):
        locate()
