"""A toy world for tests of the engine: bases of a few thousand parameters in all four architectures, with a tokenizer
of 90 words, and reviews whose label is written in one word. Everything is built on the spot and a function of its
seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from tuner import tasks
from tuner.config import StudyConfig
from tuner.config_rules import COMMON_HYPERPARAMETERS
from tuner.data.classification import Row, Splits
from tuner.device import select_devices
from tuner.engine.contract import EngineSettings, TrialSpec
from tuner.engine.packing import Packing
from tuner.engine.trainer import DeviceEngine
from tuner.tasks.sentiment.task import SentimentTask
from tuner.tasks.task import Prepared

KINDS = ("bert", "roberta", "distilbert", "albert")
WIDTH = 16
GOOD, BAD = ("good", "fine", "lovely"), ("bad", "poor", "awful")
WORDS = [*GOOD, *BAD, *(f"w{number}" for number in range(80))]
TARGETS = {
    "bert": ["query", "value"],
    "roberta": ["query", "value"],
    "distilbert": ["q_lin", "v_lin"],
    "albert": ["query", "value"],
}
EVERYWHERE = {
    "bert": ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"],
    "roberta": ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"],
    "distilbert": ["q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"],
    "albert": ["query", "key", "value", "attention.dense", "ffn", "ffn_output"],
}


def make_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """Whole words, one id each, between the architecture's own marks."""
    start, end, pad, unknown = (
        ("<s>", "</s>", "<pad>", "<unk>") if kind == "roberta" else ("[CLS]", "[SEP]", "[PAD]", "[UNK]")
    )
    # RoBERTa counts positions from behind the padding id, which is 1 there
    first = [start, pad, end, unknown] if kind == "roberta" else [pad, unknown, start, end]
    vocabulary = {word: number for number, word in enumerate([*first, *WORDS])}
    model = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    model.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=model, cls_token=start, sep_token=end, pad_token=pad, unk_token=unknown
    )


def model_config(kind: str) -> Any:
    """Width 16, two heads, two layers, 96 positions."""
    sizes: dict[str, Any] = {"vocab_size": len(WORDS) + 4, "max_position_embeddings": 96, "initializer_range": 0.2}
    sizes["pad_token_id"] = 1 if kind == "roberta" else 0
    if kind == "distilbert":
        sizes |= {"dim": WIDTH, "hidden_dim": 32, "n_layers": 2, "n_heads": 2}
    else:
        sizes |= {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind == "albert":
        sizes |= {"embedding_size": 8}
    return AutoConfig.for_model(kind, **sizes)


def make_base(folder: Path, kind: str = "bert", seed: int = 0) -> Path:
    """A plain encoder as `save_pretrained` writes it, without a classification head."""
    torch.manual_seed(seed)
    AutoModel.from_config(model_config(kind)).save_pretrained(folder)
    make_tokenizer(kind).save_pretrained(folder)
    return folder


def make_rows(count: int, seed: int) -> list[tuple[str, int]]:
    """Texts of 1 to 20 words, different from one another; one word of each says which label it has."""
    draw = random.Random(seed)
    rows: dict[str, int] = {}
    while len(rows) < count:
        label = len(rows) % 2
        words = draw.choices(WORDS[6:], k=draw.randint(1, 19))
        words.insert(draw.randrange(len(words) + 1), draw.choice(GOOD if label else BAD))
        rows[" ".join(words)] = label
    return list(rows.items())


def make_splits(train: int = 40, validation: int = 16, test: int = 12) -> Splits:
    """Rows in memory."""
    rows = [
        Row(text, label, f"row {i}") for i, (text, label) in enumerate(make_rows(train + validation + test, seed=5))
    ]
    return Splits(tuple(rows[:train]), tuple(rows[train : train + validation]), tuple(rows[train + validation :]))


def unbalanced(splits: Splits) -> Splits:
    """The same with four training rows of the second class."""
    rare = [row for row in splits.train if row.label == 1][:4]
    return replace(splits, train=(*(row for row in splits.train if row.label == 0), *rare))


def write_data(folder: Path, splits: Splits) -> dict[str, str]:
    """The rows as files, and the `data` of a config that reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.named().items():
        lines = [json.dumps({"text": row.text, "label": row.label}, ensure_ascii=False) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"source": str(folder)}


def make_config(base: Path, data: Mapping[str, Any] | None = None, **changes: Any) -> StudyConfig:
    """A sentiment study on a toy base, in fp32 on the CPU; `changes` named search__x set search.x."""
    search = {name[8:]: changes.pop(name) for name in list(changes) if name.startswith("search__")}
    content = {
        "task": "sentiment",
        "name": "toy",
        "base_model": str(base),
        "data": {"max_length": 70, **(data or {})},
        "space": {"rank": 4, "learning_rate": 1e-3, "epochs": 2},
        "search": {"trials": 2, "reports_per_epoch": 2, "asha": None, **search},
        "devices": ["cpu"],
        "precision": "fp32",
        **changes,
    }
    return StudyConfig.model_validate(content)


def make_spec(trial_id: str = "a", seed: int = 1, **params: Any) -> TrialSpec:
    """A trial with the common hyperparameters, but for those named here."""
    chosen = {**COMMON_HYPERPARAMETERS, "rank": 4, "learning_rate": 1e-3, "epochs": 2, **params}
    return TrialSpec(trial_id, chosen, seed)


def make_task(base: Path, splits: Splits | None = None, **changes: Any) -> SentimentTask:
    """The heavy half of sentiment on a toy base."""
    config = make_config(base, **changes)
    prepared = Prepared(splits or make_splits(), {})
    return SentimentTask(config, select_devices(["cpu"], "fp32")[0], prepared)


def make_packing(base: Path, splits: Splits | None = None, max_pack: int = 8, **changes: Any) -> Packing:
    """The training loop on a toy base, in this thread."""
    task = make_task(base, splits, **changes)
    return Packing(task, tasks.spec("sentiment"), make_config(base, **changes), task_device(), max_pack)


def task_device() -> Any:
    """The CPU in fp32."""
    return select_devices(["cpu"], "fp32")[0]


def make_engine(base: Path, splits: Splits | None = None, max_pack: int = 8, **changes: Any) -> DeviceEngine:
    """A device engine on a toy base. Close it."""
    options = {"prepared": Prepared(splits or make_splits(), {})}
    settings = EngineSettings(make_config(base, **changes), "cpu", threads=1, max_pack=max_pack, options=options)
    return DeviceEngine(settings)


def train(packing: Packing, ids: Sequence[str], steps: int) -> None:
    """So many steps of these trials, without a report."""
    for _ in range(steps):
        packing.step(ids)


def weights(packing: Packing, trial_id: str) -> dict[str, torch.Tensor]:
    """A trial's tensors."""
    return packing.store.tensors(packing.trials[trial_id].slot)


def furthest(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> float:
    """The largest difference between two sets of tensors of the same names."""
    assert left.keys() == right.keys()
    return max((left[name] - right[name]).abs().max().item() for name in left)
