"""The project's own reviews: as many as promised, balanced, all different, and none in two splits."""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib import resources

import pytest

from tuner.data.classification import identity
from tuner.data.fingerprint import fingerprint_splits
from tuner.data.validate import validate_classification
from tuner.tasks.sentiment.reviews import embedded_splits

FILES = resources.files("tuner.tasks.sentiment").joinpath("data")


def raw(split: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in FILES.joinpath(f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("split", "count"), [("train", 2000), ("validation", 400), ("test", 800)])
def test_counts_and_balance(split: str, count: int) -> None:
    rows = raw(split)
    assert len(rows) == count
    assert Counter(row["label"] for row in rows) == {0: count // 2, 1: count // 2}
    assert all(set(row) == {"text", "label", "domain", "kind"} for row in rows)
    domains = Counter(row["domain"] for row in rows)
    shares = {"film": 0.25, "shoes": 0.25, "clothes": 0.25, "food": 0.1375, "service": 0.1125}
    assert domains == {domain: pytest.approx(count * share, abs=5) for domain, share in shares.items()}
    assert len({row["kind"] for row in rows}) == 8
    assert Counter(row["kind"] for row in rows)["plain"] <= 0.45 * count


def test_splits_are_what_the_files_hold() -> None:
    splits = embedded_splits()
    for split, rows in splits.named().items():
        assert [(row.text, row.label) for row in rows] == [(row["text"], row["label"]) for row in raw(split)]
    assert splits.label_names == ("negative", "positive")
    assert splits.train[0].where == "train.jsonl line 1"


def test_validation_finds_nothing_to_say() -> None:
    report = validate_classification(embedded_splits())
    assert report.ok
    assert report.warnings == ()


@pytest.mark.parametrize("size", [1, 2])
def test_no_text_is_a_variant_of_another(size: int) -> None:
    """Jaccard over words, and over pairs of words: a template with its slots filled differently shows in one."""
    everything = [row.text for rows in embedded_splits().named().values() for row in rows]
    shingled = []
    for text in everything:
        words = re.findall(r"\w+", identity(text))
        shingled.append((frozenset(zip(*(words[start:] for start in range(size)), strict=False)), text))
    shingled.sort(key=lambda item: len(item[0]))
    for place, (ours, text) in enumerate(shingled):
        for theirs, other in shingled[place + 1 :]:
            if len(ours) <= 0.6 * len(theirs):
                break  # sets of such different sizes, and all after them, cannot be that alike
            common = len(ours & theirs)
            assert common <= 0.6 * (len(ours) + len(theirs) - common), (text, other)


def test_the_data_has_not_changed() -> None:
    """Results are comparable only on the same rows. Whoever changes a review on purpose changes this too."""
    prints = fingerprint_splits(embedded_splits())
    assert {split: found.content[:16] for split, found in prints.items()} == {
        "train": "16652648c7328ef1",
        "validation": "fd796541594b0b72",
        "test": "04b6d1b63761bcd4",
    }


def test_the_readme_counts_what_is_there() -> None:
    readme = FILES.joinpath("README.md").read_text(encoding="utf-8")
    rows = [row for split in ("train", "validation", "test") for row in raw(split)]
    for kind in {str(row["kind"]) for row in rows}:
        (line,) = [line for line in readme.splitlines() if line.startswith(f"| {kind} |")]
        cells = [cell.strip() for cell in line.split("|")[2:-1]]
        counts = Counter((row["domain"], row["label"]) for row in rows if row["kind"] == kind)
        expected = [f"{counts[d, 0]} / {counts[d, 1]}" for d in ("film", "shoes", "clothes", "food", "service")]
        assert cells[:5] == expected
