"""Tests of tuner/report/analysis.py, schema.py and training_report.py: what a report says of a study in any state."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.report.pictures import pictures_outputs, pictures_study, with_pictures_task
from tests.store.factory import study, trial
from tuner.errors import ConfigError
from tuner.report.analysis import analyse
from tuner.report.schema import SCHEMA, TrainingReport, schema_text
from tuner.report.training_report import write_report
from tuner.store.files import write_study
from tuner.store.outputs import Output, Outputs, write_outputs
from tuner.store.records import FAILED, INTERRUPTED, PRUNED, RUNNING, StudyRecord

NOW = 1_800_000_000.0

__all__ = ["with_pictures_task"]  # a fixture


def texts(count: int = 12) -> Outputs:
    """What a winner answers to so many texts, from sure and right to sure and wrong."""
    items = []
    for number in range(count):
        sure = 1 - number / (count - 1)
        metrics = {"label_probability": sure, "accuracy": float(sure >= 0.5), "preservation": 0.9}
        items.append(Output(f"text_{number + 1}", f"text number {number}", "positive", "positive", "", metrics))
    return Outputs("t000", "test", tuple(items))


def paired_texts() -> Outputs:
    """The same, where the base answers too."""
    outputs = texts()
    items = tuple(replace(item, base_answer="negative", base_metrics=item.metrics) for item in outputs.items)
    return replace(outputs, items=items)


def saved(results: Path, record: StudyRecord, outputs: Outputs | None = None) -> Path:
    """The study's folder."""
    folder = results / record.name
    write_study(folder, record)
    if outputs is not None:
        write_outputs(folder, outputs)
    return folder


def valid(report: TrainingReport) -> dict[str, Any]:
    """The report as JSON, checked against the published schema, with no NaN in it."""
    plain: dict[str, Any] = json.loads(json.dumps(report.model_dump(mode="json"), allow_nan=False))
    jsonschema.validate(plain, json.loads(SCHEMA.read_text()))
    return plain


def test_the_published_schema_is_that_of_the_models() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), "python -m tuner.report.schema writes it"


def test_a_finished_study(tmp_path: Path) -> None:
    record = study()
    found = valid(analyse(saved(tmp_path, record, texts()), record, NOW))
    assert record.winner is not None
    assert found["lora_tuning"]["overall_tuning_score"] == record.winner.score
    assert set(found["lora_tuning"]["training_efficiency"]) == {"efficiency_ratio", "grade", "score", "graded_score"}
    benchmark = found["benchmark_analysis"]
    assert list(benchmark["average_metrics"]) == [
        "avg_total_loss", "avg_label_probability", "avg_accuracy", "avg_embedding_similarity"
    ]  # fmt: skip
    assert benchmark["average_metrics"]["avg_label_probability"] == pytest.approx(0.5)
    counts = benchmark["performance_distribution"]
    assert sum(counts.values()) == 12
    assert counts == {"excellent": 2, "good": 2, "average": 2, "poor": 6, "unmeasured": 0}
    assert len(found["items"]) == 12
    assert found["items"][0]["input"] == "text number 0"
    assert found["missing"] == []
    assert found["study"]["trials"] == {"complete": 10, "failed": 1, "pruned": 5}
    assert found["reruns"][0]["winner"] is True
    assert found["adapter"]["params"]["rank"] == record.winner.params["rank"]


def test_a_fashion_study_has_the_names_that_readers_know(tmp_path: Path, with_pictures_task: None) -> None:
    record = pictures_study()
    report = analyse(saved(tmp_path, record, pictures_outputs()), record, NOW)
    found = valid(report)
    # the schema asks for the fashion names where the task is fashion
    fashion = {**found, "study": {**found["study"], "task": "fashion"}}
    jsonschema.validate(fashion, json.loads(SCHEMA.read_text()))
    benchmark = found["benchmark_analysis"]
    assert list(benchmark["average_metrics"]) == [
        "avg_total_loss", "avg_visual_similarity", "avg_fashion_clip_similarity", "avg_color_similarity"
    ]  # fmt: skip
    assert list(benchmark["benchmark_comparison"]) == [
        "vs_reference_total_loss", "vs_reference_visual", "vs_reference_fashion", "vs_reference_color"
    ]  # fmt: skip
    averages = benchmark["average_metrics"]
    assert benchmark["benchmark_comparison"]["vs_reference_visual"] == pytest.approx(
        averages["avg_visual_similarity"] - 0.326
    )
    assert "average_ssim" in found["lora_tuning"]["generation_quality"]
    assert "fashion_clip_similarity" in found["lora_tuning"]["feature_preservation"]
    del averages["avg_color_similarity"]
    fashion["benchmark_analysis"]["average_metrics"] = averages
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(fashion, json.loads(SCHEMA.read_text()))


