"""A toy world for tests of question answering: a random Llama of two layers with its own tokenizer and chat template,
and three dozen short rows in two languages. Everything is built on the spot and a function of its seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tests.engine.toy import task_device
from tuner import tasks
from tuner.bases.shoe_chat import pretrain, tokens
from tuner.config import StudyConfig
from tuner.config_rules import COMMON_HYPERPARAMETERS
from tuner.data.chat import ChatRow, ChatSplits, Turn
from tuner.engine.contract import TrialSpec
from tuner.engine.packing import Packing
from tuner.lora.packed import Member, Pack
from tuner.tasks.shoe_qa.prepare import QaData
from tuner.tasks.shoe_qa.task import QaTask
from tuner.tasks.task import Prepared

WIDTH = 32
SHAPE = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
PLACES = ("鞋櫃", "鞋墊", "鞋底", "鞋面", "皮鞋", "布鞋")
DEEDS = ("要通風", "擦酒精", "先晾乾", "放乾燥劑", "別曬太久")
PARTS = ("sole", "lining", "upper", "lace")
GENERAL = ("今天天氣很好，我們去公園散步。", "The train leaves at seven in the morning.", "鞋櫃在門口。")
# all metrics of evaluation but those that clocks give
CLOCKS = {"response_seconds", "predict_runtime", "predict_samples_per_second", "predict_steps_per_second"}
EVERYWHERE = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_rows() -> list[ChatRow]:
    """42 rows, 30 of them Chinese, different from one another; answers of different lengths, each with a key fact."""
    rows = []
    for number, (place, deed) in enumerate((place, deed) for place in PLACES for deed in DEEDS):
        answer = f"{place}{deed}，等{number + 2}小時。" + ("", "再檢查一次。", "再檢查一次，隔天才穿。")[number % 3]
        rows.append(make_row(f"{place}發霉要不要{deed[-2:]}{number}？", answer, (f"{number + 2}小時",)))
    for number, part in enumerate(PARTS * 3):
        rows.append(
            make_row(f"How damp may the {part} {number} be?", f"The {part} at {number + 40}% at most.", (part,))
        )
    return rows[::2] + rows[1::2]


def make_row(question: str, answer: str, facts: Sequence[str] = (), system: str = "", **more: str) -> ChatRow:
    """One row in memory."""
    first = (Turn("system", system),) if system else ()
    return ChatRow((*first, Turn("user", question)), answer, tuple(facts), where=f"row {question}", **more)


def make_splits(system: str = "") -> ChatSplits:
    """24 rows to train on, 10 and 8 to measure on."""
    rows = [make_row(row.question, row.answer, row.key_facts, system) for row in make_rows()]
    return ChatSplits(tuple(rows[:24]), tuple(rows[24:34]), tuple(rows[34:]))


def make_base(folder: Path, seed: int = 3, **shape: int) -> Path:
    """A base as `save_pretrained` writes it, whose answers differ from question to question and end now and then;
    `shape` goes over `SHAPE`."""
    tokenizer = tokens.train([*GENERAL, *(text for row in make_rows() for text in (row.question, row.answer))])
    torch.manual_seed(seed)
    model = pretrain.build(tokenizer, {**SHAPE, **shape})
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape) * 0.3)
        table = model.get_input_embeddings().weight
        # bytes and marks are never written, so that every answer is a text; the end is, here and there
        bare = [i for word, i in tokenizer.get_vocab().items() if word.startswith("<")]
        table[bare] *= 0.01
        table[tokenizer.token_to_id(tokens.END)] = torch.randn(WIDTH) * 0.35
    pretrain.write(folder, tokenizer, model, {})
    return folder


def write_data(folder: Path, splits: ChatSplits) -> dict[str, str]:
    """The rows as files, and the `data` of a config that reads them."""
    for name, rows in splits.named().items():
        write_lines(folder / f"{name}.jsonl", [to_json(row) for row in rows])
    return {"source": str(folder)}


def to_json(row: ChatRow) -> dict[str, Any]:
    """A row as a line of a file."""
    line = {"question": row.question, "answer": row.answer, "key_facts": list(row.key_facts), "category": row.category}
    return {**line, "system": row.turns[0].text} if row.turns[0].role == "system" else line


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    """A .jsonl file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def make_config(base: Path, data: Mapping[str, Any] | None = None, **changes: Any) -> StudyConfig:
    """A study on a toy base, in fp32 on the CPU; `changes` named search__x set search.x."""
    search = {name[8:]: changes.pop(name) for name in list(changes) if name.startswith("search__")}
    content = {
        "task": "shoe_qa",
        "name": "toy",
        "base_model": str(base),
        "data": {"max_length": 96, **(data or {})},
        "space": {"rank": 4, "learning_rate": 1e-2, "epochs": 2},
        "search": {"trials": 2, "reports_per_epoch": 1, "asha": None, **search},
        "devices": ["cpu"],
        "precision": "fp32",
        **changes,
    }
    return StudyConfig.model_validate(content)


def make_spec(trial_id: str = "a", seed: int = 1, **params: Any) -> TrialSpec:
    """A trial with the common hyperparameters, but for those named here."""
    chosen = {**COMMON_HYPERPARAMETERS, "rank": 4, "learning_rate": 1e-2, "epochs": 2, **params}
    return TrialSpec(trial_id, chosen, seed)


def make_task(base: Path, splits: ChatSplits | None = None, *, encoder: bool = False, **changes: Any) -> QaTask:
    """The heavy half on a toy base."""
    prepared = Prepared(QaData(splits or make_splits(), GENERAL, encoder), {})
    return QaTask(make_config(base, **changes), task_device(), prepared)


def make_packing(
    base: Path, splits: ChatSplits | None = None, max_pack: int = 4, *, encoder: bool = False, **changes: Any
) -> Packing:
    """The training loop on a toy base, in this thread."""
    task = make_task(base, splits, encoder=encoder, **changes)
    return Packing(task, tasks.spec("shoe_qa"), make_config(base, **changes), task_device(), max_pack)


def trained(base: Path, splits: ChatSplits | None = None, **params: Any) -> Packing:
    """A packing with two trials, "other" and "a", as far from their start as a long training would bring them."""
    packing = make_packing(base, splits)
    packing.start(make_spec("other", seed=9, rank=7))
    packing.start(make_spec("a", seed=2, alpha=10, **params))
    generator = torch.Generator().manual_seed(3)
    for trial in packing.trials.values():
        tensors = packing.store.tensors(trial.slot)
        far = {name: torch.randn(value.shape, generator=generator) * 0.3 for name, value in tensors.items()}
        packing.store.layout.fill(packing.store.weights[trial.slot], far)
        packing.store.restore(trial.slot, "average", far)
    return packing


def pack_of(packing: Packing, *ids: str) -> Pack:
    """These trials at rest; none are the base alone."""
    members = [Member(packing.trials[i].slot, packing.trials[i].plan.scale) for i in ids]
    return Pack(packing.store, members, torch.float32, train=False)


def save(packing: Packing, folder: Path, trial_id: str = "a") -> Path:
    """A trial's adapter as a folder."""
    tensors, params = packing.adapter(trial_id, "last")
    packing.task.save(folder, tensors, params)
    return folder


def timeless(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics without those that clocks give."""
    return {name: value for name, value in metrics.items() if name not in CLOCKS}
