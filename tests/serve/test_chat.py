"""Conversations over HTTP: a real server on the toy base, asked by OpenAI's own client and by hand."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from serve import streaming
from serve.chat_schemas import MESSAGES, NEUTRAL
from serve.settings import ServeSettings, TaskSettings
from tests.serve import live
from tests.tasks.shoe_qa import toy
from tuner.registry import AdapterName, Origin, Registry
from tuner.tasks.served import Job
from tuner.tasks.shoe_qa.predict import QaPredictor

# PEFT asks transformers for a name that it will drop
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
PATH = "/v1/chat/completions"
SYSTEM = "請簡短回答。"
QUESTIONS = [row.question for row in toy.make_splits().test]
MAX_TEXT, QUEUE = 2000, 12
PATIENCE_S = 60.0  # after which a test gives up what it waits for


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.make_base(tmp_path_factory.mktemp("chat") / "base")


@pytest.fixture(scope="module")
def folders(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    packing = toy.trained(base, toy.make_splits(SYSTEM))
    folder = tmp_path_factory.mktemp("adapters")
    return {name: toy.save(packing, folder / name, name) for name in ("a", "other")}


class Server(live.Server):
    """One of the conversations task. A gate can hold the model: shut, no step runs but those that are let through."""

    def __init__(self, settings: ServeSettings) -> None:
        super().__init__("shoe_qa", settings)
        self.jobs: list[Job] = []
        self.rows: list[int] = []
        self.error: Exception | None = None  # that the next step raises
        self._open = threading.Event()
        self._open.set()
        self._passes = threading.Semaphore(0)
        self._stepped = threading.Semaphore(0)

    def __exit__(self, *_: object) -> None:
        self._open.set()
        super().__exit__(*_)

    @contextmanager
    def held(self) -> Iterator[None]:
        """The model stands still at its next step."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()
            self._passes.release()
            while self._passes.acquire(blocking=False):
                pass

    def let(self, steps: int) -> None:
        """Let so many steps through, and wait until they have run."""
        while self._stepped.acquire(blocking=False):
            pass
        for _ in range(steps):
            self._passes.release()
            assert self._stepped.acquire(timeout=PATIENCE_S)

    def watch(self, base: Any) -> None:
        admit, step = base.admit, base.step

        def admitted(jobs: list[Job]) -> None:
            self.jobs += jobs
            admit(jobs)

        def stepped() -> int:
            if not self._open.is_set():
                self._passes.acquire()
            if self.error is not None:
                error, self.error = self.error, None
                raise error
            rows = step()
            self.rows.append(rows)
            self._stepped.release()
            return int(rows)

        base.admit, base.step = admitted, stepped


@pytest.fixture(scope="module")
def server(base: Path, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serving")
    registry = Registry(folder / "registry")
    for name, source, alias in (("mold", "a", "champion"), ("leather", "other", "staging")):
        registry.promote(
            folders[source],
            AdapterName("shoe_qa", name),
            origin=Origin(base_model=str(base)),
            alias=alias,
            check=lambda _: None,
            by="test",
        )
    settings = ServeSettings(
        registry=folder / "registry",
        keys=folder / "keys.json",
        development=True,
        tasks={"shoe_qa": TaskSettings(base_model=str(base), device="cpu", max_text=MAX_TEXT, queue=QUEUE)},
    )
    with Server(settings) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.address, timeout=PATIENCE_S) as found:
        yield found


