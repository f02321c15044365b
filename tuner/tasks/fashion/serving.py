"""Fashion images as a service: one frozen picture base, and every picture under way moved on by one denoising step at
a time, whichever adapters draw them.

Pictures of one size share the UNet's forwards, each with its unguided twin beside it, however many steps, which
guidance and which adapter each has and whenever it joined; sizes take turns. Every picture has a solver of its own,
since the solver remembers the last step, and texts are encoded once, when a picture is admitted. In fp32 latents differ
from those of the picture drawn alone by rounding only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch

from tuner.bases.diffusion import DiffusionFacts, describe_diffusion
from tuner.bases.pipeline import PictureBase
from tuner.device import Device
from tuner.errors import DataError, EngineError, StoreError
from tuner.lora.packed import Pack
from tuner.lora.parameters import AdapterShape
from tuner.lora.table import AdapterTable, Opened, Resident
from tuner.tasks.fashion.adapted_texts import AdaptedTexts, carrying
from tuner.tasks.fashion.asking import LEAST_GUIDANCE, MOST_GUIDANCE, DrawnPicture, Limits, PictureAsk
from tuner.tasks.fashion.denoise import UNET, Denoiser
from tuner.tasks.fashion.drawing import Drawing
from tuner.tasks.fashion.lora_file import read_lora
from tuner.tasks.fashion.reading import Reading
from tuner.tasks.fashion.sampling import make_scheduler, seed_of, starting_noise
from tuner.tasks.fashion.saved import SavedDetails
from tuner.tasks.fashion.settings import DEFAULTS, LARGEST, MOST_STEPS
from tuner.tasks.fashion.under_way import Order, UnderWay
from tuner.tasks.served import Job, ServedFacts

LANGUAGES = ("en",)
"""What CLIP's text encoders read."""
_SAVED = "saved"  # of an adapter's details: its `SavedDetails`


