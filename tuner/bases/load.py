"""Opening a base model's weights: safetensors only, never remote code, nothing printed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from tuner.bases.describe import BaseFacts
from tuner.errors import BaseModelError


@contextmanager
def quiet() -> Iterator[None]:
    """transformers reports a new head as missing weights, draws a progress bar and calls names of its own deprecated
    that PEFT uses: all expected, none of use here."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def load_classifier(facts: BaseFacts, labels: int) -> nn.Module:
    """The base with a sequence-classification head, fp32 on the CPU, in eval mode. The head of a plain encoder is
    fresh: the caller trains or loads it. Raises BaseModelError."""
    from transformers import AutoModelForSequenceClassification

    model: nn.Module = _open(
        AutoModelForSequenceClassification, facts, num_labels=labels, use_safetensors=True, dtype=torch.float32
    )
    return model.eval()


def load_causal(facts: BaseFacts, dtype: torch.dtype, **options: Any) -> nn.Module:
    """The base with its language-model head, in eval mode, on the CPU where no option of transformers says otherwise.
    Raises BaseModelError."""
    from transformers import AutoModelForCausalLM

    model: nn.Module = _open(AutoModelForCausalLM, facts, use_safetensors=True, dtype=dtype, **options)
    return model.eval()


def load_tokenizer(facts: BaseFacts) -> Any:
    """The base's tokenizer. Raises BaseModelError."""
    from transformers import AutoTokenizer

    return _open(AutoTokenizer, facts)


def _open(kind: Any, facts: BaseFacts, **options: Any) -> Any:
    with quiet():
        try:
            return kind.from_pretrained(
                facts.source, revision=facts.revision or "main", trust_remote_code=False, **options
            )
        except (OSError, ValueError, RuntimeError, LookupError, ImportError, SafetensorError) as error:
            reason = str(error).strip().split("\n")[0]
            raise BaseModelError(f"base_model = {facts.name!r}: it cannot be opened: {reason}") from error
