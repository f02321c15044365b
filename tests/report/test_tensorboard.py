"""TensorBoard logs, read back by TensorBoard itself."""

from __future__ import annotations

import io
import logging
import math
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler

from tests.report.pictures import pictures_outputs, png
from tests.store.factory import study, trial
from tuner.engine.contract import Report
from tuner.report import tensorboard
from tuner.report.events import RunFiles
from tuner.report.tensorboard import TensorBoardObserver, tag_of
from tuner.store.outputs import Output, Outputs, write_outputs
from tuner.store.records import COMPLETE, FAILED, PRUNED, StudyRecord, TrialRecord


def play(observer: TensorBoardObserver, record: StudyRecord) -> None:
    """Show an observer a study as it ran."""
    observer.on_start(replace(record, trials=(), reruns=(), winner=None))
    observer.on_phase("search")
    for done in record.trials:
        play_trial(observer, done)
    observer.on_phase("rerun")
    observer.on_end(record)


def play_trial(observer: TensorBoardObserver, done: TrialRecord) -> None:
    so_far = replace(done, reports=(), best=None)
    for index, metrics in enumerate(done.reports):
        so_far = so_far.with_report(metrics)
        observer.on_report(so_far, Report(done.trial_id, index, int(metrics["samples"]), False, metrics))
    observer.on_trial_end(done)


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def points(accumulator: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, round(event.value, 5)) for event in accumulator.Scalars(tag)]


def hparams(folder: Path) -> Mapping[str, bytes]:
    content: Mapping[str, bytes] = read(folder).PluginTagToContent(metadata.PLUGIN_NAME)
    return content


def test_each_trial_is_a_run_whose_curves_lie_over_samples(tmp_path: Path) -> None:
    record = study()
    play(TensorBoardObserver(tmp_path), record)
    runs = {entry.name for entry in tmp_path.iterdir() if entry.is_dir()}
    assert {done.trial_id for done in record.trials} <= runs
    done = record.trials[2]
    run = read(tmp_path / done.trial_id)
    assert points(run, "validation/accuracy") == [(int(r["samples"]), round(r["accuracy"], 5)) for r in done.reports]
    assert {
        "train/loss",
        "train/gradient_norm",
        "train/learning_rate",
        "train/epoch",
        "train/tokens_seen",
        "speed/samples_per_second",
        "performance/cpu_percent",
        "performance/memory_mb",
        "performance/engine_samples_per_second",
        "performance/engine_tokens_per_second",
        "score/overall",
        "score/best",
        "score/preservation",
        "score/efficiency",
        "score/quality",
        "validation/preservation",
    } <= set(run.Tags()["scalars"])
    assert "validation/samples" not in run.Tags()["scalars"]


def test_the_best_score_never_falls(tmp_path: Path) -> None:
    done = trial(2).with_report({"samples": 9000.0, "score": 0.1})
    play(TensorBoardObserver(tmp_path), replace(study(trials=0), trials=(done,)))
    run = read(tmp_path / done.trial_id)
    assert points(run, "score/overall")[-1] == (9000, 0.1)
    assert points(run, "score/best")[-1] == (9000, round(done.score or 0.0, 5))


def test_the_hparams_tab_knows_the_space(tmp_path: Path) -> None:
    play(TensorBoardObserver(tmp_path), study())
    experiment = metadata.parse_experiment_plugin_data(hparams(tmp_path)[metadata.EXPERIMENT_TAG])
    infos: dict[str, Any] = {info.name: info for info in experiment.hparam_infos}
    assert set(infos) == {"rank", "learning_rate", "epochs", "alpha", "target_modules"}  # constants are not compared
    assert (infos["rank"].domain_interval.min_value, infos["rank"].domain_interval.max_value) == (2, 32)
    assert [value.number_value for value in infos["alpha"].domain_discrete.values] == [8, 16, 32]
    assert infos["alpha"].type == api_pb2.DATA_TYPE_FLOAT64
    targets = [value.string_value for value in infos["target_modules"].domain_discrete.values]
    assert targets == ["query, value", "query, key, value"]
    assert experiment.metric_infos[0].name.tag == "score/best"


