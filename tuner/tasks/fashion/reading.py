"""How much of a prompt a text encoder reads: it has room for so many tokens, and what stands behind is cut off."""

from __future__ import annotations

from typing import Any


class Reading:
    """Of one tokenizer of a pipeline, whose `model_max_length` is the encoder's."""

    def __init__(self, tokenizer: Any) -> None:
        from tokenizers import Tokenizer

        # an engine of its own: the tokenizer's is set to cut texts off and fill them up
        self._engine: Any = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._engine.no_truncation()
        self._engine.no_padding()
        self._room = int(tokenizer.model_max_length)

    def tokens(self, prompt: str) -> int:
        """How many tokens of it are read, with the two that begin and end a text."""
        return min(len(self._engine.encode(prompt).ids), self._room)

    def unread(self, prompt: str) -> str:
        """What stands behind the last word for which there is room."""
        places = self._engine.encode(prompt).offsets
        # one token begins and one ends what is read, so the last place is for the end
        last = self._room - 1
        if len(places) <= last + 1:
            return ""
        start = prompt.rfind(" ", 0, places[last][0]) + 1  # of the word
        return prompt[start:]
