"""Requests made up from the OpenAPI page of every application, well-formed and not: none breaks the server, and what is
answered is what the page says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serve.chat_schemas import NEUTRAL
from tests.serve import whole
from tests.serve.toy import Adapters
from tests.serve.whole import GOOD, PATIENCE_S, Made, Whole

pytestmark = [
    pytest.mark.slow,
    # PEFT asks transformers for a name that it will drop
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ADAPTER = "/admin/adapters/{task}/{name}"
EXAMPLES = 16  # of each operation, well-formed and not each
FEW = {ADAPTER: 2}  # each promotion that is well-formed starts a process
PREFIXES = ("", "/sentiment", "/shoe-qa", "/fashion")


@pytest.fixture(scope="module")
def made(adapters: Adapters, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return whole.make(adapters, tmp_path_factory.mktemp("serving"), tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="module", params=[True, False], ids=["development", "keys"])
def server(made: Made, request: pytest.FixtureRequest) -> Iterator[Whole]:
    with whole.serving(made, development=request.param) as found:
        yield found


def names(made: Made) -> dict[str, st.SearchStrategy[str]]:
    """What stands in paths beside what nobody has: adapters that good requests do without, so that they may change."""
    return {
        "task": st.just("sentiment"),
        "name": st.just("changed"),
        "alias": st.sampled_from(["champion", "staging"]),
        "version": st.sampled_from(made.versions),
        "model": st.sampled_from(["mold", "mold@champion", "words@champion", "prompts"]),
    }


def meant(case: Any, made: Made, data: st.DataObject) -> None:
    """Let a request be about something that is there, as often as not; alone it would never find it."""
    there = names(made)
    if case.path_parameters and data.draw(st.booleans(), "a known path"):
        case.path_parameters.update({name: data.draw(there[name], name) for name in case.path_parameters})
    body = case.body if isinstance(case.body, dict) else {}
    if not body or not data.draw(st.booleans(), "a known body"):
        return
    for name in (*NEUTRAL, "stream_options", "max_completion_tokens"):
        if name != "n" or "messages" in body:
            body.pop(name, None)  # almost every value is refused, or is by what stands beside it
    for message in body["messages"] if isinstance(body.get("messages"), list) else ():
        if isinstance(message, dict):
            for name in message.keys() - {"role", "content"}:
                del message[name]
    if "split" in body:
        body["split"] = data.draw(st.dictionaries(st.sampled_from(made.versions), st.floats(0, 9), min_size=1), "split")
    models = ("mold", "mold@champion") if "messages" in body else ("words", "prompts")
    for name, known in (("model", models), ("adapter", ("reviews", "changed@champion"))):
        if isinstance(body.get(name), str):
            body[name] = data.draw(st.sampled_from(known), name)
    for name, most in (("steps", 3), ("max_tokens", 4), ("n", 2)):
        if isinstance(body.get(name), int) and body[name] > most:
            body[name] = most  # so that the time goes into requests rather than into answers


@pytest.mark.parametrize("prefix", PREFIXES)
def test_nothing_breaks_the_server(server: Whole, prefix: str) -> None:
    key = {} if server.development else {"x-api-key": server.made.keys["all"]}
    page = httpx2.get(f"{server.url}{prefix}/openapi.json", headers=key, timeout=PATIENCE_S).json()
    schema = schemathesis.openapi.from_dict(page, config=schemathesis.Config(seed=1))
    seen: dict[str, set[int]] = {}
    with requests.Session() as session:
        for found in schema.get_all_operations():
            operation = found.ok()
            # a path is text whatever it says, so only what has a body can be ill-formed
            modes = schemathesis.GenerationMode if len(operation.body) else [schemathesis.GenerationMode.POSITIVE]
            for mode in modes:

                @settings(
                    max_examples=FEW.get(operation.path if operation.method == "post" else "", EXAMPLES),
                    derandomize=True,
                    database=None,
                    deadline=None,
                    phases=[Phase.explicit, Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )
                @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
                def ask(case: Any, data: st.DataObject) -> None:
                    meant(case, server.made, data)
                    answer = case.call(f"{server.url}{prefix}", session=session, headers=key, timeout=PATIENCE_S)
                    seen.setdefault(f"{prefix}{case.operation.path}", set()).add(answer.status_code)
                    case.validate_response(answer, checks=CHECKS)
                    headers = {name.lower(): values[0] for name, values in answer.headers.items()}
                    server.told(answer.content, headers)
                    if answer.status_code >= 400:
                        server.error(answer.status_code, answer.content, headers)

                ask()
    for path in GOOD.keys() & seen.keys():
        assert 200 in seen[path], "it is asked for what it takes"
        assert seen[path] & {400, 422}, "and for what it does not"
    server.rests()
    server.quiet()
    for path, body in GOOD.items():
        assert httpx2.post(f"{server.url}{path}", json=body, headers=key, timeout=PATIENCE_S).status_code == 200
