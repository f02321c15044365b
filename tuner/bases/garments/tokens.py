"""The tokenizer that the embedded picture models share: CLIP's own kind, with a vocabulary trained on captions.

Words that captions use are tokens of their own; any other text is written in pieces or byte by byte, so that every
text has tokens. The token that ends a text has the highest number, where open_clip looks for it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from tuner.bases.garments.captions import FORMS, caption
from tuner.bases.garments.sample import general, styled
from tuner.bases.garments.styles import STYLES

LENGTH = 32  # tokens of a text with the two that begin and end it
BEGIN, END = "<|startoftext|>", "<|endoftext|>"
VOCABULARY = 1024
_MORE = (
    "top bottoms footwear accessory outerwear clothing fashion style photo picture image person wearing casual formal "
    "elegant sporty modern classic bold soft light dark bright colourful cotton wool leather silk linen summer winter "
    "long short wide narrow with without and of the in on a an small large blurry low quality"
)


def texts(seed: int = 0, count: int = 4000) -> list[str]:
    """Captions in every wording, of the general set and of every style, and some words of the field."""
    looks = general(seed, count) + [look for style in STYLES for look in styled(style, seed, count // 8)]
    return [caption(look, number % FORMS) for number, look in enumerate(looks)] + [_MORE] * 20


def train() -> Any:
    """A CLIPTokenizer of at most `VOCABULARY` tokens. Words of captions get the same numbers every time; between rare
    pieces that are equally frequent the order may fall either way, which is why the models keep theirs beside them."""
    blank = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    blank.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    reader = CLIPTokenizer().backend_tokenizer.pre_tokenizer  # splits as CLIP does
    blank.pre_tokenizer = reader if reader is not None else pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_ = [*alphabet, *(f"{letter}</w>" for letter in alphabet)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2 - len(alphabet),
        end_of_word_suffix="</w>",
        initial_alphabet=alphabet,
        min_frequency=2,
        show_progress=False,
    )
    blank.train_from_iterator(texts(), trainer)
    state = json.loads(blank.to_str())["model"]
    words = [word for word in sorted(state["vocab"], key=state["vocab"].__getitem__) if word not in set(bytes_)]
    listed = [*bytes_, *words, BEGIN, END]
    vocabulary = {word: number for number, word in enumerate(listed)}
    merges = [tuple(pair) for pair in state["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def save(tokenizer: Any, folder: Path) -> None:
    """As `CLIPTokenizer.from_pretrained` and open_clip open it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(str(folder))
