"""Sentiment on a device: one frozen encoder, packed adapters, the loss of each row, and how an adapter is judged.

Quality is accuracy on held-out rows, macro F1 where classes are unbalanced. Preservation is the mean cosine between the
base's and the adapted encoder's sentence embeddings (mean of the last hidden states over a row's tokens) of held-out
text: an adapter that bends the encoder little keeps it useful for other work. Rows are tokenised once, when the task is
made; of held-out rows the texts are kept too, to show beside the answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from tuner.bases.describe import describe
from tuner.bases.load import load_classifier, load_tokenizer
from tuner.config import StudyConfig
from tuner.data.classification import Splits
from tuner.device import Device
from tuner.lora.adapter import save_peft
from tuner.lora.encoder import RaggedEncoder
from tuner.lora.layouts import layout_of, lora_modules, matching
from tuner.lora.packed import Pack, PackContext, wrap_linears
from tuner.lora.parameters import AdapterShape
from tuner.lora.ragged import Ragged, in_chunks
from tuner.store.outputs import Output
from tuner.tasks.sentiment.predict import SentimentPredictor
from tuner.tasks.sentiment.prepare import LABELS, NAMES, targets_of
from tuner.tasks.task import Prepared

EVAL_TOKENS = 8192  # tokens of one forward in evaluation: large enough for full speed, small enough for any device
PRESERVATION_ROWS = 64


class SentimentTask:
    """Implements `Task`. `prepared.data` are the cleaned splits. Raises BaseModelError if the base cannot be loaded."""

    notes = ()

    def __init__(self, config: StudyConfig, device: Device, prepared: Prepared) -> None:
        self.facts = describe(config.base_model, config.revision)
        self.device = device.torch
        splits: Splits = prepared.data
        model = load_classifier(self.facts, LABELS)
        self.context = PackContext(self.device)
        layers = getattr(model.config, "num_hidden_layers", 0)
        # ALBERT uses one layer many times: its modules have one name each, and their gradients add up
        self.layout = layout_of(self.facts.model_type)
        self.modules = lora_modules(self.layout, layers)
        heads = [name for name, _ in self.layout.head if name.partition(".")[0] in self.layout.trained]
        places = {name: _place(name, self.layout.attention_inputs) for name in self.modules}
        self.sites = wrap_linears(model, self.modules, heads, self.context, places)
        self.full = frozenset(heads)
        model.to(device=self.device, dtype=device.dtype)
        self.model = model.eval()
        self.encoder = RaggedEncoder(model)
        self.names = list(splits.label_names or NAMES)
        self.max_length = config.data.max_length
        self.tokenizer = load_tokenizer(self.facts)
        self.rows = {name: self._tokenise([row.text for row in rows]) for name, rows in splits.named().items()}
        self.labels = {
            name: torch.tensor([row.label for row in rows], device=self.device) for name, rows in splits.named().items()
        }
        self.held_out = {"validation": splits.validation, "test": splits.test}
        self.train_rows = len(self.rows["train"])
        self._embedded: dict[str, torch.Tensor] = {}

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the frozen base's activations."""
        return self.encoder.dtype

    def shape(self, params: Mapping[str, Any]) -> AdapterShape:
        """LoRA on the trial's target modules, the head in full."""
        targets = matching(self.modules, targets_of(params, self.layout))
        return AdapterShape(int(params["rank"]), frozenset(targets), self.full)

    def row_costs(self) -> Sequence[int]:
        """Tokens of each training row."""
        return [len(row) for row in self.rows["train"]]

    def losses(self, pack: Pack, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Cross-entropy of each row (B,), fp32."""
        chosen = [index for member in rows for index in member]
        logits = self._logits(pack, [[self.rows["train"][index] for index in member] for member in rows])
        return F.cross_entropy(logits, self.labels["train"][chosen], reduction="none")

    @torch.no_grad()
    def evaluate(self, pack: Pack, split: str) -> list[dict[str, float]]:
        """label_probability (the mean, of the right label), accuracy, macro_f1, validation_loss or test_loss, and
        preservation, of each member."""
        members, rows = len(pack.members), self.rows[split]
        kept = range(min(PRESERVATION_ROWS, len(rows)))
        base = self._base_embeddings(pack, split, kept)
        cosines = torch.zeros(members, device=self.device)
        order: list[int] = []
        parts = []
        for chunk, embedded, logits in self._embedded_and_judged(pack, split, kept):
            cosines += F.cosine_similarity(embedded, base[chunk][None], dim=-1).sum(1)
            parts.append(logits)
            order += chunk
        for chunk in self._chunks(split, range(len(kept), len(rows)), members):
            logits = self._logits(pack, [[rows[index] for index in chunk]] * members)
            parts.append(logits.view(members, len(chunk), -1))
            order += chunk
        logits = torch.cat(parts, 1)  # (N, rows, labels)
        labels = self.labels[split][torch.tensor(order, device=self.device)]
        preserved = (cosines / len(kept)).tolist()
        found = []
        for member in range(members):
            loss = F.cross_entropy(logits[member], labels)
            answers = logits[member].argmax(-1)
            sure = logits[member].softmax(-1).gather(1, labels[:, None])  # (rows, 1)
            found.append(
                {
                    "label_probability": sure.mean().item(),
                    "accuracy": (answers == labels).float().mean().item(),
                    "macro_f1": _macro_f1(answers, labels),
                    f"{split}_loss": loss.item(),
                    "preservation": preserved[member],
                }
            )
        return found

    @torch.no_grad()
    def outputs(self, pack: Pack, split: str, count: int) -> list[Output]:
        """text_1 and on: the text, the right label's name and the adapter's, with label_probability (that of the right
        label), accuracy (1.0 or 0.0) and preservation (the cosine for this very text). `base_answer` is "": the base
        has no head for the labels."""
        rows = self.held_out[split][:count]
        base = self._bare_embeddings(pack, split, range(len(rows)))
        found: dict[int, Output] = {}
        for chunk, embedded, logits in self._embedded_and_judged(pack, split, range(len(rows))):
            cosines = F.cosine_similarity(embedded[0], base[chunk], dim=-1).tolist()
            probabilities, answers = logits[0].softmax(-1).tolist(), logits[0].argmax(-1).tolist()
            for index, cosine, sure, answer in zip(chunk, cosines, probabilities, answers, strict=True):
                right = rows[index].label
                found[index] = Output(
                    name=f"text_{index + 1}",
                    input=rows[index].text,
                    expected=self.names[right],
                    answer=self.names[answer],
                    metrics={
                        "label_probability": sure[right],
                        "accuracy": float(answer == right),
                        "preservation": cosine,
                    },
                )
        return [found[index] for index in range(len(rows))]

    def save(self, directory: Path, tensors: Mapping[str, torch.Tensor], params: Mapping[str, Any]) -> None:
        """PEFT folder, tokenizer, and the base's name and label names in the adapter's own config."""
        save_peft(
            directory,
            tensors,
            base=self.facts.name,
            revision=self.facts.revision,
            modules=self.modules,
            targets=targets_of(params, self.layout),
            full=self.layout.trained,
            all_linear=[name for name, module in self.model.named_modules() if type(module).__name__ in _LINEAR],
            rank=int(params["rank"]),
            alpha=float(params["alpha"]),
            dropout=float(params["dropout"]),
            task_type="SEQ_CLS",
        )
        self.tokenizer.save_pretrained(directory)
        details = {
            "task": "sentiment",
            "base_model": self.facts.name,
            "max_length": self.max_length,
            "labels": self.names,
        }
        (directory / "tuner.json").write_text(json.dumps(details, indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def predictor(adapter: Path) -> SentimentPredictor:
        """What answers for a saved adapter."""
        return SentimentPredictor(adapter)

    def _tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(list(texts), truncation=True, max_length=self.max_length)["input_ids"]
        return ids

    def _hidden(
        self, pack: Pack, rows: Sequence[Sequence[list[int]]], *, first_only: bool
    ) -> tuple[torch.Tensor, Ragged]:
        """rows[i] are the token lists of member i; hidden states (T, H) or (B, H)."""
        flat = [row for member in rows for row in member]
        ragged = Ragged([len(row) for row in flat], self.device)
        ids = torch.tensor([token for row in flat for token in row], device=self.device)
        pack.bring([len(member) for member in rows], [sum(map(len, member)) for member in rows])
        self.context.pack = pack
        try:
            return self.encoder.hidden(ids, ragged, first_only=first_only), ragged
        finally:
            self.context.pack = None

    def _logits(self, pack: Pack, rows: Sequence[Sequence[list[int]]]) -> torch.Tensor:
        return self._head(pack, self._hidden(pack, rows, first_only=True)[0])

    def _head(self, pack: Pack, first: torch.Tensor) -> torch.Tensor:
        """First tokens' last hidden states (B, H) -> logits (B, labels), fp32."""
        self.context.pack = pack
        try:
            return self.encoder.logits(first)
        finally:
            self.context.pack = None

    def _embedded_and_judged(
        self, pack: Pack, split: str, indices: Sequence[int]
    ) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        """Rows chunk by chunk: their indices, embeddings (N, rows, H) and logits (N, rows, labels) by each member."""
        members = len(pack.members)
        for chunk in self._chunks(split, indices, members):
            tokens = [self.rows[split][index] for index in chunk]
            hidden, ragged = self._hidden(pack, [tokens] * members, first_only=False)
            embedded = ragged.means(hidden).view(members, len(chunk), -1)
            yield chunk, embedded, self._head(pack, hidden[ragged.first]).view(members, len(chunk), -1)

    def _chunks(self, split: str, indices: Sequence[int], members: int) -> Iterator[list[int]]:
        """Indices in order of length, in chunks whose tokens times the members stay within the budget."""
        return in_chunks({index: len(self.rows[split][index]) for index in indices}, EVAL_TOKENS // members)

    def _base_embeddings(self, pack: Pack, split: str, rows: range) -> torch.Tensor:
        """What the base without adapters makes of the rows that every evaluation looks at, computed once."""
        if split not in self._embedded:
            self._embedded[split] = self._bare_embeddings(pack, split, rows)
        return self._embedded[split]

    def _bare_embeddings(self, pack: Pack, split: str, rows: range) -> torch.Tensor:
        """What the base without adapters makes of the first rows (rows, H)."""
        bare = Pack(pack.store, [], pack.dtype, train=False)
        embedded = torch.empty(len(rows), self.encoder.width, device=self.device)
        for chunk in self._chunks(split, rows, 1):
            tokens = [self.rows[split][index] for index in chunk]
            hidden, ragged = self._hidden(bare, [tokens], first_only=False)
            embedded[chunk] = ragged.means(hidden)
        return embedded


_LINEAR = ("Linear", "PackedLinear", "PackedFull")


def _place(name: str, attention_inputs: Sequence[str]) -> str:
    """Query, key and value of a layer read the same input and share a dropout mask."""
    for part in attention_inputs:
        if name.endswith(f".{part}"):
            return name.removesuffix(part) + "attention.input"
    return name


def _macro_f1(answers: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean over the classes of 2 TP / (2 TP + FP + FN), 0 where a class is neither there nor answered."""
    scores = []
    for label in range(LABELS):
        right = ((answers == label) & (labels == label)).sum().item()
        wrong = ((answers == label) != (labels == label)).sum().item()
        scores.append(2 * right / (2 * right + wrong) if right + wrong else 0.0)
    return sum(scores) / LABELS
