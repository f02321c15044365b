"""Tests of tuner/report/evidence.py: what a study's trials say of its space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.factory import study
from tuner.config_rules import space_problems
from tuner.config_space import IntRange, contains, parse_entry
from tuner.report.evidence import Evidence, evidence, overfitted
from tuner.store.records import COMPLETE, PRUNED, StudyRecord, TrialRecord

RANK = {"type": "int", "low": 2, "high": 32, "log": True}
RATE = {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}
EPOCHS = {"type": "int", "low": 1, "high": 4}
ALPHA = {"type": "choice", "values": [8, 16, 32]}


def tried(
    number: int, params: Mapping[str, Any], scores: Sequence[float], losses: Sequence[tuple[float, float]] = ()
) -> TrialRecord:
    """A finished trial with two reports an epoch; `losses` are those of training and validation."""
    made = TrialRecord(f"t{number:03d}", number, dict(params), seed=number, state=COMPLETE)
    for place, score in enumerate(scores):
        report = {"score": score, "samples": 500.0 * (place + 1), "epoch": 0.5 * (place + 1)}
        if losses:
            report |= {"loss": losses[place][0], "validation_loss": losses[place][1]}
        made = made.with_report(report)
    return replace(made, state=COMPLETE)


def searched(space: Mapping[str, Any], trials: Sequence[TrialRecord], **changes: Any) -> StudyRecord:
    """A study of these trials without a winner yet."""
    config = {**study().config, "space": dict(space)}
    return replace(study(trials=0, winner=None, config=config), trials=tuple(trials), **changes)


def of(name: str, entry: Mapping[str, Any], values: Sequence[Any]) -> Evidence:
    """What trials with these values say, the first the best."""
    trials = [tried(place, {name: value}, [0.9 - 0.01 * place]) for place, value in enumerate(values)]
    return evidence(searched({name: entry}, trials))[name]


def test_few_trials_say_nothing() -> None:
    found = evidence(searched({"rank": RANK, "epochs": 2, "alpha": 16}, [tried(0, {"rank": 2}, [0.5])]))
    assert list(found) == ["rank", "epochs"], "what is constant is not advised on, but for the epochs"
    assert found["rank"] == Evidence("stay", "Too few to tell: 1 trial has a score, and 8 are needed.")
    assert "0 trials have a score" in of("rank", RANK, []).reason


@pytest.mark.parametrize(
    ("name", "entry", "best", "rest", "words", "moved"),
    [
        ("rank", RANK, [32, 30, 31], [2, 5, 9, 14, 3, 4, 8], "widen up", {"high": 128}),
        ("rank", RANK, [2, 2, 2], [5, 9, 14, 30, 32, 7, 3], "widen down", {"low": 1}),
        ("learning_rate", RATE, [0.0095, 0.01, 0.0088], [0.001] * 7, "widen up", {"high": 0.1}),
        ("learning_rate", RATE, [1.1e-4, 1e-4, 1.2e-4], [0.001] * 7, "widen down", {"low": 1e-5}),
        ("dropout", {"type": "float", "low": 0.0, "high": 0.8}, [0.8] * 3, [0.1] * 7, "widen up", {"high": 0.9}),
        ("own", {"type": "int", "low": 0, "high": 30, "step": 10}, [30] * 3, [0, 10, 20] * 2, "widen up", {"high": 50}),
    ],
)
def test_a_range_is_widened_beyond_the_edge_where_the_best_lie(
    name: str, entry: dict[str, Any], best: list[float], rest: list[float], words: str, moved: dict[str, float]
) -> None:
    found = of(name, entry, [*best, *rest])
    assert found.words == words
    assert found.entry == {**entry, **{side: pytest.approx(value) for side, value in moved.items()}}
    assert "3 of the best 3 lie at the" in found.reason


@pytest.mark.parametrize(
    ("name", "entry", "value"),
    [
        ("rank", {"type": "int", "low": 1, "high": 32, "log": True}, 1),
        ("dropout", {"type": "float", "low": 0.0, "high": 0.5}, 0.0),
        ("epochs", {"type": "int", "low": 1, "high": 4}, 1),
        ("own", {"type": "float", "low": 0.5, "high": 100.0}, 0.5),
    ],
)
def test_no_range_is_widened_beyond_what_can_be(name: str, entry: dict[str, Any], value: float) -> None:
    found = of(name, entry, [value, value, value, *[entry["high"] / 2] * 7])
    assert (found.words, found.entry) == ("stay", None)
    assert "nothing to try beyond" in found.reason


def test_two_of_two_values_are_no_edge() -> None:
    found = of("rank", {"type": "int", "low": 1, "high": 2}, [2, 2, 1, 1, 1, 1, 2, 2, 1, 1])
    assert found.words == "stay", "two of three at one of two values is what chance brings"


def test_a_range_is_narrowed_to_where_the_best_lie() -> None:
    found = of("learning_rate", RATE, [1e-3, 1.2e-3, 0.9e-3, 1e-4, 1e-2, 3e-4, 5e-3, 2e-4, 8e-3])
    assert found.words == "narrow"
    assert found.entry is not None
    assert 5e-4 < found.entry["low"] < 0.9e-3
    assert 1.2e-3 < found.entry["high"] < 2e-3
    assert "The best 3 of 9 trials have 0.0009 to 0.0012 of 0.0001..0.01" in found.reason
    one = of("rank", {"type": "int", "low": 1, "high": 5}, [3, 3, 3, 1, 2, 4, 5, 1, 2])
    assert (one.words, one.entry) == ("fix at 3", {"type": "constant", "value": 3})
    assert one.reason.startswith("The best 3 of 9 trials have 3 of 1..5.")
    wide = of("learning_rate", RATE, [2e-4, 5e-3, 1e-3, 1e-4, 1e-2, 3e-4, 5e-3, 2e-4])
    assert (wide.words, wide.entry) == ("stay", None)


def test_a_narrowed_range_holds_the_winner() -> None:
    values = [1e-3, 1.2e-3, 0.9e-3, 1e-4, 1e-2, 3e-4, 5e-3, 2e-4, 8e-3]
    trials = [tried(n, {"learning_rate": value}, [0.9 - 0.01 * n]) for n, value in enumerate(values)]
    winner = study().winner
    assert winner is not None
    record = searched({"learning_rate": RATE}, trials, winner=replace(winner, params={"learning_rate": 4e-4}))
    found = evidence(record)["learning_rate"]
    assert found.entry is not None
    assert contains(parse_entry(found.entry), 4e-4)


def test_a_choice_loses_what_was_tried_and_never_came_among_the_best() -> None:
    values = [8, 16, 8, *[32] * 5, 16, 8]
    found = of("alpha", ALPHA, values)
    assert (found.words, found.entry) == ("narrow", {"type": "choice", "values": [8, 16]})
    assert found.reason.startswith("None of the best 3 of 10 trials has 32 (tried 5 times).")
    alone = of("alpha", {"type": "choice", "values": [8, 32]}, [8, 8, 8, *[32] * 6])
    assert alone.entry == {"type": "constant", "value": 8}
    seldom = of("alpha", ALPHA, [8, 16, 8, 32, 32, 16, 8, 16])
    assert (seldom.words, seldom.entry) == ("stay", None)
    assert seldom.reason.startswith("Among the best 3 of 8 trials: 8 (2), 16 (1).")
    modules = [["query"], ["query", "value"]]
    listed = of("target_modules", {"type": "choice", "values": modules}, [modules[1]] * 3 + [modules[0]] * 6)
    assert listed.entry == {"type": "constant", "value": modules[1]}
    assert "query (tried 6 times)" in listed.reason


def test_what_does_not_matter_is_fixed_where_enough_trials_say_so() -> None:
    found = evidence(searched({"learning_rate": RATE, "rank": RANK}, noise(40)))
    assert found["rank"].words == "fix at 8"
    assert found["rank"].entry == {"type": "constant", "value": 8}
    assert "One value is enough. It explains" in found["rank"].reason
    assert "of the score's variance" in found["learning_rate"].reason
    few = evidence(searched({"learning_rate": RATE, "rank": RANK}, noise(12)))
    assert few["rank"].entry is None or few["rank"].words != "fix at 8", "of few trials importance is a rough guide"


def noise(count: int) -> list[TrialRecord]:
    """Trials whose score hangs on the learning rate alone; the best has rank 8."""
    made = []
    for number in range(count):
        place = (number * 7 % count) / count
        rank = 8 if number == 0 else 2 + number * 11 % 31
        score = 0.9 - place
        made.append(tried(number, {"learning_rate": 1e-4 * 100**place, "rank": rank}, [score]))
    return made


def test_what_is_conditional_and_was_seldom_tried_stays() -> None:
    # where the condition does not hold, a trial's params have the default
    entry = {"type": "float", "low": 0.0, "high": 0.5, "when": {"schedule": ["linear"]}}
    space = {"schedule": {"type": "choice", "values": ["constant", "linear"]}, "warmup_ratio": entry}
    kinds: list[dict[str, Any]] = [{"schedule": "linear", "warmup_ratio": 0.1}]
    kinds += [{"schedule": "constant", "warmup_ratio": 0.0}] * 7
    trials = [tried(n, params, [0.9 - n / 100]) for n, params in enumerate(kinds)]
    found = evidence(searched(space, trials))["warmup_ratio"]
    assert found == Evidence("stay", "Too few to tell: 1 of the best 3 of 8 trials has it.")


@pytest.mark.parametrize(
    ("scores", "losses", "over"),
    [
        ([0.6, 0.7, 0.65], (), True),
        ([0.6, 0.7, 0.695], (), False),
        ([0.6, 0.7], (), False),
        ([0.7], (), False),
        ([0.6, 0.7, 0.71], [(0.6, 0.6), (0.4, 0.5), (0.2, 0.55)], True),
        ([0.6, 0.7, 0.71], [(0.6, 0.6), (0.4, 0.5), (0.5, 0.55)], False),
        ([0.6, 0.7, 0.71], [(0.6, 0.6), (0.4, 0.5), (0.2, 0.505)], False),
        ([0.6, 0.7, 0.71], [(0.6, 0.6), (0.4, float("nan")), (0.2, 0.9)], False),
    ],
)
def test_who_overfitted(scores: list[float], losses: list[tuple[float, float]], over: bool) -> None:
    assert overfitted(tried(0, {}, scores, losses)) == over


def test_fewer_epochs_where_the_best_overfitted() -> None:
    up_and_down = [0.6, 0.8, 0.75, 0.7, 0.65, 0.6]
    trials = [tried(n, {"epochs": 3}, [value - n / 100 for value in up_and_down]) for n in range(9)]
    found = evidence(searched({"epochs": EPOCHS}, trials))["epochs"]
    assert found.words == "fewer"
    assert found.entry == {"type": "constant", "value": 1}
    assert "3 of the best 3 with several reports overfitted (trials 0, 1, 2)" in found.reason
    later = [tried(n, {"epochs": 4}, [0.5, 0.6, 0.7, 0.8 - n / 100, 0.7, 0.6, 0.5, 0.4]) for n in range(9)]
    assert evidence(searched({"epochs": EPOCHS}, later))["epochs"].entry == {"type": "int", "low": 1, "high": 2}
    fixed = evidence(searched({"epochs": 4}, later))["epochs"]
    assert (fixed.words, fixed.entry) == ("fewer", None), "a constant is the user's decision"
    assert fixed.reason.endswith("The space holds it constant, so lower it there.")
    choice = evidence(searched({"epochs": {"type": "choice", "values": [1, 3, 4]}}, later))["epochs"]
    assert choice.entry == {"type": "choice", "values": [1, 3]}
    short = evidence(searched({"epochs": {"type": "int", "low": 1, "high": 2}}, later))["epochs"]
    assert (short.words, short.entry) == ("stay", None)
    assert short.reason.endswith("none was at its best after epoch 2. Fewer epochs would not reach that.")


def test_more_epochs_where_the_best_still_rise() -> None:
    rising = [tried(n, {"epochs": 4}, [0.1 * k - n / 100 for k in range(1, 9)]) for n in range(9)]
    found = evidence(searched({"epochs": EPOCHS}, rising))["epochs"]
    assert found.words == "more"
    assert found.entry == {"type": "int", "low": 1, "high": 6}
    assert "3 of the best 3 trials still rose at their end" in found.reason
    level = [tried(n, {"epochs": 4}, [0.6, 0.605, *[0.6] * 6]) for n in range(9)]
    flat = evidence(searched({"epochs": EPOCHS}, level))["epochs"]
    assert (flat.words, flat.entry) == ("stay", None)
    assert "0 of the best 3 trials still rose" in flat.reason


def test_many_trials_are_named_in_short() -> None:
    later = [tried(n, {"epochs": 4}, [0.5, 0.8 - n / 1000, 0.7, 0.6]) for n in range(60)]
    found = evidence(searched({"epochs": EPOCHS}, later))["epochs"]
    assert "15 of the best 15 with several reports overfitted (trials 0, 1, 2, 3, 4, 5 and 9 more)" in found.reason


def test_an_entry_that_cannot_be_read_stays() -> None:
    trials = [tried(n, {"rank": 8}, [0.5]) for n in range(8)]
    found = evidence(searched({"rank": {"type": "int", "low": "two"}}, trials))
    assert found["rank"] == Evidence("stay", "Its entry in the space cannot be read.")


ENTRIES = st.one_of(
    st.builds(
        lambda low, more, log: {"type": "int", "low": low, "high": low + more, "log": log},
        st.integers(1, 64), st.integers(1, 64), st.booleans(),
    ),
    st.builds(
        lambda low, steps, step: {"type": "int", "low": low, "high": low + steps * step, "step": step},
        st.integers(1, 9), st.integers(1, 9), st.integers(1, 5),
    ),
    st.builds(
        lambda values: {"type": "choice", "values": values},
        st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True),
    ),
)  # fmt: skip


def drawn(entry: Mapping[str, Any], place: float) -> int:
    """A value of an entry at a place from 0 to 1."""
    if entry["type"] == "choice":
        found: int = entry["values"][min(int(place * len(entry["values"])), len(entry["values"]) - 1)]
        return found
    step = entry.get("step", 1)
    steps = (entry["high"] - entry["low"]) // step
    return int(entry["low"] + round(place * steps) * step)


@settings(max_examples=60, deadline=None)
@given(st.data(), ENTRIES, st.sampled_from(["rank", "epochs", "batch_size", "own"]))
def test_whatever_the_trials_did_the_next_entry_can_be_and_holds_the_best(
    data: st.DataObject, entry: dict[str, Any], name: str
) -> None:
    places = data.draw(st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 0.9)), min_size=8, max_size=20))
    trials = [tried(n, {name: drawn(entry, place)}, [score]) for n, (place, score) in enumerate(places)]
    record = searched({name: entry}, trials)
    for said in evidence(record).values():
        assert said.reason.endswith(".")
        if said.entry is None:
            continue
        made = parse_entry(said.entry)
        assert list(space_problems({name: made}, [name])) == []
        best = max(record.trials, key=lambda trial: (trial.score or 0.0, -trial.number))
        assert contains(made, best.params[name])
        if isinstance(made, IntRange) and said.words.startswith("widen"):
            assert made.low <= entry["low"]
            assert made.high >= entry["high"]


def test_stopped_trials_count_among_the_tried() -> None:
    trials = [tried(n, {"alpha": 8}, [0.9]) for n in range(3)]
    pruned = [replace(tried(n, {"alpha": 32}, [0.5]), state=PRUNED) for n in range(3, 9)]
    found = evidence(searched({"alpha": {"type": "choice", "values": [8, 32]}}, [*trials, *pruned]))["alpha"]
    assert found.entry == {"type": "constant", "value": 8}
