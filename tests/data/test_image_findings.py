"""Findings count all and name the first."""

from __future__ import annotations

from tuner.data.image_findings import RULES, SHOWN, Tally


def test_all_are_counted_and_five_named() -> None:
    tally = Tally()
    for number in range(7):
        tally.add("damaged", "train" if number < 5 else "test", f"{number}.png")
    tally.add("gray", "train", "x.png")
    damaged, gray = tally.findings()
    assert (damaged.count, damaged.counts, len(damaged.places)) == (7, {"train": 5, "test": 2}, SHOWN)
    assert str(damaged) == (
        "pictures that are cut short or damaged, left out: 7 (5 of train, 2 of test): "
        "0.png, 1.png, 2.png, 3.png, 4.png and 2 more."
    )
    assert str(gray) == "gray pictures, taken as RGB: 1 (1 of train): x.png."
    assert [damaged.bad, gray.bad] == [True, False]
    assert gray.to_json() == {"rule": "gray", "bad": False, "counts": {"train": 1}, "places": ["x.png"]}


def test_mistakes_come_first() -> None:
    tally = Tally()
    for rule in reversed(RULES):
        tally.add(rule, "train", "a.png")
    bad = [finding.bad for finding in tally.findings()]
    assert len(bad) == len(RULES)
    assert bad == sorted(bad, reverse=True)
    assert all(rule.cure for rule in RULES.values() if rule.bad)


def test_names_of_files_do_no_harm_to_a_terminal() -> None:
    tally = Tally()
    tally.add("gray", "train", "\x1b[31mred\n\udcff 鞋.png")
    assert tally.findings()[0].places == ("\\x1b[31mred\\n\\udcff 鞋.png",)
