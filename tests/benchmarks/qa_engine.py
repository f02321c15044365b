"""qa_engine: tokens a second of packed adapters against one adapter after another, on a causal language model.

On a CPU the base is the embedded chat model; on a GPU a `LlamaForCausalLM` with random weights in the shape of
Llama-3.2-1B (1.2 billion parameters, a matrix product takes as long whatever it multiplies). Both in the dtype that
`tuner.device` gives the device. Eight adapters, r 8 on attention and MLP, learn batches of 8 rows with the lengths of
the project's own question-answer rows, and answer the same 60 questions, `NEW` tokens each whatever they say, so that
all sides do the same work:

    packed       all adapters in one forward and backward; all their answers in the same forwards, as the engine does it
    sequential   stock transformers and PEFT, one adapter after another: padded batches of 8 and SDPA attention in
                 training; `generate` with its cache and left padding on batches of 8 questions, the Trainer's default
    alone        the tuner's own layers with a pack of one: what packing itself gains, its other savings taken away

Only steps and generation are timed. Tokens are those of rows and answers, padding not.

    packed_vs_sequential        tokens a second in training, packed / sequential, the median over the rounds
    generation_vs_sequential    new tokens a second, packed / sequential
    packed_vs_alone, generation_vs_alone    the same against a pack of one
"""

from __future__ import annotations

import copy
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from tests.benchmarks.clock import paired, seconds
from tests.benchmarks.harness import finish, machine, parser, say, spread
from tuner.bases.chat import ChatFormat
from tuner.bases.describe import describe
from tuner.bases.load import load_causal
from tuner.device import Device, select_devices, set_threads
from tuner.lora.decoder import RaggedDecoder
from tuner.lora.decoder_layouts import decoder_layout
from tuner.lora.generate import generate
from tuner.lora.optim import adamw_step, gradient_norms
from tuner.lora.packed import Member, Pack, PackContext, wrap_linears
from tuner.lora.parameters import AdapterShape, ParameterStore, initial_tensors
from tuner.lora.ragged import Ragged
from tuner.tasks.shoe_qa.knowledge import embedded_splits
from tuner.tasks.shoe_qa.prepare import tokenised

ADAPTERS, BATCH, RANK, ALPHA, RATE, DECAY, CLIP = 8, 8, 8, 16, 1e-3, 0.01, 1.0
QUESTIONS, NEW, STEPS = 60, 48, 6
LLAMA_1B = {
    "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": True,
}  # fmt: skip
SIDES = ("packed", "alone", "sequential")
TARGETS = {"packed_vs_sequential": 2.0, "generation_vs_sequential": 3.0}
Row = tuple[list[int], int]  # tokens of a row, and where its answer begins


class Ours:
    """The tuner's layers on a base of its own."""

    def __init__(self, base: Any, device: Device) -> None:
        self.device = device
        layout = decoder_layout(base.config.model_type)
        names = layout.modules(base.config.num_hidden_layers)
        self.context = PackContext(device.torch)
        sites = wrap_linears(base, names, [], self.context, {name: layout.place(name) for name in names})
        self.decoder = RaggedDecoder(base)
        shape = AdapterShape(RANK, frozenset(names), frozenset())
        self.store = ParameterStore(sites, ADAPTERS, device.torch)
        for slot in range(ADAPTERS):
            self.store.put(slot, shape, initial_tensors(sites, shape, slot))
        self.steps = [torch.zeros((), device=device.torch) for _ in range(ADAPTERS)]

    def _pack(self, slots: Sequence[int], train: bool) -> Pack:
        return Pack(self.store, [Member(slot, ALPHA / RANK) for slot in slots], self.decoder.dtype, train=train)

    def train(self, slots: Sequence[int], rows: Sequence[Row]) -> None:
        """One step of these adapters, each on all of the rows."""
        flat = [row for _ in slots for row in rows]
        pack = self._pack(slots, True)
        pack.bring([len(rows)] * len(slots), [sum(len(ids) for ids, _ in rows)] * len(slots))
        ragged = Ragged([len(ids) for ids, _ in flat], self.device.torch)
        ids = torch.tensor([token for ids, _ in flat for token in ids], device=self.device.torch)
        starts = torch.tensor([start for _, start in flat], device=self.device.torch)
        asked = torch.nonzero(ragged.positions >= starts[ragged.row_of]).flatten()
        self.context.pack = pack
        hidden = self.decoder.hidden(ids, ragged)
        self.context.pack = None
        self.decoder.losses(hidden[asked - 1], ids[asked]).mean().backward()
        pack.flush_gradients()
        for slot, norm in zip(slots, gradient_norms(self.store, pack.index), strict=True):
            adamw_step(self.store, slot, self.steps[slot], RATE, DECAY, norm, CLIP)

    def answer(self, slots: Sequence[int], prompts: Sequence[list[int]]) -> None:
        """Each adapter's answers to all prompts."""
        generate(self.decoder, self.context, self._pack(slots, False), prompts, NEW, ())


