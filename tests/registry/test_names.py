"""Names are strict: whatever is parsed names one folder inside the registry."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.errors import ConfigError
from tuner.registry import AdapterName, Reference
from tuner.registry.names import checked_alias, is_alias, is_version

TEXTS = st.one_of(
    st.text(max_size=80), st.text("ab09._-/@\\\0\n .", max_size=20), st.from_regex(r"[a-z_]+/[a-z0-9.-]+")
)


@settings(deadline=None)
@given(TEXTS)
def test_no_name_leads_outside(text: str) -> None:
    try:
        name = AdapterName.parse(text)
    except ConfigError:
        return
    assert str(name) == text
    assert text.isascii()
    parts = Path("registry", name.task, name.name).parts
    assert parts == ("registry", name.task, name.name)
    assert not {"", ".", ".."} & set(parts)
    assert not name.name.startswith(".")


@settings(deadline=None)
@given(TEXTS)
def test_a_reference_reads_back(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except ConfigError:
        return
    assert Reference.parse(str(reference)) == reference
    assert AdapterName("sentiment", reference.name)
    assert reference.is_version != is_alias(reference.at)


NO_NAMES = (
    *(
        "sentiment",
        "/reviews",
        "sentiment/",
        "Sentiment/reviews",
        "sentiment/Reviews",
        "sentiment/../x",
        "sentiment/a/b",
    ),
    *("sentiment/..", "sentiment/a..b", "sentiment/.a", "sentiment/-a", "../reviews", "sentiment/a\n", "sentiment\n/a"),
    *("sentiment/" + "a" * 65, "a" * 65 + "/a", "sentiment/\uff41", "sentiment/鞋", "sent-iment/a", "sentiment/a b"),
)


@pytest.mark.parametrize("text", NO_NAMES)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ConfigError):
        AdapterName.parse(text)


def test_every_mistake_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        AdapterName("Big", "..")
    assert [problem.name for problem in error.value.problems] == ["task", "name"]


def test_references() -> None:
    assert Reference.parse("reviews") == Reference("reviews", "champion")
    assert Reference.parse("reviews@canary") == Reference("reviews", "canary")
    assert Reference.parse("reviews@1a2b3c4d5e6f").is_version
    for text in ("", "@", "reviews@", "@champion", "reviews@a@b", "a/b", "reviews@../x", "reviews@A"):
        with pytest.raises(ConfigError):
            Reference.parse(text)


def test_an_alias_never_looks_like_a_version() -> None:
    assert checked_alias("champion") == "champion"
    assert checked_alias("1a2b3c4d5e6") == "1a2b3c4d5e6", "11 digits are no version"
    with pytest.raises(ConfigError, match="12 hex digits name a version"):
        checked_alias("1a2b3c4d5e6f")
    with pytest.raises(ConfigError, match="lower-case"):
        checked_alias("../champion")
    assert not is_version("1A2B3C4D5E6F")
    assert not is_version("1a2b3c4d5e6f\n")
