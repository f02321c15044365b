"""Images over HTTP: a real server on the toy pipeline, asked by OpenAI's own client and by hand."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from PIL import Image

from serve.settings import ServeSettings, TaskSettings
from tests.serve import live
from tests.tasks.fashion import toy
from tests.tasks.fashion.served import make_adapters
from tuner.registry import AdapterName, Origin, Registry
from tuner.tasks.fashion.predict import FashionPredictor

PATH = "/v1/images/generations"
KINDS = ("everywhere", "words", "prompts")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.make_base(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    clip = toy.make_clip(tmp_path_factory.mktemp("clip"))
    found = make_adapters(base, clip, tmp_path_factory.mktemp("adapters"))
    return {name: found[name] for name in KINDS}


@pytest.fixture(scope="module")
def server(base: Path, adapters: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Server]:
    folder = tmp_path_factory.mktemp("serving")
    registry = Registry(folder / "registry")
    for name, source in adapters.items():
        registry.promote(
            source,
            AdapterName("fashion", name),
            origin=Origin(base_model=str(base)),
            alias="champion",
            check=lambda _: None,
            by="test",
        )
    settings = ServeSettings(
        registry=folder / "registry",
        keys=folder / "keys.json",
        development=True,
        tasks={"fashion": TaskSettings(base_model=str(base), device="cpu", max_text=200)},
    )
    with live.Server("fashion", settings) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: live.Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.address, timeout=60) as found:
        yield found


@pytest.fixture(scope="module")
def spoken(server: live.Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as found:
        yield found


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=("PNG",))


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(opened(content)).astype(int)


def draw(client: httpx2.Client, **ask: Any) -> Any:
    answer = client.post(PATH, json={"prompt": "a red dress", **ask})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(client: httpx2.Client, **ask: Any) -> tuple[int, dict[str, Any]]:
    answer = client.post(PATH, json={"prompt": "a red dress", **ask})
    return answer.status_code, answer.json()["error"]


def events(client: httpx2.Client, **ask: Any) -> list[tuple[str, Any]]:
    """Name and content of each server-sent event."""
    answer = client.post(PATH, json={"prompt": "a red dress", "stream": True, **ask})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    parts = [part.split("\n") for part in answer.text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in parts]


@pytest.mark.parametrize("name", KINDS)
def test_the_client_of_openai_gets_what_the_adapter_draws(
    spoken: openai.OpenAI, adapters: dict[str, Path], name: str
) -> None:
    found = spoken.images.generate(model=name, prompt="a red dress", response_format="b64_json", n=1)
    assert found.data is not None
    content = base64.b64decode(found.data[0].b64_json or "")
    predictor = FashionPredictor(adapters[name])
    assert np.abs(pixels(content) - predictor.draw("a red dress").astype(int)).max() <= 1
    assert found.usage is not None
    assert found.usage.input_tokens == found.usage.total_tokens == found.usage.input_tokens_details.text_tokens > 2
    assert found.size == "32x32"
    told = found.model_extra or {}
    assert told["adapter"].startswith(f"{name}@")
    revised = found.data[0].revised_prompt
    assert (revised or "").startswith("a red dress, ") if name == "prompts" else revised is None


def test_it_streams_to_the_client_of_openai(spoken: openai.OpenAI) -> None:
    stream = spoken.images.generate(model="words", prompt="a hat", stream=True, extra_body={"steps": 4, "seed": 9})
    kinds = [event.type for event in stream]
    assert kinds == ["image_generation.progress"] * 4 + ["image_generation.completed"]


def test_an_answer_says_all_of_its_picture(client: httpx2.Client, base: Path) -> None:
    found = draw(client, model="words", seed=5, steps=2, guidance=3, negative_prompt="blurry", size="48x48")
    assert set(found) == {
        "created", "output_format", "data", "adapter", "base_model", "latency_ms", "size", "usage"
    }  # fmt: skip
    assert found["base_model"] == str(base)
    assert found["size"] == "48x48"
    image = opened(base64.b64decode(found["data"][0]["b64_json"]))
    assert image.size == (48, 48)
    assert image.info == {"seed": "5", "adapter": found["adapter"]}, "and nothing of the prompt"


def test_the_same_ask_gives_the_same_bytes(client: httpx2.Client) -> None:
    ask = {"model": "everywhere", "seed": 5, "steps": 2}
    assert draw(client, **ask)["data"] == draw(client, **ask)["data"]
    for change in ({"seed": 6}, {"steps": 3}, {"guidance": 9.0}, {"negative_prompt": "a hat"}, {"model": "words"}):
        assert draw(client, **{**ask, **change})["data"][0]["b64_json"] != draw(client, **ask)["data"][0]["b64_json"]


def test_several_pictures_are_of_the_next_seeds(client: httpx2.Client) -> None:
    found = draw(client, model="words", seed=2**63 - 2, steps=2, n=4)["data"]
    assert [each["seed"] for each in found] == [2**63 - 2, 2**63 - 1, 0, 1]
    alone = [draw(client, model="words", seed=each["seed"], steps=2)["data"][0] for each in found]
    for one, other in zip(found, alone, strict=True):
        difference = pixels(base64.b64decode(one["b64_json"])) - pixels(base64.b64decode(other["b64_json"]))
        assert np.abs(difference).max() <= 1


def test_the_base_answers_by_its_name(client: httpx2.Client, base: Path) -> None:
    found = draw(client, model=str(base), steps=2)
    assert found["adapter"] == ""
    default = draw(client, steps=2)
    assert default["adapter"].startswith("everywhere@"), "what was promoted first"


@pytest.mark.parametrize(
    ("headers", "ask"), [({"accept": "image/png"}, {}), ({}, {"response_format": "png"})], ids=["accept", "format"]
)
def test_a_png_is_the_picture_itself(client: httpx2.Client, headers: dict[str, str], ask: dict[str, str]) -> None:
    body = {"prompt": "a hat", "model": "words", "seed": 3, "steps": 2}
    answer = client.post(PATH, json={**body, **ask}, headers=headers)
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == base64.b64decode(draw(client, **body)["data"][0]["b64_json"])


def test_events_tell_of_every_step_of_every_picture(client: httpx2.Client) -> None:
    ask = {"model": "words", "seed": 3, "steps": 3, "n": 2}
    found = events(client, **ask)
    assert all(name == content["type"] for name, content in found)
    progress = [content for name, content in found if name == "image_generation.progress"]
    for index in (0, 1):
        assert [each["step"] for each in progress if each["index"] == index] == [1, 2, 3]
    assert {each["steps"] for each in progress} == {3}
    done = sorted((content for name, content in found if name.endswith("completed")), key=lambda each: each["index"])
    assert [each["seed"] for each in done] == [3, 4]
    assert found[-1][0] == "image_generation.completed"
    plain = draw(client, **ask)
    for event, data in zip(done, plain["data"], strict=True):
        assert event["b64_json"] == data["b64_json"]
        assert event["adapter"] == plain["adapter"]
        assert event["usage"] == plain["usage"]


def test_who_goes_away_midway_is_drawn_no_further(client: httpx2.Client, server: live.Server) -> None:
    assert server.service is not None
    runtime = server.service.runtime
    with client.stream("POST", PATH, json={"prompt": "a hat", "steps": 100, "size": "64x64", "stream": True}) as answer:
        assert next(answer.iter_lines()).startswith("event: ")
        assert runtime.under_way == 1
    for _ in range(20):  # each takes its turns with what is under way, too few of them for it to be done
        draw(client, steps=1)
        if runtime.under_way == 0:
            return
    raise AssertionError("it is drawn to its end")


def test_requests_at_once_get_their_own_pictures(client: httpx2.Client) -> None:
    asks = [
        {"model": KINDS[number % 3], "seed": number, "steps": 1 + number % 4, "size": ("32x32", "48x48")[number % 2]}
        for number in range(24)
    ]
    alone = [draw(client, **ask) for ask in asks]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda ask: draw(client, **ask), asks))
    for one, other in zip(alone, together, strict=True):
        assert one["adapter"] == other["adapter"]
        pictures = [pixels(base64.b64decode(each["data"][0]["b64_json"])) for each in (one, other)]
        assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_a_warning_says_what_is_not_read_and_what_is_not_english(client: httpx2.Client) -> None:
    assert "warning" not in draw(client, prompt="a hat", model="words", steps=1)
    long = draw(client, prompt="a dress with so many buttons", model="words", steps=1)["warning"]
    assert long.endswith("Not read: many buttons")
    chinese = draw(client, prompt="紅色洋裝", model="words", steps=1)["warning"]
    assert "The prompt is Chinese, and the text encoder reads English: ask in English." in chinese


@pytest.mark.parametrize(
    ("ask", "param", "words"),
    [
        ({"prompt": ""}, "prompt", "is empty"),
        ({"prompt": "a\0b"}, "prompt", "NUL"),
        ({"prompt": "a\x1b[2Jb"}, "prompt", "control character"),
        ({"prompt": "a" * 201}, "prompt", "201 characters"),
        ({"negative_prompt": "\x07"}, "negative_prompt", "control character"),
        ({"negative_prompt": "a" * 201}, "negative_prompt", "201 characters"),
        ({"size": "32x48"}, "size", "square"),
        ({"size": "42x42"}, "size", "multiple of 4 from 32 to 64 pixels. Ask for 40x40"),
        ({"size": "1024x1024"}, "size", "Ask for 64x64"),
        ({"size": "big"}, "size", "size"),
        ({"steps": 0}, "steps", "steps"),
        ({"steps": 101}, "steps", "steps"),
        ({"seed": -1}, "seed", "seed"),
        ({"seed": 2**63}, "seed", "seed"),
        ({"guidance": 0.5}, "guidance", "guidance"),
        ({"n": 5}, "n", "n"),
        ({"n": 0}, "n", "n"),
        ({"n": 2, "response_format": "png"}, "response_format", "one picture"),
        ({"stream": True, "response_format": "png"}, "response_format", "one picture"),
        ({"response_format": "url"}, "response_format", "b64_json"),
        ({"taste": 1}, "taste", "taste"),
    ],
)
def test_what_cannot_be_drawn_is_said(client: httpx2.Client, ask: dict[str, Any], param: str, words: str) -> None:
    status, error = refused(client, **ask)
    assert status == 422
    assert error["param"] == param
    assert words in error["message"]
    assert "\n" not in error["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_404_and_names_the_known_ones(client: httpx2.Client, stream: bool) -> None:
    status, error = refused(client, model="dall-e-3", stream=stream)
    assert (status, error["param"], error["code"]) == (404, "model", "model_not_found")
    assert "everywhere" in error["message"] or "words" in error["message"]


def test_a_picture_that_takes_too_long_is_given_up(base: Path, tmp_path: Path) -> None:
    own = TaskSettings(base_model=str(base), device="cpu", timeout_s=1e-6)
    settings = ServeSettings(registry=tmp_path / "registry", development=True, tasks={"fashion": own})
    with (
        live.Server("fashion", settings) as server,
        httpx2.Client(base_url=server.address, timeout=60) as client,
    ):
        status, error = refused(client)
        assert (status, error["code"]) == (504, "timeout")
        assert [(name, told["error"]["code"]) for name, told in events(client, n=2)] == [("error", "timeout")]


def test_every_model_that_is_listed_draws(spoken: openai.OpenAI, base: Path) -> None:
    found = {each.id: each for each in spoken.models.list()}
    assert (found[str(base)].model_extra or {}) == {"root": str(base), "parent": None}
    for name in KINDS:
        versions = [each for each in found if each.startswith(f"{name}@") and each != f"{name}@champion"]
        assert len(versions) == 1
        for each in (name, f"{name}@champion", *versions):
            assert (found[each].model_extra or {}) == {"root": str(base), "parent": str(base)}
            assert found[each].created > 1_600_000_000
            spoken.images.generate(model=each, prompt="a hat", extra_body={"steps": 1})
    assert len(found) == 1 + 3 * len(KINDS)