class Stock:
    """transformers and PEFT, one adapter in the model at a time."""

    def __init__(self, base: Any, device: Device) -> None:
        from peft import LoraConfig, get_peft_model

        self.device = device
        base.set_attn_implementation("sdpa")
        names = [part.rpartition(".")[2] for part in decoder_layout(base.config.model_type).parts]
        config = LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=names)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT asks transformers for names that it will drop
            self.model = get_peft_model(base, config)
        self.trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=RATE, weight_decay=DECAY, fused=True)

    def train(self, rows: Sequence[Row]) -> None:
        """One step on these rows, padded to the longest."""
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        labels = torch.full((len(rows), longest), -100)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for at, (tokens, start) in enumerate(rows):
            ids[at, : len(tokens)] = torch.tensor(tokens)
            labels[at, start : len(tokens)] = torch.tensor(tokens[start:])
            mask[at, : len(tokens)] = 1
        to = self.device.torch
        self.model.train()
        loss = self.model(input_ids=ids.to(to), attention_mask=mask.to(to), labels=labels.to(to), use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def answer(self, prompts: Sequence[list[int]]) -> None:
        """Answers to all prompts, in batches padded on the left."""
        self.model.eval()
        for at in range(0, len(prompts), BATCH):
            batch = prompts[at : at + BATCH]
            longest = max(map(len, batch))
            ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in batch], device=self.device.torch)
            mask = torch.tensor(
                [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in batch], device=self.device.torch
            )
            self.model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False,
                pad_token_id=0,
            )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser(__doc__, "repeats", 3).parse_args(arguments)
    device = select_devices()[0]
    if device.kind == "cpu":
        set_threads(torch.get_num_threads())
    base, rows, prompts = _base(device)
    millions = sum(weight.numel() for weight in base.parameters()) / 1e6
    say(f"qa_engine on {device.label} in {device.dtype_name}, {machine()}, torch {torch.__version__}; {millions:.0f} M")
    steps, questions = (1, 8) if options.quick else (STEPS, QUESTIONS)
    ours, stock = Ours(copy.deepcopy(base), device), Stock(base, device)
    batches = [rows[at * BATCH : (at + 1) * BATCH] for at in range(steps)]
    work = _work(ours, stock, batches, prompts[:questions])
    for job in work.values():
        seconds(device, job, warm=True)
    tokens = {"train": ADAPTERS * sum(len(ids) for batch in batches for ids, _ in batch)}
    tokens["answer"] = ADAPTERS * questions * NEW
    rates: dict[tuple[str, str], list[float]] = {}
    for repeat in range(1 if options.quick else options.repeats):
        for (what, side), job in work.items():
            rates.setdefault((what, side), []).append(tokens[what] / seconds(device, job))
        shown = ", ".join(f"{what} {side} {rates[what, side][-1]:.0f}" for what, side in work)
        say(f"round {repeat}: {shown} tokens a second")
    finish(_summarise(rates, millions), TARGETS, options.quick)


def _base(device: Device) -> tuple[Any, list[Row], list[list[int]]]:
    """The model, rows in the order of the data, and prompts."""
    facts = describe("shoe_chat")
    chat = ChatFormat.open(facts)
    splits = embedded_splits()
    pairs = [tokenised(chat, row, 192) for row in splits.train[: STEPS * BATCH]]
    rows = [([*prompt, *answer], len(prompt)) for prompt, answer in pairs]
    prompts = [tokenised(chat, row, 192)[0] for row in splits.test[:QUESTIONS]]
    if device.kind == "cpu":
        return load_causal(facts, device.dtype), rows, prompts
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    with device.torch:  # drawing a billion numbers on the CPU takes minutes
        model = LlamaForCausalLM(LlamaConfig(**LLAMA_1B, max_position_embeddings=2048))
    return model.to(dtype=device.dtype), rows, prompts


def _work(
    ours: Ours, stock: Stock, batches: Sequence[Sequence[Row]], prompts: Sequence[list[int]]
) -> dict[tuple[str, str], Callable[[bool], None]]:
    """What each side does in a round; with True a small part of it, to warm up."""

    every = range(ADAPTERS)

    def train(warm: bool, step: Callable[[int, Sequence[Row]], None]) -> None:
        for slot in range(1 if warm else ADAPTERS):
            for batch in batches:
                step(slot, batch)

    def train_packed(warm: bool) -> None:
        for batch in batches:
            ours.train(every, batch)

    def answer(warm: bool, one: Callable[[int], None]) -> None:
        for slot in range(1 if warm else ADAPTERS):
            one(slot)

    return {
        ("train", "packed"): train_packed,
        ("train", "alone"): lambda warm: train(warm, lambda slot, batch: ours.train([slot], batch)),
        ("train", "sequential"): lambda warm: train(warm, lambda slot, batch: stock.train(batch)),
        ("answer", "packed"): lambda warm: ours.answer(every, prompts),
        ("answer", "alone"): lambda warm: answer(warm, lambda slot: ours.answer([slot], prompts)),
        ("answer", "sequential"): lambda warm: answer(warm, lambda slot: stock.answer(prompts)),
    }


def _summarise(rates: Mapping[tuple[str, str], list[float]], millions: float) -> dict[str, float]:
    """Print medians with ranges; return the keys."""
    say("\ntokens a second, median (range) over the rounds")
    for (what, side), found in rates.items():
        say(f"  {what:6} {side:10} {spread(found, 0)}")
    keys: dict[str, float] = {}
    for what, name in (("train", "packed"), ("answer", "generation")):
        for other in SIDES[1:]:
            keys[f"{name}_vs_{other}"] = paired(rates[what, "packed"], rates[what, other])
    for (what, side), found in rates.items():
        keys[f"{what}_{side}_tokens_per_second"] = statistics.median(found)
    return {**keys, "parameters_m": millions}


if __name__ == "__main__":
    main()
