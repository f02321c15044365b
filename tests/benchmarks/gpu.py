"""gpu: samples a second of 32 packed adapters against stock PEFT, one adapter after another, on a Llama layout.

The base is transformers' own `LlamaForCausalLM` with random weights (a matrix product takes as long whatever it
multiplies), SDPA attention, in the dtype that `tuner.device` gives the device: bf16 on a CUDA device that has it. Both
sides train 32 adapters, r 8 on q_proj and v_proj (PEFT's default for Llama), no dropout, AdamW, constant learning rate,
weight decay 0.01, gradients clipped to norm 1, each for the same number of steps of 8 rows, from the same first weights
on the same rows:

    sequential   PEFT as `get_peft_model` makes it (adapters in fp32 beside the frozen base) in a plain torch loop with
                 the fused AdamW, faster than HF Trainer; each adapter to its end, then the next
    pack32       the 32 adapters in one forward and backward of 256 rows, as the tuner's engine trains: a `Pack` a step,
                 losses and norms read back and looked at, then each adapter's own AdamW

Rows lie on the device beforehand and only steps are timed: making a model, an adapter's first weights and the rows
count on no side. Packed, an adapter must have learnt what it learns alone, or the benchmark ends with an error.

    pack32_vs_sequential   samples a second, pack32 / sequential, the median over the rounds

A row has 32 tokens: a short instruction, or a review of this project (25 on average). All rows are equally long, so
neither side pads. The length decides the ratio: a step of 256 tokens leaves a GPU waiting for its next kernel, which
is what a pack cures; with rows of hundreds of tokens one adapter fills the device alone, and the ratio falls. Knows
nothing of that, nor of rows of mixed length, other targets, or what loading, evaluation and Ray take.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from tests.benchmarks.clock import best_device
from tests.benchmarks.harness import finish, machine, parser, rounds, say, spread
from tuner.device import Device, is_out_of_memory, synchronize
from tuner.lora.adapter import peft_names
from tuner.lora.optim import adamw_step, gradient_norms
from tuner.lora.packed import Member, Pack, PackContext, wrap_linears
from tuner.lora.parameters import AdapterShape, ParameterStore, initial_tensors

PACK, BATCH, LENGTH = 32, 8, 32
RANK, ALPHA, TARGETS_OF_LORA = 8, 16, ("q_proj", "v_proj")
RATE, DECAY, CLIP = 1e-3, 0.01, 1.0
STEPS, QUICK_STEPS, WARM_UP_STEPS = 20, 2, 3
TOLERANCE = 0.05  # of a loss that falls by about 2: bf16 rounds differently on the two sides
LLAMA = {  # 336 M parameters, shaped as Llama 3 is: heads of 64, four queries to a key
    "vocab_size": 32000, "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 24,
    "num_attention_heads": 16, "num_key_value_heads": 4,
}  # fmt: skip
QUICK_LLAMA = {
    "vocab_size": 256, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
SIDES = ("sequential", "pack32")
TARGETS = {"pack32_vs_sequential": 15.0}


def llama(shape: Mapping[str, int], dtype: torch.dtype, device: torch.device) -> Any:
    """A Llama with random weights, a function of its shape alone. Nothing is downloaded."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    # a cache of keys and values serves generation alone
    config = LlamaConfig(**shape, max_position_embeddings=512, use_cache=False, attn_implementation="sdpa")
    return AutoModelForCausalLM.from_config(config, dtype=dtype).train().to(device)


class Packed:
    """All adapters at once, by the tuner's own layers and optimizer. Changes the base it is given."""

    def __init__(self, base: Any, device: torch.device, count: int) -> None:
        self.model, self.dtype = base, base.dtype
        self.context = PackContext(device)
        names = [name for name, _ in base.named_modules() if name.endswith(TARGETS_OF_LORA)]
        self.sites = wrap_linears(base, names, [], self.context)
        self.shape = AdapterShape(RANK, frozenset(names), frozenset())
        self.store = ParameterStore(self.sites, count, device)
        self.first_weights = [initial_tensors(self.sites, self.shape, seed) for seed in range(count)]
        for slot, tensors in enumerate(self.first_weights):
            self.store.put(slot, self.shape, tensors)
        self.fresh = self.store.weights.clone()
        self.reset()

    def reset(self) -> None:
        """Begin anew: first weights, no moments, no steps."""
        self.store.weights.copy_(self.fresh)
        self.store.first.zero_()
        self.store.second.zero_()
        self.steps = [torch.zeros((), device=self.store.device) for _ in self.first_weights]

    def forward_backward(self, rows: torch.Tensor) -> tuple[Pack, list[float]]:
        """rows (N, B, L), those of each adapter -> the pack, its gradients in the store, and each adapter's loss."""
        count, batch, length = rows.shape
        members = [Member(slot, ALPHA / RANK) for slot in range(count)]
        pack = Pack(self.store, members, self.dtype, train=True)
        pack.bring([batch] * count, [batch * length] * count)
        self.context.pack = pack
        ids = rows.flatten(0, 1)
        logits = self.model(input_ids=ids).logits  # (N B, L, V)
        # each token's label is the next one, the last has none: as transformers' own loss has it
        labels = F.pad(ids, (0, 1), value=-100)[:, 1:]
        each = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="none")  # 0 without a label
        means = each.view(count, -1).sum(1) / (batch * (length - 1))  # (N,)
        means.sum().backward()
        pack.flush_gradients()
        return pack, means.detach().tolist()

    def step(self, rows: torch.Tensor) -> list[float]:
        """One step of every adapter; their losses before it."""
        pack, losses = self.forward_backward(rows)
        norms = gradient_norms(self.store, pack.index)
        for slot, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise SystemExit(f"Packed adapter {slot} has loss {loss} and gradient norm {norm}: not finite.")
            adamw_step(self.store, slot, self.steps[slot], RATE, DECAY, norm, CLIP)
        return losses


