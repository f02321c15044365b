"""What requests write to choose an adapter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.errors import UnknownAdapterError
from serve.references import References
from tuner.registry import Adapter, AdapterName, Entry, Reference, RegistryState

VERSION = "0123456789ab"
NAMES = [AdapterName("sentiment", f"a{number:02d}") for number in range(15)]
STATE = RegistryState(
    1,
    {name: Adapter(name, {VERSION: Entry(name, VERSION, VERSION * 5, 1.0, "me")}) for name in NAMES}
    | {AdapterName("fashion", "dresses"): Adapter(AdapterName("fashion", "dresses"))},
)


@pytest.mark.parametrize(
    ("text", "at"), [("a01", "champion"), ("a01@next", "next"), (f"a01@{VERSION}", VERSION), ("x.y-z_0", "champion")]
)
def test_references(text: str, at: str) -> None:
    found = References("sentiment").read(text, STATE)
    assert found == Reference(text.partition("@")[0], at)


@given(st.text(max_size=250))
def test_whatever_is_written_is_read_or_refused_in_a_sentence(text: str) -> None:
    references = References("sentiment")
    try:
        references.check(references.read(text, STATE), STATE)
        said = ""
    except UnknownAdapterError as error:
        said = str(error)
    if said:
        assert "Known: " in said
        assert len(said) < 400
        assert said.isprintable()
        assert "dresses" not in said
    else:
        assert Reference.parse(text)


def test_those_of_another_task_are_unknown() -> None:
    references = References("sentiment")
    with pytest.raises(UnknownAdapterError, match="no such adapter of the task sentiment"):
        references.check(references.read("dresses", STATE), STATE)


def test_an_empty_registry() -> None:
    with pytest.raises(UnknownAdapterError, match="Known: none yet"):
        References("sentiment").read("../x", RegistryState())


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.references._KEPT", 3)
    references = References("sentiment")
    for number in range(10):
        assert references.read(f"n{number}", STATE).name == f"n{number}"
    assert len(references._read) == 3
