"""fashion_engine: pictures a second of packed adapters against one adapter after another, on a Stable Diffusion base.

On a CPU the base is the embedded pipeline at 64 x 64; on a GPU a UNet with random weights in the shape of Stable
Diffusion 1.5 at 512 x 512 (860 million parameters; a product takes as long whatever it multiplies), with the embedded
pipeline's autoencoder. Eight adapters, r 8 on the attention, learn batches of 8 pictures, and draw the same prompts
with guidance, DPM++ 2M Karras:

    packed       all adapters in one forward and backward; all their pictures in one batch, as the engine does it
    sequential   stock diffusers and PEFT, one adapter after another: batches of 8 in training; the pipeline's own call
                 on batches of 8 prompts
    alone        the tuner's own layers with a pack of one: what packing itself gains, its other savings taken away

Latents and texts are encoded before on all sides in training, which is timed in steps of the optimizer; drawing is
timed from prompts to pictures.

    train_packed_vs_sequential       pictures a second in training, packed / sequential, the median over the rounds
    evaluate_packed_vs_sequential    pictures drawn a second, packed / sequential
    train_packed_vs_alone, evaluate_packed_vs_alone    the same against a pack of one
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from tests.benchmarks.clock import paired, seconds
from tests.benchmarks.harness import finish, machine, parser, say, spread
from tuner.bases.diffusion import ATTENTION, describe_diffusion
from tuner.bases.load import quiet
from tuner.bases.pipeline import PictureBase
from tuner.device import Device, picture_dtype, select_devices, set_threads
from tuner.lora.optim import adamw_step, gradient_norms
from tuner.lora.packed import Member, Pack
from tuner.lora.parameters import ParameterStore, initial_tensors
from tuner.tasks.fashion.denoise import Denoiser
from tuner.tasks.fashion.drawing import Drawing
from tuner.tasks.fashion.predict import pipeline_of
from tuner.tasks.fashion.rows import embedded_rows

ADAPTERS, BATCH, RANK, ALPHA, RATE, DECAY, CLIP = 8, 8, 8, 16, 1e-3, 0.01, 1.0
STEPS, GUIDANCE = 6, 3.0
SD15 = {
    "sample_size": 64, "block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 768,
    "attention_head_dim": 8, "layers_per_block": 2,
}  # fmt: skip
SIDES = ("packed", "alone", "sequential")
TARGETS = {"train_packed_vs_sequential": 1.5, "evaluate_packed_vs_sequential": 1.5}


class Ours:
    """The tuner's layers on a base of its own."""

    def __init__(self, base: PictureBase, resolution: int, inference_steps: int) -> None:
        self.base = base
        self.denoiser = Denoiser(base, whole=False)
        self.drawing = Drawing(self.denoiser, resolution, inference_steps)
        shape = self.denoiser.shape(RANK, ATTENTION)
        self.store = ParameterStore(self.denoiser.sites, ADAPTERS, base.device)
        for slot in range(ADAPTERS):
            self.store.put(slot, shape, initial_tensors(self.denoiser.sites, shape, slot))
        self.steps = [torch.zeros((), device=base.device) for _ in range(ADAPTERS)]

    def _pack(self, slots: Sequence[int], train: bool) -> Pack:
        return Pack(self.store, [Member(slot, ALPHA / RANK) for slot in slots], self.base.dtype, train=train)

    def train(self, slots: Sequence[int], x: torch.Tensor, times: torch.Tensor, captions: Sequence[str]) -> None:
        """One step of these adapters, each on all of the rows."""
        pack = self._pack(slots, True)
        texts = self.denoiser.texts(pack, [captions] * len(slots))
        many = x.repeat(len(slots), 1, 1, 1)
        found = self.denoiser(pack, [len(x)] * len(slots), many, times.repeat(len(slots)), texts)
        (found - many).square().mean().backward()
        pack.flush_gradients()
        for slot, norm in zip(slots, gradient_norms(self.store, pack.index), strict=True):
            adamw_step(self.store, slot, self.steps[slot], RATE, DECAY, norm, CLIP)

    def draw(self, slots: Sequence[int], prompts: Sequence[str]) -> None:
        """Each adapter's pictures of all prompts, texts encoded anew."""
        self.denoiser.forget_texts()
        self.drawing.draw(self._pack(slots, False), [prompts] * len(slots), "", [GUIDANCE] * len(slots))


