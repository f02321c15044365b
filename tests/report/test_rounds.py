"""Tests of tuner/report/rounds.py: studies as rounds, what changed between them, whether they were measured alike."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.factory import CONFIG, study, trial
from tuner.errors import StudyError
from tuner.report.rounds import _change, best_by_base, rounds_of, series_of
from tuner.store.files import finite, write_study
from tuner.store.outputs import Output, Outputs, write_outputs
from tuner.store.records import FAILED, RUNNING, StudyRecord

Study = tuple[Path, StudyRecord]


def texts(sure: float, count: int = 4, split: str = "test") -> Outputs:
    """What a winner answers to so many texts, all with that probability of the right label."""
    metrics = {"label_probability": sure, "accuracy": 1.0, "preservation": 0.5}
    items = tuple(Output(f"text_{n}", "a text", "positive", "positive", "", metrics) for n in range(count))
    return Outputs("t000", split, items)


def saved(results: Path, record: StudyRecord, outputs: Outputs | None = None) -> Study:
    """A study's folder with its record, as `rounds_of` takes it."""
    folder = results / record.name
    write_study(folder, record)
    if outputs is not None:
        write_outputs(folder, outputs)
    return folder, record


def scored(name: str, created: float, score: float, **changes: Any) -> StudyRecord:
    """A finished study with that overall score."""
    record = study(name=name, created=created, **changes)
    assert record.winner is not None
    return replace(record, winner=replace(record.winner, score=score))


def test_rounds_are_numbered_by_age_and_hold_what_changed(tmp_path: Path) -> None:
    second = saved(tmp_path, scored("b", 2000.0, 0.66), texts(0.8))
    first = saved(tmp_path, scored("a", 1000.0, 0.6), texts(0.4))
    one, two = rounds_of([second, first])
    assert (one.iteration, one.study, one.created) == (1, "a", 1000.0)
    assert one.improvement == {"overall_score": None, "total_loss": None}
    assert (one.comparable, one.reason) == (True, "")
    assert (two.iteration, two.study, two.overall_score) == (2, "b", 0.66)
    assert two.averages == {"certainty": pytest.approx(0.8), "accuracy": 1.0, "preservation": 0.5}
    assert one.total_loss == pytest.approx(0.6 * 0.6 + 0.2 * 0.5)
    assert two.improvement["overall_score"] == pytest.approx(10.0)
    assert two.improvement["total_loss"] == pytest.approx((0.22 - 0.46) / 0.46 * 100)
    assert two.source == "4 texts of the winner on test rows"
    assert (two.comparable, two.reason) == (True, "")


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(allow_nan=True, allow_infinity=True))
def test_a_change_is_the_formula_or_nothing(current: float, previous: float) -> None:
    found = _change(current, previous)
    if not (math.isfinite(current) and math.isfinite(previous)) or previous == 0:
        assert found is None
    else:
        assert found == (current - previous) / previous * 100


def test_a_study_that_measured_nothing_stands_among_the_others(tmp_path: Path) -> None:
    empty = study(trials=0, name="b", created=2000.0, winner=None, state=FAILED)
    running = study(name="c", created=3000.0, winner=None, reruns=(), state=RUNNING, finished=None)
    found = rounds_of([saved(tmp_path, each) for each in (study(name="a"), empty, running)])
    assert [each.study for each in found] == ["a", "b", "c"]
    assert math.isnan(found[1].overall_score)
    assert math.isnan(found[1].total_loss)
    assert all(math.isnan(value) for value in found[1].averages.values())
    assert found[1].source == "nothing yet"
    assert found[2].overall_score == max(t.score for t in running.trials if t.score is not None)
    assert all(each.improvement["overall_score"] is None for each in found)
    json.dumps(finite([asdict(each) for each in found]), allow_nan=False)


def test_outputs_and_configs_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    folder, record = saved(tmp_path, study(name="a"), texts(0.5))
    (folder / "outputs" / "outputs.json").write_text("{")
    (found,) = rounds_of([(folder, record)])
    assert "outputs.json cannot be read" in found.reason
    assert found.source == "the winner on validation rows"
    assert found.comparable
    damaged = study(name="b", created=2000.0, config={**CONFIG, "benchmark": {"preset": "nice"}})
    _, found = rounds_of([(folder, record), saved(tmp_path, damaged)])
    assert not found.comparable
    assert "benchmark.preset" in found.reason
    assert math.isnan(found.overall_score)


def other_data(**splits: str | None) -> dict[str, Any]:
    """The factory's data with other fingerprints."""
    data = study().data
    return {**data, "fingerprints": {**data["fingerprints"], **splits}}


