"""Chat completions as OpenAI's API has them: what is read of a request, what is refused, and the shapes of answers.

Fields of that API which would change an answer in a way that is not offered here are known, and accepted with the
values that leave it as it is (`NEUTRAL`), so that clients which always send them work.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from serve.errors import ServeError

MESSAGES = 256  # of a conversation
TOKENS = 4096  # of an answer at most
STOPS = 4

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
"""Fields that must be null or have one of these values."""

_SILENT: dict[str, tuple[Any, ...]] = {
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "name": (),
    "refusal": (),
    "tool_calls": ([],),
}  # the same of a message, as answers bring them back


class UnsupportedError(ServeError):
    """A request for something that this server does not do."""

    status = 400
    code = "unsupported_parameter"

    def __init__(self, param: str, allowed: tuple[Any, ...]) -> None:
        self.param = param
        values = " or ".join(repr(value) for value in allowed)
        cure = f"leave it out{f', or give {values}' if values else ''}"
        super().__init__(f"{param} is not supported here: {cure}.")


def refuse_unsupported(ask: ChatAsk) -> None:
    """Raises UnsupportedError for a known field that asks for what is not offered."""
    for name, allowed in NEUTRAL.items():
        if not _is_neutral(getattr(ask, name), allowed):
            raise UnsupportedError(name, allowed)
    for at, message in enumerate(ask.messages):
        for name, allowed in _SILENT.items():
            if not _is_neutral(getattr(message, name), allowed):
                raise UnsupportedError(f"messages.{at}.{name}", allowed)


def _is_neutral(value: Any, allowed: tuple[Any, ...]) -> bool:
    return value is None or any(type(value) is type(each) and value == each for each in allowed)


_Stop = Annotated[str, Field(min_length=1, max_length=256)]
_STOP: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 256}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(_Strict):
    """A part of a message."""

    type: Literal["text"] = Field(description="text: nothing else is read here")
    text: str = Field(description="what it says")


class Message(_Strict):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"] = Field(description="who says it")
    content: str | Annotated[list[TextPart], Field(min_length=1, max_length=64)] = Field(
        description="what is said: text, or parts that are text"
    )
    name: Any = Field(None, description="null")
    refusal: Any = Field(None, description="null")
    annotations: Any = Field(None, description="null or []")
    audio: Any = Field(None, description="null")
    function_call: Any = Field(None, description="null")
    tool_calls: Any = Field(None, description="null or []")

    @field_validator("content", mode="before")
    @classmethod
    def _text_alone(cls, content: Any) -> Any:
        if content is None or isinstance(content, (str, list)):
            for part in content if isinstance(content, list) else ():
                if isinstance(part, dict) and part.get("type") != "text":
                    raise ValueError("only parts of type text are read here, no images, audio or files")
            if content is not None:
                return content
        raise ValueError("must be a string, or a list of parts {type: text, text: ...}")

    @property
    def text(self) -> str:
        """All that is said."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(_Strict):
    """How an answer is streamed."""

    include_usage: bool = Field(False, description="whether a last event says how many tokens there were")
    include_obfuscation: Literal[False] | None = Field(None, description="null or false")


