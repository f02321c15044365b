"""Pydantic's findings in plain sentences: each becomes a `Problem` with a dotted name, value, rule and cure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from tuner.config_rules import did_you_mean
from tuner.errors import Problem

_QUOTES = "Put it in quotes if it is meant as text."

# error type -> rule, cure
_PLAIN: Mapping[str, tuple[str, str]] = {
    "int_type": ("must be a whole number", ""),
    "int_from_float": ("must be a whole number", ""),
    "float_type": ("must be a number", ""),
    "finite_number": ("must be a finite number", ""),
    "bool_type": ("must be true or false", ""),
    "string_type": ("must be text", _QUOTES),
    "path_type": ("must be a path", _QUOTES),
    "list_type": ("must be a list", "Write [a, b]."),
    "dict_type": ("must hold keys with values", "Indent 'key: value' lines below it."),
    "model_type": ("must hold keys with values", "Indent 'key: value' lines below it."),
    "model_attributes_type": ("must hold keys with values", "Indent 'key: value' lines below it."),
    "union_tag_not_found": ("must say its type", "Add type: int, float or choice, or write a bare value."),
}
_BOUNDS = {
    "greater_than": ("must be above", "gt"),
    "greater_than_equal": ("must be at least", "ge"),
    "less_than": ("must be below", "lt"),
    "less_than_equal": ("must be at most", "le"),
}


def problems_of(error: ValidationError, root: type[BaseModel]) -> list[Problem]:
    """Every mistake that pydantic found in an input for `root`."""
    return [_problem(dict(each), root) for each in error.errors(include_url=False)]


def _problem(found: dict[str, Any], root: type[BaseModel]) -> Problem:
    kind, loc, value, ctx = found["type"], found["loc"], found["input"], found.get("ctx", {})
    if loc[-1:] == ("webhook",) or (loc[:1] == ("judge",) and not isinstance(value, int | float | None)):
        # who has a webhook's address can post there; what is wrong with a judge may be its key in the wrong place
        value = "(not shown)"
    name = _name(loc)
    if kind == "missing":
        return Problem(name, None, "must be given", f"Add '{loc[-1]}: ...'.")
    if kind == "extra_forbidden":
        return Problem(name, value, "is not a known key", did_you_mean(str(loc[-1]), _fields_at(root, loc[:-1])))
    if kind == "rule":
        return Problem(name, value, ctx["rule"], ctx["cure"] or _default(root, loc))
    if kind == "union_tag_invalid":
        kinds, tag = ctx["expected_tags"].replace("'", ""), ctx["tag"]
        return Problem(f"{name}.type", tag, f"must be one of {kinds}", did_you_mean(tag, kinds.split(", ")))
    if kind == "literal_error":
        return Problem(name, value, f"must be one of {ctx['expected'].replace(chr(39), '')}", _default(root, loc))
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        bound = f"{ctx[key]}".removesuffix(".0")
        return Problem(name, value, f"{words} {bound}", _default(root, loc))
    rule, cure = _PLAIN.get(kind, (found["msg"][:1].lower() + found["msg"][1:], ""))
    return Problem(name, value, rule, cure or _default(root, loc))


def _name(loc: Sequence[str | int]) -> str:
    """("space", "rank", "int", "low") is space.rank.low: the third is the type by which pydantic chose the model."""
    if not loc:
        return "config"
    steps = [*loc[:2], *loc[3:]] if loc[0] == "space" else list(loc)
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return name.removeprefix(".")


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _fields_at(root: type[BaseModel], loc: Sequence[str | int]) -> dict[str, FieldInfo]:
    """The fields of the model at a place; a step that is no field is the key of a mapping, or the type of an entry."""
    models = [root]
    for step in loc:
        field = next((model.model_fields[step] for model in models if step in model.model_fields), None)
        if field is not None and isinstance(step, str):
            models = _models_in(field.annotation)
            continue
        models = [model for model in models if _type_of(model) == step] or models
    return dict(models[0].model_fields) if models else {}


def _type_of(model: type[BaseModel]) -> Any:
    return model.model_fields["type"].default if "type" in model.model_fields else None


def _default(root: type[BaseModel], loc: Sequence[str | int]) -> str:
    field = _fields_at(root, loc[:-1]).get(str(loc[-1])) if loc else None
    if field is None or field.is_required() or isinstance(field.default, BaseModel | dict | list):
        return ""
    return f"The default is {'null' if field.default is None else field.default}."
