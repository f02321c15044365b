"""Train the embedded FashionCLIP: `python -m tuner.bases.garment_clip.pretrain`, about 20 minutes of one core.

Draws the pictures, trains, measures retrieval and how far similarities spread on held-out pairs, and writes a folder
that open_clip opens: weights in fp16, config, tokenizer, training.json. A seed gives the same batches.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from tuner.bases.garment_clip import FOLDER, WEIGHTS
from tuner.bases.garment_clip.sayings import facts
from tuner.bases.garment_clip.training import as_input, build, configuration, train
from tuner.bases.garments import tokens
from tuner.bases.garments.captions import caption
from tuner.bases.garments.look import Look
from tuner.bases.garments.pictures import drawn, mixed
from tuner.bases.garments.sample import general

PICTURES, STYLED = 28_000, 2 / 7
HELD_OUT, HELD_OUT_SEED = 500, 2
FINISHING_RATE = 7e-4


def main() -> None:
    """Train and write the model's folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--finishing-steps", type=int, default=1800)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tokenizer = tokens.train()
    looks = mixed(options.seed, options.pictures, STYLED)
    model = build(len(tokenizer), tokens.LENGTH)
    told: list[dict[str, float]] = []
    pictures = drawn(looks)
    train(model, tokenizer, pictures, looks, options.steps, options.seed, told.append, tokens.LENGTH)
    # the whole of a look tells most: backgrounds and second colours are learnt last
    train(
        model, tokenizer, pictures, looks, options.finishing_steps, options.seed + 1, told.append, tokens.LENGTH,
        rate=FINISHING_RATE, whole=0.75,
    )  # fmt: skip
    held_out = general(HELD_OUT_SEED, HELD_OUT)
    record = {"seed": options.seed, "pictures": len(looks), **measure(model, tokenizer, held_out), "losses": told}
    write(options.out, model, tokenizer, record)


@torch.no_grad()
def measure(model: Any, tokenizer: Any, looks: Sequence[Look]) -> dict[str, float]:
    """Retrieval of each picture by its full caption and the other way (R@1; of looks that are told alike each is
    right), and the mean cosine of two pictures of the
    same garment and colour, of another colour, of another garment, of neither."""
    seen = F.normalize(model.encode_image(as_input(drawn(looks))), dim=-1)
    same = [facts(look) for look in looks]
    ids = tokenizer(
        [caption(look, 2) for look in looks], padding="max_length", max_length=tokens.LENGTH, return_tensors="pt"
    ).input_ids
    cosines = F.normalize(model.encode_text(ids), dim=-1) @ seen.T  # (texts, pictures)
    named = [
        [same[int(best)] == same[at] for at, best in enumerate(each)] for each in (cosines.argmax(1), cosines.argmax(0))
    ]
    garment = np.array([look.garment for look in looks])
    colour = np.array([look.colour for look in looks])
    same_garment = torch.from_numpy(garment[:, None] == garment[None, :])
    same_colour = torch.from_numpy(colour[:, None] == colour[None, :])
    others = ~torch.eye(len(looks), dtype=torch.bool)
    between = seen @ seen.T
    return {
        "text_to_picture_r1": sum(named[0]) / len(looks),
        "picture_to_text_r1": sum(named[1]) / len(looks),
        "cosine_same": float(between[same_garment & same_colour & others].mean()),
        "cosine_other_colour": float(between[same_garment & ~same_colour].mean()),
        "cosine_other_garment": float(between[~same_garment & same_colour].mean()),
        "cosine_neither": float(between[~same_garment & ~same_colour].mean()),
    }


def write(folder: Path, model: Any, tokenizer: Any, record: dict[str, Any]) -> None:
    """The folder that open_clip opens."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)
    preprocessing = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    config = {"model_cfg": configuration(len(tokenizer), tokens.LENGTH), "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    tokens.save(tokenizer, folder)
    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