def test_the_hparams_tab_has_every_trial_with_its_end(tmp_path: Path) -> None:
    record = study()
    play(TensorBoardObserver(tmp_path), record)
    statuses = {}
    for done in record.trials:
        content = hparams(tmp_path / done.trial_id)
        start = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
        assert start.hparams["rank"].number_value == done.params["rank"]
        assert start.hparams["target_modules"].string_value == ", ".join(done.params["target_modules"])
        end = metadata.parse_session_end_info_plugin_data(content[metadata.SESSION_END_INFO_TAG])
        statuses[done.state] = end.status
    assert statuses == {
        COMPLETE: api_pb2.STATUS_SUCCESS,
        PRUNED: api_pb2.STATUS_SUCCESS,
        FAILED: api_pb2.STATUS_FAILURE,
    }


def test_the_hparams_tab_itself_ranks_all_trials_by_best_score(tmp_path: Path) -> None:
    record = study()
    play(TensorBoardObserver(tmp_path), record)
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(tmp_path))
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0, slice_size=100, allowed_statuses=[0, 1, 2, 3], include_metrics=True
    )
    request.col_params.add(order=api_pb2.ORDER_DESC).metric.tag = "score/best"
    shown = Handler(RequestContext(), Context(TBContext(data_provider=provider)), "study", request).run()
    best = sorted((t for t in record.trials if t.score is not None), key=lambda t: t.score or 0.0, reverse=True)
    assert shown.total_size == len(record.trials)
    assert [group.name for group in shown.session_groups][: len(best)] == [done.trial_id for done in best]


def test_reruns_get_their_test_metrics_in_the_run_that_they_reported_to(tmp_path: Path) -> None:
    record = study()
    rerun = replace(record.reruns[0], test={**record.reruns[0].test, "test_loss": 0.3})
    record = replace(record, reruns=(rerun,))
    observer = TensorBoardObserver(tmp_path)
    observer.on_start(record)
    again = TrialRecord(f"{rerun.trial_id}-seed-{rerun.seed}", 0, {"rank": 4}, rerun.seed).with_report(rerun.validation)
    observer.on_report(again, Report(again.trial_id, 0, 2000, True, rerun.validation))
    observer.on_end(record)
    run = read(tmp_path / again.trial_id)
    assert "test/loss" in run.Tags()["scalars"]
    assert points(run, "test/accuracy") == [(2000, round(rerun.test["accuracy"], 5))]
    assert points(run, "score/overall") == [(2000, round(rerun.validation["score"], 5))]


def test_what_is_not_finite_leaves_a_gap(tmp_path: Path) -> None:
    metrics = {"samples": 5.0, "score": math.nan, "loss": math.inf, "epoch": 1.0}
    done = TrialRecord("t", 0, {"rank": 4}, 0).with_report(metrics)
    play(TensorBoardObserver(tmp_path), replace(study(trials=0), trials=(done,)))
    assert read(tmp_path / "t").Tags()["scalars"] == ["train/epoch"]


def test_a_resumed_study_adds_to_the_same_runs(tmp_path: Path) -> None:
    done = trial(2)
    first, rest = replace(done, reports=done.reports[:2]), done
    record = study(trials=0)
    play(TensorBoardObserver(tmp_path), replace(record, trials=(first,)))
    observer = TensorBoardObserver(tmp_path)
    observer.on_start(record)
    for index, metrics in enumerate(done.reports[2:], start=2):
        observer.on_report(rest, Report(done.trial_id, index, int(metrics["samples"]), False, metrics))
    observer.on_end(record)
    expected = [int(r["samples"]) for r in done.reports]
    assert [step for step, _ in points(read(tmp_path / done.trial_id), "score/overall")] == expected


def test_reports_are_on_disk_before_the_study_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard, "FLUSH_S", 0.01)
    flushed = threading.Event()
    flush = RunFiles.flush

    def flush_and_tell(files: RunFiles) -> None:
        flush(files)
        if (tmp_path / "t002").exists():
            flushed.set()

    monkeypatch.setattr(RunFiles, "flush", flush_and_tell)
    observer = TensorBoardObserver(tmp_path)
    observer.on_start(study(trials=0))
    play_trial(observer, trial(2))
    assert flushed.wait(20)
    assert points(read(tmp_path / "t002"), "score/overall")
    observer.on_end(study(trials=0))


