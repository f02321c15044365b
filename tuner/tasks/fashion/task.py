"""Fashion images on a device: one frozen Stable Diffusion base, packed adapters, the denoising loss of each row, and
how an adapter is judged by the pictures it draws.

Every held-out row has a reference picture and a caption. The adapter draws the caption from noise that the caption
alone decides, all members of a pack in one batch, and the picture is compared with the reference: structure (SSIM),
meaning (FashionCLIP), colour. Quality is the mean SSIM, preservation the mean FashionCLIP similarity: an adapter that
forgets what a dress is loses it. Pictures are encoded once, when the task is made, and so are the captions unless an
adapter trains the text encoder.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tuner.bases.clip import ClipModel
from tuner.bases.diffusion import describe_diffusion
from tuner.bases.pipeline import PictureBase, as_tensor
from tuner.config import StudyConfig
from tuner.device import Device, picture_dtype, synchronize
from tuner.lora.packed import Pack
from tuner.lora.parameters import AdapterShape, ParameterStore
from tuner.score_benchmark import configured
from tuner.score_fashion import FASHION
from tuner.store.outputs import Output
from tuner.tasks.fashion.denoise import Denoiser
from tuner.tasks.fashion.drawing import Drawing
from tuner.tasks.fashion.judge import PictureJudge
from tuner.tasks.fashion.learning import Noising
from tuner.tasks.fashion.predict import FashionPredictor
from tuner.tasks.fashion.prepare import targets_of
from tuner.tasks.fashion.prompting import Prompting
from tuner.tasks.fashion.prompts import PromptPlan, PromptResult
from tuner.tasks.fashion.rows import FashionData, PictureRow, encoded
from tuner.tasks.fashion.sampling import seed_of
from tuner.tasks.fashion.saving import save_adapter, save_prompts
from tuner.tasks.fashion.settings import DEFAULTS, settings_of
from tuner.tasks.task import Prepared


class FashionTask:
    """Implements `Task`. `prepared.data` is a `FashionData`. Raises BaseModelError if a model cannot be loaded."""

    def __init__(self, config: StudyConfig, device: Device, prepared: Prepared) -> None:
        started = time.perf_counter()
        self.settings = settings_of(config)
        self.facts = describe_diffusion(config.base_model, config.revision)
        self.place = device
        dtype, note = picture_dtype(device, config.precision)
        self.notes = [note] if note else []
        self.base = PictureBase.open(self.facts, device.torch, dtype)
        self.denoiser = Denoiser(self.base, whole=self.settings.train == "full")
        self.context, self.sites = self.denoiser.context, self.denoiser.sites
        data: FashionData = prepared.data
        self.resolution = data.resolution
        self.held_out = {"validation": data.validation, "test": data.test}
        self.train = data.train
        self.train_rows = len(data.train)
        self.noising = Noising(self.base.scheduler)
        clip = ClipModel.open(self.settings.clip_model, device.torch)
        self.judge = PictureJudge(clip, self.settings.similarity, configured(FASHION, config))
        self.prompting = Prompting(clip) if self.settings.mode == "prompt" else None
        self.drawing = Drawing(self.denoiser, self.resolution, self.settings.inference_steps)
        self.latents = {name: self._encoded(rows) for name, rows in {**self.held_out, "train": data.train}.items()}
        self.preparation_seconds = time.perf_counter() - started

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the frozen base's activations."""
        return self.base.dtype

    def shape(self, params: Mapping[str, Any]) -> AdapterShape:
        """LoRA on the trial's target modules; all of the UNet in a full fine-tune; nothing where prompts are
        searched."""
        if self.prompting is not None:
            return AdapterShape(1, frozenset(), frozenset())
        return self.denoiser.shape(int(params["rank"]), targets_of(params))

    def row_costs(self) -> Sequence[int]:
        """1 each: pictures of one size cost the same."""
        return [1] * self.train_rows

    def losses(self, pack: Pack, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Weighted mean squared error of each row's prediction (B,), fp32."""
        latents = self.latents["train"]
        noised = self.noising.train(pack.members, [latents[list(member)] for member in rows])
        captions = [[self.train[index].caption for index in member] for member in rows]
        found = self._errors(pack, [len(member) for member in rows], noised.x, noised.times, captions, noised.targets)
        return found * noised.weights.to(found.device)

    @torch.no_grad()
    def evaluate(self, pack: Pack, split: str) -> list[dict[str, float]]:
        """Means over the split's rows of ssim, fashion_clip (in the form the config chooses), both of its forms, colour
        and total_loss; the denoising loss on the split; and what drawing took, of each member."""
        rows = self.held_out[split]
        synchronize(self.place)
        started = time.perf_counter()
        drawn = self._drawn(pack, rows)
        seconds = max(time.perf_counter() - started, 1e-9)
        references = self._references(rows)
        judged = [self.judge.compare(references, pictures, split) for pictures in drawn]
        # of prompts alone the loss would be the base's, whatever they say
        losses = self._held_out_losses(pack, split) if self.prompting is None else [None] * len(drawn)
        return [
            {
                **self.judge.means(scores),
                **({} if loss is None else {f"{split}_loss": loss}),
                "predict_runtime": seconds,
                "predict_samples_per_second": len(rows) * len(drawn) / seconds,
                "predict_model_preparation_time": self.preparation_seconds,
            }
            for scores, loss in zip(judged, losses, strict=True)
        ]

    @torch.no_grad()
    def outputs(self, pack: Pack, split: str, count: int) -> list[Output]:
        """image_1 and on: the caption, what the judge sees in the picture, and the pictures of the reference, the
        adapter and the base, each compared with the reference."""
        rows = self.held_out[split][:count]
        ours = self._drawn(pack, rows)[0]
        theirs = self._drawn(self._bare(pack), rows, pack.members[0].params)[0]
        references = self._references(rows)
        marked = [self.judge.compare(references, pictures, split) for pictures in (ours, theirs)]
        seen = [self.judge.names(pictures) for pictures in (references, ours, theirs)]
        return [
            Output(
                name=f"image_{number + 1}",
                input=row.caption,
                expected=seen[0][number],
                answer=seen[1][number],
                base_answer=seen[2][number],
                metrics=self.judge.metrics(marked[0][number]),
                base_metrics=self.judge.metrics(marked[1][number]),
                pictures={
                    "expected": encoded(references[number]),
                    "adapter": encoded(ours[number]),
                    "base": encoded(theirs[number]),
                },
            )
            for number, row in enumerate(rows)
        ]

    def save(self, directory: Path, tensors: Mapping[str, torch.Tensor], params: Mapping[str, Any]) -> None:
        """LoRA in diffusers' format, the pipeline of a full fine-tune, or the prompts of what was searched for in their
        place; and how pictures are drawn with it."""
        if self.prompting is None:
            save_adapter(directory, tensors, params, self.denoiser, self.settings, self.resolution)
            return
        plan, rows = PromptPlan.from_params(params), self.held_out["validation"]
        bare = Pack(ParameterStore(self.sites, 1, self.base.device), [], self.dtype, train=False)
        prompts = self.prompting.prompts(plan, rows)
        negative = plan.negative_or(self.settings.negative_prompt)
        guidance = float({**DEFAULTS, **params}["guidance"])
        drawn = self.drawing.draw(bare, [prompts], negative, [guidance], [seed_of(row.caption) for row in rows])[0]
        scores = self.judge.compare(self._references(rows), drawn, "validation")
        results = [
            PromptResult(row.name, prompt, negative, plan.strategy, self.judge.metrics(score)["fashion_clip"], features)
            for row, prompt, score, features in zip(
                rows, prompts, scores, self.prompting.features(plan, rows), strict=True
            )
        ]
        common = self.prompting.common(plan, self.train)
        save_prompts(directory, results, plan, common, params, self.base.facts, self.settings, self.resolution)

    @staticmethod
    def predictor(adapter: Path) -> FashionPredictor:
        """What draws with a saved adapter."""
        return FashionPredictor(adapter)

    def _errors(
        self,
        pack: Pack,
        counts: Sequence[int],
        x: torch.Tensor,
        times: torch.Tensor,
        captions: Sequence[Sequence[str]],
        targets: torch.Tensor,
    ) -> torch.Tensor:
        """Mean squared error of each row's prediction (B,), fp32."""
        texts = self.denoiser.texts(pack, captions)
        found = self.denoiser(pack, counts, x.to(self.base.device), times.to(self.base.device), texts)
        return (found - targets.to(self.base.device)).square().mean((1, 2, 3))

    def _held_out_losses(self, pack: Pack, split: str) -> list[float]:
        """The denoising loss of each member on a split, at fixed noise."""
        noised = self.noising.fixed(self.latents[split])
        captions = [row.caption for row in self.held_out[split]]
        members = len(pack.members)
        sums = [0.0] * members
        for chunk in torch.arange(len(captions)).split(self.drawing.rows_at_once(members)):
            every = [noised.x[chunk], noised.targets[chunk]]
            x, targets = (part.repeat(members, 1, 1, 1) for part in every)
            named = [[captions[index] for index in chunk.tolist()]] * members
            times = noised.times[chunk].repeat(members)
            errors = self._errors(pack, [len(chunk)] * members, x, times, named, targets).view(members, -1)
            for member, values in enumerate(errors.tolist()):
                sums[member] += math.fsum(values)
        return [value / len(captions) for value in sums]

    def _drawn(
        self, pack: Pack, rows: Sequence[PictureRow], params: Mapping[str, Any] | None = None
    ) -> list[list[np.ndarray]]:
        """Each member's pictures of the rows, from the noise of the rows' captions; the base's of their captions with
        the guidance of `params`, where nobody takes part."""
        settings = [{**DEFAULTS, **member.params} for member in pack.members] or [{**DEFAULTS, **(params or {})}]
        captions = [row.caption for row in rows]
        prompts, negatives = [captions] * len(settings), [self.settings.negative_prompt] * len(settings)
        if self.prompting is not None and pack.members:
            plans = [PromptPlan.from_params(each) for each in settings]
            prompts = [self.prompting.prompts(plan, rows) for plan in plans]
            negatives = [plan.negative_or(self.settings.negative_prompt) for plan in plans]
        seeds = [seed_of(caption) for caption in captions]
        return self.drawing.draw(pack, prompts, negatives, [float(each["guidance"]) for each in settings], seeds)

    def _references(self, rows: Sequence[PictureRow]) -> list[np.ndarray]:
        return [row.pixels() for row in rows]

    def _encoded(self, rows: Sequence[PictureRow]) -> torch.Tensor:
        """Latents of the rows' pictures (N, C, h, w), fp32 on the CPU; what repeats is encoded once."""
        pictures = {row.png: row for row in rows}
        at_once = self.drawing.pictures_at_once
        every = list(pictures.values())
        found: dict[bytes, torch.Tensor] = {}
        for start in range(0, len(every), at_once):
            part = every[start : start + at_once]
            pixels = np.stack([row.pixels() for row in part])
            latents = self.base.latents(as_tensor(pixels)).cpu()
            found.update(zip((row.png for row in part), latents, strict=True))
        return torch.stack([found[row.png] for row in rows])

    def _bare(self, pack: Pack) -> Pack:
        """The base without adapters."""
        return Pack(pack.store, [], pack.dtype, train=False)
