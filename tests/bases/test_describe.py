"""What a base is, read from its small files, and what is refused before anything heavy starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.engine import toy
from tuner.bases.describe import describe
from tuner.bases.load import load_classifier, load_tokenizer
from tuner.bases.minilm import SHA256
from tuner.errors import BaseModelError


def copy(base: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in base.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def vocabulary(folder: Path, words: list[str], as_list: bool = False) -> None:
    found = [[word, 0.0] for word in words] if as_list else {word: i for i, word in enumerate(words)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": found}}), encoding="utf-8")


@pytest.mark.parametrize("kind", toy.KINDS)
def test_a_folder(toy_bases: dict[str, Path], kind: str) -> None:
    facts = describe(str(toy_bases[kind]))
    assert facts.model_type == kind
    assert facts.source == str(toy_bases[kind])
    assert facts.languages == ()  # 90 words tell nothing
    assert load_classifier(facts, 3).config.num_labels == 3
    assert load_tokenizer(facts)("good w1")["input_ids"][1] == 4


def test_minilm() -> None:
    facts = describe("minilm")
    assert (facts.name, facts.model_type, facts.checksum) == ("minilm", "bert", SHA256)
    assert facts.languages == ("en",)
    assert facts.config["hidden_size"] == 384


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize(
    ("words", "languages"),
    [
        (["[PAD]", *("中国人"[i % 3] + str(i) for i in range(100))], ("zh",)),
        ([f"word{i}" for i in range(9000)], ("en",)),
        ([*(f"word{i}" for i in range(9000)), *(f"中{i}" for i in range(1000))], ("zh", "en")),
        ([f"word{i}" for i in range(300)], ()),
    ],
)
def test_languages_of_a_vocabulary(
    toy_bases: dict[str, Path], tmp_path: Path, words: list[str], languages: tuple[str, ...], as_list: bool
) -> None:
    folder = copy(toy_bases["bert"], tmp_path / "base")
    vocabulary(folder, words, as_list)
    assert describe(str(folder)).languages == languages


@pytest.mark.parametrize("content", ["", "{", "[]", "3"])
def test_a_config_that_cannot_be_read(toy_bases: dict[str, Path], tmp_path: Path, content: str) -> None:
    folder = copy(toy_bases["bert"], tmp_path / "base")
    (folder / "config.json").write_text(content)
    with pytest.raises(BaseModelError, match=r"config\.json cannot be read.*save_pretrained"):
        describe(str(folder))


def test_a_folder_without_safetensors(toy_bases: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(toy_bases["bert"], tmp_path / "base")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BaseModelError, match=r"no \.safetensors file"):
        describe(str(folder))


@pytest.mark.parametrize("name", ["/no/such/folder", "./base", "a/b/c", "with space"])
def test_neither_embedded_nor_folder_nor_hub_id(name: str) -> None:
    with pytest.raises(BaseModelError, match="neither an embedded base"):
        describe(name)


def test_a_hub_id_that_cannot_be_asked_for() -> None:
    with pytest.raises(BaseModelError, match=r"'no-such-owner/no-such-model'.*Check the spelling and the network"):
        describe("no-such-owner/no-such-model")


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0garbage", b"\x80\x04."])
def test_damaged_weights_are_an_error_for_a_person(toy_bases: dict[str, Path], tmp_path: Path, content: bytes) -> None:
    folder = copy(toy_bases["bert"], tmp_path / "base")
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(BaseModelError, match="cannot be opened"):
        load_classifier(describe(str(folder)), 2)


def test_damaged_tokenizer(toy_bases: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(toy_bases["bert"], tmp_path / "base")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BaseModelError, match="cannot be opened"):
        load_tokenizer(describe(str(folder)))


def test_loading_prints_nothing(toy_bases: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    facts = describe(str(toy_bases["bert"]))
    load_classifier(facts, 2)
    load_tokenizer(facts)
    assert capfd.readouterr() == ("", "")
