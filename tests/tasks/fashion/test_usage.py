"""The code of a model card runs and draws."""

import json
import warnings
from pathlib import Path

import pytest

from tests.tasks.fashion import toy
from tuner.tasks.fashion.usage import usage


@pytest.mark.parametrize("space", [{}, {"train": "full"}, {"mode": "prompt"}])
def test_the_code_of_the_card_draws(
    base: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: dict[str, str]
) -> None:
    packing = toy.make_packing(base, clip, space={name: value for name, value in space.items() if name == "train"})
    packing.start(toy.make_spec("a", **space))
    folder = toy.save(packing, tmp_path / "adapter")
    if "mode" in space:
        (folder / "prompts.json").write_text(json.dumps({"optimized_prompt": "a hat", "negative_prompt": ""}), "utf-8")
    monkeypatch.chdir(folder)
    found = usage(str(base), {**space, "inference_steps": 2})
    assert (found.library, found.pipeline_tag) == ("diffusers", "text-to-image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec("\n".join(found.code), {})
    assert (folder / "dress.png").read_bytes()[:4] == b"\x89PNG"


def test_the_embedded_base_is_found_where_it_is_installed() -> None:
    assert 'describe_diffusion("garment_sd").source' in "\n".join(usage("garment_sd", {}).code)