class Sequential:
    """One adapter at a time, by stock PEFT in a plain torch loop. Changes the base it is given."""

    def __init__(self, base: Any) -> None:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=list(TARGETS_OF_LORA)
        )
        with warnings.catch_warnings():
            # PEFT asks transformers for a name that it will drop
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            self.model = get_peft_model(base, config).train()
        named = self.model.named_parameters()
        self.trained = {name.replace(".default", ""): weight for name, weight in named if weight.requires_grad}
        """Weights of the adapter by the names that PEFT writes in files."""

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Begin with an adapter's first weights, named as the tuner names them."""
        named = peft_names(tensors)
        if named.keys() != self.trained.keys():
            raise SystemExit("The two sides do not train the same modules.")
        with torch.no_grad():
            for name, weight in self.trained.items():
                weight.copy_(named[name])
        self.optimizer = torch.optim.AdamW(self.trained.values(), lr=RATE, weight_decay=DECAY, fused=True)

    def forward_backward(self, rows: torch.Tensor) -> torch.Tensor:
        """rows (B, L) -> the loss; its gradients lie in the weights."""
        loss: torch.Tensor = self.model(input_ids=rows, labels=rows).loss
        loss.backward()
        return loss.detach()

    def step(self, rows: torch.Tensor) -> torch.Tensor:
        """One step; the loss before it, not yet read back from the device."""
        loss = self.forward_backward(rows)
        torch.nn.utils.clip_grad_norm_(self.trained.values(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss


class Bench:
    """Both sides on one device, on the same rows (PACK, BATCH, LENGTH): an adapter sees its own at every step."""

    def __init__(self, device: Device, shape: Mapping[str, int]) -> None:
        self.device = device
        base = llama(shape, device.dtype, device.torch)
        self.parameters = sum(weight.numel() for weight in base.parameters())
        self.sequential = Sequential(copy.deepcopy(base))
        self.packed = Packed(base, device.torch, PACK)
        generator = torch.Generator().manual_seed(0)
        rows = torch.randint(shape["vocab_size"], (PACK, BATCH, LENGTH), generator=generator)
        self.rows = rows.to(device.torch)

    def run(self, side: str, steps: int, adapters: int = PACK) -> tuple[float, list[float]]:
        """Train anew on a side; the seconds that the steps took and each adapter's last loss. `adapters` is how many of
        the sequential ones."""
        if side == "pack32":
            self.packed.reset()
            began = self._now()
            for _ in range(steps):
                losses = self.packed.step(self.rows)
            return self._now() - began, losses
        seconds, found = 0.0, []
        for adapter in range(adapters):
            self.sequential.load(self.packed.first_weights[adapter])
            began = self._now()
            for _ in range(steps):
                loss = self.sequential.step(self.rows[adapter])
            seconds += self._now() - began
            found.append(loss.item())
        return seconds, found

    def _now(self) -> float:
        synchronize(self.device)
        return time.perf_counter()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser(__doc__, "repeats", 3).parse_args(arguments)
    device = best_device("gpu", quick=options.quick)
    quick = " (quick: its numbers mean nothing)" if options.quick else ""
    say(f"gpu on {device.label} in {device.dtype_name}, {machine()}, torch {torch.__version__}{quick}")
    try:
        rates, parameters = measure(device, options.quick, options.repeats)
    except Exception as error:
        if is_out_of_memory(error):
            raise SystemExit(f"{device.label} has too little memory for {PACK} adapters in one forward.") from error
        raise
    say("\nsamples a second, median (range) over the rounds")
    for side in SIDES:
        say(f"  {side:10} {spread(rates[side], 0)}")
    ratios = [ours / theirs for ours, theirs in zip(rates["pack32"], rates["sequential"], strict=True)]
    say(f"  ratio      {spread(ratios)}")
    keys = {"pack32_vs_sequential": statistics.median(ratios)}
    keys.update({f"{side}_samples_per_second": statistics.median(rates[side]) for side in reversed(SIDES)})
    finish({**keys, "parameters_m": parameters / 1e6}, TARGETS, options.quick)


def measure(device: Device, quick: bool, repeats: int) -> tuple[dict[str, list[float]], int]:
    """Samples a second of each side in each round, and how many parameters the base has."""
    bench = Bench(device, QUICK_LLAMA if quick else LLAMA)
    steps = QUICK_STEPS if quick else STEPS
    say(f"{bench.parameters / 1e6:.1f} M parameters; {PACK} adapters, {steps} steps of {BATCH} x {LENGTH} tokens each")
    for side in SIDES:
        bench.run(side, WARM_UP_STEPS, adapters=1)
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    losses: dict[str, list[float]] = {}
    for repeat, side in rounds(SIDES, 1 if quick else repeats):
        seconds, losses[side] = bench.run(side, steps)
        rates[side].append(PACK * BATCH * steps / seconds)
        say(f"round {repeat}, {side}: {rates[side][-1]:.0f} samples a second, loss {statistics.mean(losses[side]):.3f}")
    apart = max(abs(ours - theirs) for ours, theirs in zip(losses["pack32"], losses["sequential"], strict=True))
    say(f"last losses of an adapter differ by {apart:.4f} at most between the sides")
    if not apart <= TOLERANCE:
        raise SystemExit(f"The two sides did not learn the same: losses differ by more than {TOLERANCE}.")
    return rates, bench.parameters


if __name__ == "__main__":
    main()
