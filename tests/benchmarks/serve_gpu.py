"""serve_gpu: tokens a second of conversations with many adapters on one base, against stock PEFT, on a Llama layout.

The base is a Llama with random weights (a product takes as long whatever it multiplies) in the dtype that serving
gives the device, with the embedded chat base's tokenizer; eight LoRA adapters, r 16 on the attention, answer 64
conversations of 20 to 100 tokens, 16 to 128 tokens each, greedily, without a token that ends them:

    served      the base as the server holds it: 32 conversations under way, one joins as soon as one ends
    mixed       PEFT's mixed batches (`adapter_names`), padded, 32 at once, as long as the longest of them needs
    switched    PEFT with `set_adapter`, one conversation after another, eight of them

Only tokens that were asked for count. Loading counts on no side. Knows nothing of HTTP, and of prompts of thousands of
tokens, which would fill the device alone.

    served_vs_mixed, served_vs_switched     tokens a second, the median over the rounds
    adapters_loss                           1 - served with 64 adapters / served with one
    same_answers                            the share of answers that are the same alone and in company
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.clock import best_device, paired
from tests.benchmarks.harness import finish, machine, parser, rounds, say, scratch, spread
from tuner.bases.shoe_chat import locate
from tuner.device import Device, synchronize
from tuner.lora.adapter import save_peft
from tuner.lora.layouts import matching
from tuner.tasks.served import Job
from tuner.tasks.shoe_qa.asking import AskChat, ChatAnswer
from tuner.tasks.shoe_qa.serving import ServedChat

ADAPTERS, MANY, RANK, ALPHA = 8, 64, 16, 32
TARGETS_OF_LORA = ("q_proj", "k_proj", "v_proj", "o_proj")
CONVERSATIONS, AT_ONCE, SWITCHED = 64, 32, 8
SIDES = ("switched", "mixed", "served")
TARGETS = {"served_vs_mixed": 1.5, "served_vs_switched": 5.0}
LLAMA = {  # 1.1 G parameters, shaped as Llama 3.2 1B but for the vocabulary
    "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8,
}  # fmt: skip
QUICK_LLAMA = {
    "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip


def make_base(folder: Path, shape: Mapping[str, int], device: Device) -> list[str]:
    """A Llama with random weights and the embedded chat base's tokenizer; the names of its attention modules."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    shutil.copytree(locate(), folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json", "training.json"))
    vocabulary = json.loads((locate() / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    torch.manual_seed(0)
    config = LlamaConfig(**shape, vocab_size=vocabulary, max_position_embeddings=512, eos_token_id=vocabulary - 1)
    model = AutoModelForCausalLM.from_config(config, dtype=device.dtype)
    model.save_pretrained(folder)
    return [name for name, _ in model.named_modules() if name.endswith(TARGETS_OF_LORA)]


def make_adapter(folder: Path, base: Path, modules: Sequence[str], shape: Mapping[str, int], seed: int) -> None:
    """An adapter with random weights, as a study saves it."""
    generator = torch.Generator().manual_seed(seed)
    width = shape["hidden_size"]
    narrow = width * shape["num_key_value_heads"] // shape["num_attention_heads"]
    tensors = {}
    for name in matching(modules, TARGETS_OF_LORA):
        outputs = narrow if name.endswith(("k_proj", "v_proj")) else width
        tensors[f"{name}.A"] = torch.randn(RANK, width, generator=generator) * 0.02
        tensors[f"{name}.B"] = torch.randn(outputs, RANK, generator=generator) * 0.02
    save_peft(
        folder, tensors, base=str(base), revision=None, modules=modules, targets=list(TARGETS_OF_LORA), full=(),
        all_linear=modules, rank=RANK, alpha=ALPHA, dropout=0.0, task_type="CAUSAL_LM",
    )  # fmt: skip
    details = {"task": "shoe_qa", "base_model": str(base), "max_length": 512, "new_tokens": 128, "system": ""}
    (folder / "tuner.json").write_text(json.dumps(details), encoding="utf-8")


def conversations(count: int) -> list[tuple[str, int, int]]:
    """Question, tokens to answer, and a number that chooses an adapter, by a fixed seed."""
    draw = random.Random(0)
    words = "my leather boots smell of mold after the rain and the closet is damp what can be done".split()  # noqa: SIM905
    return [
        (" ".join(draw.choices(words, k=draw.randint(10, 60))), draw.randint(16, 128), draw.randrange(MANY))
        for _ in range(count)
    ]


class Served:
    """The base as the server holds it."""

    def __init__(self, base: Path, folders: Sequence[Path], device: Device) -> None:
        self.base = ServedChat.serve(str(base), None, device, 8 * 10**9)
        self.residents = [self.base.table.put(folder.name, self.base.open(folder)) for folder in folders]

    def run(self, asks: Sequence[tuple[str, int, int]], adapters: int, at_once: int) -> list[str]:
        """Answer all, `at_once` under way; the texts in order."""
        found: dict[int, Any] = {}
        waiting = list(enumerate(asks))
        under_way = 0
        while len(found) < len(asks):
            jobs = []
            while waiting and under_way < at_once:
                number, (text, limit, which) = waiting.pop(0)
                ask = AskChat(({"role": "user", "content": text},), limit)
                jobs.append(Job(ask, self.residents[which % adapters], _into(found, number)))
                under_way += 1
            if jobs:
                self.base.admit(jobs)
            before = len(found)
            self.base.step()
            under_way -= len(found) - before
        for answer in found.values():
            if not isinstance(answer, ChatAnswer):
                raise SystemExit(f"A conversation failed: {answer!r}")
        return [found[number].text for number in range(len(asks))]


def _into(found: dict[int, Any], number: int) -> Callable[[Any], None]:
    def end(value: Any) -> None:
        found[number] = value

    return end


class Stock:
    """PEFT, both ways."""

    def __init__(self, base: Path, folders: Sequence[Path], device: Device) -> None:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.device = device.torch
        self.tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        model = AutoModelForCausalLM.from_pretrained(base, dtype=device.dtype).to(device.torch).eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model = PeftModel.from_pretrained(model, folders[0], adapter_name=folders[0].name)
            for folder in folders[1:]:
                self.model.load_adapter(folder, adapter_name=folder.name)
        self.model.to(dtype=device.dtype).eval()
        self.names = [folder.name for folder in folders]

    @torch.inference_mode()
    def mixed(self, asks: Sequence[tuple[str, int, int]], adapters: int, at_once: int) -> None:
        """Batches of `at_once`, each written to the end of its longest answer."""
        for start in range(0, len(asks), at_once):
            part = asks[start : start + at_once]
            names = [self.names[which % adapters] for _, _, which in part]
            self._generate([text for text, _, _ in part], max(limit for _, limit, _ in part), adapter_names=names)

    @torch.inference_mode()
    def switched(self, asks: Sequence[tuple[str, int, int]], adapters: int) -> None:
        """One after another."""
        for text, limit, which in asks:
            self.model.set_adapter(self.names[which % adapters])
            self._generate([text], limit)

    def _generate(self, texts: Sequence[str], limit: int, **options: Any) -> None:
        turns = [[{"role": "user", "content": text}] for text in texts]
        shown = [self.tokenizer.apply_chat_template(each, tokenize=False, add_generation_prompt=True) for each in turns]
        batch = self.tokenizer(shown, return_tensors="pt", padding=True, add_special_tokens=False).to(self.device)
        batch.pop("token_type_ids", None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model.generate(
                **batch, max_new_tokens=limit, min_new_tokens=limit, do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id, **options,
            )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser(__doc__, "repeats", 3).parse_args(arguments)
    device = best_device("serve_gpu", quick=options.quick)
    quick = " (quick: its numbers mean nothing)" if options.quick else ""
    say(f"serve_gpu on {device.label} in {device.dtype_name}, {machine()}, torch {torch.__version__}{quick}")
    asks = conversations(6 if options.quick else CONVERSATIONS)
    shape = QUICK_LLAMA if options.quick else LLAMA
    many = ADAPTERS if options.quick else MANY
    with scratch() as folder:
        modules = make_base(folder / "base", shape, device)
        folders = [folder / f"adapter-{number}" for number in range(many)]
        for number, each in enumerate(folders):
            make_adapter(each, folder / "base", modules, shape, number)
        served = Served(folder / "base", folders, device)
        alone = [served.run([ask], many, 1)[0] for ask in asks[:SWITCHED]]
        same = sum(a == b for a, b in zip(alone, served.run(asks, many, AT_ONCE), strict=False)) / len(alone)
        stock = Stock(folder / "base", folders[:ADAPTERS], device)
        jobs: dict[str, tuple[Callable[[], Any], Sequence[tuple[str, int, int]]]] = {
            "switched": (lambda: stock.switched(asks[:SWITCHED], ADAPTERS), asks[:SWITCHED]),
            "mixed": (lambda: stock.mixed(asks, ADAPTERS, AT_ONCE), asks),
            "served": (lambda: served.run(asks, ADAPTERS, AT_ONCE), asks),
            "served with one": (lambda: served.run(asks, 1, AT_ONCE), asks),
            f"served with {many}": (lambda: served.run(asks, many, AT_ONCE), asks),
        }
        rates: dict[str, list[float]] = {side: [] for side in jobs}
        for job, _ in jobs.values():
            job()
        for repeat, side in rounds(list(jobs), 1 if options.quick else options.repeats):
            job, of = jobs[side]
            synchronize(device)
            began = time.perf_counter()
            job()
            synchronize(device)
            rates[side].append(sum(limit for _, limit, _ in of) / (time.perf_counter() - began))
            say(f"round {repeat}, {side}: {rates[side][-1]:.0f} tokens a second")
    say("\ntokens a second, median (range) over the rounds")
    for side, values in rates.items():
        say(f"  {side:16} {spread(values, 0)}")
    keys = {
        "served_vs_mixed": paired(rates["served"], rates["mixed"]),
        "served_vs_switched": paired(rates["served"], rates["switched"]),
        "adapters_loss": 1 - paired(rates[f"served with {many}"], rates["served with one"]),
        "same_answers": same,
    }
    keys.update({f"{side}_tokens_per_second": statistics.median(rates[side]) for side in SIDES})
    finish(keys, TARGETS, options.quick)


if __name__ == "__main__":
    main()