class Stock:
    """diffusers and PEFT, one adapter in the model at a time."""

    def __init__(self, base: PictureBase, resolution: int, inference_steps: int) -> None:
        from peft import LoraConfig

        self.base, self.resolution, self.inference_steps = base, resolution, inference_steps
        base.unet.requires_grad_(False)
        with quiet():
            base.unet.add_adapter(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(ATTENTION)))
        self.trained = [weight for weight in base.unet.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=RATE, weight_decay=DECAY, fused=True)
        self.pipe = pipeline_of(base)
        self._texts: dict[str, torch.Tensor] = {}

    def train(self, x: torch.Tensor, times: torch.Tensor, captions: Sequence[str]) -> None:
        """One step on these rows."""
        for caption in captions:
            if caption not in self._texts:
                with torch.no_grad():
                    self._texts[caption] = self.base.encode(self.base.tokens([caption]))[0]
        texts = torch.stack([self._texts[caption] for caption in captions])
        found = self.base.unet(x.to(self.base.dtype), times, texts, return_dict=False)[0]
        (found.float() - x).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(self.trained, CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def draw(self, prompts: Sequence[str]) -> None:
        """Pictures of all prompts."""
        for at in range(0, len(prompts), BATCH):
            self.pipe(
                list(prompts[at : at + BATCH]),
                negative_prompt=[""] * len(prompts[at : at + BATCH]),
                num_inference_steps=self.inference_steps,
                guidance_scale=GUIDANCE,
                height=self.resolution,
                width=self.resolution,
                output_type="np",
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser(__doc__, "repeats", 3).parse_args(arguments)
    device = select_devices()[0]
    if device.kind == "cpu":
        set_threads(torch.get_num_threads())
    dtype, _ = picture_dtype(device, "auto")
    base = _base(device, dtype)
    on_cpu = device.kind == "cpu"
    resolution, inference_steps, prompts = (64, 12, 20) if on_cpu else (512, 25, 8)
    steps, asked = (1, 4) if options.quick else (STEPS, prompts)
    millions = sum(weight.numel() for weight in base.unet.parameters()) / 1e6
    say(f"fashion_engine on {device.label} in {dtype}, {machine()}, torch {torch.__version__}; UNet {millions:.1f} M")
    rows = embedded_rows("denim", {"train": 96, "validation": 10, "test": 20}, 64)
    stock = Stock(_copy(base), resolution, inference_steps)
    ours = Ours(base, resolution, inference_steps)
    torch.manual_seed(0)
    side = base.latent_side(resolution)
    batches = []
    for step in range(steps):
        x = torch.randn(BATCH, base.latent_channels, side, side, device=device.torch)
        times = torch.randint(0, 1000, (BATCH,), device=device.torch)
        batches.append((x, times, [row.caption for row in rows.train[step * BATCH :][:BATCH]]))
    work = _work(ours, stock, batches, [row.caption for row in rows.test[:asked]])
    for job in work.values():
        seconds(device, job, warm=True)
    pictures = {"train": ADAPTERS * steps * BATCH, "evaluate": ADAPTERS * asked}
    rates: dict[tuple[str, str], list[float]] = {}
    for repeat in range(1 if options.quick else options.repeats):
        for (what, where), job in work.items():
            rates.setdefault((what, where), []).append(pictures[what] / seconds(device, job))
        shown = ", ".join(f"{what} {where} {rates[what, where][-1]:.1f}" for what, where in work)
        say(f"round {repeat}: {shown} pictures a second")
    finish(_summarise(rates, millions), TARGETS, options.quick)


def _base(device: Device, dtype: torch.dtype) -> PictureBase:
    base = PictureBase.open(describe_diffusion("garment_sd"), device.torch, dtype)
    if device.kind == "cpu":
        return base
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    with device.torch:  # drawing a billion numbers on the CPU takes minutes
        base.unet = UNet2DConditionModel(**SD15, in_channels=16, out_channels=16)
        base.text_encoder = CLIPTextModel(CLIPTextConfig(hidden_size=768, vocab_size=len(base.tokenizer)))
    base.unet = base.unet.to(dtype=dtype, memory_format=torch.channels_last).eval()
    base.text_encoder = base.text_encoder.to(dtype=dtype).eval()
    return base


def _copy(base: PictureBase) -> PictureBase:
    parts = {name: copy.deepcopy(getattr(base, name)) for name in ("unet", "text_encoder", "vae")}
    return PictureBase(
        base.facts, parts["unet"], parts["text_encoder"], parts["vae"], base.tokenizer, base.scheduler, base.device,
        base.dtype,
    )  # fmt: skip


def _work(
    ours: Ours, stock: Stock, batches: Sequence[tuple[torch.Tensor, torch.Tensor, list[str]]], prompts: Sequence[str]
) -> dict[tuple[str, str], Callable[[bool], None]]:
    """What each side does in a round; with True a small part of it, to warm up."""
    every = range(ADAPTERS)

    def each(warm: bool, one: Callable[[int], None]) -> None:
        for slot in range(1 if warm else ADAPTERS):
            one(slot)

    def train(step: Callable[..., Any], *before: Any) -> None:
        for batch in batches:
            step(*before, *batch)

    return {
        ("train", "packed"): lambda warm: train(ours.train, every),
        ("train", "alone"): lambda warm: each(warm, lambda slot: train(ours.train, [slot])),
        ("train", "sequential"): lambda warm: each(warm, lambda slot: train(stock.train)),
        ("evaluate", "packed"): lambda warm: ours.draw(every, prompts),
        ("evaluate", "alone"): lambda warm: each(warm, lambda slot: ours.draw([slot], prompts)),
        ("evaluate", "sequential"): lambda warm: each(warm, lambda slot: stock.draw(prompts)),
    }


def _summarise(rates: Mapping[tuple[str, str], list[float]], millions: float) -> dict[str, float]:
    """Print medians with ranges; return the keys."""
    say("\npictures a second, median (range) over the rounds")
    for (what, where), found in rates.items():
        say(f"  {what:8} {where:10} {spread(found, 1)}")
    keys: dict[str, float] = {}
    for what in ("train", "evaluate"):
        for other in SIDES[1:]:
            keys[f"{what}_packed_vs_{other}"] = paired(rates[what, "packed"], rates[what, other])
    for (what, where), found in rates.items():
        keys[f"{what}_{where}_pictures_per_second"] = statistics.median(found)
    return {**keys, "unet_parameters_m": millions}


if __name__ == "__main__":
    main()