SCORE = {"efficiency_weight": 0.1, "quality_weight": 0.5, "preservation_weight": 0.4}
BANDS = {"quality": {"excellent": 0.8, "good": 0.7, "average": 0.6, "higher_is_better": True}}
GRADES = {"excellent": 1.0, "good": 0.9, "average": 0.6, "poor": 0.4}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": other_data(validation="00")}, "other validation rows"),
        ({"data": other_data(train="00", test="00")}, "other train and test rows"),
        ({"data": {}}, "its train, validation and test rows are not known to be the same"),
        ({"base_model": "roberta-base"}, "base model roberta-base in place of minilm"),
        ({"config": {**CONFIG, "score": SCORE}}, "other weights of the overall score"),
        ({"config": {**CONFIG, "score": {"bands": BANDS}}}, "other bands"),
        ({"config": {**CONFIG, "score": {"grades": GRADES}}}, "other scores of the grades"),
        ({"config": {**CONFIG, "benchmark": {"preset": "balanced"}}}, "other weights of the total loss"),
        ({"data": {**study().data, "quality": "macro_f1"}}, "another metric of quality"),
    ],
)
def test_what_was_not_measured_alike_is_named(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    before, after = study(name="a"), study(name="b", created=2000.0, **changes)
    _, found = rounds_of([saved(tmp_path, before), saved(tmp_path, after)])
    assert not found.comparable
    assert found.reason == f"Not measured as round 1 was: {reason}."


def test_averages_of_other_rows_cannot_be_compared(tmp_path: Path) -> None:
    names = ("a", "b", "c", "d")
    outputs = (texts(0.5), texts(0.5, 5), None, texts(0.5, split="validation"))
    pairs = [
        saved(tmp_path, study(name=name, created=1000.0 + place), outputs[place]) for place, name in enumerate(names)
    ]
    found = rounds_of(pairs)
    assert [each.comparable for each in found] == [True, False, False, False]
    assert "those of 5 texts of the winner on test rows, not of 4 texts" in found[1].reason
    assert "those of the winner on validation rows, not of 5 texts" in found[2].reason


def test_several_tasks_have_no_number_in_common(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="several tasks \\(cooking, sentiment\\)"):
        rounds_of([(tmp_path, study(name="a")), (tmp_path, study(name="b", task="cooking"))])


def test_a_series_is_of_one_task_base_and_data_up_to_the_study(tmp_path: Path) -> None:
    elsewhere = {**CONFIG, "data": {"source": "mine.csv"}}
    own_file = {**CONFIG, "data": {"source": "embedded", "train": "train.csv"}}
    rows = other_data(train="00")
    for record in (
        study(name="first", created=1.0),
        study(name="other-task", created=2.0, task="cooking"),
        study(name="other-base", created=3.0, base_model="roberta-base"),
        study(name="other-data", created=4.0, config=elsewhere, data=rows),
        study(name="other-file", created=5.0, config=own_file, data=rows),
        study(name="same-rows", created=6.0, config=elsewhere),
        study(name="fewer-rows", created=7.0, data=rows),
        study(name="this", created=8.0),
        study(name="later", created=9.0),
    ):
        saved(tmp_path, record)
    this = study(name="this", created=8.0)
    found = series_of(tmp_path / "this", this)
    assert [record.name for _, record in found] == ["first", "same-rows", "fewer-rows", "this"]
    assert found[-1] == (tmp_path / "this", this)
    assert series_of(tmp_path / "nowhere" / "this", this) == [(tmp_path / "nowhere" / "this", this)]


def test_an_empty_round_hides_no_difference(tmp_path: Path) -> None:
    """Rounds are compared with the last one that measured anything."""
    first, last = study(name="a", created=1.0), study(name="c", created=3.0)
    empty = study(name="b", created=2.0, trials=0, winner=None)
    write_outputs(saved(tmp_path, first)[0], texts(0.9))
    found = rounds_of([(tmp_path / "a", first), saved(tmp_path, empty), saved(tmp_path, last)])
    assert [each.comparable for each in found] == [True, True, False]
    assert found[2].reason.startswith("Not measured as round 1 was: its averages are those of")


def test_each_base_has_its_best_study(tmp_path: Path) -> None:
    empty = study(trials=0, name="d", base_model="albert", winner=None, finished=None)
    records = [
        scored("a", 1.0, 0.6),
        scored("b", 2.0, 0.7),
        scored("c", 3.0, 0.8, base_model="roberta-base"),
        empty,
        study(name="e", base_model="bert", winner=None, finished=None, trials=0, reruns=()),
    ]
    winner = records[1].winner
    assert winner is not None
    records[1] = replace(records[1], winner=replace(winner, metrics={**winner.metrics, "adapter_mb": 0.3}))
    top = replace(trial(0), reports=({"score": 0.85, "samples": 500.0},), best=0)
    records[4] = replace(records[4], trials=(top,))
    found = best_by_base(rounds_of([saved(tmp_path, each) for each in records]), records)
    assert [each.base_model for each in found] == ["bert", "roberta-base", "minilm", "albert"], "no score comes last"
    assert [(each.studies, each.study) for each in found] == [(1, "e"), (1, "c"), (2, "b"), (1, "d")]
    by_base = {each.base_model: each for each in found}
    assert by_base["minilm"].overall_score == 0.7
    assert by_base["minilm"].adapter_mb == 0.3
    assert by_base["minilm"].interval == winner.interval
    assert by_base["minilm"].seconds == 300.0
    assert by_base["roberta-base"].adapter_mb is None
    assert by_base["bert"].overall_score == 0.85
    assert (by_base["bert"].interval, by_base["bert"].seconds) == (None, None)
    assert math.isnan(by_base["albert"].overall_score)
