"""Question answering on a device: one frozen causal language model, packed adapters, the loss of each answer, and how
an adapter is judged by what it says.

The loss of a row is the mean over its answer's tokens; prompts are read and not learned. Quality is the mean of the
answer rubric over held-out rows, divided by 10. Preservation is exp(-(rise in loss)) on general text that no training
row resembles, at most 1: an adapter that keeps what the base knows of language loses nothing. Rows are tokenised once,
when the task is made.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tuner.bases.chat import ChatFormat
from tuner.bases.describe import describe
from tuner.bases.four_bit import open_causal
from tuner.config import StudyConfig
from tuner.data.chat import ChatRow
from tuner.device import Device, synchronize
from tuner.lora.checkpointing import checkpoint_layers
from tuner.lora.decoder import RaggedDecoder
from tuner.lora.decoder_layouts import decoder_layout
from tuner.lora.generate import Written, generate
from tuner.lora.layouts import matching
from tuner.lora.packed import Pack, PackContext, wrap_linears
from tuner.lora.parameters import AdapterShape
from tuner.lora.ragged import Ragged, in_chunks
from tuner.store.outputs import Output
from tuner.tasks.shoe_qa.fluency import Fluency, Piece
from tuner.tasks.shoe_qa.knowledge import known_texts
from tuner.tasks.shoe_qa.marking import Marking
from tuner.tasks.shoe_qa.predict import QaPredictor
from tuner.tasks.shoe_qa.prepare import QaData, reach, system_of, targets_of, tokenised
from tuner.tasks.shoe_qa.rubric import MARKS, MOST
from tuner.tasks.shoe_qa.saving import save_adapter
from tuner.tasks.task import Prepared

EVAL_TOKENS = 8192  # tokens of one forward in evaluation
MOST_NEW = 512  # tokens of an answer at most


@dataclass(frozen=True)
class Text:
    """Tokens of which those from `start` on are to be predicted."""

    ids: list[int]
    start: int


class QaTask:
    """Implements `Task`. `prepared.data` is a `QaData`. Raises BaseModelError if the base cannot be loaded. On a GPU
    losses are summed in no fixed order, so that their last bits differ from run to run."""

    def __init__(self, config: StudyConfig, device: Device, prepared: Prepared) -> None:
        started = time.perf_counter()
        self.facts = describe(config.base_model, config.revision)
        self.place = device
        self.device = device.torch
        data: QaData = prepared.data
        self.chat = ChatFormat.open(self.facts)
        self.layout = decoder_layout(self.facts.model_type)
        model: Any
        model, self.notes = open_causal(self.facts, device, config.memory.base_4bit)
        self.context = PackContext(self.device)
        self.modules = self.layout.modules(model.config.num_hidden_layers)
        self.sites = wrap_linears(
            model, self.modules, [], self.context, {name: self.layout.place(name) for name in self.modules}
        )
        if config.memory.checkpointing:
            checkpoint_layers(model.get_submodule(self.layout.layers), self.context)
        self.model = model.to(device=self.device).eval()
        self.decoder = RaggedDecoder(model)
        self.max_length = config.data.max_length
        self.held_out = {"validation": data.splits.validation, "test": data.splits.test}
        self.rows = {name: self._texts(rows) for name, rows in data.splits.named().items()}
        self.general = [
            Text(ids, 1) for text in data.general if len(ids := self.chat.plain(text)[: self.max_length]) > 1
        ]
        self.train_rows = len(self.rows["train"])
        self.system = system_of(data.splits.train)
        longest = max((len(text.ids) - text.start for text in self.rows["train"]), default=1)
        # an answer must find room behind the longest question
        asked = max((text.start for rows in self.rows.values() for text in rows), default=1)
        room = (reach(self.facts.config) or MOST_NEW + asked) - asked
        self.new_tokens = max(1, min(math.ceil(1.25 * longest), MOST_NEW, room))
        self._fluency = Fluency(known_texts(data.splits.train))
        self.marking = Marking(self.device, device.dtype, encoder=data.encoder)
        self._general_loss: float | None = None
        self.preparation_seconds = time.perf_counter() - started

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the frozen base's activations."""
        return self.decoder.dtype

    def shape(self, params: Mapping[str, Any]) -> AdapterShape:
        """LoRA on the trial's target modules."""
        targets = matching(self.modules, targets_of(params, self.layout))
        return AdapterShape(int(params["rank"]), frozenset(targets), frozenset())

    def row_costs(self) -> Sequence[int]:
        """Tokens of each training row."""
        return [len(text.ids) for text in self.rows["train"]]

    def losses(self, pack: Pack, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Mean cross-entropy of each row's answer (B,), fp32."""
        return self._losses(pack, [[self.rows["train"][index] for index in member] for member in rows])

    @torch.no_grad()
    def evaluate(self, pack: Pack, split: str) -> list[dict[str, float]]:
        """The rubric's marks (0 to 10), their mean as `rubric` (0 to 1), response_seconds, BLEU and ROUGE, the loss on
        the split and on general text, preservation, and what generation took, of each member."""
        members, rows = len(pack.members), self.held_out[split]
        base_loss = self._base_general_loss(pack)
        losses = self._mean_losses(pack, self.rows[split])
        general = self._mean_losses(pack, self.general)
        written, seconds = self._written(pack, split, len(rows))
        judged = self._judged(pack, split, written)
        found = []
        for member in range(members):
            means = {name: _mean([each[name] for each in judged[member]]) for name in judged[member][0]}
            steps = sum(len(text.tokens) + 1 for text in written[member])
            found.append(
                {
                    **means,
                    f"{split}_loss": _mean(losses[member]),
                    "general_loss": _mean(general[member]),
                    "preservation": min(1.0, math.exp(base_loss - _mean(general[member]))),
                    "predict_runtime": seconds,
                    "predict_samples_per_second": len(rows) / seconds,
                    "predict_steps_per_second": steps / seconds,
                    "predict_model_preparation_time": self.preparation_seconds,
                }
            )
        return found

    @torch.no_grad()
    def outputs(self, pack: Pack, split: str, count: int) -> list[Output]:
        """question_1 and on: the question, the reference, the adapter's answer and the base's own, each with its marks,
        BLEU and ROUGE and the seconds it took."""
        rows = self.held_out[split][:count]
        ours, _ = self._written(pack, split, len(rows))
        bare = self._bare(pack)
        theirs, _ = self._written(bare, split, len(rows))
        marked = self._judged(pack, split, [ours[0], theirs[0]])
        return [
            Output(
                name=f"question_{number + 1}",
                input=row.question,
                expected=row.answer,
                answer=self.chat.text(our.tokens),
                base_answer=self.chat.text(their.tokens),
                metrics=our_marks,
                base_metrics=their_marks,
                key_facts=row.key_facts,
            )
            for number, (row, our, their, our_marks, their_marks) in enumerate(
                zip(rows, ours[0], theirs[0], *marked, strict=True)
            )
        ]

    def save(self, directory: Path, tensors: Mapping[str, torch.Tensor], params: Mapping[str, Any]) -> None:
        """PEFT folder, tokenizer with its chat template, and how the adapter was trained to read."""
        save_adapter(
            directory,
            tensors,
            params,
            facts=self.facts,
            chat=self.chat,
            modules=self.modules,
            targets=targets_of(params, self.layout),
            max_length=self.max_length,
            new_tokens=self.new_tokens,
            system=self.system,
        )

    @staticmethod
    def predictor(adapter: Path) -> QaPredictor:
        """What answers for a saved adapter."""
        return QaPredictor(adapter)

    def _texts(self, rows: Sequence[ChatRow]) -> list[Text]:
        made = []
        for row in rows:
            prompt, answer = tokenised(self.chat, row, self.max_length)
            made.append(Text([*prompt, *answer], len(prompt)))
        return made

    def _losses(self, pack: Pack, rows: Sequence[Sequence[Text]]) -> torch.Tensor:
        """Mean cross-entropy of the tokens to be predicted, of each text (B,), fp32; rows[i] are those of member i."""
        flat = [text for member in rows for text in member]
        each, owner = self._token_losses(pack, rows)
        counts = torch.tensor([len(text.ids) - text.start for text in flat], device=self.device)
        return torch.zeros(len(flat), device=self.device).index_add(0, owner, each) / counts

    def _token_losses(self, pack: Pack, rows: Sequence[Sequence[Text]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy of each token to be predicted (K,), fp32, and the number of its text (K,), in order."""
        flat = [text for member in rows for text in member]
        ragged = Ragged([len(text.ids) for text in flat], self.device)
        ids = torch.tensor([token for text in flat for token in text.ids], device=self.device)
        if pack.members:
            pack.bring([len(member) for member in rows], [sum(len(t.ids) for t in member) for member in rows])
        starts = torch.tensor([text.start for text in flat], device=self.device)
        asked = torch.nonzero(ragged.positions >= starts[ragged.row_of]).flatten()
        self.context.pack = pack
        try:
            hidden = self.decoder.hidden(ids, ragged)
        finally:
            self.context.pack = None
        return self.decoder.losses(hidden[asked - 1], ids[asked]), ragged.row_of[asked]

    def _mean_losses(self, pack: Pack, texts: Sequence[Text]) -> list[list[float]]:
        """The loss of each text under each member; the base alone counts as one."""
        members = max(len(pack.members), 1)
        found = [[0.0] * len(texts) for _ in range(members)]
        for chunk in _chunks(texts, members):
            losses = self._losses(pack, [[texts[index] for index in chunk]] * members).view(members, -1).tolist()
            for member, values in enumerate(losses):
                for index, value in zip(chunk, values, strict=True):
                    found[member][index] = value
        return found

    def _written(self, pack: Pack, split: str, count: int) -> tuple[list[list[Written]], float]:
        """Each member's answers to the first rows of a split, and the seconds they took together."""
        prompts = [text.ids[: text.start] for text in self.rows[split][:count]]
        synchronize(self.place)
        started = time.perf_counter()
        written = generate(self.decoder, self.context, pack, prompts, self.new_tokens, self.chat.stop)
        return written, max(time.perf_counter() - started, 1e-9)

    def _judged(self, pack: Pack, split: str, written: Sequence[Sequence[Written]]) -> list[list[dict[str, float]]]:
        """Marks, overlaps and seconds of answers to the first rows of a split, of each writer."""
        count = len(written[0])
        rows = self.held_out[split][:count]
        answers = [[self.chat.text(text.tokens) for text in each] for each in written]
        stumbles = self._stumbles(self._bare(pack), [answer for each in answers for answer in each])
        marked = []
        for number, (each, texts) in enumerate(zip(answers, written, strict=True)):
            marks = self.marking.mark(rows, each, stumbles[number * count :][:count])
            for mark, text in zip(marks, texts, strict=True):
                mark["rubric"] = sum(mark[name] for name in MARKS) / (len(MARKS) * MOST)
                mark["response_seconds"] = text.seconds
            marked.append(marks)
        return marked

    def _stumbles(self, bare: Pack, answers: Sequence[str]) -> list[float]:
        """The share of each answer's runs that stumble, by what the base alone makes of their tokens."""
        pieces = [self.chat.pieces(answer) for answer in answers]
        begin = self.chat.begin
        start = max(len(begin), 1)
        texts = [Text([*begin, *ids], start) for ids, _ in pieces]
        nats: list[list[float]] = [[0.0] * (1 - len(begin)) for _ in texts]  # nothing is known of a first token alone
        for chunk in in_chunks({at: len(t.ids) for at, t in enumerate(texts) if len(t.ids) > start}, EVAL_TOKENS):
            each, owner = self._token_losses(bare, [[texts[at] for at in chunk]])
            for value, number in zip(each.tolist(), owner.tolist(), strict=True):
                nats[chunk[number]].append(value)
        return [
            self._fluency.stumbles(
                answer, [Piece(first, last, value) for (first, last), value in zip(offsets, values, strict=False)]
            )
            for answer, (_, offsets), values in zip(answers, pieces, nats, strict=True)
        ]

    def _base_general_loss(self, pack: Pack) -> float:
        if self._general_loss is None:
            self._general_loss = _mean(self._mean_losses(self._bare(pack), self.general)[0])
        return self._general_loss

    def _bare(self, pack: Pack) -> Pack:
        """The base without adapters."""
        return Pack(pack.store, [], pack.dtype, train=False)


def _chunks(texts: Sequence[Text], members: int) -> Iterator[list[int]]:
    """Indices in order of length, in chunks whose tokens times the members stay within the budget."""
    return in_chunks({at: len(text.ids) for at, text in enumerate(texts)}, EVAL_TOKENS // members)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
