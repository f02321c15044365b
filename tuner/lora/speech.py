"""What tokens say, piece by piece: whole characters only, nothing of a stop string, no white space at either end.

A piece is held back while its last character is incomplete, while it may become a stop string, and while it ends in
white space. The pieces of a text, joined, do not depend on where its tokens' borders fall.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

_INCOMPLETE = "\ufffd"


class Speech:
    """One text as it is said. `decode` gives the text of tokens, unstripped. A stop string that is complete ends the
    text before it; of several, the one that is complete first, and of those the longest. `stopped` says that one was
    found."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stops = [stop for stop in stops if stop]
        self._longest = max(map(len, self._stops), default=0)
        self.tokens: list[int] = []
        self._before = self._read = 0  # tokens of the window's start, and those whose text is in `_said`
        self._said = ""
        self._shown = 0  # characters of `_said` that were given away, or are white space at its start
        self.stopped = False

    def hear(self, token: int) -> str:
        """The piece that this token completes, often ""."""
        self.tokens.append(token)
        new = self._completed(last=False)
        self._said += new
        end = self._stop(len(self._said) - len(new))
        return self._give(len(self._said) - self._held() if end is None else end)

    def end(self) -> str:
        """What was held back, where nothing comes any more. Half a character is left out."""
        if self.stopped:
            return ""
        new = self._completed(last=True)
        self._said += new
        end = self._stop(len(self._said) - len(new))
        return self._give(len(self._said) if end is None else end)

    def _completed(self, last: bool) -> str:
        """The text that the unread tokens add. They are decoded behind a window of those before, since a tokenizer may
        write a word otherwise at the start."""
        known = self._decode(self.tokens[self._before : self._read])
        text = self._decode(self.tokens[self._before :])
        if last:
            text = text.rstrip(_INCOMPLETE)
        elif text.endswith(_INCOMPLETE):
            return ""
        if text.startswith(known):
            new = text[len(known) :]
        else:  # bytes that make no character spoil those before them too, in some tokenizers
            new = self._decode(self.tokens[self._read :])
            new = new.rstrip(_INCOMPLETE) if last else new
        if new.strip():  # a window of white space alone might lose it, as the start of a text may
            self._before = self._read
        self._read = len(self.tokens)
        return new

    def _stop(self, old: int) -> int | None:
        """Where the text ends, if a stop string is complete in what came behind `old` characters."""
        for end in range(old + 1, len(self._said) + 1) if self._stops else ():
            found = [end - len(stop) for stop in self._stops if self._said.endswith(stop, 0, end)]
            if found:
                self.stopped = True
                return min(found)
        return None

    def _held(self) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        for length in range(min(self._longest - 1, len(self._said)), 0, -1):
            if any(stop.startswith(self._said[-length:]) for stop in self._stops):
                return length
        return 0

    def _give(self, end: int) -> str:
        """What may be shown of the first `end` characters and was not yet."""
        if self._said[:end].strip() == "":
            return ""
        if self._shown == 0:
            self._shown = len(self._said) - len(self._said.lstrip())
        piece = self._said[self._shown : end].rstrip()
        self._shown += len(piece)
        return piece
