"""Texts of requests: what is refused of them, alike on every route."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from serve.errors import ServeError

AdapterField: str | None = Field(
    default=None,
    max_length=200,
    description="which adapter: a name (its champion), name@alias or name@version; the default one if not given",
    examples=["reviews"],
)


class BadTextError(ServeError):
    """A text that cannot be answered."""

    status = 422
    code = "invalid_text"

    def __init__(self, param: str, message: str) -> None:
        self.param = param
        super().__init__(message)


def clean(texts: Sequence[str], most: int, param: str = "text") -> list[str]:
    """The texts, or BadTextError: for one that is empty or longer than `most` characters, holds a NUL or half of a
    character."""
    for text in texts:
        if not text or text.isspace():
            raise BadTextError(param, f"{param} is empty. Give at least one word.")
        if len(text) > most:
            raise BadTextError(param, f"{param} has {len(text):,} characters, and {most:,} are read.")
        if "\0" in text:
            raise BadTextError(param, f"{param} holds a NUL character. Leave it out.")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise BadTextError(param, f"{param} holds half of a character (a lone surrogate).") from None
    return list(texts)
