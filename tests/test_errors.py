"""Tests of tuner/errors.py: what a person reads, and what survives a trip to another process."""

from __future__ import annotations

import pickle

import pytest

from tuner import errors
from tuner.errors import ConfigError, DataError, Problem, TrialError, TunerError


def test_a_problem_reads_name_value_rule_cure() -> None:
    assert str(Problem("trials", 0, "must be at least 1", "Try 16.")) == "trials = 0: must be at least 1. Try 16."
    assert str(Problem("trials", 0, "must be at least 1")) == "trials = 0: must be at least 1"


def test_a_long_value_is_cut() -> None:
    shown = str(Problem("text", "x" * 1000, "is too long"))
    assert len(shown) < 120
    assert "..." in shown


@pytest.mark.parametrize(("kind", "subject"), [(ConfigError, "config"), (DataError, "data")])
def test_all_problems_stand_in_one_message(kind: type[ConfigError], subject: str) -> None:
    problems = [Problem("a", 1, "is wrong"), Problem("b", 2, "is wrong too")]
    error = kind(problems)
    assert str(error) == f"2 problems in the {subject}:\n  - a = 1: is wrong\n  - b = 2: is wrong too"
    assert error.problems == tuple(problems)
    assert str(kind(problems[0])).startswith(f"1 problem in the {subject}:")


def test_an_error_of_one_sentence_has_no_list() -> None:
    assert str(ConfigError("the file is gone")) == "the file is gone"
    assert ConfigError("the file is gone").problems == ()


@pytest.mark.parametrize(
    "error",
    [
        ConfigError([Problem("a", 1, "is wrong", "Mend it.")]),
        ConfigError("one sentence"),
        TrialError("nan", "the loss is not finite"),
        errors.DeviceError("cuda is not there"),
    ],
)
def test_errors_survive_pickling(error: TunerError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_exit_codes_tell_the_users_mistakes_from_failures() -> None:
    tree = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TunerError)]
    codes = {kind.__name__: kind.exit_code for kind in tree if not kind.__name__.startswith("_")}
    assert {name for name, code in codes.items() if code == 2} == {"ConfigError", "DataError"}
    assert set(codes.values()) == {1, 2}


def test_the_tree_in_the_docstring_names_every_error() -> None:
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, TunerError) and not name.startswith("_"):
            assert name in (errors.__doc__ or "")
