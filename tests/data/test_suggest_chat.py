"""The config that `tuner init` writes for questions and answers: it loads, a study takes the rows, lines say why."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tuner.cli.init import run
from tuner.config import IntRange, StudyConfig
from tuner.config_file import load_config
from tuner.data.suggest import suggest_config
from tuner.errors import DataError
from tuner.tasks.shoe_qa import SPEC
from tuner.tasks.shoe_qa.prepare import QaData, prepare

Rows = list[dict[str, Any]]


def pairs(count: int, question: str = "question", answer: str = "answer") -> Rows:
    return [{question: f"How does one dry boot {n}?", answer: f"Leave boot {n} in the shade."} for n in range(count)]


def talks(count: int, column: str, keys: tuple[str, str], roles: tuple[str, str]) -> Rows:
    """Conversations of two answers each."""
    said = [f"{word} {{}}." for word in ("Is it mould", "Yes, boot", "What helps", "Alcohol, twice on boot")]
    return [
        {column: [{keys[0]: roles[i % 2], keys[1]: text.format(n)} for i, text in enumerate(said)]}
        for n in range(count)
    ]


def save(path: Path, rows: Rows) -> Path:
    """In the format that the name says."""
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".json":
            json.dump(rows, file)
        elif path.suffix == ".jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            cells = [{k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in rows]
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(cells)
    return path


def written(data: Path, folder: Path, task: str | None = None) -> StudyConfig:
    """The config as a study loads it."""
    out = folder / "study.yaml"
    assert f"tuner tune shoe_qa --config {out}" in run(data, out, force=True, task=task)
    return load_config(out, extra_hyperparameters=set(SPEC.hyperparameters), extra_bands=set(SPEC.bands))


def sizes(config: StudyConfig) -> dict[str, int]:
    """Rows by split, as a study has them."""
    data: QaData = prepare(config).data
    return {split: len(rows) for split, rows in data.splits.named().items()}


FORMATS: dict[str, Rows] = {
    "question/answer": pairs(40),
    "alpaca": [{**row, "input": "Leather."} for row in pairs(40, "instruction", "output")],
    "sharegpt": talks(20, "conversations", ("from", "value"), ("human", "gpt")),
    "messages": talks(20, "messages", ("role", "content"), ("user", "assistant")),
}


@pytest.mark.parametrize("ending", ["json", "jsonl", "csv", "tsv"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_study_takes_the_rows_of_every_format(tmp_path: Path, kind: str, ending: str) -> None:
    config = written(save(tmp_path / f"my rows.{ending}", FORMATS[kind]), tmp_path)
    assert (config.task, config.base_model, config.data.columns) == ("shoe_qa", "shoe_chat", {})
    assert config.search.patience == 3
    assert len(config.start_points) == 1
    assert sum(sizes(config).values()) == 40


@pytest.mark.parametrize(
    "names", [("Question", "Answer"), ("prompt", "response"), ('a "b"\n# c: \u2028 query', "reply")]
)
def test_other_names_are_written_down(tmp_path: Path, names: tuple[str, str]) -> None:
    task = "shoe_qa" if "query" in names[0] else None  # no name at all, so it goes by what the columns hold
    config = written(save(tmp_path / "a.csv", pairs(40, *names)), tmp_path, task)
    assert config.data.columns == {"question": " ".join(names[0].split()), "answer": names[1]}
    assert sum(sizes(config).values()) == 40


def test_a_guess_from_content_is_said_to_be_one(tmp_path: Path) -> None:
    data = save(tmp_path / "a.csv", pairs(40, "frage", "antwort"))
    assert suggest_config(data, "shoe_qa").text.count("CHECK IT") == 2
    assert "CHECK IT" not in suggest_config(save(tmp_path / "b.csv", pairs(40, "prompt", "response"))).text


def test_a_folder_keeps_its_splits_and_few_of_them_are_answered(tmp_path: Path) -> None:
    rows = pairs(700)
    for split, part in (("train", rows[:100]), ("dev", rows[100:300]), ("test", rows[300:])):
        save(tmp_path / f"{split}.jsonl", part)
    config = written(tmp_path, tmp_path / "out")
    assert "_share" not in suggest_config(tmp_path).text
    assert sizes(config) == {"train": 100, "validation": 80, "test": 200}


@pytest.mark.parametrize("count", [12, 100, 1000, 7000])
def test_every_report_answers_few_rows_and_the_others_are_trained_on(tmp_path: Path, count: int) -> None:
    config = written(save(tmp_path / "a.jsonl", pairs(count)), tmp_path)
    rows = sizes(config)
    assert rows["validation"] == min(round(0.15 * count), 80)
    assert rows["test"] <= 250
    assert rows["train"] == (3000 if count > 6000 else pytest.approx(count - rows["test"] - rows["validation"], abs=21))


def test_few_rows_get_more_passes(tmp_path: Path) -> None:
    few, many = (written(save(tmp_path / "a.jsonl", pairs(n)), tmp_path).space["epochs"] for n in (40, 3000))
    assert isinstance(few, IntRange)
    assert isinstance(many, IntRange)
    assert few.high > many.high


@pytest.mark.parametrize(
    ("text", "here", "elsewhere", "said"),
    [
        ("x" * 40, 128, 128, "nothing is cut"),
        ("x" * 1200, 640, 320, "nothing is cut"),  # 300 tokens and a few
        ("霉" * 300, 640, 320, "nothing is cut"),
        ("霉" * 900, 1024, 960, "this base reads no more"),
        ("霉" * 9000, 1024, 2048, "this base reads no more"),
    ],
)
def test_the_longest_row_of_any_split_sets_the_length(
    tmp_path: Path, text: str, here: int, elsewhere: int, said: str
) -> None:
    save(tmp_path / "train.json", pairs(40))
    save(tmp_path / "test.json", [*pairs(3), {"question": "?", "answer": text}])
    found = suggest_config(tmp_path).text
    assert f"  max_length: {here}  # {said}" in found
    assert f"max_length be {elsewhere}." in found


def test_the_turns_before_an_answer_count_to_its_length(tmp_path: Path) -> None:
    long = [{"messages": [{"role": "user", "content": "x" * 1200}, {"role": "assistant", "content": "Yes."}]}] * 20
    assert "max_length: 640" in suggest_config(save(tmp_path / "a.json", long)).text


def test_what_the_base_knows_and_what_does_not_fit_it_is_said(tmp_path: Path) -> None:
    text = suggest_config(save(tmp_path / "a.json", pairs(40))).text
    assert "knows footwear and its mildew and nothing else" in text
    assert "llama32_3b" in text
    assert "qwen25_1b5" in text
    russian = [{"question": f"Как сушить ботинки {n}?", "answer": "Сушите в тени."} for n in range(40)]
    assert "No base here is made for Russian" in suggest_config(save(tmp_path / "b.json", russian)).text


def test_answers_that_may_be_classes_are_pointed_out(tmp_path: Path) -> None:
    rows = [{"instruction": f"Is boot {n} dry?", "output": ["yes", "no"][n % 2]} for n in range(40)]
    assert "2 distinct values. Are they classes?" in suggest_config(save(tmp_path / "a.json", rows)).text
    assert "Are they classes?" not in suggest_config(save(tmp_path / "b.json", pairs(40))).text


@pytest.mark.parametrize("kind", FORMATS)
def test_every_setting_has_its_reason(tmp_path: Path, kind: str) -> None:
    lines = suggest_config(save(tmp_path / "a.json", FORMATS[kind])).text.splitlines()
    headings = {"data:", "columns:", "space:", "search:", "score:", "bands:", "type: choice", "values:"}
    for before, line in zip(["", *lines], lines, strict=False):
        bare = line.strip()
        if not bare or bare in headings or bare.startswith(("#", "- {", "- [", "target_modules: [")):
            continue
        assert "  # " in line or before.strip().startswith("#"), line
    assert max(map(len, lines)) <= 140 + len(str(tmp_path))


def test_rows_that_cannot_be_read_are_named_together(tmp_path: Path) -> None:
    save(tmp_path / "train.json", [*talks(9, "messages", ("role", "content"), ("user", "robot"))])
    save(tmp_path / "test.json", [{"messages": []}])
    with pytest.raises(DataError, match=r"9 rows have a turn of an unknown role") as error:
        run(tmp_path, tmp_path / "x.yaml")
    assert len(error.value.problems) == 2
    assert not (tmp_path / "x.yaml").exists()


def test_rows_without_answers_are_no_data(tmp_path: Path) -> None:
    rows = [{"question": f"How about {n}?", "answer": ""} for n in range(9)]
    with pytest.raises(DataError, match="no row has both a question and an answer"):
        suggest_config(save(tmp_path / "a.json", rows))
