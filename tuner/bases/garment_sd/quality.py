"""Whether the embedded pipeline draws what it is told: `python -m tuner.bases.garment_sd.quality`.

Held-out captions are drawn, and the embedded FashionCLIP is asked, out of all garments, colours and surfaces there are,
what it sees. Writes the shares that are right beside the weights (quality.json) and a contact sheet for a person to
judge, who should: the judge was trained by the same project.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tuner.bases.clip import ClipModel
from tuner.bases.garment_sd import FOLDER
from tuner.bases.garments.captions import MANY, a, caption
from tuner.bases.garments.look import GARMENTS, PATTERNS, TEXTURES, Look
from tuner.bases.garments.palette import COLOURS
from tuner.bases.garments.sample import general
from tuner.bases.load import quiet

HELD_OUT_SEED, STEPS, GUIDANCE, AT_ONCE = 7, 12, 3.0, 40
COLUMNS, SHOWN = 10, 60


def main() -> None:
    """Measure a pipeline's folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--clip", default="garment_clip")
    parser.add_argument("--captions", type=int, default=300)
    parser.add_argument("--sheet", type=Path, default=Path("contact_sheet.png"))
    options = parser.parse_args()
    looks = general(HELD_OUT_SEED, options.captions)
    pictures = drawn(open_pipeline(options.folder), [caption(look) for look in looks])
    found = named_right(ClipModel.open(options.clip, torch.device("cpu")), pictures, looks)
    (options.folder / "quality.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found))
    rows = [np.concatenate(pictures[at : at + COLUMNS], 1) for at in range(0, min(SHOWN, len(pictures)), COLUMNS)]
    Image.fromarray(np.concatenate(rows)).save(options.sheet)


def open_pipeline(folder: Path) -> Any:
    """The pipeline in fp32, quiet."""
    from diffusers import StableDiffusionPipeline

    with quiet():
        pipe = StableDiffusionPipeline.from_pretrained(str(folder), use_safetensors=True, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def drawn(pipe: Any, captions: Sequence[str]) -> list[np.ndarray]:
    """Pictures (H, W, 3), uint8, of captions, from seed 0 and on."""
    pictures: list[np.ndarray] = []
    for start in range(0, len(captions), AT_ONCE):
        part = list(captions[start : start + AT_ONCE])
        seeds = [torch.Generator().manual_seed(start + number) for number in range(len(part))]
        with torch.no_grad():
            found = pipe(part, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=seeds, output_type="np")
        pictures.extend((found.images * 255).round().astype(np.uint8))
    return pictures


def named_right(clip: ClipModel, pictures: Sequence[np.ndarray], looks: Sequence[Look]) -> dict[str, float]:
    """The shares of pictures of which the judge names garment, colour, both, and the surface as the look says."""
    seen = clip.images(pictures)
    garments = clip.texts([f"a photo of {a(name, name in MANY)}" for name in GARMENTS])
    by_garment = (seen @ garments.T).argmax(1).tolist()
    right: dict[str, list[bool]] = {"garment": [], "colour": [], "garment_and_colour": [], "surface": []}
    surfaces = [*PATTERNS, *TEXTURES]
    asked = {
        name: (
            clip.texts([a(f"{colour} {name}", name in MANY) for colour in COLOURS]),
            clip.texts([a(f"{surface} {name}", name in MANY) for surface in surfaces]),
        )
        for name in GARMENTS
    }
    for number, look in enumerate(looks):
        colours, patterns = asked[look.garment]
        garment = GARMENTS[by_garment[number]] == look.garment
        colour = list(COLOURS)[int((colours @ seen[number]).argmax())] == look.colour
        right["garment"].append(garment)
        right["colour"].append(colour)
        right["garment_and_colour"].append(garment and colour)
        right["surface"].append(surfaces[int((patterns @ seen[number]).argmax())] == look.pattern)
    return {name: sum(values) / len(values) for name, values in right.items()} | {"captions": float(len(looks))}


if __name__ == "__main__":
    main()
