"""From a config to the splits of a classification task: files, folders, labels, cuts and samples."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tuner.config import DataConfig
from tuner.data.classification import Row, Splits, identity, load_splits
from tuner.data.load import load_rows
from tuner.errors import DataError

COLUMNS = {"text": "text", "label": "label"}


def save(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def rows(count: int, start: int = 0, positive: int = 2) -> list[dict[str, Any]]:
    return [{"text": f"Review number {n}", "label": int(n % positive == 0)} for n in range(start, start + count)]


def texts(split: tuple[Row, ...]) -> set[str]:
    return {row.text for row in split}


def load(**config: Any) -> Splits:
    return load_splits(DataConfig(**config), COLUMNS)


def test_columns_are_renamed_and_others_left_out(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", [{"id": 7, "sentence": "Fine.", "stars": 1}])
    table = load_rows(path, {"text": "sentence", "label": "stars"})
    assert table.rows == ({"text": "Fine.", "label": 1},)
    assert load_rows(path).columns == ("id", "sentence", "stars")


def test_every_missing_column_is_named_with_a_guess(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", [{"Review": "Fine.", "lable": 1}])
    with pytest.raises(DataError) as caught:
        load(source=str(path))
    first, second = caught.value.problems
    assert first.name == "data.columns.text"
    assert "'Review', 'lable'" in first.rule
    assert "columns: {text: Review}" in first.cure
    assert "columns: {label: lable}" in second.cure


def test_one_file_is_cut_into_three_stratified_parts(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", rows(200, positive=4))
    splits = load(source=str(path))
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [140, 30, 30]
    assert texts(splits.train) | texts(splits.validation) | texts(splits.test) == {r["text"] for r in rows(200)}
    assert 7 <= Counter(row.label for row in splits.validation)[1] <= 8
    assert any("validation: 30 rows cut from train" in note for note in splits.notes)
    assert load(source=str(path)) == splits
    assert load(source=str(path), split_seed=1).test != splits.test


def test_one_text_is_never_cut_into_two_splits(tmp_path: Path) -> None:
    repeated = [{"text": f"{'REVIEW' if n % 2 else 'review '} {n % 10}", "label": n % 2} for n in range(100)]
    splits = load(source=str(save(tmp_path / "a.jsonl", repeated)))
    keys = [{identity(row.text) for row in part} for part in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, keys)) == len(set.union(*keys))


def test_small_cuts_hold_every_class(tmp_path: Path) -> None:
    splits = load(source=str(save(tmp_path / "a.jsonl", rows(10))))
    assert {row.label for row in splits.validation} == {row.label for row in splits.test} == {0, 1}


def test_files_one_by_one_and_in_a_folder_are_the_same(tmp_path: Path) -> None:
    train = save(tmp_path / "Train.jsonl", rows(20))
    dev = save(tmp_path / "dev.jsonl", rows(6, 20))
    test = tmp_path / "test.csv"
    test.write_text("text,label\nReview number 90,1\nReview number 91,0\n")
    (tmp_path / "notes.md").write_text("not data")
    named = load(train=train, validation=dev, test=test)
    assert [len(named.train), len(named.validation), len(named.test)] == [20, 6, 2]
    assert named.test[1] == Row("Review number 91", 0, "test.csv line 3")
    assert load(source=str(tmp_path)) == named


def test_a_folder_without_train_and_with_two_of_one_split(tmp_path: Path) -> None:
    save(tmp_path / "dev.jsonl", rows(4))
    save(tmp_path / "valid.jsonl", rows(4))
    with pytest.raises(DataError) as caught:
        load(source=str(tmp_path))
    said = str(caught.value)
    assert "validation is there more than once: 'dev.jsonl', 'valid.jsonl'" in said
    assert "no file called train" in said


def test_all_mistakes_of_all_files_come_at_once(tmp_path: Path) -> None:
    train = save(tmp_path / "a.jsonl", [{"sentence": "x", "label": 1}])
    with pytest.raises(DataError) as caught:
        load(train=train, validation=tmp_path / "none.csv", test=tmp_path)
    assert [problem.name for problem in caught.value.problems] == ["data.validation", "data.test", "data.columns.text"]


def test_contradictions_of_a_config(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.columns\.txt.*no such field"):
        load(source="a.csv", columns={"txt": "a"})
    with pytest.raises(DataError, match=r"data\.source is 'a\.csv' as well"):
        load(source="a.csv", train=tmp_path / "b.csv")
    with pytest.raises(DataError, match=r"goes with a train file"):
        load(test=tmp_path / "b.csv")
    with pytest.raises(DataError, match="no data of its own"):
        load()


def test_samples_are_stratified_seeded_and_more_than_there_is_is_a_note(tmp_path: Path) -> None:
    source = str(save(tmp_path / "a.jsonl", rows(200, positive=4)))
    splits = load(source=source, train_samples=40, validation_samples=1000, test_samples=8)
    assert Counter(row.label for row in splits.train) == {0: 30, 1: 10}
    assert len(splits.validation) == 30
    assert len(splits.test) == 8
    assert any("1000 rows were asked for and there are 30" in note for note in splits.notes)
    assert texts(splits.train) <= texts(load(source=source).train)
    assert load(source=source, train_samples=40).train == splits.train


def test_embedded_data_is_sampled_too() -> None:
    own = tuple(Row(f"Text {n}", n % 2, f"own line {n}") for n in range(20))
    splits = load_splits(DataConfig(train_samples=4), COLUMNS, lambda: Splits(own, own[:4], own[:2], (), ("no", "yes")))
    assert Counter(row.label for row in splits.train) == {0: 2, 1: 2}
    assert splits.validation == own[:4]
    assert splits.label_names == ("no", "yes")


def test_a_test_split_without_labels_is_not_used(tmp_path: Path) -> None:
    train = save(tmp_path / "train.jsonl", rows(40))
    test = save(tmp_path / "test.jsonl", [{"text": "Unseen.", "label": -1}])
    splits = load(train=train, test=test)
    assert "Unseen." not in texts(splits.test)
    assert any("has no labels (all are -1)" in note for note in splits.notes)


@pytest.mark.parametrize(
    ("zero", "one", "names"),
    [
        (0, 1, ()),
        ("0", "1", ()),
        ("0.0", 1.0, ()),
        (False, True, ("false", "true")),
        ("negative", "Positive", ("negative", "positive")),
        ("NEG", "pos ", ("neg", "pos")),
        ("差评", "好评", ("差评", "好评")),
    ],
)
def test_labels_that_need_no_mapping(tmp_path: Path, zero: Any, one: Any, names: tuple[str, ...]) -> None:
    data = [{"text": f"Text {n}", "label": one if n % 2 else zero} for n in range(20)]
    splits = load(source=str(save(tmp_path / "a.jsonl", data)))
    assert {row.label for row in splits.train if int(row.text[5:]) % 2} == {1}
    assert {row.label for row in splits.train if not int(row.text[5:]) % 2} == {0}
    assert splits.label_names == names


def test_named_labels_are_mapped(tmp_path: Path) -> None:
    data = [{"text": f"Text {n}", "label": ["Angry", "meh", "happy"][n % 3]} for n in range(30)]
    source = str(save(tmp_path / "a.jsonl", data))
    splits = load(source=source, labels={"angry": 0, "meh": 0, "happy": 1})
    assert Counter(row.label for row in splits.train + splits.validation + splits.test) == {0: 20, 1: 10}
    assert splits.label_names == ("angry", "happy")
    with pytest.raises(DataError, match=r"not in it: 'meh' \(10 rows\)"):
        load(source=source, labels={"angry": 0, "happy": 1})
    with pytest.raises(DataError, match=r"'Angry' \(10 rows\), 'meh' \(10 rows\), 'happy' \(10 rows\)"):
        load(source=source)


def test_numbers_are_mapped_where_a_mapping_says_so(tmp_path: Path) -> None:
    data = [{"text": f"Text {n}", "label": n % 2 + 1} for n in range(20)]
    splits = load(source=str(save(tmp_path / "a.jsonl", data)), labels={"1": 0, "2": 1})
    assert {row.label for row in splits.train} == {0, 1}


def test_rows_without_a_label_or_with_nested_text_are_named(tmp_path: Path) -> None:
    data = [*rows(10), {"text": "a", "label": None}, {"text": ["a"], "label": 1}, {"text": "b", "label": " "}]
    with pytest.raises(DataError) as caught:
        load(source=str(save(tmp_path / "a.jsonl", data)))
    said = str(caught.value)
    assert "2 rows have no label: a.jsonl line 11, a.jsonl line 13" in said
    assert "1 rows have a list or an object where text should be: a.jsonl line 12" in said


def test_missing_text_is_empty_and_space_is_stripped(tmp_path: Path) -> None:
    data = [*rows(10), {"text": None, "label": 1}, {"text": "  x \n", "label": 0}, {"text": 5, "label": 0}]
    splits = load(train=save(tmp_path / "a.jsonl", data), validation=save(tmp_path / "b.jsonl", rows(4)))
    assert {"", "x", "5"} <= texts(splits.train) | texts(splits.test)


def test_a_missing_file_is_not_sought_on_the_hub() -> None:
    with pytest.raises(DataError, match="there is no such file"):
        load(source="reviews.csv")
    with pytest.raises(DataError, match="there is no such file"):
        load(source="../data/none/reviews")


REAL = os.environ.get("TUNER_REALDATA")


@pytest.mark.skipif(not REAL, reason="TUNER_REALDATA does not name a folder with sst2/")
def test_sst2_loads_as_it_is() -> None:
    splits = load(source=f"{REAL}/sst2", columns={"text": "sentence", "label": "label"}, test_samples=100)
    assert len(splits.validation) == 6735
    assert len(splits.test) == 100
    assert {row.label for row in splits.train} == {0, 1}
    assert not any("\t" in row.text or not row.text for row in splits.train)
