"""What a client reads names no folder of the server."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.pathless import pathless, pathless_error, pathless_value
from tuner.errors import ConfigError, DataError, Problem, StoreError

PART = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,8}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/srv/results/first/best is not a saved adapter: no.", "best is not a saved adapter: no."),
        ("base_model = '/srv/bases/bert': /srv/bases/bert/config.json cannot be read (x).",
         "base_model = 'bert': config.json cannot be read (x)."),
        ("[Errno 2] No such file or directory: '/srv/a b/c'", "[Errno 2] No such file or directory: 'c'"),
        ("base = '/srv/a b': /srv/a b/config.json is torn, /srv/a b too",
         "base = 'a b': config.json is torn, a b too"),
        ("it lies in /srv/a.", "it lies in a."),
        ("(/srv/a/), then /b", "(a), then b"),
        ("see https://example.org/a/b and 3/4", "see https://example.org/a/b and 3/4"),
        ("metrics/score and /", "metrics/score and "),
    ],
)  # fmt: skip
def test_a_sentence_keeps_names(text: str, said: str) -> None:
    assert pathless(text) == said


@given(st.lists(PART, min_size=2, max_size=5), st.sampled_from(["'{}'", "{}", "({})", "in {}: no", "x={}, y"]))
def test_of_a_path_the_last_part_stays(parts: list[str], sentence: str) -> None:
    path = "/" + "/".join(parts)
    assert pathless(sentence.format(path)) == sentence.format(parts[-1])


def test_a_value_that_a_problem_would_cut_short() -> None:
    path = Path("/srv") / ("some folder with spaces " * 5) / "best"
    error = DataError([Problem("adapter", str(path), "no folder"), Problem("files", 3, "too many")])
    said = pathless_error(error, [])
    assert said == str(DataError([Problem("adapter", "best", "no folder"), Problem("files", 3, "too many")]))
    assert "2 problems in the data" in said
    assert pathless_error(ConfigError("in /a/b. No."), [Path("/")]) == "in b. No."
    assert pathless_error(StoreError("/my disk/x y/z is damaged"), [Path("/my disk/x y")]) == "z is damaged"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_plain_data() -> None:
    assert pathless_value({"a": ["/x/y", 1.5, None, "x/y"], "b": {"c": "/z/"}}) == {
        "a": ["y", 1.5, None, "x/y"],
        "b": {"c": "z"},
    }
