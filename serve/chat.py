"""Conversations over HTTP, as OpenAI's API has them: its clients work unchanged.

An answer is sent whole, or as server-sent events while it is written. Whatever is wrong with a conversation is said
before the first event: the base reads it when it is admitted, and its first piece says that it fits.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from serve import models
from serve.chat_schemas import ChatAsk, Completion, refuse_unsupported
from serve.errors import ServeError, UnknownAdapterError
from serve.problems import error_body
from serve.rules import Rule
from serve.runtime import Runtime, Stream
from serve.settings import TaskSettings
from serve.streaming import DONE, EventStream, event, while_there
from serve.texts import clean
from tuner.lora.taste import Taste
from tuner.tasks.shoe_qa.asking import AskChat, ChatAnswer, UnfitChatError

_ANSWER = "/v1/chat/completions"
RULES = (Rule("POST", _ANSWER, "infer"), *models.RULES)
_SSE = {"description": "the answer", "content": {"text/event-stream": {"schema": {"type": "string"}}}}


class UnfitError(ServeError):
    """A conversation that the base cannot read, or that leaves no room for an answer."""

    status = 400
    param = "messages"

    def __init__(self, error: UnfitChatError) -> None:
        self.code = error.code
        super().__init__(str(error))


def routes(runtime: Runtime, settings: TaskSettings) -> APIRouter:
    """POST /v1/chat/completions, GET /v1/models and /v1/models/{id}."""
    router = APIRouter()
    base = runtime.facts.name

    @router.post(
        _ANSWER,
        summary="Answer a conversation",
        response_model=None,
        responses={200: {"model": Completion, **_SSE}},
    )
    async def complete(ask: ChatAsk, request: Request) -> Response:
        adapter = "" if ask.model == base else ask.model
        asked = _asked(ask, settings)
        head = _Head(runtime, ask)
        try:
            if not ask.stream:
                answered = await while_there(request.receive, runtime.answer(asked, adapter))
                request.state.adapter = answered.adapter
                return JSONResponse(head.whole(answered.adapter or base, answered.value))
            stream = await runtime.stream(asked, adapter)
            request.state.adapter = stream.adapter
            pieces = aiter(stream)
            await while_there(request.receive, _first(pieces))
        except UnknownAdapterError as error:
            error.param = "model"
            raise
        except UnfitChatError as error:
            raise UnfitError(error) from error
        return EventStream(_events(head, stream, pieces, stream.adapter or base), stream.aclose)

    models.add_models(router, runtime)
    return router


class _Head:
    """What every part of one answer says alike."""

    def __init__(self, runtime: Runtime, ask: ChatAsk) -> None:
        checksum = runtime.facts.checksum.removeprefix("revision ")
        self.fingerprint = f"fp_{checksum[:12]}" if checksum else None
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.counts = ask.stream_options is not None and ask.stream_options.include_usage

    def whole(self, model: str, value: ChatAnswer) -> dict[str, Any]:
        """The answer in one piece."""
        said = {"role": "assistant", "content": value.text, "refusal": None}
        choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": value.finish}
        return {**self._part("chat.completion", model, [choice]), "usage": _usage(value)}

    def delta(self, model: str, delta: dict[str, Any], finish: str | None = None) -> str:
        """A piece of it, as an event."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        part = self._part("chat.completion.chunk", model, [choice])
        return event({**part, "usage": None} if self.counts else part)

    def usage(self, model: str, value: ChatAnswer) -> str:
        """The event behind the last piece."""
        return event({**self._part("chat.completion.chunk", model, []), "usage": _usage(value)})

    def _part(self, kind: str, model: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        }


async def _events(head: _Head, stream: Stream, pieces: AsyncIterator[Any], model: str) -> AsyncGenerator[str, None]:
    """An answer as events; what goes wrong on the way is the last of them."""
    yield head.delta(model, {"role": "assistant", "content": ""})
    try:
        async for piece in pieces:
            yield head.delta(model, {"content": piece})
    except ServeError as error:
        yield event(error_body(error.status, str(error), error.code, error.param), "error")
        return
    yield head.delta(model, {}, stream.value.finish)
    if head.counts:
        yield head.usage(model, stream.value)
    yield DONE


async def _first(pieces: AsyncIterator[Any]) -> None:
    """Until the conversation was read. Raises what is wrong with it."""
    await anext(pieces)


def _asked(ask: ChatAsk, settings: TaskSettings) -> AskChat:
    """The request as the base takes it. Raises UnsupportedError, BadTextError."""
    refuse_unsupported(ask)
    clean(["".join(message.text for message in ask.messages)], settings.max_text, "messages")
    turns = tuple(
        {"role": "system" if message.role == "developer" else message.role, "content": message.text}
        for message in ask.messages
    )
    taste = Taste(
        temperature=ask.temperature or 0.0,
        top_p=1.0 if ask.top_p is None else ask.top_p,
        seed=ask.seed,
        presence=ask.presence_penalty or 0.0,
        frequency=ask.frequency_penalty or 0.0,
    )
    return AskChat(turns, ask.max_tokens or ask.max_completion_tokens, tuple(ask.stop or ()), taste)


def _usage(value: ChatAnswer) -> dict[str, int]:
    total = value.prompt_tokens + value.written_tokens
    return {"prompt_tokens": value.prompt_tokens, "completion_tokens": value.written_tokens, "total_tokens": total}
