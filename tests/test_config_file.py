"""Tests of tuner/config_file.py, config_yaml.py, config_overrides.py: from a file and options to a config and back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.config import Choice, Constant, FloatRange, IntRange, StudyConfig
from tuner.config_file import OVERRIDES, config_to_yaml, load_config, parse_yaml
from tuner.config_yaml import to_yaml
from tuner.errors import ConfigError, Problem

TEXT = """
task: sentiment
base_model: minilm
space:
  rank: {type: int, low: 4, high: 32, step: 4}
  learning_rate: {type: float, low: 1e-4, high: 5e-3, log: true}
  epochs: {type: int, low: 1, high: 4}
  alpha: {type: choice, values: [8, 16, 32]}
  schedule: linear
start_points:
  - {rank: 8, learning_rate: 1e-3, epochs: 2, alpha: 16}
search: {trials: 4}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def problems(path: Path | None, *overrides: tuple[str, Any]) -> dict[str, Problem]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return {problem.name: problem for problem in caught.value.problems}


class TestYaml:
    def test_words_are_read_as_people_mean_them(self) -> None:
        text = "a: 1e-4\nb: no\nc: 1:30\nd: 007\ne: .inf\nf: ~\ng: '5'\nh: 2024-01-02\ni: yes\nj: -3\n1: x\nk:\nl: true"
        assert parse_yaml(text, "t") == {
            "a": 1e-4,
            "b": "no",
            "c": "1:30",
            "d": 7,
            "e": math.inf,
            "f": None,
            "g": "5",
            "h": "2024-01-02",
            "i": "yes",
            "j": -3,
            "1": "x",
            "k": None,
            "l": True,
        }

    @pytest.mark.parametrize(
        ("text", "name", "words"),
        [
            ("a: 1\nb: 2\na: 3", "a", "twice (lines 1 and 3)"),
            ("a:\n  b: 1\n  b: 2", "a.b", "twice (lines 2 and 3)"),
            ("a: !!python/object:os.system 1", "a", "YAML tag (line 1)"),
            ("a: !x {b: 1}", "a", "YAML tag"),
            ("a: [1, !!int '3']", "a[1]", "YAML tag"),
            ("a: &x 1", "a", "anchor"),
            ("a: *x", "a", "alias"),
            ("{[1]: 2}", "t", "key that is not plain text"),
            ("a: 1\n---\nb: 2", "t", "second document"),
            ("", "t", "empty"),
            ("# only a comment", "t", "empty"),
            ("- 1\n- 2", "t", "must hold keys"),
            ("word", "t", "must hold keys"),
            ("a: [1", "t", "not valid YAML"),
            ("a: b: c", "t", "not valid YAML"),
            ("a: \x00", "t", "not valid YAML"),
            ("[" * 10000, "t", "nests deeper"),
            ("a: " + "{b: " * 30 + "1" + "}" * 30, "t", "nests deeper"),
            ("a: " + "x" * 1_000_001, "t", "too large"),
        ],
        ids=lambda part: part[:25],
    )
    def test_what_is_not_allowed_is_named(self, text: str, name: str, words: str) -> None:
        with pytest.raises(ConfigError) as caught:
            parse_yaml(text, "t")
        (problem,) = caught.value.problems
        assert problem.name == name
        assert words in problem.rule
        assert problem.cure

    def test_an_alias_bomb_is_refused_before_it_grows(self) -> None:
        lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))]
        with pytest.raises(ConfigError, match="alias"):
            parse_yaml("\n".join(lines), "t")

    def test_all_mistakes_at_once(self) -> None:
        with pytest.raises(ConfigError) as caught:
            parse_yaml("a: !x 1\nb: &y 2\nb: 3", "t")
        assert len(caught.value.problems) == 3

    @settings(deadline=None, derandomize=True, max_examples=50)
    @given(
        st.dictionaries(
            st.text(min_size=1, max_size=5),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
                max_leaves=5,
            ),
            min_size=1,
        )
    )
    def test_what_is_written_is_read_back(self, data: dict[str, Any]) -> None:
        assert parse_yaml(to_yaml(data), "t") == data

    @pytest.mark.parametrize(
        "word", ["1e-4", "1.5", "no", "yes", "null", "~", "true", "0x10", "1_000", "12e34", "-", "1:2", "\u2028"]
    )
    def test_text_that_looks_like_something_else_stays_text(self, word: str) -> None:
        assert parse_yaml(to_yaml({"a": word}), "t") == {"a": word}