class ServedPictures:
    """Implements `ServedBase`; an ask is a `PictureAsk`, a piece of an answer (step, steps), the answer a
    `DrawnPicture`. Raises BaseModelError."""

    alone = True

    def __init__(self, facts: DiffusionFacts, device: Device, capacity: int) -> None:
        self.facts = ServedFacts(facts.name, facts.revision, facts.checksum, LANGUAGES, device.name, device.dtype_name)
        self.limits = Limits.of(facts)
        self.denoiser = Denoiser(PictureBase.open(facts, device.torch, device.dtype), whole=False)
        self.table = AdapterTable(self.denoiser.sites, device.torch, capacity)
        self._own = SavedDetails.of_base(facts)
        self._reading = Reading(self.denoiser.base.tokenizer)
        self._drawings: dict[int, Drawing] = {}
        # by side, that whose turn it is first
        self._under_way: OrderedDict[int, list[UnderWay]] = OrderedDict()
        self._texts = AdaptedTexts(self.denoiser, self.table)
        self._packs: dict[int, tuple[list[Resident], Pack]] = {}

    @classmethod
    def serve(cls, base_model: str, revision: str | None, device: Device, capacity: int) -> ServedPictures:
        """The base on a device, with room for `capacity` bytes of adapters."""
        return cls(describe_diffusion(base_model, revision), device, capacity)

    def open(self, folder: Path) -> Opened:
        """Read an adapter; see `ServedBase`. Found prompts are one without tensors."""
        saved = SavedDetails.open(folder)
        if saved.train == "full":
            raise StoreError(
                f"{folder} is a full fine-tune, a base of its own: serve the pipeline in it as base_model."
            )
        if (saved.base_model, saved.revision) != (self.facts.name, self.facts.revision):
            raise StoreError(f"{folder} is of the base {saved.base_model}, and {self.facts.name} is served.")
        if saved.checksum != self.facts.checksum:
            raise StoreError(
                f"{folder} was trained on another {saved.base_model}: its checksum was {saved.checksum}, and this one "
                f"has {self.facts.checksum}. Tune again, or bring that base back."
            )
        if (
            saved.side % self.limits.step
            or not self.limits.least <= saved.side <= LARGEST
            or not 1 <= saved.steps <= MOST_STEPS
            or not LEAST_GUIDANCE <= saved.guidance <= MOST_GUIDANCE
        ):
            how = f"{saved.steps} steps at {saved.side} pixels a side, guidance {saved.guidance:g}"
            raise StoreError(f"{folder} cannot draw: {how}.")
        details = {_SAVED: saved}
        if saved.train == "nothing":
            return Opened(AdapterShape(0, frozenset(), frozenset()), 0.0, {}, details)
        return read_lora(folder, self.denoiser.sites, self.denoiser.kernels, details)

    def canary(self) -> PictureAsk:
        """A small picture in two steps."""
        return PictureAsk("a dress", seed=1, steps=2, side=self.limits.least)

    def sound(self, answer: DrawnPicture) -> bool:
        """Whether there is something in the picture."""
        return bool(answer.picture.size) and float(answer.picture.std()) > 0

    @property
    def busy(self) -> bool:
        """Whether pictures are under way."""
        return bool(self._under_way)

    @torch.inference_mode()
    def admit(self, jobs: Sequence[Job]) -> None:
        """Check asks, and encode their texts, all at once."""
        orders = []
        for job in jobs:
            try:
                if problems := list(self.limits.problems(job.ask)):
                    raise DataError(problems)
                orders.append(self._order(job))
            except Exception as error:
                job.end(error)
        try:
            texts = iter(self._texts.encoded([(each.job.adapter, text) for each in orders for text in each.texts]))
        except Exception as error:
            for order in orders:
                order.job.end(error)
            return
        for order in orders:
            own = torch.stack([next(texts) for _ in order.texts])
            try:
                begun = self._begun(order, own)
            except Exception as error:
                order.job.end(error)
                continue
            self._under_way.setdefault(order.side, []).append(begun)

    @torch.inference_mode()
    def step(self) -> int:
        """Move every picture of one size on by one denoising step, and the finished ones through the autoencoder."""
        self._forget_cancelled()
        if not self._under_way:
            return 0
        side, pictures = next(iter(self._under_way.items()))
        self._under_way.move_to_end(side)
        pictures.sort(key=lambda each: each.order.member.row)
        drawing = self._drawing(side)
        size = drawing.rows_at_once(1)
        for start in range(0, len(pictures), size):
            self._move(side, pictures[start : start + size])
        rows = sum(each.rows for each in pictures)
        done = [each for each in pictures if each.done]
        for start in range(0, len(done), drawing.pictures_at_once):
            ready = done[start : start + drawing.pictures_at_once]
            answers = self._shown(ready)
            # they leave first, lest an error of the next ones ends them again
            pictures = [each for each in pictures if each not in ready]
            self._keep(side, pictures)
            for each, answer in zip(ready, answers, strict=True):
                each.order.job.end(answer)
        return rows

    def abandon(self, error: Exception) -> None:
        """End every picture under way."""
        for side, pictures in list(self._under_way.items()):
            for each in pictures:
                each.order.job.end(error)
            self._keep(side, [])

    def _order(self, job: Job) -> Order:
        ask, saved = job.ask, job.adapter.details.get(_SAVED, self._own)
        return Order(
            job,
            carrying(self.table, job.adapter, UNET),
            saved.side if ask.side is None else ask.side,
            saved.steps if ask.steps is None else ask.steps,
            saved.guidance if ask.guidance is None else ask.guidance,
            seed_of(ask.prompt) if ask.seed is None else ask.seed,
            saved.asked(ask.prompt),
            saved.negative_prompt if ask.negative_prompt is None else ask.negative_prompt,
        )

    def _begun(self, order: Order, texts: torch.Tensor) -> UnderWay:
        """A picture at its noise."""
        device = self.denoiser.base.device
        solver = make_scheduler(self.denoiser.base.scheduler)
        solver.set_timesteps(order.steps, device=device)
        solver.set_begin_index(0)  # as in `sample`
        noise = starting_noise([order.seed], self._drawing(order.side).latent).to(device)
        return UnderWay(order, noise * solver.init_noise_sigma, texts, solver)

    def _move(self, side: int, pictures: Sequence[UnderWay]) -> None:
        """One forward; those of one member stand together."""
        counts: dict[Resident, int] = {}
        for each in pictures:
            counts[each.order.member] = counts.get(each.order.member, 0) + each.rows
        x = torch.cat([each.latent.expand(each.rows, -1, -1, -1) for each in pictures])
        times = torch.cat([each.time.expand(each.rows) for each in pictures])
        texts = torch.cat([each.texts for each in pictures])
        found = self.denoiser(self._pack(side, list(counts)), list(counts.values()), x, times, texts)
        for each, own in zip(pictures, found.split([each.rows for each in pictures]), strict=True):
            each.move(own)

    def _pack(self, side: int, members: list[Resident]) -> Pack:
        """Of these members; made once while they stay together, since it copies their weights."""
        kept = self._packs.get(side)
        if kept is None or kept[0] != members:
            bare = members == [self.table.base]
            kept = (members, self.table.pack_tight([] if bare else members, self.denoiser.base.dtype, UNET))
            self._packs[side] = kept
        return kept[1]

    def _shown(self, done: Sequence[UnderWay]) -> list[DrawnPicture | EngineError]:
        """What their latents are as pictures."""
        latents = torch.cat([each.latent for each in done])
        finite = latents.flatten(1).isfinite().all(1).tolist()
        pictures = self.denoiser.base.pictures(latents).numpy()
        answers: list[DrawnPicture | EngineError] = []
        for each, picture, sound in zip(done, pictures, finite, strict=True):
            order = each.order
            if not sound:
                answers.append(EngineError("The picture came to numbers that are not finite."))
                continue
            unread, tokens = self._reading.unread(order.prompt), self._reading.tokens(order.prompt)
            # a copy, since else one picture keeps all of its company in memory
            answers.append(DrawnPicture(picture.copy(), order.seed, order.steps, order.prompt, unread, tokens))
        return answers

    def _forget_cancelled(self) -> None:
        for side, pictures in list(self._under_way.items()):
            cancelled = [each for each in pictures if each.order.job.cancelled]
            for each in cancelled:
                each.order.job.end(None)
            if cancelled:
                self._keep(side, [each for each in pictures if not each.order.job.cancelled])

    def _keep(self, side: int, pictures: list[UnderWay]) -> None:
        """Go on with these alone."""
        if pictures:
            self._under_way[side] = pictures
        else:
            self._under_way.pop(side, None)
            self._packs.pop(side, None)

    def _drawing(self, side: int) -> Drawing:
        if side not in self._drawings:
            self._drawings[side] = Drawing(self.denoiser, side, DEFAULTS["inference_steps"])
        return self._drawings[side]
