"""How a base reads a conversation: its chat template and its tokenizer, from their files alone, with no torch.

Everything that makes tokens of a conversation (the checks before a study, training, evaluation, prediction) goes
through here, so that all of them see the same ones. The template is rendered as transformers renders it, in jinja2's
sandbox, but for the date: a template that asks for today's gets its own default, or `DATE` where it has none, so that a
study does not depend on the day it runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from tuner.bases.describe import BaseFacts, companion
from tuner.errors import BaseModelError

FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
DATE = datetime(2024, 7, 26)  # the default of Llama 3's template
_SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


@dataclass(frozen=True)
class ChatFormat:
    """A base's chat template and tokenizer. `files` are those it was made from, which belong beside an adapter;
    `special` its special tokens by role; `stop` the ids that end an answer."""

    tokenizer: Tokenizer
    template: Template
    special: Mapping[str, str]
    stop: frozenset[int]
    files: tuple[Path, ...]

    @classmethod
    def open(cls, facts: BaseFacts) -> ChatFormat:
        """The format of a base. Raises BaseModelError if it has no chat template or no tokenizer.json, or one that does
        not belong to its weights."""
        found = {name: path for name in FILES if (path := companion(facts, name)) is not None}
        if "tokenizer.json" not in found:
            raise BaseModelError(
                f"base_model = {facts.name!r}: it has no tokenizer.json, so its tokens are not known. "
                "Save it again with transformers' AutoTokenizer.from_pretrained(...).save_pretrained(folder)."
            )
        config = _json(found.get("tokenizer_config.json"), facts)
        special = {role: text for role in _SPECIAL if (text := _text(config.get(role)))}
        tokenizer = _tokenizer(found["tokenizer.json"], facts)
        _check_fit(tokenizer, facts)
        generation = _json(companion(facts, "generation_config.json"), facts)
        named = [generation.get("eos_token_id"), facts.config.get("eos_token_id")]
        if "eos_token" in special:
            named.append(tokenizer.token_to_id(special["eos_token"]))
        each = [one for ids in named for one in (ids if isinstance(ids, list) else [ids])]
        stops = frozenset(one for one in each if isinstance(one, int))
        if not stops:
            raise BaseModelError(
                f"base_model = {facts.name!r}: no token ends an answer. Name its eos_token in tokenizer_config.json."
            )
        return cls(tokenizer, _template(config, found, facts), special, stops, tuple(found.values()))

    def prompt(self, turns: Sequence[Mapping[str, str]]) -> list[int]:
        """Tokens of turns ({"role", "content"}), ready for the assistant's answer. Raises BaseModelError if the
        template refuses them."""
        return self._ids(self._render(turns, True))

    def answer(self, turns: Sequence[Mapping[str, str]], text: str) -> list[int]:
        """Tokens of an answer to these turns, with the one that ends it, as they follow `prompt`."""
        before = self._render(turns, True)
        whole = self._render([*turns, {"role": "assistant", "content": text}], False)
        if not whole.startswith(before):  # a template that writes past answers otherwise than the one to come
            return [*self._ids(text), min(self.stop)]
        ids = self._ids(whole[len(before) :])
        end = next((place for place, token in enumerate(ids) if token in self.stop), None)
        return [*ids, min(self.stop)] if end is None else ids[: end + 1]

    def text(self, tokens: Sequence[int]) -> str:
        """What tokens say, special ones left out."""
        said: str = self.tokenizer.decode(list(tokens))
        return said.strip()

    @cached_property
    def begin(self) -> list[int]:
        """The token before a plain text; none where the base has none."""
        token = self.tokenizer.token_to_id(self.special["bos_token"]) if "bos_token" in self.special else None
        return [] if token is None else [token]

    def plain(self, text: str) -> list[int]:
        """Tokens of a text that is no conversation."""
        return [*self.begin, *self._ids(text)]

    def pieces(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Tokens of a text that is no conversation, without the one before it, and where each stands in it."""
        encoding = self.tokenizer.encode(_whole(text), add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def _ids(self, text: str) -> list[int]:
        return self.pieces(text)[0]

    def _render(self, turns: Sequence[Mapping[str, str]], generating: bool) -> str:
        try:
            return self.template.render(
                messages=[{**turn, "content": self._harmless(turn["content"])} for turn in turns],
                tools=None,
                documents=None,
                add_generation_prompt=generating,
                enable_thinking=False,  # a template that lets a model think first would be learnt with the answers
                **self.special,
            )
        except Exception as error:  # a template is a program: it can fail in any way
            said = str(error) or type(error).__name__
            raise BaseModelError(f"the base's chat template refuses a conversation: {said}.") from error

    def _harmless(self, text: str) -> str:
        """The text with a space inside whatever would be read as a special token, as an end or another's turn."""
        for token in self._control:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    @cached_property
    def _control(self) -> list[str]:
        added = self.tokenizer.get_added_tokens_decoder().values()
        return [token.content for token in added if token.special and len(token.content) > 1]


def _whole(text: str) -> str:
    """The text with half of a character, which JSON can hold and no tokenizer reads, as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _json(path: Path | None, facts: BaseFacts) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
    except (OSError, ValueError, RecursionError) as error:
        raise BaseModelError(f"base_model = {facts.name!r}: {path.name} cannot be read ({error}).") from error
    return found


def _text(token: Any) -> str | None:
    """A special token, which some files write as an object."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else None


def _tokenizer(path: Path, facts: BaseFacts) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exceptions
        raise BaseModelError(f"base_model = {facts.name!r}: its tokenizer.json cannot be read ({error}).") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _check_fit(tokenizer: Tokenizer, facts: BaseFacts) -> None:
    size = facts.config.get("vocab_size")
    most = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if isinstance(size, int) and most >= size:
        raise BaseModelError(
            f"base_model = {facts.name!r}: its tokenizer has token {most}, and the model knows {size} tokens: they do "
            "not belong together. Put the tokenizer that the model was trained with into its folder."
        )


def _template(config: Mapping[str, Any], found: Mapping[str, Path], facts: BaseFacts) -> Template:
    source = config.get("chat_template")
    if isinstance(source, list):  # several by name
        source = next((each.get("template") for each in source if each.get("name") == "default"), None)
    if "chat_template.jinja" in found:
        try:
            source = found["chat_template.jinja"].read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise BaseModelError(
                f"base_model = {facts.name!r}: chat_template.jinja cannot be read ({error})."
            ) from error
    if not isinstance(source, str) or not source.strip():
        raise BaseModelError(
            f"base_model = {facts.name!r}: it has no chat template, so it is not known how it reads a question. "
            "Name an instruct model, or put a chat_template.jinja into its folder."
        )
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, **{"ensure_ascii": False, **options})
    environment.globals["raise_exception"] = _refuse
    if "strftime_now is defined" not in source:  # else the template has a default of its own
        environment.globals["strftime_now"] = DATE.strftime
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise BaseModelError(f"base_model = {facts.name!r}: its chat template is broken ({error}).") from error


def _refuse(message: str) -> None:
    raise TemplateError(message)


class _Generation(Extension):
    """The tag `generation`, with which templates mark what the assistant says: here its content alone counts."""

    tags = {"generation"}  # noqa: RUF012 (jinja2's own attribute)

    def parse(self, parser: Parser) -> nodes.Node:
        """The tag's content, with variables of its own as in transformers."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)
