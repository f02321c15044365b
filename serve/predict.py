"""Classification over HTTP: one text or several in, labels with their probabilities out."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator

from serve.parsed import ParsedRoute
from serve.rules import Rule
from serve.runtime import Answered, Runtime
from serve.settings import TaskSettings
from serve.texts import AdapterField, clean
from tuner.data.language import NAMES, detect_language, read_model, warning_of

RULES = (Rule("POST", "/predict", "infer"),)
TEXTS = 64  # of one request: more are better sent as several, which then share forwards with others'


class PredictAsk(BaseModel):
    """What to classify: either `text` or `texts`."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"text": "The sole came off after a week."}]}
    )

    text: str | None = Field(default=None, description="one text")
    texts: list[str] | None = Field(default=None, min_length=1, max_length=TEXTS, description="several texts")
    adapter: str | None = AdapterField

    @model_validator(mode="after")
    def _one_of_them(self) -> PredictAsk:
        if (self.text is None) == (self.texts is None):
            raise ValueError("give either text or texts")
        return self


class Prediction(BaseModel):
    """One text's label."""

    label: int = Field(description="the label, from 0")
    name: str = Field(description="the label's name in the training data")
    probability: float = Field(description="how sure the adapter is of it, 0 to 1")
    language: str = Field(description="the language the text is written in, as far as its script tells")
    warning: str | None = Field(default=None, description="where the base was made for another language")


class _Told(BaseModel):
    latency_ms: float = Field(description="milliseconds from the request's arrival to its answer")
    base_model: str = Field(description="the base that answered")
    adapter: str = Field(description="the adapter's name and version")


class Predicted(Prediction, _Told):
    """The answer to `text`."""


class PredictedTexts(_Told):
    """The answer to `texts`."""

    predictions: list[Prediction] = Field(description="one a text, in their order")


def routes(runtime: Runtime, settings: TaskSettings) -> APIRouter:
    """POST /predict."""
    router = APIRouter(route_class=ParsedRoute)
    base, languages = runtime.facts.name, runtime.facts.languages
    read_model()

    def shown(text: str, answered: Answered) -> dict[str, Any]:
        value, language = answered.value, detect_language([text])
        found = {
            "label": value.label,
            "name": value.name,
            "probability": round(value.probability, 6),
            "language": NAMES.get(language, language),
        }
        if warning := warning_of(language, languages):
            found["warning"] = warning
        return found

    @router.post(
        "/predict",
        summary="Classify one text or several",
        responses={200: {"model": Predicted | PredictedTexts, "description": "the labels"}},
    )
    async def predict(request: Request, ask: PredictAsk) -> JSONResponse:
        texts = clean([ask.text] if ask.text is not None else ask.texts or [], settings.max_text)
        answers = await runtime.answers(texts, ask.adapter)
        request.state.adapter = answers[0].adapter
        rest = {
            "latency_ms": round(max(each.seconds for each in answers) * 1e3, 2),
            "base_model": base,
            "adapter": answers[0].adapter,
        }
        found = [shown(text, answered) for text, answered in zip(texts, answers, strict=True)]
        return JSONResponse({**found[0], **rest} if ask.text is not None else {"predictions": found, **rest})

    return router