@pytest.fixture(scope="module")
def spoken(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as found:
        yield found


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def asked(model: str = "mold", text: str = QUESTIONS[0], **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": user(text), **more}


def events(response: httpx2.Response) -> list[Any]:
    """What the events of a whole stream say."""
    lines = [line for line in response.text.split("\n") if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line[6:]) for line in lines[:-1]]


def refused(response: httpx2.Response, status: int, code: str | None = None, param: str | None = None) -> str:
    error = response.json()["error"]
    assert response.status_code == status, error
    assert error.keys() == {"message", "type", "param", "code"}
    assert (code or error["code"], param or error["param"]) == (error["code"], error["param"])
    return str(error["message"])


def test_the_client_gets_what_the_adapter_says(spoken: openai.OpenAI, folders: dict[str, Path], base: Path) -> None:
    predictors = {"mold": QaPredictor(folders["a"]), "leather@staging": QaPredictor(folders["other"])}
    for model, predictor in predictors.items():
        for question in QUESTIONS[:4]:
            found = spoken.chat.completions.create(model=model, messages=user(question))
            (choice,) = found.choices
            assert choice.message.content == predictor.predict([question])[0]["answer"]
            assert choice.message.role == "assistant"
            assert choice.finish_reason in ("stop", "length")
            assert found.id.startswith("chatcmpl-")
            assert found.object == "chat.completion"
            name, _, version = found.model.partition("@")
            assert name == model.partition("@")[0]
            assert len(version) == 12
            assert found.usage is not None
            assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens
            assert min(found.usage.prompt_tokens, found.usage.completion_tokens) > 0
            assert spoken.chat.completions.create(model=found.model, messages=user(question)).choices == found.choices
    alone = spoken.chat.completions.create(model=str(base), messages=user(QUESTIONS[0]), max_tokens=9)
    assert alone.model == str(base)
    assert alone.usage is not None
    assert alone.usage.completion_tokens <= 9


@pytest.mark.parametrize("usage", [False, True])
def test_a_stream_says_the_same_piece_by_piece(spoken: openai.OpenAI, usage: bool) -> None:
    for question in QUESTIONS[:4]:
        whole = spoken.chat.completions.create(model="mold", messages=user(question))
        chunks = list(
            spoken.chat.completions.create(
                model="mold", messages=user(question), stream=True, stream_options={"include_usage": usage}
            )
        )
        assert {(chunk.id, chunk.model, chunk.object) for chunk in chunks} == {
            (chunks[0].id, whole.model, "chat.completion.chunk")
        }
        if usage:
            *chunks, last = chunks
            assert last.choices == []
            assert last.usage == whole.usage
        assert all(chunk.usage is None for chunk in chunks)
        assert chunks[0].choices[0].delta.role == "assistant"
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
        assert "".join(pieces) == whole.choices[0].message.content
        assert [chunk.choices[0].finish_reason for chunk in chunks] == [
            *[None] * (len(chunks) - 1),
            whole.choices[0].finish_reason,
        ]
        assert len(chunks) > 4


def test_many_clients_at_once_get_their_own_answers(spoken: openai.OpenAI, server: Server) -> None:
    models = ("mold", "leather@staging", "mold@champion")
    work = [(model, question) for question in QUESTIONS for model in models]

    def ask(job: tuple[str, str], stream: bool) -> str:
        model, question = job
        if not stream:
            return spoken.chat.completions.create(model=model, messages=user(question)).choices[0].message.content or ""
        parts = spoken.chat.completions.create(model=model, messages=user(question), stream=True)
        return "".join(part.choices[0].delta.content or "" for part in parts)

    alone = [ask(job, False) for job in work]
    server.rows.clear()
    with ThreadPoolExecutor(QUEUE) as pool:
        together = list(pool.map(lambda at: ask(work[at], at % 2 == 0), range(len(work))))
    assert together == alone
    assert max(server.rows) > 2, "they shared forwards"


def test_models_are_listed(spoken: openai.OpenAI, base: Path, server: Server) -> None:
    found = {model.id: model for model in spoken.models.list()}
    versions = {each.name: f"{each.name}@{each.version}" for each in server.service.runtime.adapters()}
    assert found.keys() == {
        str(base),
        "mold",
        "mold@champion",
        "leather@staging",
        versions["mold"],
        versions["leather"],
    }
    for name, model in found.items():
        extra = model.model_dump()
        assert extra["root"] == str(base)
        assert extra["parent"] == (None if name == str(base) else str(base))
        assert (model.object, model.owned_by) == ("model", "lora-tuner")
        assert model.created > 1_700_000_000
    for name in ("mold@champion", versions["mold"], str(base)):
        assert spoken.models.retrieve(name) == found[name]


def test_a_system_message_and_parts_are_read(client: httpx2.Client) -> None:
    plain = client.post(PATH, json=asked()).json()
    for role in ("system", "developer"):
        messages = [{"role": role, "content": SYSTEM}, {"role": "user", "content": QUESTIONS[0]}]
        assert client.post(PATH, json=asked() | {"messages": messages}).json()["choices"] == plain["choices"]
    half = len(QUESTIONS[0]) // 2
    parts = [{"type": "text", "text": text} for text in (QUESTIONS[0][:half], QUESTIONS[0][half:])]
    assert client.post(PATH, json=asked(text=parts)).json()["choices"] == plain["choices"]  # type: ignore[arg-type]
    talk = [*user(QUESTIONS[0]), plain["choices"][0]["message"], *user(QUESTIONS[1])]
    further = client.post(PATH, json=asked() | {"messages": talk})
    assert further.json()["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"]


def test_stops_limits_and_seeds(client: httpx2.Client) -> None:
    whole = client.post(PATH, json=asked()).json()["choices"][0]["message"]["content"]
    stop = whole[2:4]
    for given in (stop, [stop, "never said"]):
        (choice,) = client.post(PATH, json=asked(stop=given)).json()["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == (whole[: whole.index(stop)].rstrip(), "stop")
    streamed = events(client.post(PATH, json=asked(stop=stop, stream=True)))
    said = "".join(each["choices"][0]["delta"].get("content", "") for each in streamed)
    assert said == whole[: whole.index(stop)].rstrip()
    for limit in ("max_tokens", "max_completion_tokens"):
        found = client.post(PATH, json=asked() | {limit: 2}).json()
        assert (found["choices"][0]["finish_reason"], found["usage"]["completion_tokens"]) == ("length", 2)
    drawn = [
        client.post(PATH, json=asked(seed=seed, temperature=1.5, max_tokens=12)).json()["choices"][0]["message"]
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_errors_are_the_clients_own_classes(spoken: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        spoken.chat.completions.create(model="nobody", messages=user("鞋"))
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    assert "mold" in str(missing.value)
    with pytest.raises(openai.NotFoundError) as missing:
        spoken.models.retrieve("nobody")
    assert missing.value.code == "model_not_found"
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as long:
            spoken.chat.completions.create(model="mold", messages=user("要通風嗎？" * 390), stream=stream)
        assert (long.value.code, long.value.param) == ("context_length_exceeded", "messages")
        assert "maximum context length is" in str(long.value)
    with pytest.raises(openai.BadRequestError, match="n is not supported here"):
        spoken.chat.completions.create(model="mold", messages=user("鞋"), n=2)
    with pytest.raises(openai.UnprocessableEntityError):
        spoken.chat.completions.create(model="mold", messages=user("鞋"), max_tokens=-1)


SOMETHING: dict[str, Any] = {
    "n": 2,
    "audio": {"voice": "x"},
    "function_call": {"name": "f"},
    "functions": [{"name": "f"}],
    "logit_bias": {"5": 1},
    "logprobs": True,
    "modalities": ["audio"],
    "parallel_tool_calls": 1,
    "prediction": {"type": "content"},
    "reasoning_effort": "high",
    "response_format": {"type": "json_object"},
    "service_tier": "flex",
    "store": True,
    "tool_choice": "required",
    "tools": [{"type": "function"}],
    "top_logprobs": 3,
    "verbosity": "high",
    "web_search_options": {},
}


@pytest.mark.parametrize("name", NEUTRAL)
def test_known_fields_are_taken_with_their_neutral_values_alone(client: httpx2.Client, name: str) -> None:
    for value in (None, *NEUTRAL[name]):
        assert client.post(PATH, json=asked(max_tokens=1, **{name: value})).status_code == 200
    message = refused(client.post(PATH, json=asked(**{name: SOMETHING[name]})), 400, "unsupported_parameter", name)
    assert message.startswith(f"{name} is not supported here: leave it out")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"surprise": 1}, "surprise"),
        ({"messages": []}, "messages"),
        ({"messages": user(" \n")}, "messages"),
        ({"messages": user("a\0b")}, "messages"),
        ({"messages": user("鞋" * (MAX_TEXT + 1))}, "messages"),
        ({"messages": user("鞋") * (MESSAGES + 1)}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x", "mood": "gay"}]}, "messages.0.mood"),
        ({"messages": user([{"type": "image_url", "image_url": {"url": "x"}}])}, "messages.0.content"),  # type: ignore[arg-type]
        ({"messages": "鞋"}, "messages"),
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 4097}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "body"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": [""]}, "stop.0"),
        ({"stop": 5}, "stop"),
        ({"seed": 2**63}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "body"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"presence_penalty": 3}, "presence_penalty"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(client: httpx2.Client, change: dict[str, Any], param: str) -> None:
    assert refused(client.post(PATH, json=asked() | change), 422, None, param)


def test_what_is_not_text_is_refused_with_a_sentence(client: httpx2.Client) -> None:
    parts: Any = [{"type": "text", "text": "見"}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert "only parts of type text are read here" in refused(client.post(PATH, json=asked(text=parts)), 422)
    call = {"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}
    message = refused(client.post(PATH, json=asked() | {"messages": [call]}), 400, None, "messages.0.tool_calls")
    assert "is not supported here" in message


@pytest.mark.parametrize("name", ["../../etc/passwd", "mold@../x", "mold@champion@x", "MOLD", "x" * 400, "ﬀ", "mold@"])
def test_names_that_cannot_be_are_unknown(client: httpx2.Client, name: str) -> None:
    refused(client.post(PATH, json=asked(name)), 404, "model_not_found", "model")


def until(true: Any) -> None:
    """Wait for what another thread does."""
    nap = threading.Event()
    for _ in range(int(PATIENCE_S / 0.005)):
        if true():
            return
        nap.wait(0.005)
    raise AssertionError("it did not come")


@pytest.fixture(scope="module")
def lasting(spoken: openai.OpenAI) -> dict[str, Any]:
    """How to ask for an answer that is not over after a few steps."""
    for seed in range(100):
        how = {"temperature": 1.0, "seed": seed, "max_tokens": 40}
        if spoken.chat.completions.create(**asked("leather@staging", **how)).choices[0].finish_reason == "length":
            return how
    raise AssertionError("every answer ends early")


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_costs_one_more_step_at_most(
    server: Server, client: httpx2.Client, lasting: dict[str, Any], stream: bool
) -> None:
    server.jobs.clear()
    with server.held():
        body = json.dumps(asked("leather@staging", stream=stream, **lasting)).encode()
        host, port = server.address.removeprefix("http://").split(":")
        head = f"POST {PATH} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
        with socket.create_connection((host, int(port)), PATIENCE_S) as line:
            line.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            until(lambda: server.jobs)
            server.let(2)
            if stream:
                seen = b""
                while b'"content":"' not in seen:
                    seen += line.recv(4096)
        (job,) = server.jobs
        until(lambda: job.cancelled)
        server.let(1)
        assert server.rows[-1] == 0
        until(lambda: not server.service.runtime.under_way)
        assert not server.service.runtime.base.busy
    assert client.post(PATH, json=asked()).status_code == 200


def test_a_comment_is_sent_while_nothing_comes(
    server: Server, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "KEEP_ALIVE_S", 0.02)
    with server.held(), ThreadPoolExecutor(1) as pool:
        server.jobs.clear()

        def read() -> list[str]:
            with client.stream("POST", PATH, json=asked(stream=True)) as response:
                lines = response.iter_lines()
                seen = [next(lines)]
                while not seen[-1].startswith(":"):
                    seen.append(next(lines))
                server._open.set()
                server._passes.release()
                return [*seen, *lines]

        reading = pool.submit(read)
        until(lambda: server.jobs)
        server.let(1)
        lines = reading.result(PATIENCE_S)
    assert lines[-2:] == ["data: [DONE]", ""] or lines[-1] == "data: [DONE]"


def test_what_breaks_on_the_way_is_the_last_event(
    server: Server, spoken: openai.OpenAI, lasting: dict[str, Any]
) -> None:
    with server.held(), ThreadPoolExecutor(1) as pool:
        server.jobs.clear()
        seen: queue.SimpleQueue[str | None] = queue.SimpleQueue()

        def read() -> None:
            for chunk in spoken.chat.completions.create(**asked("leather@staging", stream=True, **lasting)):
                seen.put(chunk.choices[0].delta.content)

        reading = pool.submit(read)
        until(lambda: server.jobs)
        server.let(2)
        assert [seen.get(timeout=PATIENCE_S) for _ in range(2)][1]
        server.error = RuntimeError("the device is gone")
        server._passes.release()
        with pytest.raises(openai.APIError, match="The adapter did not answer"):
            reading.result(PATIENCE_S)
    assert spoken.chat.completions.create(**asked()).choices[0].message.content


def test_a_full_line_is_told_to_come_again(server: Server, spoken: openai.OpenAI, client: httpx2.Client) -> None:
    with server.held(), ThreadPoolExecutor(QUEUE) as pool:
        waiting = [pool.submit(client.post, PATH, json=asked(max_tokens=2)) for _ in range(QUEUE)]
        until(lambda: server.service.runtime.under_way == QUEUE)
        with pytest.raises(openai.RateLimitError) as full:
            spoken.chat.completions.create(**asked())
        assert full.value.code == "queue_full"
        assert int(full.value.response.headers["retry-after"]) >= 1
        server._open.set()
        server._passes.release()
        assert {each.result(PATIENCE_S).status_code for each in waiting} == {200}


def test_the_page_of_the_interface_describes_every_field(client: httpx2.Client) -> None:
    page = client.get("/openapi.json").json()
    schemas = page["components"]["schemas"]
    for name in ("ChatAsk", "Message", "TextPart", "StreamOptions", "Completion", "Choice", "Usage", "Model"):
        for field, shape in schemas[name]["properties"].items():
            assert shape.get("description"), f"{name}.{field}"
    kinds = [kind["type"] for kind in schemas["ChatAsk"]["properties"]["stop"]["anyOf"]]
    assert kinds == ["string", "array", "null"]
    assert {PATH, "/v1/models", "/v1/models/{model}"} <= page["paths"].keys()
