"""What validation finds, what it only warns of, and what cleaning leaves out."""

from __future__ import annotations

import json

import pytest

from tuner.data.classification import Row, Splits
from tuner.data.validate import clean, validate_classification
from tuner.errors import DataError


def make(*texts: str, name: str = "train", label: int | None = None) -> tuple[Row, ...]:
    return tuple(Row(text, n % 2 if label is None else label, f"{name} line {n + 1}") for n, text in enumerate(texts))


def fine(name: str, count: int = 10) -> tuple[Row, ...]:
    return make(*(f"A good {name} text {n}" for n in range(count)), name=name)


def splits(*extra: str) -> Splits:
    return Splits(fine("train") + make(*extra), fine("validation"), fine("test"))


def test_good_data_gives_nothing_but_statistics() -> None:
    report = validate_classification(splits())
    assert report.ok
    assert report.warnings == ()
    assert report.to_json()["splits"]["train"] == {
        "total_samples": 10,
        "label_counts": {"0": 5, "1": 5},
        "imbalance_ratio": 1.0,
        "is_balanced": True,
    }
    json.dumps(report.to_json(), allow_nan=False)
    assert clean(splits(), report) == splits()


@pytest.mark.parametrize(
    ("finding", "texts"),
    [
        ("html", ["A <b>bold</b> claim", "one<br/>two", "fish &amp; chips", "x <!-- y"]),
        ("too_short", ["Meh.", "ok"]),
        ("too_long", ["word " * 101]),
        ("encoding", ["caf\ufffd au lait", "cafÃ© au lait", "itâ€™s fine", "50Â\xa0euros"]),
        ("control", ["a bell\x07 rings"]),
        ("duplicates", ["A GOOD  train text 3"]),
    ],
)
def test_findings_are_counted_and_named(finding: str, texts: list[str]) -> None:
    data = splits(*texts)
    report = validate_classification(data)
    assert report.ok
    assert report.counts[finding] == {"train": len(texts)}
    assert any("train line 1" in warning for warning in report.warnings)
    assert clean(data, report) == data


@pytest.mark.parametrize(
    "text", ["I <3 this", "a < b and c > d", "R&D is best", "Das heißt Übung", "São Paulo, Âmbar", "x" * 500, "12345"]
)
def test_what_is_no_finding(text: str) -> None:
    assert validate_classification(splits(text)).warnings == ()


def test_only_three_places_are_named() -> None:
    report = validate_classification(splits(*["<p>"] * 1, *[f"<p>{n} and more" for n in range(5)]))
    (warning,) = [warning for warning in report.warnings if "HTML" in warning]
    assert warning.startswith("6 rows (6 of train) hold HTML tags")
    assert warning.count("train line") == 3


def test_rows_with_two_labels_are_contradictions() -> None:
    data = Splits((*fine("train"), Row("A good train text 3", 0, "train line 99")), fine("validation"), fine("test"))
    report = validate_classification(data)
    assert report.counts["contradictions"] == {"train": 1}
    assert any("another label: train line 99" in warning for warning in report.warnings)


def test_empty_and_leaking_rows_are_left_out() -> None:
    data = Splits(
        (*fine("train"), *make("", "A good validation text 3", "a good TEST text 4")),
        (*fine("validation"), Row("A good test text 5", 1, "validation line 11")),
        fine("test"),
    )
    report = validate_classification(data)
    assert report.ok
    assert report.counts["empty"] == {"train": 1}
    assert report.counts["leaks"] == {"train": 2, "validation": 1}
    cleaned = clean(data, report)
    assert (cleaned.train, cleaned.validation, cleaned.test) == (fine("train"), fine("validation"), fine("test"))
    assert report.statistics["train"].total_samples == 10
    assert any("3 rows (2 of train, 1 of validation) stand in another split" in w for w in report.warnings)


def test_all_problems_come_at_once() -> None:
    data = Splits(make("Only a text", "And another one", label=1), make("Some text here", "More text", label=7), ())
    report = validate_classification(data)
    with pytest.raises(DataError) as caught:
        report.raise_problems()
    said = str(caught.value)
    assert "data.train rows = 2: a study needs at least 8 training rows" in said
    assert "data.train labels = 1: every row has this label" in said
    assert "data.validation = [7]: 2 rows have labels outside 0 to 1: train line 1, train line 2" in said
    assert "data.test rows = 0" in said
    assert not report.ok


def test_training_rows_that_all_leak_are_a_problem() -> None:
    report = validate_classification(Splits(fine("test"), fine("validation"), fine("test")))
    assert [problem.name for problem in report.problems] == ["data.train rows"]
    assert "10 were left out as empty or leaking" in report.problems[0].rule


def test_more_classes_and_a_class_that_is_missing() -> None:
    assert not validate_classification(Splits(fine("train"), make("Label two", label=2), fine("test"))).ok
    report = validate_classification(splits(), labels=3)
    assert report.ok
    assert "train has no rows of class 2." in report.warnings
    assert report.statistics["train"].imbalance_ratio is None
    assert not report.statistics["train"].is_balanced


@pytest.mark.parametrize(("ones", "balanced"), [(5, True), (6, True), (7, False)])
def test_balanced_means_a_ratio_of_at_most_three(ones: int, balanced: bool) -> None:
    few = make(*(f"Positive text {n}" for n in range(ones * 3)), label=1)
    many = make(*(f"Negative text {n}" for n in range(6)), label=0)
    report = validate_classification(Splits(few + many, fine("validation"), fine("test")))
    assert report.statistics["train"].imbalance_ratio == ones / 2
    assert report.statistics["train"].is_balanced is balanced
    assert any("train is unbalanced: its largest class is 3.5 times" in w for w in report.warnings) is not balanced


def test_truncated_texts_are_added_by_the_task() -> None:
    report = validate_classification(splits())
    assert report.to_json()["truncated"] is None
    cut = report.with_truncated({"train": 3, "validation": 0, "test": 0}, 128)
    assert cut.to_json()["truncated"] == {"train": 3, "validation": 0, "test": 0}
    assert "Texts longer than 128 tokens are cut short: 3 of train" in cut.warnings[-1]
    assert report.with_truncated({"train": 0}, 128).warnings == ()