class ChatAsk(_Strict):
    """A conversation, and how it is to be answered."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "mold", "messages": [{"role": "user", "content": "鞋櫃濕度多少才安全?"}], "max_tokens": 120}
            ]
        }
    )

    model: str = Field(
        min_length=1,
        max_length=400,
        description="the adapter: a name (its champion), name@alias or name@version; or the base's name",
    )
    messages: list[Message] = Field(min_length=1, max_length=MESSAGES, description="the conversation so far")
    stream: bool | None = Field(False, description="whether the answer comes in events as it is written")
    stream_options: StreamOptions | None = Field(None, description="allowed with stream")
    max_tokens: int | None = Field(
        None, ge=1, le=TOKENS, description="tokens of the answer at most; as the adapter was trained to, if not given"
    )
    max_completion_tokens: int | None = Field(None, ge=1, le=TOKENS, description="the newer name of max_tokens")
    temperature: float | None = Field(
        0.0,
        ge=0,
        le=2,
        description="0, the default here, says the likeliest, which adapters are judged by; above, draws",
    )
    top_p: float | None = Field(1.0, ge=0, le=1, description="draws from the likeliest with this much probability")
    presence_penalty: float | None = Field(0.0, ge=-2, le=2, description="makes what was said less likely, once")
    frequency_penalty: float | None = Field(0.0, ge=-2, le=2, description="the same for each time it was said")
    stop: list[_Stop] | None = Field(
        default=None,
        max_length=STOPS,
        description="a string, or up to four, that end the answer and are not part of it",
        json_schema_extra={"anyOf": [_STOP, {"type": "array", "items": _STOP, "maxItems": STOPS}, {"type": "null"}]},
    )
    seed: int | None = Field(
        None, ge=-(2**63), le=2**63 - 1, description="the same seed and request give the same answer"
    )
    user: str | None = Field(None, max_length=512, description="who asks; changes nothing")
    safety_identifier: str | None = Field(None, max_length=512, description="who asks; changes nothing")
    prompt_cache_key: str | None = Field(None, max_length=512, description="changes nothing")
    metadata: dict[str, str] | None = Field(None, max_length=16, description="changes nothing, and is not kept")
    n: Any = Field(None, description="null or 1: one answer a request")
    audio: Any = Field(None, description="null")
    function_call: Any = Field(None, description="null, none or auto")
    functions: Any = Field(None, description="null or []")
    logit_bias: Any = Field(None, description="null or {}")
    logprobs: Any = Field(None, description="null or false")
    modalities: Any = Field(None, description="null or [text]")
    parallel_tool_calls: Any = Field(None, description="null, true or false: there are no tools")
    prediction: Any = Field(None, description="null")
    reasoning_effort: Any = Field(None, description="null or none")
    response_format: Any = Field(None, description="null or {type: text}")
    service_tier: Any = Field(None, description="null, auto or default")
    store: Any = Field(None, description="null or false")
    tool_choice: Any = Field(None, description="null, none or auto: there are no tools")
    tools: Any = Field(None, description="null or []")
    top_logprobs: Any = Field(None, description="null or 0")
    verbosity: Any = Field(None, description="null or medium")
    web_search_options: Any = Field(None, description="null")

    @field_validator("stop", mode="before")
    @classmethod
    def _stops(cls, stop: Any) -> Any:
        return [stop] if isinstance(stop, str) else stop

    @model_validator(mode="after")
    def _agree(self) -> ChatAsk:
        limits = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(limits) > 1:
            raise ValueError("max_tokens and max_completion_tokens say the same: give one of them")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is allowed with stream: true alone")
        return self


class Usage(BaseModel):
    """Tokens of one request."""

    prompt_tokens: int = Field(description="of the conversation, as the base reads it")
    completion_tokens: int = Field(description="of the answer")
    total_tokens: int = Field(description="of both")


class Said(BaseModel):
    """The answer as a message."""

    role: Literal["assistant"] = Field(description="who says it")
    content: str = Field(description="what is said")
    refusal: None = Field(None, description="null")


class Choice(BaseModel):
    """The one answer."""

    index: int = Field(description="0")
    message: Said = Field(description="the answer")
    logprobs: None = Field(None, description="null")
    finish_reason: Literal["stop", "length"] = Field(description="length where max_tokens cut the answer off")


class Completion(BaseModel):
    """An answer."""

    id: str = Field(description="of this answer")
    object: Literal["chat.completion"] = Field(description="what this is")
    created: int = Field(description="seconds since the epoch")
    model: str = Field(description="the adapter with its version, or the base")
    system_fingerprint: str | None = Field(description="the base's checksum, its first digits")
    choices: list[Choice] = Field(description="one")
    usage: Usage = Field(description="tokens")
