"""What image requests and answers look like: OpenAI's, with fields of our own beside them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tuner.tasks.fashion.asking import LEAST_GUIDANCE, MOST_GUIDANCE, MOST_SEED, MOST_STEPS

MOST_PICTURES = 4


class ImageAsk(BaseModel):
    """What to draw. What is left out is as the adapter was judged with."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"prompt": "a pastel romantic dress", "seed": 7, "response_format": "png"}]},
    )

    prompt: str = Field(description="what to draw, in English", examples=["a pastel romantic dress"])
    model: str | None = Field(
        default=None,
        max_length=1000,
        description="an adapter: a name (its champion), name@alias or name@version; or the base, by its name; the "
        "default adapter if not given",
        examples=["pastel"],
    )
    n: int = Field(default=1, ge=1, le=MOST_PICTURES, description="how many pictures, each from the next seed")
    size: str = Field(
        default="auto",
        pattern=r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$",
        description="width x height in pixels, both the same; auto is what the adapter was trained for",
        examples=["auto", "64x64"],
    )
    response_format: Literal["b64_json", "png"] = Field(
        default="b64_json",
        description="b64_json in JSON, or png: the picture itself, of one (as does Accept: image/png)",
    )
    stream: bool = Field(default=False, description="whether to tell of every step as server-sent events")
    seed: int | None = Field(
        default=None,
        ge=0,
        le=MOST_SEED,
        description="of the noise that a picture begins with; the prompt's own if not given",
    )
    steps: int | None = Field(default=None, ge=1, le=MOST_STEPS, description="denoising steps", examples=[25])
    guidance: float | None = Field(
        default=None,
        ge=LEAST_GUIDANCE,
        le=MOST_GUIDANCE,
        allow_inf_nan=False,
        description="how closely to follow the prompt; 1 is without guidance, in half the time",
        examples=[7.5],
    )
    negative_prompt: str | None = Field(
        default=None, description="what to keep away from", examples=["blurry, low quality"]
    )
    output_format: Literal["png"] = Field(default="png", description="of the pictures: there is no other")
    background: Literal["auto", "opaque"] = Field(default="auto", description="of the pictures: there is no other")
    quality: Literal["auto", "standard"] = Field(default="auto", description="there is one; steps change it")
    user: str | None = Field(default=None, max_length=1000, description="read by nobody; clients of OpenAI's send it")


class TokenDetails(BaseModel):
    """Tokens by what they are of."""

    text_tokens: int = Field(description="of the prompt, as far as it was read")
    image_tokens: int = Field(default=0, description="none: no pictures are read")


class ImageUsage(BaseModel):
    """What was read. Pictures are no tokens."""

    input_tokens: int = Field(description="tokens of the prompt, as far as it was read")
    input_tokens_details: TokenDetails = Field(description="the same by kind")
    output_tokens: int = Field(default=0, description="none: pictures are no tokens")
    total_tokens: int = Field(description="both")


class ImageData(BaseModel):
    """One picture."""

    b64_json: str = Field(description="the picture, a PNG in base64")
    seed: int = Field(description="asking for it again with this draws this picture again")
    revised_prompt: str | None = Field(
        default=None, description="what was drawn, where the adapter adds words to the prompt"
    )


class _Told(BaseModel):
    adapter: str = Field(description="the adapter's name and version; empty for the base alone")
    base_model: str = Field(description="the base that drew")
    latency_ms: float = Field(description="milliseconds from the request's arrival to its last picture")
    size: str = Field(description="width x height in pixels")
    usage: ImageUsage = Field(description="what was read")
    warning: str | None = Field(default=None, description="where words were not read, or are not English")


class ImagesAnswer(_Told):
    """Pictures."""

    created: int = Field(description="seconds since 1970")
    output_format: Literal["png"] = Field(default="png", description="of the pictures")
    data: list[ImageData] = Field(description="the pictures, in the order of their seeds")


class ImageProgress(BaseModel):
    """An event: a picture has come one step further."""

    type: Literal["image_generation.progress"] = Field(
        default="image_generation.progress", description="the event's kind"
    )
    index: int = Field(description="which of the pictures, from 0")
    step: int = Field(description="steps taken")
    steps: int = Field(description="steps in all")


class ImageCompleted(ImageData, _Told):
    """An event: a picture is drawn."""

    type: Literal["image_generation.completed"] = Field(
        default="image_generation.completed", description="the event's kind"
    )
    index: int = Field(description="which of the pictures, from 0")
    created_at: int = Field(description="seconds since 1970")
    output_format: Literal["png"] = Field(default="png", description="of the picture")
    background: Literal["opaque"] = Field(default="opaque", description="of the picture")
    quality: Literal["auto"] = Field(default="auto", description="there is one")
