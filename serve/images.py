"""Images over HTTP as OpenAI's clients speak it: a prompt in, pictures out, with progress where it is streamed."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
import unicodedata
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response
from PIL import Image

from serve import models
from serve.errors import ServeError, UnknownAdapterError
from serve.image_schemas import (
    ImageAsk,
    ImageCompleted,
    ImageData,
    ImageProgress,
    ImagesAnswer,
    ImageUsage,
    TokenDetails,
)
from serve.problems import error_body
from serve.rules import Rule
from serve.runtime import Answered, Runtime, Stream
from serve.settings import TaskSettings
from serve.streaming import EventStream, event, while_there
from serve.texts import BadTextError, clean
from tuner.data.image_shown import png
from tuner.data.language import NAMES, detect_language, read_model
from tuner.tasks.fashion.asking import MOST_SEED, DrawnPicture, PictureAsk

if TYPE_CHECKING:
    from tuner.tasks.fashion.serving import ServedPictures

log = logging.getLogger(__name__)

_PNG = "image/png"
_PATH = "/v1/images/generations"
RULES = (Rule("POST", _PATH, "infer"), *models.RULES)
_LAYOUT = frozenset("\n\r\t")  # control characters that lay a prompt out


class BadAskError(ServeError):
    """Numbers with which nothing can be drawn."""

    status = 422
    code = "invalid_value"

    def __init__(self, param: str, message: str) -> None:
        self.param = param
        super().__init__(message)


class Images:
    """Pictures of one base: a prompt becomes what the runtime is asked, its answers what a client reads. `generations`
    raises ServeError; its docstring is shown to clients."""

    def __init__(self, runtime: Runtime, settings: TaskSettings) -> None:
        self._runtime = runtime
        self._most = settings.max_text
        self._base = runtime.facts.name
        self._limits = cast("ServedPictures", runtime.base).limits

    async def generations(
        self,
        ask: ImageAsk,
        request: Request,
        accept: Annotated[str, Header(max_length=1000, description="image/png for the picture itself")] = "",
    ) -> Response:
        """Answers with JSON, with a PNG, or with events while it draws."""
        asks = self._asks(ask)
        plain = ask.response_format == "png" or (_PNG in accept and ask.n == 1 and not ask.stream)
        if plain and (ask.n > 1 or ask.stream):
            raise BadAskError("response_format", "A PNG is one picture: ask for n = 1 without stream, or for b64_json.")
        try:
            if ask.stream:
                streams = await self._streams(ask, asks)
                request.state.adapter = streams[0].adapter
                return EventStream(self._events(ask, streams), lambda: _given_up(streams))
            answers = await while_there(request.receive, self._runtime.answers(asks, self._model(ask)))
            request.state.adapter = answers[0].adapter
            return await self._shown(ask, answers, plain=plain)
        except UnknownAdapterError as error:
            error.param = "model"
            raise

    def _asks(self, ask: ImageAsk) -> list[PictureAsk]:
        """One a picture. Raises BadTextError, BadAskError."""
        from tuner.tasks.fashion.sampling import seed_of

        prompt = _clean(ask.prompt, self._most, "prompt")
        negative = ask.negative_prompt
        if negative and not negative.isspace():
            negative = _clean(negative, self._most, "negative_prompt")
        seed = seed_of(prompt) if ask.seed is None else ask.seed
        asks = [
            PictureAsk(prompt, negative, (seed + index) % (MOST_SEED + 1), ask.steps, _side(ask.size), ask.guidance)
            for index in range(ask.n)
        ]
        if problems := list(self._limits.problems(asks[0])):
            raise BadAskError(problems[0].name, " ".join(map(str, problems)))
        return asks

    def _model(self, ask: ImageAsk) -> str | None:
        return "" if ask.model == self._base else ask.model

    async def _streams(self, ask: ImageAsk, asks: Sequence[PictureAsk]) -> list[Stream]:
        """All begun, by one version, or none."""
        streams: list[Stream] = []
        try:
            for each in asks:
                model = streams[0].adapter if streams else self._model(ask)
                streams.append(await self._runtime.stream(each, model))
        except BaseException:
            await _given_up(streams)
            raise
        return streams

    async def _events(self, ask: ImageAsk, streams: Sequence[Stream]) -> AsyncGenerator[str, None]:
        """Server-sent events of pictures that are drawn side by side."""
        started = time.perf_counter()
        told_of: asyncio.Queue[ImageProgress | ImageCompleted | Exception] = asyncio.Queue()

        async def follow(index: int, stream: Stream) -> None:
            try:
                async for step, steps in stream:
                    told_of.put_nowait(ImageProgress(index=index, step=step, steps=steps))
                answered = Answered(stream.value, stream.adapter, time.perf_counter() - started)
                data = await asyncio.to_thread(_data, ask.prompt, answered)
                rest = self._told(ask.prompt, [answered])
                told_of.put_nowait(
                    ImageCompleted(**data.model_dump(), **rest, index=index, created_at=int(time.time()))
                )
            except Exception as error:  # to be told in the stream: its status has gone out
                told_of.put_nowait(error)

        tasks = [asyncio.create_task(follow(*each)) for each in enumerate(streams)]
        left = len(tasks)
        try:
            while left:
                found = await told_of.get()
                if isinstance(found, Exception):
                    yield _failed(found)
                    return
                left -= isinstance(found, ImageCompleted)
                yield event(found.model_dump(exclude_none=True), found.type)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _shown(self, ask: ImageAsk, answers: Sequence[Answered], *, plain: bool) -> Response:
        if plain:
            content = await asyncio.to_thread(_png, answers[0])
            return Response(content, media_type=_PNG)
        data = [await asyncio.to_thread(_data, ask.prompt, each) for each in answers]
        found = ImagesAnswer(created=int(time.time()), data=data, **self._told(ask.prompt, answers))
        return JSONResponse(found.model_dump(exclude_none=True))

    def _told(self, prompt: str, answers: Sequence[Answered]) -> dict[str, Any]:
        """What one answer says of its pictures."""
        value: DrawnPicture = answers[0].value
        usage = ImageUsage(
            input_tokens=value.tokens,
            input_tokens_details=TokenDetails(text_tokens=value.tokens),
            total_tokens=value.tokens,
        )
        return {
            "adapter": answers[0].adapter,
            "base_model": self._base,
            "latency_ms": round(max(each.seconds for each in answers) * 1e3, 2),
            "size": f"{value.picture.shape[1]}x{value.picture.shape[0]}",
            "usage": usage,
            "warning": _warning(prompt, value, self._runtime.facts.languages),
        }


def routes(runtime: Runtime, settings: TaskSettings) -> APIRouter:
    """POST /v1/images/generations and GET /v1/models."""
    router = APIRouter()
    read_model()
    router.post(
        _PATH,
        summary="Draw pictures of a prompt",
        response_class=JSONResponse,
        responses={
            200: {
                "model": ImagesAnswer,
                "description": "the pictures; with stream, events: image_generation.progress after every step of a "
                "picture, image_generation.completed with each picture",
                "content": {_PNG: {}, "text/event-stream": {}},
            }
        },
    )(Images(runtime, settings).generations)
    models.add_models(router, runtime)
    return router


def _clean(text: str, most: int, param: str) -> str:
    """The text. Raises BadTextError for one that `clean` refuses, or with control characters."""
    clean([text], most, param)
    if any(unicodedata.category(character) == "Cc" and character not in _LAYOUT for character in text):
        raise BadTextError(param, f"{param} holds a control character. Leave it out.")
    return text


def _side(size: str) -> int | None:
    """Pixels a side. Raises BadAskError for what is not square."""
    if size == "auto":
        return None
    width, _, height = size.partition("x")
    if width != height:
        raise BadAskError("size", f"size = {size!r}: pictures are square here. Ask for {width}x{width}, or for auto.")
    return int(width)


def _warning(prompt: str, value: DrawnPicture, languages: Sequence[str]) -> str | None:
    """What a person should know of the prompt."""
    found = []
    if value.unread:
        found.append(f"The text encoder has no room for all of the prompt. Not read: {value.unread[:200]}")
    language = detect_language([prompt])
    if language != "unknown" and language not in languages:
        known = " and ".join(NAMES[code] for code in languages)
        found.append(f"The prompt is {NAMES[language]}, and the text encoder reads {known}: ask in {known}.")
    return " ".join(found) or None


def _png(answered: Answered) -> bytes:
    """The file; it says its seed and adapter, and not the prompt, which may be private."""
    value: DrawnPicture = answered.value
    return png(Image.fromarray(value.picture), {"seed": str(value.seed), "adapter": answered.adapter})


def _data(prompt: str, answered: Answered) -> ImageData:
    value: DrawnPicture = answered.value
    return ImageData(
        b64_json=base64.b64encode(_png(answered)).decode("ascii"),
        seed=value.seed,
        revised_prompt=value.prompt if value.prompt != prompt else None,
    )


async def _given_up(streams: Sequence[Stream]) -> None:
    for stream in streams:
        await stream.aclose()


def _failed(error: Exception) -> str:
    """The event that ends a stream whose picture could not be drawn."""
    if isinstance(error, ServeError):
        return event(error_body(error.status, str(error), error.code, error.param), "error")
    log.error("a picture failed", exc_info=error)
    return event(error_body(500, "The picture could not be drawn; the server's log says why.", "server_error"), "error")