class TestFile:
    def test_is_read(self, file: Path) -> None:
        config = load_config(file)
        assert config.search.trials == 4
        assert config.space["schedule"] == Constant(value="linear")
        assert load_config(str(file)) == config  # type: ignore[arg-type]

    def test_may_begin_with_a_byte_order_mark(self, file: Path) -> None:
        file.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
        assert load_config(file).task == "sentiment"

    def test_round_trips(self, file: Path) -> None:
        overrides = [("name", "2024"), ("rank", "4,8"), ("schedule", "linear,cosine"), ("device", "cpu")]
        config = load_config(file, overrides)
        again = parse_yaml(config_to_yaml(config), "again")
        assert load_config(None, base=again) == config
        assert StudyConfig.model_validate(config.model_dump(mode="json")) == config
        without_asha = config.model_copy(update={"search": config.search.model_copy(update={"asha": None})})
        assert load_config(None, base=parse_yaml(config_to_yaml(without_asha), "again")).search.asha is None

    def test_lies_on_top_of_the_base(self, file: Path) -> None:
        base: dict[str, Any] = {"task": "other", "data": {"max_length": 64}, "search": {"seed": 7}}
        base["space"] = {"rank": 8, "dropout": 0.1}
        config = load_config(file, base=base)
        assert config.task == "sentiment"
        assert (config.data.max_length, config.search.seed, config.search.trials) == (64, 7, 4)
        assert config.space["dropout"] == Constant(value=0.1)
        assert config.space["rank"] == IntRange(low=4, high=32, step=4)
        assert base["space"] == {"rank": 8, "dropout": 0.1}

    def test_that_is_not_there_brings_the_nearest_one(self, file: Path) -> None:
        problem = problems(file.with_name("stdy.yaml"))["config"]
        assert problem.rule == "there is no such file"
        assert problem.cure == f"Did you mean {file}?"
        assert "study.yaml" in problems(file.with_name("zzz.yaml"))["config"].cure

    def test_cannot_be_a_folder(self, file: Path) -> None:
        problem = problems(file.parent)["config"]
        assert "folder" in problem.rule
        assert "study.yaml" in problem.cure

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"task: caf\xe9", "UTF-8"),
            (b"", "empty"),
            (b"task: [", "not valid YAML"),
            (b"a: " + b"x" * 10_000_000, "too large"),
        ],
        ids=["latin-1", "empty", "broken", "10 MB"],
    )
    def test_that_cannot_be_read_is_one_problem(self, file: Path, data: bytes, words: str) -> None:
        file.write_bytes(data)
        (problem,) = problems(file).values()
        assert words in problem.rule

    def test_mistakes_of_writing_meaning_and_options_come_together(self, file: Path) -> None:
        file.write_text(TEXT + "task: sentiment\nfoo: !x 1\ndevices: [tpu]\n")
        found = set(problems(file, ("trails", "3"), ("epochs", "0")))
        assert found == {"task", "foo", "devices", "--trails", "space.epochs"}


