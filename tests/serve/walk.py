"""Walks an application: whether every route has its rule, and its OpenAPI page says all there is to say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from fastapi import FastAPI
from jsonschema import Draft202012Validator

from serve.guard import Guard
from serve.problems import App


def check(app: App) -> None:
    """Every route of a guarded application has a rule, every rule a route, and the page is whole."""
    guard = cast("Guard", app)
    inner = cast("FastAPI", guard._app)
    check_rules(inner, guard)
    check_page(inner.openapi())


def check_rules(app: FastAPI, guard: Guard) -> None:
    """One rule a route. HEAD, which the framework adds to its own page, is no route of ours."""
    routes = {each for each in _routes(app.routes) if each[0] != "HEAD"}
    rules = {(rule.method, rule.path) for rule in guard._table._rules}
    assert routes - rules == set(), "routes that nobody guards"
    assert rules - routes == set(), "rules without a route"


def _routes(routes: Any) -> Iterator[tuple[str, str]]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from _routes(inner.routes)
        else:
            assert route.methods, f"{route} takes more than HTTP"
            yield from ((method, route.path) for method in route.methods)


def check_page(page: Mapping[str, Any]) -> None:
    """References resolve, schemas are schemas, and everything that one may send or get is described."""
    assert page["openapi"].startswith("3.1")
    for at, found in _mappings(page, "#"):
        if "$ref" in found:
            assert _found(page, found["$ref"]) is not None, f"{at}: {found['$ref']} is nowhere"
    for schema in page["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    silent = [
        f"{name}.{field}"
        for name, schema in page["components"]["schemas"].items()
        for field, each in schema.get("properties", {}).items()
        if not each.get("description")
    ]
    assert silent == [], "fields without a description"
    for path, methods in page["paths"].items():
        for method, operation in methods.items():
            at = f"{method} {path}"
            assert operation.get("summary"), f"{at} has no summary"
            named = set(re.findall(r"{(\w+)}", path))
            assert named == {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}, at
            for status in ("401", "403", "404", "422", "429", "500"):
                content = operation["responses"][status]["content"]["application/json"]
                assert content["schema"] == {"$ref": "#/components/schemas/ErrorBody"}, f"{at}: {status}"
            for parameter in operation.get("parameters", []):
                assert parameter.get("description"), f"{at}: {parameter['name']} has no description"


def _mappings(value: Any, at: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        yield at, value
        for name, each in value.items():
            yield from _mappings(each, f"{at}/{name}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _mappings(each, f"{at}/{number}")


def _found(page: Any, reference: str) -> Any:
    value = page
    for part in reference.removeprefix("#/").split("/"):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