def test_a_preset_weighs_otherwise(tmp_path: Path, with_pictures_task: None) -> None:
    record = pictures_study()
    folder = saved(tmp_path, record, pictures_outputs())
    losses = {
        preset: analyse(folder, record, NOW, preset).benchmark_analysis.average_metrics["avg_total_loss"]
        for preset in ("balanced", "fashion_focused", "visual_enhanced", "color_enhanced")
    }
    assert len(set(losses.values())) == 4
    with pytest.raises(ConfigError, match="no preset of this task"):
        analyse(folder, record, NOW, "nice")


def states() -> Mapping[str, StudyRecord]:
    """Studies in every state in which a report may be asked for."""
    running = study(state=RUNNING, winner=None, reruns=(), finished=None)
    empty = study(trials=0, winner=None, state=RUNNING, finished=None)
    whole = study()
    assert whole.winner is not None
    nan = dict.fromkeys(whole.winner.metrics, math.nan)
    return {
        "running": running,
        "interrupted": replace(running, state=INTERRUPTED),
        "empty": empty,
        "failed": replace(empty, trials=(trial(6, FAILED),), state=FAILED),
        "all nan": replace(empty, trials=tuple(replace(trial(n, PRUNED), state=FAILED) for n in range(6))),
        "one": replace(empty, trials=(trial(0),)),
        "no data": replace(whole, data={}, engines=(), versions={}, command=""),
        "no config": replace(whole, config={}),
        "nan": replace(whole, winner=replace(whole.winner, metrics=nan, test=nan, score=math.nan)),
    }


@pytest.mark.parametrize("state", list(states()))
def test_a_study_in_any_state_says_what_is_missing(tmp_path: Path, state: str) -> None:
    record = states()[state]
    found = valid(analyse(saved(tmp_path, record), record, NOW))
    assert found["missing"]
    assert found["benchmark_analysis"]["performance_distribution"] is None
    assert found["benchmark_analysis"]["average_metrics"]["avg_total_loss"] is None
    assert found["summary"]
    assert not re.search(r"\bnan\b", " ".join([*found["summary"], *found["missing"]]).lower())
    if state in ("empty", "failed"):
        assert found["lora_tuning"]["overall_tuning_score"] is None
        assert "No trial has reported yet, so there is no score." in found["missing"]


def test_a_start_point_that_wins_gains_nothing(tmp_path: Path) -> None:
    record = study()
    first = record.trials[0]
    assert record.winner is not None
    config = {**record.config, "start_points": [first.params]}
    record = replace(record, config=config, winner=replace(record.winner, trial_id=first.trial_id, score=0.99))
    found = valid(analyse(saved(tmp_path, record), record, NOW))
    assert found["start_point"]["gain"] == 0
    assert any("found nothing better than its start point" in sentence for sentence in found["summary"])


def test_a_preset_holds_for_every_round(tmp_path: Path) -> None:
    record = study()
    report = analyse(saved(tmp_path, record, texts()), record, NOW, "preservation_enhanced")
    assert report.rounds[-1].total_loss == report.benchmark_analysis.average_metrics["avg_total_loss"]


def test_a_copy_or_a_renamed_folder_is_no_round_of_its_own(tmp_path: Path) -> None:
    record = study()
    saved(tmp_path, record, texts())
    for name in ("backup", "renamed"):
        write_study(tmp_path / name, record)
    found = analyse(tmp_path / "renamed", record, NOW)
    assert [each.study for each in found.rounds] == [record.name]
    assert found.rounds[0].total_loss is None, "the outputs are those of the folder itself"


