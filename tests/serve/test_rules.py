"""The route table: paths as routers match them, and tables that cannot be."""

from __future__ import annotations

import pytest

from serve.rules import OPEN, UNKNOWN, Rule, Table
from tuner.errors import ConfigError

TABLE = Table(
    [
        Rule("GET", "/healthz", OPEN),
        Rule("GET", "/v1/models", "read"),
        Rule("POST", "/v1/models", "deploy"),
        Rule("GET", "/v1/models/{name}", "read"),
        Rule("DELETE", "/admin/{task}/{name}", "admin"),
        Rule("GET", "/files/{rest:path}", "read"),
        Rule("POST", "/a.b/{x}/roll", "deploy", limit=0),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "template"),
    [
        ("GET", "/healthz", "/healthz"),
        ("POST", "/v1/models", "/v1/models"),
        ("GET", "/v1/models/a@1", "/v1/models/{name}"),
        ("DELETE", "/admin/sentiment/reviews", "/admin/{task}/{name}"),
        ("GET", "/files/a/../b", "/files/{rest:path}"),
    ],
)
def test_found(method: str, path: str, template: str) -> None:
    match = TABLE.find(method, path)
    assert match.rule is not None
    assert (match.rule.method, match.rule.path, match.path) == (method, template, template)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "*",
        "/v1",
        "/v1/models/",
        "/v1/models/a/b",
        "/admin/x",
        "/admin//x",
        "/aXb/x/roll",
        "/HEALTHZ",
        "//healthz",
    ],
)
def test_not_found(path: str) -> None:
    match = TABLE.find("GET", path)
    assert (match.rule, match.path, match.methods, match.is_open) == (None, UNKNOWN, (), False)


def test_other_methods_of_a_path() -> None:
    match = TABLE.find("DELETE", "/v1/models")
    assert (match.rule, match.path, match.methods, match.is_open) == (None, "/v1/models", ("GET", "POST"), False)
    assert TABLE.find("HEAD", "/healthz").is_open


def test_which_routes_take_a_body() -> None:
    assert Rule("POST", "/a", "read").takes_body
    assert not Rule("POST", "/a", "read", limit=0).takes_body
    assert not Rule("DELETE", "/a", "read").takes_body


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ([Rule("GET", "/a", "root")], "'root': is not a scope"),
        ([Rule("TRACE", "/a", OPEN)], "'TRACE': is not a method"),
        ([Rule("GET", "a", OPEN)], "does not begin with a slash"),
        ([Rule("GET", "/a", "read"), Rule("GET", "/a", OPEN)], "/a matches the same requests with another scope"),
        ([Rule("GET", "/a/{x}", "admin"), Rule("GET", "/a/list", "read")], "/a/{x} matches the same requests"),
        ([Rule("GET", "/a/{x:path}", "admin"), Rule("GET", "/a/{b}/{c}", "read")], "/a/{x:path} matches the same"),
    ],
)
def test_tables_that_cannot_be(rules: list[Rule], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Table(rules)
    assert sentence in str(caught.value)


def test_rules_that_overlap_and_agree() -> None:
    Table([Rule("GET", "/a/{x}", "read"), Rule("GET", "/a/list", "read"), Rule("POST", "/a/list", "admin")])
