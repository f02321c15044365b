"""The tuned stock side: the best that was found with Ray Tune, Transformers and PEFT and no engine of our own.

A class Trainable with reused actors. The base and the tokenised rows stay in the actor's process; the frozen weights
are bf16 where the CPU computes it; eager attention, which is faster than SDPA in bf16; no dropout; batches of like
length by Transformers' own sampler. The loop is plain torch: HF Trainer cannot pause at a report, and is the slower of
the two.
Nothing is saved to disk during a trial, which favours this side. Knows nothing of the tuner.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

from tests.benchmarks import stock
from tests.benchmarks.harness import Event, Job

if TYPE_CHECKING:
    import torch

EVAL_BATCH = 64


class TunedTrial(tune.Trainable):
    """A class Trainable whose actor goes from trial to trial with its base and rows in memory."""

    def setup(self, config: dict[str, Any]) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

        torch.set_num_threads(config["threads"])
        tokenizer = AutoTokenizer.from_pretrained(stock.base_folder())
        self.rows, self.validation = (
            stock.tokenise(Path(config[split]), tokenizer) for split in ("train", "validation")
        )
        self.validation.sort(key=lambda row: len(row["input_ids"]))
        self.collate = DataCollatorWithPadding(tokenizer)
        self.base = AutoModelForSequenceClassification.from_pretrained(
            stock.base_folder(),
            num_labels=2,
            attn_implementation="eager",
            dtype=frozen_dtype(),
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        self.begin(config)

    def begin(self, config: dict[str, Any]) -> None:
        """A fresh adapter, head, optimizer and data order on a copy of the base."""
        import torch
        from transformers import set_seed

        set_seed(config["seed"])
        params = config["params"]
        base = copy.deepcopy(self.base)
        torch.nn.init.normal_(base.classifier.weight, std=0.02)
        self.model = stock.lora_model(base, params["rank"])
        # PEFT keeps adapters in fp32 but copies the head as it is: in bf16 small updates of it are lost.
        self.model.base_model.model.classifier.float()
        self.model.train()
        self.trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=params["learning_rate"], weight_decay=stock.WEIGHT_DECAY, fused=True
        )
        self.batch = params["batch_size"]
        self.reports = iter(
            stock.report_steps(len(self.rows), self.batch, params["epochs"], config["reports_per_epoch"])
        )
        self.last = stock.report_steps(len(self.rows), self.batch, params["epochs"], 1)[-1]
        self.batches = self.endless_batches()
        self.steps = 0

    def endless_batches(self) -> Iterator[Any]:
        """Padded batches of like length, epoch after epoch."""
        from torch.utils.data import DataLoader
        from transformers.trainer_pt_utils import LengthGroupedSampler

        lengths = [len(row["input_ids"]) for row in self.rows]
        sampler = LengthGroupedSampler(self.batch, lengths=lengths)
        loader: DataLoader[Any] = DataLoader(
            self.rows,  # type: ignore[arg-type]  # a list is a dataset
            batch_size=self.batch,
            sampler=sampler,
            collate_fn=self.collate,
        )
        while True:
            yield from loader

    def step(self) -> dict[str, Any]:
        """Train to the next report and evaluate."""
        import torch

        target = next(self.reports)
        while self.steps < target:
            torch.autograd.backward(self.loss(next(self.batches)))
            torch.nn.utils.clip_grad_norm_(self.trained, stock.CLIP)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.steps += 1
        return {"accuracy": self.accuracy(), "samples": self.steps * self.batch, "done": self.steps >= self.last}

    def logits(self, batch: Any) -> torch.Tensor:
        """Logits in fp32; the head takes the bf16 encoder's output as fp32."""
        inner = self.model.base_model.model
        pooled = inner.bert(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).pooler_output
        logits: torch.Tensor = inner.classifier(pooled.float())
        return logits

    def loss(self, batch: Any) -> torch.Tensor:
        """Mean cross-entropy of a batch."""
        import torch

        return torch.nn.functional.cross_entropy(self.logits(batch), batch["labels"])

    def accuracy(self) -> float:
        """Share of the validation rows that are answered correctly."""
        import torch

        self.model.eval()
        right = 0
        with torch.no_grad():
            for start in range(0, len(self.validation), EVAL_BATCH):
                batch = self.collate(self.validation[start : start + EVAL_BATCH])
                right += int((self.logits(batch).argmax(-1) == batch["labels"]).sum())
        self.model.train()
        return right / len(self.validation)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in the same process."""
        self.begin(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Keeps nothing: no benchmark resumes these trials."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing was kept."""


def frozen_dtype() -> torch.dtype:
    """bf16 where the CPU computes in it, else fp32."""
    import torch

    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


def run(job: Job, note: Callable[[Event], None]) -> None:
    """Run the job, telling `note` of each report."""
    stock.run_tune("tuned_stock", TunedTrial, job, note, reuse_actors=True)