class TestOverrides:
    @pytest.mark.parametrize(
        ("option", "text", "path", "expected"),
        [
            ("trials", "16", "search.trials", 16),
            ("--trials", 16, "search.trials", 16),
            ("train-samples", "2000", "data.train_samples", 2000),
            ("train_samples", "2000", "data.train_samples", 2000),
            ("validation-samples", "20", "data.validation_samples", 20),
            ("test-samples", "20", "data.test_samples", 20),
            ("base-model", "distilbert-base-uncased", "base_model", "distilbert-base-uncased"),
            ("revision", "1" * 40, "revision", "1" * 40),
            ("device", "cpu", "devices", ["cpu"]),
            ("device", "auto", "devices", "auto"),
            ("devices", "cuda, cpu", "devices", ["cuda", "cpu"]),
            ("seed", "3", "search.seed", 3),
            ("results", "out/here", "results", Path("out/here")),
            ("name", "2024", "name", "2024"),
            ("train", "a.csv", "data.train", Path("a.csv")),
            ("validation", "b.csv", "data.validation", Path("b.csv")),
            ("test", "c.csv", "data.test", Path("c.csv")),
            ("data", "imdb", "data.source", "imdb"),
            ("text-column", "review", "data.columns.text", "review"),
            ("label-column", "1", "data.columns.label", "1"),
            ("precision", "fp32", "precision", "fp32"),
            ("top-k", "1", "search.top_k", 1),
            ("top-k-seeds", "5", "search.top_k_seeds", 5),
            ("concurrent", "2", "search.concurrent", 2),
            ("max-length", "64", "data.max_length", 64),
            ("time-budget", "1.5", "search.time_budget_minutes", 1.5),
            ("grace-epochs", "1", "search.asha.grace_epochs", 1.0),
            ("epochs", "1..3", "space.epochs", IntRange(low=1, high=3)),
            ("learning-rate", "1e-5..5e-3", "space.learning_rate", FloatRange(low=1e-5, high=5e-3, log=True)),
            ("rank", "8..32", "space.rank", IntRange(low=8, high=32, step=4)),
            ("rank", "4,8,16", "space.rank", Choice(values=[4, 8, 16])),
            ("rank", "8", "space.rank", Constant(value=8)),
            ("dropout", "0..1e-1", "space.dropout", FloatRange(low=0, high=0.1)),
            ("dropout", ".1...5", "space.dropout", FloatRange(low=0.1, high=0.5)),
            ("weight-decay", "0..1", "space.weight_decay", FloatRange(low=0, high=1)),
            ("alpha", "8..64", "space.alpha", FloatRange(low=8, high=64)),
            ("schedule", "cosine", "space.schedule", Constant(value="cosine")),
            ("target-modules", "query,value", "space.target_modules", Constant(value=["query", "value"])),
            ("target-modules", "q/k,v", "space.target_modules", Choice(values=[["q"], ["k", "v"]])),
            ("target-modules", ["q", "v"], "space.target_modules", Constant(value=["q", "v"])),
            ("rank", [4, 8], "space.rank", Choice(values=[4, 8])),
            ("trials", None, "search.trials", 4),
        ],
    )
    def test_each_option_goes_where_it_belongs(
        self, file: Path, option: str, text: Any, path: str, expected: Any
    ) -> None:
        value: Any = load_config(file, [(option, text)])
        for step in path.split("."):
            value = value[step] if isinstance(value, dict) else getattr(value, step)
        assert value == expected
        assert type(value) is type(expected)

    def test_every_option_of_the_table_can_be_given(self, file: Path) -> None:
        examples = {"scalar": "1", "text": "fp32", "list": "cpu", "space": "1"}
        special = {"revision": "a" * 40, "schedule": "cosine", "dropout": "0.1", "warmup-ratio": "0.1"}
        special |= {"max-length": "9", "reduction-factor": "2"}
        for option, override in OVERRIDES.items():
            config = load_config(file, [(option, special.get(option, examples[override.kind]))])
            assert config != load_config(file), option
            assert override.help.endswith(".")
            assert override.metavar == override.metavar.upper()

    @pytest.mark.parametrize(
        ("option", "text", "name", "words"),
        [
            ("trails", "3", "--trails", "not a known option"),
            ("trials", "0", "search.trials", "at least 1"),
            ("trials", "", "search.trials", "whole number"),
            ("trials", "2.5", "search.trials", "whole number"),
            ("rank", "16..4", "space.rank.high", "below low"),
            ("rank", "0", "space.rank", "at least 1"),
            ("rank", "2.5..4", "space.rank.low", "whole number"),
            ("rank", "4..", "space.rank", "no value, range or list"),
            ("rank", "..4", "space.rank", "no value, range or list"),
            ("rank", "a..b", "space.rank", "no value, range or list"),
            ("rank", "", "space.rank", "no value, range or list"),
            ("rank", "4,,8", "space.rank.values[1]", "whole number"),
            ("learning-rate", "0..1", "space.learning_rate.log", "above 0"),
            ("learning-rate", "nan", "space.learning_rate", "above 0"),
            ("learning-rate", ".inf", "space.learning_rate", "above 0"),
            ("device", "gpu", "devices", "no device"),
            ("device", "", "devices", "no device"),
            ("name", "../x", "name", "no safe name"),
            ("name", "", "name", "no safe name"),
            ("precision", "half", "precision", "one of auto"),
            ("grace-epochs", "9", "search.asha.grace_epochs", "most epochs"),
            ("temperature", "1", "--temperature", "not a known option"),
        ],
    )
    def test_a_bad_option_is_a_problem_that_names_it(
        self, file: Path, option: str, text: str, name: str, words: str
    ) -> None:
        found = problems(file, (option, text))
        assert list(found) == [name]
        assert words in found[name].rule
        assert option in str(found[name])

    def test_an_unknown_option_brings_the_nearest(self, file: Path) -> None:
        assert problems(file, ("trails", "3"))["--trails"].cure == "Did you mean --trials?"

    def test_a_tasks_own_hyperparameter_is_an_option(self, file: Path) -> None:
        config = load_config(file, [("noise-level", "1..3")], extra_hyperparameters=["noise_level"])
        assert config.space["noise_level"] == IntRange(low=1, high=3)

    def test_start_points_move_into_a_narrowed_space(self, file: Path) -> None:
        options = [("rank", "16..32"), ("learning-rate", "2e-3..5e-3"), ("alpha", "8,32"), ("epochs", "1")]
        config = load_config(file, options)
        assert config.start_points == [{"rank": 16, "learning_rate": 2e-3, "epochs": 1, "alpha": 8}]
        assert len(config.config_notes) == 4
        assert config.config_notes[0] == (
            "start_points[0].rank moves from 8 to 16, because --rank 16..32 allows 16..32 in steps of 4"
        )

    def test_start_points_that_become_one_are_kept_once(self, file: Path) -> None:
        file.write_text(TEXT.replace("search:", "  - {rank: 12, learning_rate: 1e-3, epochs: 2, alpha: 16}\nsearch:"))
        assert len(load_config(file).start_points) == 2
        assert len(load_config(file, [("rank", "16..32")]).start_points) == 1

    def test_a_start_point_outside_its_own_files_space_stays_an_error(self, file: Path) -> None:
        file.write_text(TEXT.replace("rank: 8,", "rank: 64,"))
        assert set(problems(file, ("rank", "4..16"))) == {"start_points[0].rank"}

    def test_another_base_drops_the_revision_and_is_noted(self, file: Path) -> None:
        file.write_text(TEXT + f"revision: {'ab' * 20}\n")
        same = load_config(file, [("base-model", "minilm")])
        assert (same.revision, same.config_notes) == ("ab" * 20, ())
        other = load_config(file, [("base-model", "roberta-base")])
        assert other.revision is None
        assert len(other.config_notes) == 2
        assert "written for minilm" in other.config_notes[1]
        pinned = load_config(file, [("base-model", "roberta-base"), ("revision", "cd" * 20)])
        assert pinned.revision == "cd" * 20

    def test_the_later_of_two_holds(self, file: Path) -> None:
        assert load_config(file, [("trials", "3"), ("trials", "5")]).search.trials == 5
        assert load_config(file, [("devices", "cuda,cpu"), ("device", "cpu")]).devices == ["cpu"]

    def test_options_alone_make_no_config_but_say_what_is_missing(self) -> None:
        assert set(problems(None, ("trials", "3"), ("rank", "8"))) == {
            "task",
            "base_model",
            "space.learning_rate",
            "space.epochs",
        }
