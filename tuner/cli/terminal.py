"""The console that verbs print on: colours only on a terminal, none under NO_COLOR, plain text into files and pipes."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.text import Text

PIPE_WIDTH = 240


class _Console(Console):
    """A console that leaves a closed pipe to the command, which ends without a word."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console() -> Console:
    """Standard output as a rich console. rich itself honours NO_COLOR, TERM=dumb and what is no terminal."""
    # A pipe has no width: tables there are as wide as they need, up to a limit, and not folded at 80 characters.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return _Console(file=sys.stdout, highlight=False, width=width)


def say(out: Console, text: Text | str) -> None:
    """Print a line as it is. Soft wrap: a command or a path that is broken over two lines cannot be copied."""
    out.print(text, soft_wrap=True, markup=False)
