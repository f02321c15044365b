"""Training logs of every form, whole and damaged."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.data.training_logs import MAX_LINE_BYTES, RESULTS, STUDY, TRAINING, read_log, series
from tuner.errors import DataError

DICT = (
    "{'loss': 0.0015, 'grad_norm': 0.021, 'learning_rate': 1.2e-05, 'epoch': 174.62, 'num_input_tokens_seen': 819200}"
)
PREFIXED = (
    "[INFO|2025-03-04 10:11:12] llamafactory.train.callbacks:143 >> {'loss': 0.4, 'epoch': 1.0, 'throughput': 911.5}"
)


def log_at(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("line", "metrics"),
    [
        (DICT, {"loss": 0.0015, "grad_norm": 0.021, "learning_rate": 1.2e-5, "epoch": 174.62,
                "num_input_tokens_seen": 819200.0}),
        (PREFIXED, {"loss": 0.4, "epoch": 1.0, "throughput": 911.5}),
        ("{'loss': '0.4', 'learning_rate': '1e-05', 'epoch': '1'}", {"loss": 0.4, "learning_rate": 1e-5, "epoch": 1.0}),
        ('{"current_steps": 5, "loss": 0.4, "lr": 1e-05, "elapsed_time": "0:00:07"}',
         {"current_steps": 5.0, "loss": 0.4, "learning_rate": 1e-5}),
        (" 10%|#  | 1/10 [00:01<00:09,  1.0it/s]\r {'loss': 2.0, 'epoch': 0.1}\r 20%", {"loss": 2.0, "epoch": 0.1}),
        ("{'eval_loss': 0.7, 'eval_accuracy': None, 'epoch': 1.0}", {"eval_loss": 0.7, "epoch": 1.0}),
        ("{'epoch': 2, 'loss': 0.5}", {"loss": 0.5, "epoch": 2.0}),
        ("{'args': {'loss': 0.5, 'epoch': 1}}", {"loss": 0.5, "epoch": 1.0}),
    ],
)  # fmt: skip
def test_a_line_is_read_in_every_form(tmp_path: Path, line: str, metrics: dict[str, float]) -> None:
    log = read_log(log_at(tmp_path / "train.log", f"Loading checkpoint shards\n{line}\n"))
    assert log.form == TRAINING
    assert [dict(entry.metrics) for entry in log.entries] == [metrics]
    assert log.entries[0].line == 2
    assert log.broken == ()


def test_time_is_read_where_the_line_says_it(tmp_path: Path) -> None:
    log = read_log(log_at(tmp_path / "train.log", f"{PREFIXED}\n{PREFIXED.replace('11:12', '12:12')}\n{DICT}\n"))
    first, second, third = (entry.time for entry in log.entries)
    assert first is not None
    assert second is not None
    assert second - first == 60
    assert third is None


def test_nan_and_infinity_are_numbers(tmp_path: Path) -> None:
    log = read_log(log_at(tmp_path / "a.log", "{'loss': nan, 'grad_norm': inf, 'epoch': 1}\n{\"loss\": NaN}\n"))
    assert math.isnan(log.entries[0].metrics["loss"])
    assert math.isinf(log.entries[0].metrics["grad_norm"])
    assert math.isnan(log.entries[1].metrics["loss"])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{'loss': 0.5, 'epo", "ends inside the entry"),
        ("{'loss': 0.5, 'epoch': }", "no 'name': number"),
        ("{'loss': abc, 'epoch': 1}", "loss is 'abc'"),
        ("{'loss': [1, 2], 'epoch': 1}", "no 'name': number"),
        ("{'loss': __import__('os').system('true')}", "no 'name': number"),
        ("x" * (MAX_LINE_BYTES + 5), "longer than"),
    ],
)
def test_a_broken_line_is_counted_and_named(tmp_path: Path, line: str, why: str) -> None:
    log = read_log(log_at(tmp_path / "train.log", f"{DICT}\n{line}\n{DICT}\n"))
    assert len(log.entries) == 2
    assert [each.line for each in log.broken] == [2]
    assert why in log.broken[0].why
    assert log.entries[1].line == 3


def test_bytes_that_are_no_text_harm_their_line_only(tmp_path: Path) -> None:
    log = read_log(log_at(tmp_path / "train.log", b"\xff\xfe\x00 noise {\n" + DICT.encode() + b"\n\xe9{'loss': 1.0}"))
    assert [entry.metrics["loss"] for entry in log.entries] == [0.0015, 1.0]


def test_what_is_said_once_is_a_total(tmp_path: Path) -> None:
    end = "{'train_runtime': 60.5, 'train_samples_per_second': 10.1, 'train_loss': 0.3, 'epoch': 3.0}"
    log = read_log(log_at(tmp_path / "train.log", f"{DICT}\n{end}\n"))
    assert len(log.entries) == 1
    assert log.totals == {"train_runtime": 60.5, "train_samples_per_second": 10.1, "train_loss": 0.3}


def test_trainer_state_is_read_with_its_places(tmp_path: Path) -> None:
    history = [{"loss": 1.0, "step": 10, "epoch": 0.5}, {"eval_loss": 0.9, "step": 20, "epoch": 1.0}, "noise"]
    path = log_at(tmp_path / "trainer_state.json", json.dumps({"log_history": history, "global_step": 20}))
    log = read_log(path)
    assert [entry.line for entry in log.entries] == [1, 2]
    assert [each.line for each in log.broken] == [3]
    assert log.axis() == "epoch"
    assert series(log.entries, "eval_loss", "epoch") == [(1.0, 0.9)]


def test_results_are_totals(tmp_path: Path) -> None:
    results = {"predict_bleu-4": 31.2, "predict_rouge-1": 40.0, "predict_runtime": 12.0, "note": "x"}
    log = read_log(log_at(tmp_path / "predict_results.json", json.dumps(results)))
    assert log.form == RESULTS
    assert log.totals == {"predict_bleu-4": 31.2, "predict_rouge-1": 40.0, "predict_runtime": 12.0}


def test_our_own_log_is_one_of_trials(tmp_path: Path) -> None:
    text = (
        "2026-11-01 10:00:00,000 INFO trial t0000: {'learning_rate': 0.1, 'loss': 3}\n"
        "2026-11-01 10:00:30,000 INFO trial t0000: complete after 4 reports, score 0.5. \n"
        "2026-11-01 10:01:00,000 INFO trial t0007: failed after 0 reports, score None. nan\n"
    )
    log = read_log(log_at(tmp_path / "logs.txt", text))
    assert log.form == STUDY
    assert [entry.label for entry in log.entries] == ["complete", "failed"]
    assert log.entries[0].metrics == {"trial": 0.0, "reports": 4.0, "score": 0.5}
    assert log.entries[1].metrics == {"trial": 7.0, "reports": 0.0}


def test_a_study_is_read_from_its_folder(tmp_path: Path) -> None:
    trials = [{"state": "complete", "reports": [{"score": 0.4}, {"score": 0.6}], "finished": 5.0}, {"state": "failed"}]
    log_at(tmp_path / "study.json", json.dumps({"trials": trials}))
    log = read_log(tmp_path)
    assert log.form == STUDY
    assert log.entries[0].metrics["score"] == 0.6
    assert [each.line for each in log.broken] == [2]


def test_a_folder_of_checkpoints_gives_the_last_state(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        log_at(folder / "trainer_state.json", json.dumps({"log_history": [{"loss": float(step), "step": step}]}))
    assert read_log(tmp_path).entries[0].metrics["loss"] == 100


def test_a_log_is_cut_where_training_began_anew(tmp_path: Path) -> None:
    lines = [f"{{'loss': 1.0, 'epoch': {epoch}}}" for epoch in (1, 2, 3, 1, 2)]
    log = read_log(log_at(tmp_path / "train.log", "\n".join(lines)))
    assert [len(run) for run in log.runs()] == [3, 2]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.log", "nothing here\n", "no training metric"),
        ("a.log", "", "empty"),
        ("a.json", "{", "not JSON"),
        ("a.json", "[" * 100_000, "nested too deep"),
        ("a.json", json.dumps({"vocab_size": 30522}), "no training metric"),
        ("a.json", json.dumps({"log_history": []}), "no training metric"),
        ("a.json", "3", "no training metric"),
        ("a.json", json.dumps([{"instruction": "add", "output": "42"}]), "no training metric"),
        ("a.log", "{'loss': abc}\n", "1 entry could not be read"),
    ],
)
def test_what_is_no_log_is_an_error(tmp_path: Path, name: str, content: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_log(log_at(tmp_path / name, content))


def test_a_folder_without_a_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds none of"):
        read_log(tmp_path)


@settings(deadline=None)  # a file a case
@given(st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), st.floats(), max_size=6), st.floats())
def test_what_python_prints_is_read_back(metrics: dict[str, float], loss: float) -> None:
    import tempfile

    written = {"loss": loss, **{name: value for name, value in metrics.items() if name not in ("loss", "lr")}}
    with tempfile.TemporaryDirectory() as folder:
        path = log_at(Path(folder) / "a.log", f"{written}\n")
        log = read_log(path)
    read = {name: value for entry in log.entries for name, value in entry.metrics.items()} | dict(log.totals)
    assert read.keys() == written.keys()
    for name, value in written.items():
        assert read[name] == value or (math.isnan(value) and math.isnan(read[name]))


@settings(deadline=None)  # a file a case
@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(noise: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = log_at(Path(folder) / "a.log", DICT.encode() + b"\n{'loss': " + noise)
        assert read_log(path).entries[0].metrics["loss"] == 0.0015
