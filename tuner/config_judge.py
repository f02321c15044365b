"""The part of a config that names a language model to judge a winner's answers by.

The key of its API is no part of it: only the name of the environment variable that holds it. Whether a task's outputs
are answers that can be judged so is checked where the task is known, by `study.judge.check_judge`.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tuner.config_space import Frozen, Number, Whole, broken


class JudgeConfig(Frozen):
    """Which model grades the winner's answers, and the base's. `url` is the base of an API as OpenAI's, None for no
    judge; `model` its name there; `key_variable` the environment variable that holds the key, None to send none:
    to be given where the key would go over a network in clear text.
    `items` is how many outputs are graded, the first ones; `timeout_seconds` how long a request may take, `concurrent`
    how many are under way at once."""

    url: str | None = None
    model: Annotated[str | None, Field(validate_default=True)] = None
    key_variable: str | None = "OPENAI_API_KEY"
    items: Annotated[Whole, Field(ge=1, le=10_000)] = 50
    timeout_seconds: Annotated[Number, Field(gt=0, le=3600)] = 30.0
    concurrent: Annotated[Whole, Field(ge=1, le=64)] = 4

    @field_validator("url")
    @classmethod
    def _is_a_base(cls, url: str | None) -> str | None:
        if url is None:
            return None
        netloc = ""
        if re.fullmatch(r"https?://[!-~]+", url):
            try:
                parts = urlsplit(url)
                netloc = parts.netloc if parts.hostname and parts.port != 0 else ""
            except ValueError:
                netloc = ""  # a port that is no number, half of an IPv6 address
        if not netloc:
            raise broken("must be an address that begins with http:// or https://", "As in http://localhost:8000/v1.")
        if "@" in netloc:
            raise broken("must hold no user name or password", "Name the variable that holds the key in key_variable.")
        if "?" in url or "#" in url:
            raise broken("must hold no ? or #", "Only the base is needed, as in http://localhost:8000/v1.")
        if url.rstrip("/").endswith("/chat/completions"):
            raise broken("must end before /chat/completions, which is added", "As in http://localhost:8000/v1.")
        return url.rstrip("/")

    @field_validator("model")
    @classmethod
    def _is_named(cls, model: str | None, info: ValidationInfo) -> str | None:
        if model is None and info.data.get("url") is not None:
            raise broken("must be given where url is", "Write the model's name as the server has it.")
        if model is not None and not (model.strip() and model.isprintable()):
            raise broken("must be text of printable characters, not empty")
        return model

    @field_validator("key_variable")
    @classmethod
    def _is_a_variable(cls, name: str | None) -> str | None:
        # in capitals, so that a key that is given here by mistake is refused: a config is saved and shown
        if name is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            cure = "The default is OPENAI_API_KEY; the key itself belongs in that variable."
            raise broken("must be the name of an environment variable, in capitals", cure)
        return name

    @model_validator(mode="after")
    def _sends_no_key_by_default_in_clear_text(self) -> JudgeConfig:
        if self.url is not None and "key_variable" not in self.model_fields_set and _is_clear_text(self.url):
            rule = "must say its key_variable: over http:// to another machine a key can be read by anybody between"
            cure = "Write https:// if the server has it, key_variable: null to send no key, or the variable's name."
            raise broken(rule, cure)
        return self


def _is_clear_text(url: str) -> bool:
    """Whether what is sent there leaves this machine unencrypted."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return parts.scheme == "http" and not local
