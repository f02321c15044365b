"""/admin behind the guard: who may, what changes, what is written down, and how a mistake is answered."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from serve import admin
from serve.audit import FILE, Entry, verify
from serve.desk import Desk
from serve.gateway import gateway_app
from serve.keys import create_key
from serve.problems import App
from serve.settings import ServeSettings
from tests.cli.samples import record
from tests.cli.samples import save as save_study
from tests.registry.toys import fine, make_adapter
from tests.serve.asgi import Answer, ask, asked, http_scope
from tests.serve.studies import endless_base, make_study, move_base, read_by
from tests.serve.toy import Adapters
from tuner.registry import AdapterName, Limits, Origin, Registry, Target

NAME = AdapterName("sentiment", "reviews")
AT = "/admin/adapters/sentiment/reviews"
NONE = "0" * 12


@dataclass(frozen=True)
class House:
    """A server's root application with a key of each scope, on a registry and results of its own."""

    root: Path
    app: App
    keys: Mapping[str, str]

    @property
    def registry(self) -> Registry:
        return Registry(self.root / "results" / "registry")

    def audit(self) -> list[Entry]:
        """The audit log, which is whole."""
        path = self.registry.path / FILE
        if not path.exists():
            return []
        found = verify(path)
        assert found.broken is None
        return list(found.entries)

    def ask(self, method: str, path: str, body: Any = None, scope: str = "admin", code: int = 200) -> Any:
        """What is answered, with that status. No answer names a folder of the server."""
        headers = [("authorization", f"Bearer {self.keys[scope]}"), ("x-request-id", "r7")]
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        return self.checked(ask(self.app, method, path, headers, data, query_string=b""), code)

    def checked(self, answer: Answer, code: int = 200) -> Any:
        assert answer.status == code, answer.body
        for folder in (self.root, self.root.parent, Path.cwd()):
            assert str(folder).encode() not in answer.body
        return json.loads(answer.body)

    def error(self, method: str, path: str, body: Any, code: int) -> str:
        """The sentence of a refusal."""
        return str(self.ask(method, path, body, code=code)["error"]["message"])


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Empty."""
    root = tmp_path / "a server"
    (root / "results").mkdir(parents=True)
    settings = ServeSettings(
        registry=root / "results" / "registry", results=root / "results", keys=root / "results" / "keys.json"
    )
    keys = {
        scope: create_key(settings.keys, f"key-{scope}", [scope], 0.0)[1]
        for scope in ("read", "infer", "deploy", "admin")
    }

    async def troubles() -> Mapping[str, str]:
        return {}

    return House(root, gateway_app(settings, Desk(), troubles), keys)


@pytest.fixture
def versions(house: House) -> list[str]:
    """Three versions, the last of them the champion."""
    found = []
    for number in range(3):
        origin = Origin(str(house.root / "bases" / "bert"), metrics={"score": 0.5}, study=f"study-{number}", trial="t0")
        source = make_adapter(house.root / f"source-{number}", number)
        promoted = house.registry.promote(source, NAME, origin=origin, alias="champion", check=fine, by="cli:ada")
        found.append(promoted.version)
    return found


def test_scopes(house: House, versions: list[str]) -> None:
    requests: list[tuple[str, str, Any, set[str]]] = [
        ("GET", "/admin/adapters", None, {"deploy", "admin"}),
        ("GET", AT, None, {"deploy", "admin"}),
        ("POST", AT, {"study": "x"}, {"deploy", "admin"}),
        ("POST", f"{AT}/aliases/x", {"split": {NONE: 1}}, {"deploy", "admin"}),
        ("POST", f"{AT}/aliases/x/rollback", {}, {"deploy", "admin"}),
        ("DELETE", f"{AT}/aliases/x", None, {"admin"}),
        ("DELETE", f"{AT}/versions/{NONE}", None, {"admin"}),
    ]
    assert {(rule.method, rule.path.count("/")) for rule in admin.RULES} == {
        (method, path.count("/")) for method, path, *_ in requests
    }
    for method, path, body, may in requests:
        assert ask(house.app, method, path, body=None if body is None else b"{}", query_string=b"").status == 401
        for scope in house.keys:
            data = None if body is None else json.dumps(body).encode()
            answer = ask(house.app, method, path, [("x-api-key", house.keys[scope])], data, query_string=b"")
            assert (answer.status != 403) == (scope in may), (method, path, scope)
    assert {entry.who for entry in house.audit()} == {"http:key-deploy", "http:key-admin"}


def test_what_there_is(house: House, versions: list[str]) -> None:
    found = house.ask("GET", "/admin/adapters", scope="deploy")
    assert found["generation"] == 3
    (shown,) = found["adapters"]
    assert shown["adapter"] == "sentiment/reviews"
    assert [each["version"] for each in shown["versions"]] == versions
    assert shown["aliases"]["champion"]["split"] == {versions[2]: 1.0}
    details = house.ask("GET", AT, scope="deploy")
    assert {name: details[name] for name in shown} == shown
    assert details["origins"][versions[1]]["study"] == "study-1"
    assert details["origins"][versions[1]]["base_model"] == "bert", "a folder's own name, not where it lies"
    changes = details["history"]["champion"]
    assert [(change["number"], change["target"]["split"]) for change in changes] == [
        (number, {version: 1.0}) for number, version in enumerate(versions, 1)
    ]
    assert not house.audit(), "who looks changes nothing"


def test_a_version_that_is_damaged_says_so(house: House, versions: list[str]) -> None:
    place = house.registry.path / "versions" / "sentiment" / "reviews" / versions[0]
    place.chmod(0o755)
    (place / "manifest.json").unlink()
    origins = house.ask("GET", AT)["origins"]
    assert f"the version in {versions[0]} is damaged" in origins[versions[0]]["damaged"]
    assert origins[versions[1]]["study"] == "study-1"


def test_an_alias_by_weight_and_back(house: House, versions: list[str]) -> None:
    a, b, c = versions
    wanted = {
        "split": {a: 9, b: 1},
        "shadow": c,
        "limits": {"max_errors": 0.05, "max_latency_ms": 200, "max_latency_ratio": 2, "requests": 50},
        "why": "canary",
    }
    shown = house.ask("POST", f"{AT}/aliases/champion", wanted, scope="deploy")
    assert {name: shown["aliases"]["champion"][name] for name in wanted} == {**wanted, "split": {a: 0.9, b: 0.1}}
    alias = house.registry.state().adapter(NAME).alias("champion")
    assert alias is not None
    assert alias.target == Target.of({a: 9, b: 1}, c, Limits(0.05, 200.0, 2.0, 50))
    assert (alias.by, alias.why) == ("http:key-deploy", "canary")
    shown = house.ask("POST", f"{AT}/aliases/champion/rollback", {"why": "slow"}, scope="deploy")
    assert shown["aliases"]["champion"]["split"] == {c: 1.0}
    assert house.ask("DELETE", f"{AT}/aliases/champion")["aliases"] == {}
    assert house.ask("POST", f"{AT}/aliases/champion/rollback", {})["aliases"]["champion"]["split"] == {c: 1.0}
    assert house.ask("DELETE", f"{AT}/versions/{a}") == {"adapter": "sentiment/reviews", "versions": [b, c]}
    assert [(entry.who, entry.action, entry.target, entry.outcome, entry.request_id) for entry in house.audit()] == [
        ("http:key-deploy", "alias", f"sentiment/reviews@champion to {a}=9 {b}=1 shadow {c}", "done", "r7"),
        ("http:key-deploy", "rollback", "sentiment/reviews@champion", "done", "r7"),
        ("http:key-admin", "remove alias", "sentiment/reviews@champion", "done", "r7"),
        ("http:key-admin", "rollback", "sentiment/reviews@champion", "done", "r7"),
        ("http:key-admin", "delete", f"sentiment/reviews@{a}", "done", "r7"),
    ]


def test_the_last_version_takes_the_name_with_it(house: House, versions: list[str]) -> None:
    house.ask("DELETE", f"{AT}/aliases/champion")
    for version in versions:
        left = house.ask("DELETE", f"{AT}/versions/{version}")
    assert left["versions"] == []
    house.ask("GET", AT, code=404)


def test_what_the_path_names_and_is_not_there(house: House, versions: list[str]) -> None:
    other = "/admin/adapters/sentiment/review"
    for path in (other, "/admin/adapters/nothing/reviews"):
        assert "There is no adapter" in house.error("GET", path, None, 404)
        assert "There is no adapter" in house.error("POST", f"{path}/aliases/x", {"split": {versions[0]: 1}}, 404)
        assert "There is no adapter" in house.error("POST", f"{path}/aliases/champion/rollback", {}, 404)
        assert "There is no adapter" in house.error("DELETE", f"{path}/aliases/champion", None, 404)
        assert "There is no adapter" in house.error("DELETE", f"{path}/versions/{versions[0]}", None, 404)
    assert "has no alias 'x'" in house.error("POST", f"{AT}/aliases/x/rollback", {}, 404)
    assert "has no alias 'x'" in house.error("DELETE", f"{AT}/aliases/x", None, 404)
    for version in (NONE, "champion", "x" * 300):
        assert "has no version" in house.error("DELETE", f"{AT}/versions/{version}", None, 404)
    entries = house.audit()
    assert len(entries) == 13
    assert all(entry.outcome.startswith("refused: ") for entry in entries)


@pytest.mark.parametrize("name", ["..", "Reviews", "x" * 200, "a\0b", "a b", "a\nb", "ü", "a..b", ".hidden", "-rf"])
def test_names_that_cannot_be(house: House, versions: list[str], name: str) -> None:
    state = house.registry.state()
    at = f"/admin/adapters/sentiment/{name}"
    house.error("GET", at, None, 404)
    house.error("DELETE", f"{at}/aliases/champion", None, 404)
    house.error("POST", f"{at}/aliases/champion", {"split": {versions[0]: 1}}, 404)
    assert "name = " in house.error("POST", at, {"study": "x"}, 422)
    assert "alias = " in house.error("POST", f"{AT}/aliases/{name}", {"split": {versions[0]: 1}}, 422)
    assert "alias = " in house.error("POST", AT, {"study": "x", "alias": name[:60] + "!"}, 422)
    house.error("DELETE", f"{AT}/aliases/{name}", None, 404)
    assert house.registry.state() == state


def test_slashes_in_names_are_other_paths(house: House, versions: list[str]) -> None:
    state = house.registry.state()
    for name in ("../reviews", "a/b", "../../etc/passwd", "/"):  # as a server decodes %2F
        house.error("GET", f"/admin/adapters/sentiment/{name}", None, 404)
        answer = house.ask("DELETE", f"{AT}/versions/{name}", None, code=404)
        assert answer["error"]["code"] in ("not_found", "model_not_found")
    assert house.registry.state() == state


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"split": {"VERSION": -1}}, 422, "a weight lies from"),
        ({"split": {"VERSION": 0}}, 422, "a weight lies from"),
        ({"split": {"VERSION": 1e300}}, 422, "a weight lies from"),
        (b'{"split": {"VERSION": 1e999}}', 422, "a weight lies from"),
        (b'{"split": {"VERSION": NaN}}', 400, "JSON"),
        (b'{"split": {"VERSION": Infinity}}', 400, "JSON"),
        (b'{"split": {"VERSION": 1' + b"0" * 400 + b"}}", 422, ""),
        ({"split": {"VERSION": None}}, 422, "split.VERSION"),
        ({"split": {"VERSION": "much"}}, 422, "split.VERSION"),
        ({"split": {}}, 422, "split"),
        ({"split": {f"{number:012x}": 1 for number in range(9)}}, 422, "at most 8"),
        ({"split": {NONE: 1}}, 422, "has no such version"),
        ({"split": {"champion": 1}}, 422, "a version is 12 hex digits"),
        ({"split": {"../../x": 1}}, 422, "a version is 12 hex digits"),
        ({"split": {"VERSION": 1}, "shadow": "VERSION"}, 422, "cannot be compared with itself"),
        ({"split": {"VERSION": 1}, "shadow": NONE}, 422, "has no such version"),
        ({"split": {"VERSION": 1}, "limits": {}}, 422, "Give a share of errors or a latency"),
        ({"split": {"VERSION": 1}, "limits": {"max_errors": 1}}, 422, "limits.max_errors"),
        (b'{"split": {"VERSION": 1}, "limits": {"max_latency_ms": 1e999}}', 422, "milliseconds"),
        ({"split": {"VERSION": 1}, "limits": {"max_errors": 0.1, "requests": 0}}, 422, "limits.requests"),
        ({"split": {"VERSION": 1}, "why": "a\nb"}, 422, "one line"),
        ({"split": {"VERSION": 1}, "why": "x" * 501}, 422, "why"),
        ({"split": {"VERSION": 1}, "by": "root"}, 422, "by"),
        ([], 422, "body"),
        (b"{", 400, "JSON"),
    ],
)
def test_fields_that_cannot_be(house: House, versions: list[str], body: Any, code: int, message: str) -> None:
    state = house.registry.state()
    data = (body if isinstance(body, bytes) else json.dumps(body).encode()).replace(b"VERSION", versions[0].encode())
    assert message.replace("VERSION", versions[0]) in house.error("POST", f"{AT}/aliases/champion", data, code)
    assert house.registry.state() == state


def test_what_cannot_be_done_as_things_stand(house: House, versions: list[str]) -> None:
    assert "aliases of sentiment/reviews need it: champion (split)" in house.error(
        "DELETE", f"{AT}/versions/{versions[2]}", None, 409
    )
    for _ in range(2):
        house.ask("POST", f"{AT}/aliases/champion/rollback", {})
    assert "there is nothing to roll" in house.error("POST", f"{AT}/aliases/champion/rollback", {}, 409)
    assert "one line" in house.error("POST", f"{AT}/aliases/champion/rollback", {"why": "a\tb"}, 422)
    assert [entry.outcome.partition(":")[0] for entry in house.audit()] == ["refused", "done", "done"] + ["refused"] * 2


def test_bodies(house: House, versions: list[str]) -> None:
    long = json.dumps({"split": {versions[0]: 1}, "why": "x" * 70_000}).encode()
    assert "longer than 65,536 bytes" in house.error("POST", f"{AT}/aliases/champion", long, 413)
    house.error("DELETE", f"{AT}/aliases/champion", b"x" * 100_000, 413)
    house.error("POST", f"{AT}/aliases/champion/rollback", b"[" * 5000, 400)
    house.error("PUT", f"{AT}/aliases/champion", {}, 405)
    assert not house.audit()


def test_an_audit_log_that_is_damaged_stops_every_change(house: House, versions: list[str]) -> None:
    house.ask("POST", f"{AT}/aliases/x", {"split": {versions[0]: 1}})
    log, state = house.registry.path / FILE, house.registry.state()
    log.write_bytes(log.read_bytes()[:-3])
    for method, path, body in (
        ("POST", f"{AT}/aliases/x", {"split": {versions[1]: 1}}),
        ("POST", f"{AT}/aliases/champion/rollback", {}),
        ("DELETE", f"{AT}/aliases/x", None),
        ("DELETE", f"{AT}/versions/{versions[1]}", None),
        ("POST", AT, {"study": "none"}),
    ):
        assert house.error(method, path, body, 503) == "the server could not do it; its log says why."
    assert house.registry.state() == state
    house.ask("GET", AT)


def test_a_registry_that_is_damaged(house: House, versions: list[str]) -> None:
    (house.registry.path / "state.json").write_text("{")
    for method, path, body in (("GET", "/admin/adapters", None), ("POST", f"{AT}/aliases/x/rollback", {})):
        assert house.error(method, path, body, 503) == "the server could not do it; its log says why."


def test_a_promotion(house: House, adapters: Adapters) -> None:
    make_study(house.root / "results", adapters)
    found = house.ask("POST", AT, {"study": "first"}, scope="deploy")
    adapter = house.registry.state().adapter(NAME)
    (version,) = adapter.versions
    assert found == {"adapter": f"sentiment/reviews@{version}", "alias": "champion"}
    assert adapter.versions[version].by == "http:key-deploy"
    (entry,) = house.audit()
    assert (entry.who, entry.action, entry.outcome) == ("http:key-deploy", "promote", f"done: {version}")
    assert (entry.target, entry.request_id) == ("sentiment/reviews@champion from first", "r7")


def test_promotions_that_are_refused(house: House, adapters: Adapters) -> None:
    results = house.root / "results"
    save_study(results, record("going"))
    make_study(results, adapters)
    spoilt, _ = make_study(results, adapters, "spoilt")
    weights = spoilt / "best" / "adapter_model.safetensors"
    save_file({name: value[..., :1].contiguous() for name, value in load_file(weights).items()}, weights)
    silent, _ = make_study(results, adapters, "silent")
    (silent / "best" / "tuner.json").write_text("{")
    code, _ = make_study(results, adapters, "code")
    (code / "best" / "evil.bin").touch()
    linked, _ = make_study(results, adapters, "linked")
    shutil.rmtree(linked / "best")
    (linked / "best").symlink_to(code / "best")
    homeless, _ = make_study(results, adapters, "homeless")
    move_base(homeless, house.root / "no such base")
    (results / "torn").mkdir()
    (results / "torn" / "study.json").write_text("{")
    for body, status, message in (
        ({"study": "none"}, 422, "there is no such study among the server's results"),
        ({"study": "../results/first"}, 422, "no slash"),
        ({"study": str(results / "first")}, 422, "no slash"),
        ({"study": ""}, 422, "study"),
        ({"study": "x" * 201}, 422, "study"),
        ({"study": "first", "trial": "t9"}, 422, "first has no such trial. Its winner is t002."),
        ({"study": "first", "trial": "t000"}, 422, "over HTTP the winner alone is promoted, t002"),
        ({"study": "going"}, 409, "study going is running and has no best adapter yet"),
        ({"study": "spoilt"}, 422, "does not fit its base"),
        ({"study": "silent"}, 422, "tuner.json cannot be read"),
        ({"study": "code"}, 422, "opening it could run code"),
        ({"study": "linked"}, 422, "not a link"),
        ({"study": "homeless"}, 503, "base_model = 'no such base'"),
        ({"study": "torn"}, 503, "the server could not do it"),
    ):
        assert message in house.error("POST", AT, body, status), body
    fourth = {"study": "first"}
    assert "Name it sentiment/x." in house.error("POST", "/admin/adapters/shoe_qa/x", fourth, 422)
    assert not house.registry.state().adapters
    entries = house.audit()
    assert len(entries) == 13, "all that were understood"
    assert all(entry.outcome.startswith("refused: ") for entry in entries)


async def _asked(house: House, method: str, path: str, body: Any = None) -> Answer:
    headers = [("x-api-key", house.keys["deploy"])]
    data = b"" if body is None else json.dumps(body).encode()
    if data:
        headers += [("content-type", "application/json"), ("content-length", str(len(data)))]
    message = {"type": "http.request", "body": data, "more_body": False}
    return await asked(house.app, http_scope(method, path, headers, query_string=b""), message)


def test_one_promotion_at_a_time_and_others_are_answered_meanwhile(house: House, adapters: Adapters) -> None:
    folder, _ = make_study(house.root / "results", adapters)
    move_base(folder, house.root / "slow")
    pipe = endless_base(house.root / "slow")

    async def both() -> tuple[Answer, Answer, Answer]:
        first = asyncio.create_task(_asked(house, "POST", AT, {"study": "first"}))
        writer = await read_by(first, pipe)
        second = await _asked(house, "POST", AT, {"study": "first"})
        listed = await _asked(house, "GET", "/admin/adapters")
        assert not first.done()
        os.write(writer, b"{")
        os.close(writer)
        return await first, second, listed

    first, second, listed = asyncio.run(both())
    assert "config.json cannot be read" in house.checked(first, 503)["error"]["message"]
    assert house.checked(second, 429)["error"]["code"] == "promotion_under_way"
    assert second.headers["retry-after"] == "5"
    assert house.checked(listed)["adapters"] == []
    refused, failed = house.audit()
    assert refused.outcome.startswith("refused: A promotion is under way")
    assert failed.outcome.startswith("refused: base_model")


def test_a_base_that_loads_for_ever(house: House, adapters: Adapters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "PROMOTION_S", 0.2)
    folder, _ = make_study(house.root / "results", adapters)
    move_base(folder, house.root / "slow")
    endless_base(house.root / "slow")
    assert "no answer within 0.2 s" in house.error("POST", AT, {"study": "first"}, 504)
    assert not multiprocessing.active_children()
    (entry,) = house.audit()
    assert entry.outcome.startswith("refused: There was no answer")


def test_a_server_that_stops_meanwhile_writes_that_down(house: House, adapters: Adapters) -> None:
    folder, _ = make_study(house.root / "results", adapters)
    move_base(folder, house.root / "slow")
    pipe = endless_base(house.root / "slow")

    async def stopped() -> None:
        asking = asyncio.create_task(_asked(house, "POST", AT, {"study": "first"}))
        writer = await read_by(asking, pipe)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        os.close(writer)

    asyncio.run(stopped())
    assert not multiprocessing.active_children()
    assert [entry.outcome for entry in house.audit()] == ["failed: CancelledError"]


def test_hundreds_of_adapters_are_listed(house: House) -> None:
    state, names = house.registry, [AdapterName("sentiment", f"a{number:03d}") for number in range(500)]
    source = make_adapter(house.root / "source", 1)
    first = state.promote(source, names[0], origin=Origin("minilm"), alias="champion", check=fine, by="cli:a")
    path = state.path / "state.json"
    data = json.loads(path.read_text())
    (known,) = data["adapters"].values()
    data["adapters"] = {str(name): known for name in names}
    path.write_text(json.dumps(data))
    found = house.ask("GET", "/admin/adapters")
    assert [each["adapter"] for each in found["adapters"]] == [str(name) for name in names]
    assert found["adapters"][499]["versions"][0]["version"] == first.version
