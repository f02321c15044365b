"""Everything about base, space and rows that is wrong is said before a model loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engine import toy
from tests.tasks.sentiment.chinese import CHINESE
from tuner.data.classification import Row, Splits
from tuner.errors import BaseModelError, ConfigError, DataError
from tuner.tasks.sentiment.prepare import prepare

SPACE: dict[str, Any] = {"rank": 4, "learning_rate": 1e-3, "epochs": 2}


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    return toy.write_data(tmp_path / "data", toy.make_splits())


@pytest.mark.parametrize("kind", toy.KINDS)
def test_what_is_right(toy_bases: dict[str, Path], data: dict[str, Any], kind: str) -> None:
    prepared = prepare(toy.make_config(toy_bases[kind], data))
    assert [len(rows) for rows in prepared.data.named().values()] == [40, 16, 12]
    assert prepared.summary["base"]["architecture"] == kind
    assert prepared.summary["label_names"] == ["negative", "positive"]
    assert prepared.summary["truncated"] == {"train": 0, "validation": 0, "test": 0}
    assert json.loads(json.dumps(prepared.summary)) == prepared.summary  # plain JSON
    assert not any("cut short" in warning for warning in prepared.warnings)


def test_quality_is_macro_f1_where_classes_are_unbalanced(toy_bases: dict[str, Path], tmp_path: Path) -> None:
    splits = toy.make_splits()
    for rows, metric in ((splits, "accuracy"), (toy.unbalanced(splits), "macro_f1")):
        data = toy.write_data(tmp_path / metric, rows)
        assert prepare(toy.make_config(toy_bases["bert"], data)).summary["quality"] == metric


def test_texts_that_are_cut_are_counted(toy_bases: dict[str, Path], data: dict[str, Any]) -> None:
    prepared = prepare(toy.make_config(toy_bases["bert"], {**data, "max_length": 10}))
    assert prepared.summary["truncated"]["train"] > 5
    assert any("longer than 10 tokens are cut short" in warning for warning in prepared.warnings)


def test_savers_for_large_bases_are_refused(toy_bases: dict[str, Path], data: dict[str, Any]) -> None:
    memory = {"base_4bit": True, "checkpointing": True, "optimizer_8bit": True}
    with pytest.raises(ConfigError, match=r"(?s)memory\.base_4bit.*memory\.checkpointing"):
        prepare(toy.make_config(toy_bases["bert"], data, memory=memory))
    prepare(toy.make_config(toy_bases["bert"], data, memory={"optimizer_8bit": True}))


@pytest.mark.parametrize(
    "rank",
    [17, {"type": "int", "low": 1, "high": 17}, {"type": "choice", "values": [2, 17]}],
)
@pytest.mark.parametrize("kind", toy.KINDS)
def test_a_rank_above_the_width(toy_bases: dict[str, Path], data: dict[str, Any], kind: str, rank: Any) -> None:
    with pytest.raises(ConfigError, match=r"space\.rank.*= 17.*width, 16"):
        prepare(toy.make_config(toy_bases[kind], data, space={**SPACE, "rank": rank}))
    prepare(toy.make_config(toy_bases[kind], data, space={**SPACE, "rank": 16}))


@pytest.mark.parametrize("kind", toy.KINDS)
def test_unknown_target_modules_name_those_there_are(
    toy_bases: dict[str, Path], data: dict[str, Any], kind: str
) -> None:
    space = {**SPACE, "target_modules": {"type": "choice", "values": [toy.TARGETS[kind], ["c_attn"], ["wq", "c_attn"]]}}
    with pytest.raises(ConfigError) as caught:
        prepare(toy.make_config(toy_bases[kind], data, space=space))
    assert [problem.value for problem in caught.value.problems] == ["c_attn", "wq"]
    # what is offered is a value that works
    offered = caught.value.problems[0].cure.removeprefix("It has: ").removesuffix(".").split(", ")
    assert len(offered) == 6
    prepare(toy.make_config(toy_bases[kind], data, space={**SPACE, "target_modules": offered}))


def test_targets_of_start_points_are_checked_too(toy_bases: dict[str, Path], data: dict[str, Any]) -> None:
    space = {**SPACE, "target_modules": {"type": "choice", "values": [["query"], ["nonsense"]]}}
    with pytest.raises(ConfigError, match="nonsense"):
        prepare(
            toy.make_config(
                toy_bases["bert"], data, space=space, start_points=[{**SPACE, "target_modules": ["nonsense"]}]
            )
        )


@pytest.mark.parametrize(("kind", "most"), [("bert", 96), ("roberta", 94), ("distilbert", 96), ("albert", 96)])
def test_a_length_above_the_positions(toy_bases: dict[str, Path], data: dict[str, Any], kind: str, most: int) -> None:
    prepare(toy.make_config(toy_bases[kind], {**data, "max_length": most}))
    with pytest.raises(ConfigError, match=rf"data\.max_length = {most + 1}.*at most {most} tokens"):
        prepare(toy.make_config(toy_bases[kind], {**data, "max_length": most + 1}))


def test_the_longest_row_that_is_allowed_can_be_trained(toy_bases: dict[str, Path]) -> None:
    """The number of positions that `prepare` allows is one the model has."""
    rows = toy.make_splits()
    long = Splits((Row("good " * 300, 1, "row"), *rows.train), rows.validation, rows.test)
    for kind, most in (("bert", 96), ("roberta", 94), ("distilbert", 96), ("albert", 96)):
        packing = toy.make_packing(toy_bases[kind], long, data={"max_length": most})
        packing.start(toy.make_spec(batch_size=64, epochs=1))
        assert max(packing.task.row_costs()) == most
        assert packing.advance(["a"])[0].status == "ok"


def test_all_mistakes_at_once(toy_bases: dict[str, Path], data: dict[str, Any]) -> None:
    space = {**SPACE, "rank": 99, "target_modules": ["nonsense"]}
    with pytest.raises(ConfigError) as caught:
        prepare(toy.make_config(toy_bases["bert"], {**data, "max_length": 500}, space=space))
    assert [problem.name for problem in caught.value.problems] == [
        "space.rank",
        "space.target_modules",
        "data.max_length",
    ]


def test_bases_that_cannot_be_used(toy_bases: dict[str, Path], data: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="neither an embedded base"):
        prepare(toy.make_config(tmp_path / "nowhere", data))
    folder = tmp_path / "base"
    folder.mkdir()
    with pytest.raises(BaseModelError, match=r"config\.json cannot be read"):
        prepare(toy.make_config(folder, data))
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(BaseModelError, match=r"no \.safetensors"):
        prepare(toy.make_config(folder, data))
    (folder / "model.safetensors").write_bytes(b"")
    for kind in ("gpt2", "t5", ""):
        (folder / "config.json").write_text(json.dumps({"model_type": kind}))
        with pytest.raises(BaseModelError, match=rf"'{kind}'.*Use one of: albert, bert"):
            prepare(toy.make_config(folder, data))


def test_rows_that_cannot_be_used(toy_bases: dict[str, Path], tmp_path: Path) -> None:
    splits = toy.make_splits()
    same = Splits(tuple(Row(row.text, 1, row.where) for row in splits.train), splits.validation, splits.test)
    with pytest.raises(DataError, match="every row has this label"):
        prepare(toy.make_config(toy_bases["bert"], toy.write_data(tmp_path / "same", same)))


def test_chinese_text_for_an_english_base_is_a_warning_that_names_both(tmp_path: Path) -> None:
    rows = [Row(text, number % 2, "row") for number, text in enumerate(CHINESE)]
    data = toy.write_data(tmp_path, Splits(tuple(rows[:16]), tuple(rows[16:20]), tuple(rows[20:])))
    prepared = prepare(toy.make_config(Path("minilm"), data))
    (warning,) = [warning for warning in prepared.warnings if "Chinese" in warning]
    assert "English" in warning
    assert "bert-base-chinese" in warning


def test_english_text_for_an_english_base_is_none() -> None:
    prepared = prepare(toy.make_config(Path("minilm"), {"train_samples": 50}))
    assert not any("were made for" in warning or "made for English" in warning for warning in prepared.warnings)
    assert prepared.summary["base"]["name"] == "minilm"
