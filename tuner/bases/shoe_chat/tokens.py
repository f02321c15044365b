"""The tokenizer of the embedded chat model: byte-pair encoding trained on the project's own corpus.

Chinese characters and digits stay single tokens: with this little text a model learns more from characters it has met
in many words than from words it has met a few times, and numbers are copied digit by digit. What is not in the
vocabulary is written byte by byte, so that any text has tokens and comes back as it was, but composed (NFC) and with a
space for `▁`, which stands for one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

VOCABULARY = 4096
PAD, BEGIN, END, SYSTEM, USER, ASSISTANT = "<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL = (PAD, BEGIN, END, SYSTEM, USER, ASSISTANT)
CHAT_TEMPLATE = (
    "{{ '<|begin|>' }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_SINGLE = Regex("[\u3400-\u9fff\uf900-\ufaff]|[^\\s\\p{L}\\p{N}▁]")  # Chinese characters, signs


def train(texts: Iterable[str]) -> Tokenizer:
    """A tokenizer of `VOCABULARY` tokens for these texts; the same texts give the same one."""
    learned = _blank(models.BPE())
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    size = VOCABULARY - len(SPECIAL) - len(bytes_)
    learned.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, min_frequency=2, show_progress=False))
    state = json.loads(learned.to_str())["model"]
    words = sorted(state["vocab"], key=state["vocab"].__getitem__)
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *bytes_, *words])}
    merges = [tuple(pair) for pair in state["merges"]]
    made = _blank(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True))
    made.add_special_tokens(list(SPECIAL))
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Replace("▁", " ")])
    return made


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """tokenizer.json and tokenizer_config.json, as `AutoTokenizer` opens them."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _blank(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never"),
            pre_tokenizers.Split(_SINGLE, "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    return tokenizer
