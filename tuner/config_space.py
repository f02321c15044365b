"""The entries of a search space: a range of whole numbers, a range of numbers, a choice, a constant.

Each entry holds its own rules (low is not above high, a log range starts above zero...) and answers whether a value
lies in it and which of its values is nearest. Knows nothing of hyperparameters: that a rank is at least 1 is a rule of
`config_rules`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, TypeAdapter, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


class Frozen(BaseModel):
    """A part of the config: immutable, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# Strict: lax parsing would take true for 1 and "16" for 16, and a typing mistake would go unseen.
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]


def broken(rule: str, cure: str = "") -> PydanticCustomError:
    """An error for a validator to raise, which keeps rule and cure apart until they become a `Problem`."""
    return PydanticCustomError("rule", "{rule}", {"rule": rule, "cure": cure})


def _listed(when: Any) -> Any:
    """`when: {schedule: linear}` means the list with that one value."""
    if not isinstance(when, Mapping):
        return when
    return {name: values if isinstance(values, list) else [values] for name, values in when.items()}


When = Annotated[dict[str, list[Any]] | None, BeforeValidator(_listed)]


class IntRange(Frozen):
    """Whole numbers from low to high, both included; `log` searches orders of magnitude; `when` is a condition."""

    type: Literal["int"] = "int"
    low: Whole
    high: Whole
    step: Annotated[Whole, Field(ge=1)] = 1
    log: Flag = False
    when: When = None

    @field_validator("high")
    @classmethod
    def _ordered(cls, high: int, info: ValidationInfo) -> int:
        _check_above_low(high, info)
        return high

    @field_validator("step")
    @classmethod
    def _step_fits(cls, step: int, info: ValidationInfo) -> int:
        low, high = info.data.get("low"), info.data.get("high")
        if low is not None and high is not None and step > max(high - low, 1):
            raise broken(f"is longer than the whole range {low}..{high}", "Choose a shorter step.")
        return step

    @field_validator("log")
    @classmethod
    def _log_possible(cls, log: bool, info: ValidationInfo) -> bool:
        if log and info.data.get("step", 1) != 1:
            raise broken("cannot go with a step other than 1", "Drop log or step.")
        return _log_above_zero(log, info)


class FloatRange(Frozen):
    """Numbers from low to high; `log` searches orders of magnitude."""

    type: Literal["float"] = "float"
    low: Number
    high: Number
    log: Flag = False
    when: When = None

    @field_validator("high")
    @classmethod
    def _ordered(cls, high: float, info: ValidationInfo) -> float:
        _check_above_low(high, info)
        return high

    @field_validator("log")
    @classmethod
    def _log_possible(cls, log: bool, info: ValidationInfo) -> bool:
        return _log_above_zero(log, info)


class Choice(Frozen):
    """One of the values, in no order. A value may be a list (target modules)."""

    type: Literal["choice"] = "choice"
    values: list[Any]
    when: When = None

    @field_validator("values")
    @classmethod
    def _distinct(cls, values: list[Any]) -> list[Any]:
        if not values:
            raise broken("must hold at least one value", "Write values: [a, b].")
        for position, value in enumerate(values):
            if isinstance(value, float) and not math.isfinite(value):
                raise broken("may hold only finite numbers", f"Remove {value}.")
            if any(same(value, earlier) for earlier in values[:position]):
                raise broken(f"holds {value!r} twice", "Keep one of them.")
        return values


class Constant(Frozen):
    """One value, not searched. In YAML simply the bare value."""

    type: Literal["constant"] = "constant"
    value: Any


Entry = IntRange | FloatRange | Choice | Constant
SpaceEntry = Annotated[Entry, Field(discriminator="type")]
_ENTRY: TypeAdapter[Entry] = TypeAdapter(SpaceEntry)


def as_entry(raw: Any) -> Any:
    """What stands under a name in `space`, with a bare value or list made a constant; mappings stay as they are."""
    return raw if isinstance(raw, Mapping | BaseModel) else {"type": "constant", "value": raw}


def parse_entry(raw: Any) -> Entry:
    """One entry from its YAML form. Raises pydantic's ValidationError."""
    return _ENTRY.validate_python(as_entry(raw))


def same(left: Any, right: Any) -> bool:
    """Equal, and not by True being 1."""
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def contains(entry: Entry, value: Any) -> bool:
    """Whether the entry could draw this value."""
    if isinstance(entry, Choice):
        return any(same(value, each) for each in entry.values)
    if isinstance(entry, Constant):
        return same(value, entry.value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(entry, IntRange):
        return value == int(value) and entry.low <= value <= entry.high and (value - entry.low) % entry.step == 0
    return entry.low <= value <= entry.high


def nearest(entry: Entry, value: Any) -> Any:
    """The entry's value that comes nearest: the end of a range, a choice's closest number or else its first value."""
    if isinstance(entry, Constant):
        return entry.value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(entry, Choice):
        if number and all(isinstance(each, int | float) for each in entry.values):
            return min(entry.values, key=lambda each: abs(each - value))
        return entry.values[0]
    if not number:
        return entry.low
    inside = min(max(value, entry.low), entry.high)
    if isinstance(entry, IntRange):
        return entry.low + int(inside - entry.low) // entry.step * entry.step
    return float(inside)


def describe(entry: Entry) -> str:
    """An entry in a few words, for messages: 2..32, one of [4, 8], 16."""
    if isinstance(entry, Choice):
        return f"one of {entry.values}"
    if isinstance(entry, Constant):
        return repr(entry.value)
    step = f" in steps of {entry.step}" if isinstance(entry, IntRange) and entry.step > 1 else ""
    return f"{entry.low}..{entry.high}{step}"


def _check_above_low(high: float, info: ValidationInfo) -> None:
    low = info.data.get("low")
    if low is not None and high < low:
        raise broken(f"must not be below low, which is {low}", "Swap low and high.")


def _log_above_zero(log: bool, info: ValidationInfo) -> bool:
    low = info.data.get("low")
    if log and low is not None and low <= 0:
        raise broken(f"needs low above 0, and low is {low}", "Raise low or drop log.")
    return log
