"""The FashionCLIP that is shipped: whole, opened by open_clip, telling garments and colours apart."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tuner.bases import garment_clip
from tuner.bases.clip import ClipModel
from tuner.bases.garments.captions import caption
from tuner.bases.garments.pictures import drawn
from tuner.bases.garments.sample import general
from tuner.device import select_devices
from tuner.errors import BaseModelError


def test_its_quality_is_recorded() -> None:
    found = json.loads((garment_clip.FOLDER / "training.json").read_text(encoding="utf-8"))
    assert min(found["text_to_picture_r1"], found["picture_to_text_r1"]) >= 0.95
    assert found["cosine_same"] > found["cosine_other_colour"] + 0.1
    assert found["cosine_same"] > found["cosine_other_garment"] + 0.1
    assert found["cosine_neither"] < 0.5


def test_it_finds_pictures_by_captions_that_it_has_not_met() -> None:
    looks = general(31, 100)
    model = ClipModel.open("garment_clip", select_devices(["cpu"])[0].torch)
    found = model.texts([caption(look, 2) for look in looks]) @ model.images(list(drawn(looks))).T
    assert float((found.argmax(1) == torch.arange(len(looks))).float().mean()) >= 0.93


def test_weights_that_are_missing_or_others_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "model"
    shutil.copytree(garment_clip.FOLDER, copy)
    monkeypatch.setattr(garment_clip, "FOLDER", copy)
    locate = garment_clip.locate.__wrapped__
    assert locate() == copy
    weights = copy / garment_clip.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    with pytest.raises(BaseModelError, match="damaged or was built anew"):
        locate()
    weights.unlink()
    with pytest.raises(BaseModelError, match="weights are missing"):
        locate()
