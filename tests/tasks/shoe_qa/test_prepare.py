"""Everything about base, template, space and rows that is wrong is said before a model loads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.shoe_qa import toy
from tuner.bases import minilm
from tuner.bases.chat import ChatFormat
from tuner.bases.describe import describe
from tuner.bases.shoe_chat.corpus import held_out
from tuner.data.chat import ChatSplits, Turn
from tuner.errors import BaseModelError, ConfigError, DataError
from tuner.tasks.shoe_qa import prepare as module
from tuner.tasks.shoe_qa.prepare import prepare, system_of, tokenised

SPACE: dict[str, Any] = {"rank": 4, "learning_rate": 1e-3, "epochs": 2}
Changed = Callable[..., Path]


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    return toy.write_data(tmp_path / "data", toy.make_splits())


@pytest.fixture
def changed(base: Path, tmp_path: Path) -> Changed:
    """Copies of the toy base with other lines in a JSON file; None takes a line out."""

    def make(file: str = "config.json", **lines: Any) -> Path:
        folder = tmp_path / "changed"
        shutil.copytree(base, folder, dirs_exist_ok=True)
        content = {**json.loads((folder / file).read_text(encoding="utf-8")), **lines}
        kept = {name: value for name, value in content.items() if value is not None}
        (folder / file).write_text(json.dumps(kept), encoding="utf-8")
        return folder

    return make


def test_what_is_right(base: Path, data: dict[str, Any]) -> None:
    prepared = prepare(toy.make_config(base, data))
    assert [len(rows) for rows in prepared.data.splits.named().values()] == [24, 10, 8]
    summary = prepared.summary
    assert summary["base"] == {"name": str(base), "architecture": "llama", "checksum": ""}
    assert summary["truncated"] == {"train": 0, "validation": 0, "test": 0}
    assert summary["splits"]["train"]["total_samples"] == 24
    assert summary["source"] == data["source"]
    assert set(summary["fingerprints"]) == {"train", "validation", "test"}
    assert json.loads(json.dumps(summary)) == summary, "plain JSON"
    assert prepared.warnings == ()
    assert prepared.data.general == tuple(line["text"] for line in held_out())


def test_the_embedded_rows_on_the_embedded_base() -> None:
    prepared = prepare(toy.make_config(Path("shoe_chat"), {"max_length": 192}))
    assert prepared.warnings == ()
    assert prepared.summary["source"] == "embedded"
    assert sum(prepared.summary["truncated"].values()) == 0


def test_english_rows_are_compared_by_the_encoder_where_it_is_installed(
    base: Path, data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(toy.make_config(base, data))
    assert prepared.data.encoder
    assert "MiniLM" in prepared.summary["notes"][-1]
    splits = toy.make_splits()
    chinese = ChatSplits(
        splits.train, *(tuple(row for row in rows if row.language == "zh") for rows in (splits.validation, splits.test))
    )
    assert not prepare(toy.make_config(base, toy.write_data(tmp_path / "zh", chinese))).data.encoder
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package")
    prepared = prepare(toy.make_config(base, data))
    assert not prepared.data.encoder
    assert prepared.summary["notes"][-1] == "Meaning is compared by character n-grams for the rest."


@pytest.mark.parametrize("rank", [33, {"type": "int", "low": 1, "high": 33}, {"type": "choice", "values": [2, 33]}])
def test_a_rank_above_the_width(base: Path, data: dict[str, Any], rank: Any) -> None:
    with pytest.raises(ConfigError, match=r"space\.rank.*= 33.*width, 32"):
        prepare(toy.make_config(base, data, space={**SPACE, "rank": rank}))
    prepare(toy.make_config(base, data, space={**SPACE, "rank": 32}))


def test_unknown_target_modules_name_those_there_are(base: Path, data: dict[str, Any]) -> None:
    values = [["q_proj"], ["c_attn"], ["query", "c_attn"]]
    points = [{**SPACE, "target_modules": ["query", "c_attn"]}]
    space = {**SPACE, "target_modules": {"type": "choice", "values": values}}
    with pytest.raises(ConfigError) as caught:
        prepare(toy.make_config(base, data, space=space, start_points=points))
    assert [problem.value for problem in caught.value.problems] == ["c_attn", "query"]
    offered = caught.value.problems[0].cure.removeprefix("It has: ").removesuffix(".").split(", ")
    assert offered == toy.EVERYWHERE
    prepare(toy.make_config(base, data, space={**SPACE, "target_modules": offered}))


def test_a_length_above_what_the_base_reads(base: Path, data: dict[str, Any]) -> None:
    prepare(toy.make_config(base, {**data, "max_length": 1024}))
    with pytest.raises(ConfigError, match=r"data\.max_length = 1025.*at most 1024 tokens.*Use 1024 or less"):
        prepare(toy.make_config(base, {**data, "max_length": 1025}))


def test_a_length_above_what_the_attention_reaches(changed: Changed, data: dict[str, Any]) -> None:
    config = toy.make_config(changed(model_type="mistral", sliding_window=64), data)
    with pytest.raises(ConfigError, match=r"data\.max_length = 96.*at most 64 tokens"):
        prepare(config)
    prepare(toy.make_config(changed(model_type="qwen2", sliding_window=64, use_sliding_window=False), data))
    prepare(toy.make_config(changed(model_type="mistral", sliding_window=None), data))


def test_positions_that_the_longest_text_would_stretch(changed: Changed, data: dict[str, Any]) -> None:
    rope = {"rope_type": "dynamic", "factor": 4.0, "original_max_position_embeddings": 64}
    with pytest.raises(ConfigError, match=r"data\.max_length = 96.*at most 64 tokens"):
        prepare(toy.make_config(changed(rope_scaling=rope), data))
    prepare(toy.make_config(changed(rope_scaling={**rope, "rope_type": "llama3"}), data))


def test_all_mistakes_at_once(base: Path, data: dict[str, Any]) -> None:
    space = {**SPACE, "rank": 99, "target_modules": ["nonsense"]}
    with pytest.raises(ConfigError) as caught:
        prepare(toy.make_config(base, {**data, "max_length": 5000}, space=space))
    names = [problem.name for problem in caught.value.problems]
    assert names == ["space.rank", "space.target_modules", "data.max_length"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({"model_type": "bert"}, r"'bert', which this task cannot pack\. Use one of: gemma"),
        ({"vocab_size": 20}, "do not belong together"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"quantised already.*memory\.base_4bit"),
    ],
)
def test_bases_that_cannot_be_used(changed: Changed, data: dict[str, Any], lines: dict[str, Any], message: str) -> None:
    with pytest.raises(BaseModelError, match=message):
        prepare(toy.make_config(changed(**lines), data))


def test_a_base_that_is_not_there(data: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="neither an embedded base"):
        prepare(toy.make_config(tmp_path / "nowhere", data))


def test_a_base_without_a_chat_template_or_tokenizer(changed: Changed, data: dict[str, Any]) -> None:
    folder = changed("tokenizer_config.json", chat_template=None)
    with pytest.raises(BaseModelError, match=r"no chat template.*Name an instruct model"):
        prepare(toy.make_config(folder, data))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BaseModelError, match=r"no tokenizer\.json"):
        prepare(toy.make_config(folder, data))


def test_a_hub_that_has_no_such_base(data: dict[str, Any]) -> None:
    with pytest.raises(BaseModelError, match=r"the hub cannot be asked for it"):
        prepare(toy.make_config(Path("nobody/has-such-a-model"), data))


def test_a_hub_that_has_no_such_data(base: Path) -> None:
    with pytest.raises(DataError, match="cannot be loaded from the hub"):
        prepare(toy.make_config(base, {"source": "nobody/has-such-rows"}))


def test_empty_answers_are_left_out_unless_they_are_all(base: Path, tmp_path: Path) -> None:
    splits = toy.make_splits()
    empty = toy.make_row("空的？", " ")
    data = toy.write_data(tmp_path / "one", ChatSplits((empty, *splits.train), splits.validation, splits.test))
    prepared = prepare(toy.make_config(base, data))
    assert len(prepared.data.splits.train) == 24
    assert any("have no answer and are left out" in warning for warning in prepared.warnings)
    bare = tuple(toy.make_row(row.question, "") for row in splits.test)
    data = toy.write_data(tmp_path / "all", ChatSplits(splits.train, splits.validation, bare))
    with pytest.raises(DataError, match=r"data\.test answers.*all 8 rows have no answer"):
        prepare(toy.make_config(base, data))


def test_rows_with_nothing_left_to_learn_are_left_out_and_counted(base: Path, tmp_path: Path) -> None:
    splits = toy.make_splits()
    question, answer = toy.make_row("長" * 200 + "？", "好。"), toy.make_row("短？", "乾" * 300)
    data = toy.write_data(
        tmp_path / "long", ChatSplits((question, answer, *splits.train), splits.validation, splits.test)
    )
    prepared = prepare(toy.make_config(base, data))
    assert prepared.data.splits.train[0].question == "短？"
    assert len(prepared.data.splits.train) == 25
    assert prepared.summary["truncated"] == {"train": 2, "validation": 0, "test": 0}
    assert prepared.summary["unsupervised"] == {"train": 1, "validation": 0, "test": 0}
    assert prepared.summary["splits"]["train"]["total_samples"] == 25
    assert any("longer than 96 tokens are cut short: 2 of train" in warning for warning in prepared.warnings)
    assert any("no answer is left" in warning for warning in prepared.warnings)


def test_all_rows_with_nothing_left_to_learn(base: Path, data: dict[str, Any]) -> None:
    with pytest.raises(DataError) as caught:
        prepare(toy.make_config(base, {**data, "max_length": 8}))
    assert [problem.name for problem in caught.value.problems] == [
        "data.train rows", "data.validation rows", "data.test rows",
    ]  # fmt: skip
    assert "Raise data.max_length" in str(caught.value)


def test_oddities_of_own_rows_are_warnings(base: Path, tmp_path: Path) -> None:
    splits = toy.make_splits()
    odd = (
        toy.make_row("How do I dry the shoes?", "放在通風處晾乾。", category="storage_care"),
        toy.make_row("皮鞋發霉了？", "用酒精擦。", category="mold_magic"),
        toy.make_row("鞋墊發霉了？", "換一雙新的鞋墊。", ("酒精",)),
    )
    data = toy.write_data(tmp_path / "odd", ChatSplits((*odd, *splits.train), splits.validation, splits.test))
    prepared = prepare(toy.make_config(base, data))
    assert len(prepared.data.splits.train) == 27, "they stay"
    for part in ("in another script than the question", "'mold_magic'", "do not stand in their own answer"):
        assert any(part in warning for warning in prepared.warnings), part


def test_files_in_other_formats(base: Path, tmp_path: Path) -> None:
    rows = toy.make_splits().train
    mixed = [
        {"question": row.question, "answer": row.answer}
        if number % 2
        else {"instruction": row.question, "input": "", "output": row.answer, "system": "請簡短。"}
        for number, row in enumerate(rows)
    ]
    talks = [
        {
            "conversations": [
                {"from": "system", "value": "Be brief."},
                {"from": "human", "value": row.question},
                {"from": "gpt", "value": row.answer},
                {"from": "human", "value": f"{row.question} 還有呢？"},
                {"from": "gpt", "value": f"{row.answer} 就這樣。"},
            ]
        }
        for row in rows
    ]
    for name, lines, count in (("mixed", mixed, 24), ("talks", talks, 48)):
        data = {"train": str(toy.write_lines(tmp_path / f"{name}.jsonl", lines)), "max_length": 300}
        splits = prepare(toy.make_config(base, data)).data.splits
        assert sum(map(len, splits.named().values())) == count
        assert len({row.question for found in splits.named().values() for row in found}) == count
        systems = {system_of((row,)) for found in splits.named().values() for row in found}
        assert systems == ({"", "請簡短。"} if name == "mixed" else {"Be brief."})


def test_files_that_are_none_of_them(base: Path, tmp_path: Path) -> None:
    train = toy.write_lines(tmp_path / "odd.jsonl", [{"ask": "why?", "say": "so"}] * 20)
    with pytest.raises(DataError, match="neither question and answer"):
        prepare(toy.make_config(base, {"train": str(train)}))


def test_a_row_becomes_its_prompt_and_the_answer_with_its_end(base: Path) -> None:
    chat = ChatFormat.open(describe(str(base)))
    row = toy.make_row("鞋底？", "要通風。", system="簡短")
    prompt, answer = tokenised(chat, row, 100)
    turns = [{"role": "system", "content": "簡短"}, {"role": "user", "content": "鞋底？"}]
    assert prompt == chat.prompt(turns)
    assert chat.text(answer) == "要通風。"
    assert answer[-1] in chat.stop
    for length in range(1, 20):
        first, rest = tokenised(chat, row, length)
        assert [*first, *rest] == [*prompt, *answer][:length]
        assert len(first) == min(length, len(prompt))


def test_the_system_prompt_that_all_rows_share() -> None:
    same = [toy.make_row("一？", "好。", system="簡短"), toy.make_row("二？", "好。", system="簡短")]
    assert system_of(same) == "簡短"
    assert system_of([*same, toy.make_row("三？", "好。")]) == ""
    assert system_of([*same, toy.make_row("三？", "好。", system="詳細")]) == ""
    assert system_of([]) == ""
    assert Turn("system", "簡短") == same[0].turns[0]


def test_targets_of_a_trial() -> None:
    layout = module.decoder_layout("llama")
    assert module.targets_of({}, layout) == module.targets_of({"target_modules": None}, layout) == ["q_proj", "v_proj"]
    assert module.targets_of({"target_modules": "o_proj"}, layout) == ["o_proj"]
    assert module.targets_of({"target_modules": ("o_proj", "up_proj")}, layout) == ["o_proj", "up_proj"]
