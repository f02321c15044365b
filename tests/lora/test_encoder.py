"""The ragged encoder against transformers' own forward, in all four architectures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.engine import toy
from tuner.bases.describe import describe
from tuner.bases.load import load_classifier
from tuner.errors import BaseModelError
from tuner.lora.encoder import RaggedEncoder
from tuner.lora.ragged import Ragged

LENGTHS = [1, 70, 2, 33, 32, 5, 64, 31, 17, 70, 1]


@pytest.mark.parametrize("kind", toy.KINDS)
@torch.no_grad()
def test_equals_transformers(toy_bases: dict[str, Path], kind: str) -> None:
    model = load_classifier(describe(str(toy_bases[kind])), 2)
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(4, len(toy.WORDS), (length,), generator=generator) for length in LENGTHS]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=model.config.pad_token_id)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    hidden = model.base_model(ids, attention_mask=mask).last_hidden_state
    logits = model(ids, attention_mask=mask).logits

    encoder = RaggedEncoder(model)
    ragged = Ragged(LENGTHS, torch.device("cpu"))
    full = encoder.hidden(torch.cat(rows), ragged, first_only=False)
    first = encoder.hidden(torch.cat(rows), ragged, first_only=True)

    torch.testing.assert_close(full, hidden[mask.bool()], rtol=0, atol=1e-5)
    torch.testing.assert_close(first, hidden[:, 0], rtol=0, atol=1e-5)
    torch.testing.assert_close(encoder.logits(first), logits, rtol=0, atol=1e-5)
    assert logits.std() > 1e-3  # a model whose answers are all alike would prove nothing


def test_unknown_architecture() -> None:
    model = torch.nn.Module()
    model.config = type("Config", (), {"model_type": "gpt2"})()
    with pytest.raises(BaseModelError, match=r"'gpt2'.*albert, bert"):
        RaggedEncoder(model)