def test_damaged_outputs_are_named_and_left_out(tmp_path: Path) -> None:
    record = study()
    folder = saved(tmp_path, record, texts())
    (folder / "outputs" / "outputs.json").write_text("{")
    found = valid(analyse(folder, record, NOW))
    assert any("outputs.json cannot be read" in sentence for sentence in found["missing"])
    assert found["items"] == []


def test_an_output_without_a_metric_is_unmeasured(tmp_path: Path) -> None:
    record = study()
    outputs = texts()
    lame = replace(outputs.items[0], metrics={"accuracy": 1.0})
    folder = saved(tmp_path, record, replace(outputs, items=(lame, *outputs.items[1:])))
    found = valid(analyse(folder, record, NOW))
    assert found["benchmark_analysis"]["performance_distribution"]["unmeasured"] == 1
    assert found["items"][0]["grade"] == "unmeasured"
    assert found["items"][0]["total_loss"] is None


def test_the_base_alone_stands_beside_the_adapter(tmp_path: Path, with_pictures_task: None) -> None:
    record = pictures_study()
    folder = saved(tmp_path, record, pictures_outputs(5))
    found = valid(analyse(folder, record, NOW))
    assert [each["metric"] for each in found["before_after"]] == ["ssim", "fashion_clip", "colour", "total_loss"]
    ssim, *_, loss = found["before_after"]
    assert (ssim["before"], ssim["after"]) == (pytest.approx(0.35), pytest.approx(0.5))
    assert (ssim["title"], ssim["better"], ssim["is_better"]) == ("structure (SSIM)", "higher", True)
    assert loss["after"] == pytest.approx(found["benchmark_analysis"]["average_metrics"]["avg_total_loss"])
    assert (loss["better"], loss["is_better"]) == ("lower", True)
    last = found["items"][-1]
    assert last["base_similarities"] == pytest.approx({"visual": 0.35, "fashion": 0.4, "color": 0.275})
    assert last["base_total_loss"] < last["total_loss"]
    said = "On the same images the base alone has a mean meaning (FashionCLIP) of 0.400, the adapter 0.550"
    assert any(sentence == f"{said}, a change of +37.5 %: better." for sentence in found["summary"])


def test_without_a_measured_base_there_is_no_before_and_after(tmp_path: Path) -> None:
    record = study()
    folder = saved(tmp_path, record, texts())
    found = valid(analyse(folder, record, NOW))
    assert found["before_after"] == []
    assert found["items"][0]["base_similarities"] == {}
    assert found["items"][0]["base_total_loss"] is None
    assert not any("base alone" in sentence for sentence in found["summary"])
    write_outputs(folder, paired_texts())
    assert analyse(folder, record, NOW).before_after
    assert not analyse(folder, replace(record, winner=None), NOW).before_after, "nobody's outputs"


def test_the_rounds_end_with_this_study(tmp_path: Path) -> None:
    for number in range(3):
        record = study(name=f"round{number}", created=1000.0 + number)
        saved(tmp_path, record, texts(4 + number))
    found = valid(analyse(tmp_path / "round1", study(name="round1", created=1001.0), NOW))
    assert [each["study"] for each in found["rounds"]] == ["round0", "round1"]
    assert found["rounds"][0]["improvement"] == {"overall_score": None, "total_loss": None}
    assert found["rounds"][1]["improvement"]["overall_score"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("state", ["finished", *states()])
def test_the_four_files(tmp_path: Path, state: str) -> None:
    record = study() if state == "finished" else states()[state]
    folder = saved(tmp_path, record, texts() if state == "finished" else None)
    report = analyse(folder, record, NOW)
    files = write_report(folder, record, report)
    names = sorted(path.name for path in (folder / "reports").iterdir())
    stamp = files.json.stem.removeprefix("training_report_")
    assert len(stamp) == 14
    assert stamp.isdigit()
    assert names == [
        f"training_charts_{stamp}.png",
        f"training_report_{stamp}.html",
        f"training_report_{stamp}.json",
        f"tuning_dashboard_{stamp}.png",
    ]
    assert json.loads(files.json.read_text()) == valid(report)
    html = files.html.read_text()
    assert record.name in html
    for picture in (files.charts, files.dashboard):
        assert picture.read_bytes().startswith(b"\x89PNG")