def test_the_winners_pictures_are_shown(tmp_path: Path) -> None:
    write_outputs(tmp_path, pictures_outputs(14))
    play(TensorBoardObserver(tmp_path / "tensorboard"), study())
    run = read(tmp_path / "tensorboard" / "winner")
    assert set(run.Tags()["images"]) == {"outputs/all", *(f"outputs/image_{n}.jpg" for n in range(1, 15))}
    (event,) = run.Images("outputs/image_14.jpg")
    shown = Image.open(io.BytesIO(event.encoded_image_string))
    assert shown.size == (event.width, event.height) == (3 * 240 + 2 * 4, 240)  # 48 pixels, five times as large
    ours = pictures_outputs(14).items[-1].pictures["adapter"]
    places = [shown.getpixel((x, 120)) for x in (120, 242, 364, 608)]
    assert places == [(40, 90, 60), (255, 255, 255), (128, 128, 128), Image.open(io.BytesIO(ours)).getpixel((0, 0))]
    caption = run.SummaryMetadata("outputs/image_14.jpg").summary_description
    assert caption == "a coat, number 14"
    (sheet,) = run.Images("outputs/all")
    assert Image.open(io.BytesIO(sheet.encoded_image_string)).size == (sheet.width, sheet.height)


@pytest.mark.parametrize("kind", ["texts", "no winner", "unreadable"])
def test_without_pictures_there_are_none(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pictures = {} if kind == "texts" else {"adapter": png((1, 2, 3))}
    write_outputs(tmp_path, Outputs("t000", "test", (Output("text_1", "", "", "", pictures=pictures),)))
    if kind == "unreadable":
        (tmp_path / "outputs" / "outputs.json").write_text("{")
    record = study() if kind != "no winner" else replace(study(), winner=None)
    play(TensorBoardObserver(tmp_path / "tensorboard"), record)
    assert not (tmp_path / "tensorboard" / "winner").exists()
    assert ("are not in TensorBoard" in caplog.text) == (kind == "unreadable")
    assert "score/overall" in read(tmp_path / "tensorboard" / record.trials[2].trial_id).Tags()["scalars"]


def test_a_disk_that_refuses_warns_once_and_the_study_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        play(TensorBoardObserver(tmp_path / "file"), study())
    assert len(caplog.records) == 1
    assert "The study goes on" in caplog.text


def test_an_end_without_a_start_is_no_error(tmp_path: Path) -> None:
    TensorBoardObserver(tmp_path).on_end(study())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("metric", "tag"),
    [
        ("score", "score/overall"),
        ("loss", "train/loss"),
        ("gradient_norm", "train/gradient_norm"),
        ("score_quality", "score/quality"),
        ("preservation", "validation/preservation"),
        ("tokens_per_second", "speed/tokens_per_second"),
        ("cpu_percent", "performance/cpu_percent"),
        ("memory_mb", "performance/memory_mb"),
        ("device_memory_mb", "performance/device_memory_mb"),
        ("engine_samples_per_second", "performance/engine_samples_per_second"),
        ("engine_tokens_per_second", "performance/engine_tokens_per_second"),
        ("accuracy", "validation/accuracy"),
        ("validation_loss", "validation/loss"),
        ("custom/thing", "custom/thing"),
    ],
)
def test_metrics_are_grouped(metric: str, tag: str) -> None:
    assert tag_of(metric) == tag


def test_torch_is_never_imported(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom tests.report.test_tensorboard import *\n"
        "from tuner.report.tensorboard import TensorBoardObserver\n"
        "write_outputs(Path(sys.argv[1]), pictures_outputs(2))\n"
        "play(TensorBoardObserver(Path(sys.argv[1]) / 'tensorboard'), study())\n"
        "assert (Path(sys.argv[1]) / 'tensorboard' / 'winner').is_dir()\n"
        "assert not {'torch', 'tensorflow', 'ray'} & set(sys.modules), 'heavy imports'\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
