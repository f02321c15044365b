"""The config that `tuner init` writes: valid, loadable with its own data, and explained line by line."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from tuner.cli.init import run
from tuner.config import IntRange, StudyConfig
from tuner.config_file import load_config
from tuner.data.classification import load_splits
from tuner.data.suggest import suggest_config
from tuner.data.validate import validate_classification
from tuner.errors import ConfigError, DataError

COLUMNS = {"text": "text", "label": "label"}


def save(path: Path, header: list[str], rows: list[list[Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def reviews(count: int, labels: list[Any], text: str = "The boots, worn daily, are number {}") -> list[list[Any]]:
    return [[n, text.format(n), labels[n % len(labels)]] for n in range(count)]


def written(data: Path, folder: Path) -> StudyConfig:
    out = folder / "study.yaml"
    sentence = run(data, out, force=True)
    assert f"tuner tune sentiment --config {out}" in sentence
    return load_config(out)


@pytest.mark.parametrize("labels", [[0, 1], ["neg", "pos"], ["yes", "no"], [1, 2, 3, 4, 5], ["angry", "meh", "happy"]])
@pytest.mark.parametrize("count", [30, 1000])
def test_what_is_written_loads_the_data_it_was_written_for(tmp_path: Path, labels: list[Any], count: int) -> None:
    data = save(tmp_path / "my reviews.csv", ["id", "review: full", "stars"], reviews(count, labels))
    config = written(data, tmp_path)
    assert config.data.columns == {"text": "review: full", "label": "stars"}
    report = validate_classification(load_splits(config.data, COLUMNS))
    assert report.ok
    assert report.warnings == ()
    assert config.start_points[0]["rank"] == 8


def test_labels_get_the_class_that_their_name_says(tmp_path: Path) -> None:
    stars = written(save(tmp_path / "a.csv", ["n", "t", "s"], reviews(50, [1, 2, 3, 4, 5])), tmp_path)
    assert stars.data.labels == {"1": 0, "2": 0, "3": 0, "4": 1, "5": 1}
    moods = written(save(tmp_path / "b.csv", ["n", "t", "s"], reviews(50, ["happy", "angry"])), tmp_path)
    assert moods.data.labels == {"angry": 0, "happy": 1}
    answers = written(save(tmp_path / "c.csv", ["n", "t", "s"], reviews(50, ["yes", "no"])), tmp_path)
    assert answers.data.labels == {"no": 0, "yes": 1}
    assert written(save(tmp_path / "d.csv", ["n", "t", "s"], reviews(50, [0, 1])), tmp_path).data.labels is None
    odd = save(tmp_path / "e.csv", ["n", "t", "s"], reviews(50, ["red", "blue"]))
    assert suggest_config(odd).text.count("a guess: CHECK IT") == 2


def test_length_epochs_and_samples_follow_the_data(tmp_path: Path) -> None:
    short = written(save(tmp_path / "a.csv", ["n", "t", "s"], reviews(100, [0, 1])), tmp_path)
    long_text = "word " * 60 + "{}"
    many = written(save(tmp_path / "b.csv", ["n", "t", "s"], reviews(21_000, [0, 1], long_text)), tmp_path)
    assert short.data.max_length == 16
    assert many.data.max_length == 96
    assert short.data.train_samples is None
    assert many.data.train_samples == 6000
    few, lots = short.space["epochs"], many.space["epochs"]
    assert isinstance(few, IntRange)
    assert isinstance(lots, IntRange)
    assert few.high > lots.high


def test_chinese_text_gets_a_chinese_base(tmp_path: Path) -> None:
    data = save(tmp_path / "a.csv", ["n", "文本", "标签"], reviews(40, ["好评", "差评"], "这双鞋子很舒服,我买了{}双"))
    config = written(data, tmp_path)
    assert config.base_model == "bert-base-chinese"
    assert config.data.columns == {"text": "文本", "label": "标签"}


def test_a_language_without_a_base_is_said(tmp_path: Path) -> None:
    data = save(tmp_path / "a.csv", ["n", "t", "s"], reviews(40, [0, 1], "Очень удобные ботинки, пара {}"))
    assert "No base here is made for Russian" in suggest_config(data).text


def test_a_folder_keeps_its_splits(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        save(tmp_path / f"{split}.csv", ["n", "text", "label"], reviews(40, [0, 1], split + " text number {}"))
    text = suggest_config(tmp_path).text
    assert "validation_share" not in text
    assert "test_share" in text
    assert len(load_splits(written(tmp_path, tmp_path / "out").data, COLUMNS).validation) == 40


def test_every_setting_has_its_reason(tmp_path: Path) -> None:
    lines = suggest_config(save(tmp_path / "a.csv", ["n", "t", "s"], reviews(40, ["good", "bad"]))).text.splitlines()
    headings = {"data:", "columns:", "labels:", "space:", "search:", "score:", "bands:"}
    for before, line in zip(["", *lines], lines, strict=False):
        bare = line.strip()
        if not bare or bare in headings or bare.startswith(("#", "- {", "target_modules: [")):
            continue
        assert "  # " in line or before.strip().startswith("#"), line
    assert max(map(len, lines)) <= 140 + len(str(tmp_path))


def test_names_that_break_yaml_are_escaped(tmp_path: Path) -> None:
    data = save(tmp_path / "a.csv", ["n", 'a "b"\n# c: \u2028 d', "yes"], reviews(40, ["on", "off"]))
    config = written(data, tmp_path)
    assert config.data.columns == {"text": 'a "b" # c: d', "label": "yes"}
    assert set(config.data.labels or ()) == {"on", "off"}


def test_a_file_that_is_there_is_not_overwritten_without_force(tmp_path: Path) -> None:
    data = save(tmp_path / "a.csv", ["n", "t", "s"], reviews(40, [0, 1]))
    out = tmp_path / "mine.yaml"
    out.write_text("precious")
    with pytest.raises(ConfigError, match="there already"):
        run(data, out)
    assert out.read_text() == "precious"
    run(data, out, force=True)
    assert out.read_text().startswith("# A sentiment study")


def test_a_task_that_is_named_goes_before_the_columns(tmp_path: Path) -> None:
    rows = [[n, f"Is the boot number {n} any good?", ["yes", "no"][n % 2]] for n in range(40)]
    data = save(tmp_path / "a.csv", ["n", "question", "answer"], rows)
    assert suggest_config(data).task == "shoe_qa"
    forced = suggest_config(data, "sentiment")
    assert forced.task == "sentiment"
    assert 'label: "answer"' in forced.text


def test_nothing_is_written_for_data_that_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.columns\.label"):
        run(save(tmp_path / "a.csv", ["n", "t"], [[n, f"text number {n}"] for n in range(9)]), tmp_path / "x.yaml")
    with pytest.raises(ConfigError, match="knows only sentiment and shoe_qa"):
        suggest_config(tmp_path, "fashion")
    assert not (tmp_path / "x.yaml").exists()
