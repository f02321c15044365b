"""Pretrain the embedded chat model: `python -m tuner.bases.shoe_chat.pretrain`, one GPU minute or an hour of two cores.

A Llama of 5 million parameters learns the project's corpus from nothing, tokenizer included, and is written as a folder
that transformers opens: weights in fp16, tokenizer, chat template, and training.json with the losses on the way. One
corpus line in `EVERY` is kept out to see when the model begins to learn it by heart. A seed gives the same documents in
the same order; the weights differ a little between kinds of device.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from tuner.bases.recipe import cosine, follow
from tuner.bases.shoe_chat import corpus, tokens
from tuner.device import select_devices, trains_in_bf16

SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 640,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
LENGTH = 256  # tokens of a training sequence: several documents that do not see each other
BATCH = 32
RATE, WARMUP, DECAY = 2e-3, 0.03, 0.1
NOISE = 0.1  # share of input tokens exchanged for random ones: with so little text a model else learns it by heart
AVERAGE = 0.995  # of an exponential average of the weights, which is what is kept
EVERY = 40


def main() -> None:
    """Train and write the model's folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "model")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    device = select_devices(options.device)[0].torch
    tokenizer, model, record = pretrain(options.epochs, options.seed, device)
    write(options.out, tokenizer, model, record)


def pretrain(
    epochs: int, seed: int, device: torch.device, *, shape: dict[str, int] | None = None, noise: float = NOISE
) -> tuple[Tokenizer, Any, dict[str, Any]]:
    """Tokenizer, averaged model (fp32, on the CPU) and the record of its training."""
    lines = corpus.read()
    kept_out = [line for number, line in enumerate(lines) if number % EVERY == 0 and line["kind"] != "evasive"]
    trained = [line for line in lines if line not in kept_out]
    tokenizer = tokens.train(corpus.texts(trained))
    torch.manual_seed(seed)
    model = build(tokenizer, {**SHAPE, **(shape or {})}).to(device)
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    draw = random.Random(seed)
    optimizer = torch.optim.AdamW(_groups(model), lr=RATE, betas=(0.9, 0.95))
    checks = list(sequences(tokenizer, corpus.documents(kept_out, random.Random(0))))
    total = epochs * len(list(sequences(tokenizer, corpus.documents(trained, random.Random(0))))) // BATCH
    losses: list[dict[str, float]] = []
    started, step, seen = time.monotonic(), 0, 0
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(1, epochs + 1):
        whole = list(sequences(tokenizer, corpus.documents(trained, draw)))
        running = 0.0
        batches = [whole[start : start + BATCH] for start in range(0, len(whole), BATCH)]
        for batch in batches:
            for group in optimizer.param_groups:
                group["lr"] = RATE * _schedule(step, total)
            loss = sequence_loss(model, batch, device, noise, generator)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            seen += sum(len(ids) for ids, _ in batch)
            follow(average, model.state_dict().items(), min(AVERAGE, (1 + step) / (10 + step)))
            running += loss.item() / len(batches)
        row = {"epoch": epoch, "loss": running, "seconds": time.monotonic() - started}
        if epoch % 5 == 0 or epoch == epochs:
            row["kept_out_loss"] = _averaged_loss(model, average, checks, device)
        losses.append({name: round(value, 4) for name, value in row.items()})
        left = row["seconds"] / epoch * (epochs - epoch)
        print(f"epoch {epoch}/{epochs}: {losses[-1]}, {left:.0f} s left", flush=True)
    model.load_state_dict(average)
    record = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tokens_seen": seen,
        "corpus_lines": len(trained),
        "epochs": epochs,
        "seed": seed,
        "device": device.type,
        "losses": losses,
    }
    return tokenizer, model.float().cpu().eval(), record


def build(tokenizer: Tokenizer, shape: dict[str, int]) -> Any:
    """A fresh Llama for this tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.02,
        pad_token_id=tokenizer.token_to_id(tokens.PAD),
        bos_token_id=tokenizer.token_to_id(tokens.BEGIN),
        eos_token_id=tokenizer.token_to_id(tokens.END),
        **shape,
    )
    return LlamaForCausalLM(config)


def sequences(tokenizer: Tokenizer, documents: Sequence[str]) -> Iterator[tuple[list[int], list[int]]]:
    """Token ids and the number of its document for each token, at most `LENGTH` a sequence; long documents are cut."""
    ids: list[int] = []
    owners: list[int] = []
    for number, encoding in enumerate(tokenizer.encode_batch(list(documents), add_special_tokens=False)):
        found = encoding.ids[:LENGTH]
        if len(ids) + len(found) > LENGTH:
            yield ids, owners
            ids, owners = [], []
        ids, owners = ids + found, owners + [number] * len(found)
    if ids:
        yield ids, owners


def sequence_loss(
    model: Any,
    batch: Sequence[tuple[list[int], list[int]]],
    device: torch.device,
    noise: float = 0.0,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Mean loss of the next token within each document."""
    length = max(len(ids) for ids, _ in batch)
    ids = torch.zeros(len(batch), length, dtype=torch.long)
    owners = torch.full((len(batch), length), -1)
    positions = torch.zeros(len(batch), length, dtype=torch.long)
    for row, (tokens_, documents) in enumerate(batch):
        ids[row, : len(tokens_)] = torch.tensor(tokens_)
        owners[row, : len(tokens_)] = torch.tensor(documents)
        starts = {number: column for column, number in reversed(list(enumerate(documents)))}
        positions[row, : len(tokens_)] = torch.tensor([at - starts[number] for at, number in enumerate(documents)])
    inputs = ids
    if noise:
        exchanged = (torch.rand(ids.shape, generator=generator) < noise) & (ids >= len(tokens.SPECIAL))
        inputs = torch.where(
            exchanged, torch.randint(262, model.config.vocab_size, ids.shape, generator=generator), ids
        )
    same = (owners[:, :, None] == owners[:, None, :]) & torch.ones(length, length, dtype=torch.bool).tril()
    target = torch.where(owners[:, 1:] == owners[:, :-1], ids[:, 1:], -100)
    target[owners[:, 1:] < 0] = -100
    mask = torch.where(same, 0.0, -1e9)[:, None].to(device)  # (B, 1, L, L)
    half = torch.autocast(device.type, torch.bfloat16, enabled=trains_in_bf16(device))
    with half:
        logits = model(
            input_ids=inputs.to(device), attention_mask=mask, position_ids=positions.to(device), use_cache=False
        ).logits
    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), target.flatten().to(device), ignore_index=-100)


@torch.no_grad()
def _averaged_loss(
    model: Any, average: dict[str, torch.Tensor], checks: Sequence[tuple[list[int], list[int]]], device: torch.device
) -> float:
    held = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(average)
    model.eval()
    found = sum(sequence_loss(model, [check], device).item() for check in checks) / len(checks)
    model.load_state_dict(held)
    model.train()
    return found


def _groups(model: Any) -> list[dict[str, Any]]:
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    rest = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    return [{"params": matrices, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}]


def _schedule(step: int, total: int) -> float:
    """Linear warm-up, then a cosine to a tenth."""
    warm = max(1, int(WARMUP * total))
    if step < warm:
        return (step + 1) / warm
    done = min(1.0, (step - warm) / max(1, total - warm))
    return cosine(done, 0.1)


def write(folder: Path, tokenizer: Tokenizer, model: Any, record: dict[str, Any]) -> None:
    """The folder as transformers opens it, weights in fp16, and training.json."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokens.save(tokenizer, folder)
    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
