"""Signs of broken text, and how a finding is told."""

from __future__ import annotations

import pytest

from tuner.data.findings import holds_control, holds_html, holds_mojibake, note_finding


@pytest.mark.parametrize("text", ["<b>x</b>", "one<br/>two", "fish &amp; chips", "x <!-- y"])
def test_html(text: str) -> None:
    assert holds_html(text)
    assert not holds_html("I <3 this, a < b and c > d, R&D")


def test_wrong_encoding_and_control_characters() -> None:
    assert all(map(holds_mojibake, ["caf\ufffd", "cafÃ©", "itâ€™s"]))
    assert not holds_mojibake("Das heißt Übung, São Paulo")
    assert holds_control("a\x07b")
    assert not holds_control("a\tb\r\nc")


def test_a_finding_is_counted_and_names_three_places() -> None:
    counts: dict[str, dict[str, int]] = {}
    warnings: list[str] = []
    note_finding("odd", "are odd", {"train": ["a", "b"], "validation": [], "test": ["c", "d"]}, counts, warnings)
    note_finding("fine", "are fine", {"train": []}, counts, warnings)
    assert counts == {"odd": {"train": 2, "test": 2}, "fine": {}}
    assert warnings == ["4 rows (2 of train, 2 of test) are odd: a, b, c."]
