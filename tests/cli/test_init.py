"""`tuner init` as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.cli.main import main
from tuner.config_file import load_config


def test_the_task_is_found_or_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "a.csv", tmp_path / "a.yaml"
    rows = (f"Is pair number {n} dry?,{'yes' if n % 2 else 'no'}\n" for n in range(40))
    data.write_text("question,answer\n" + "".join(rows), encoding="utf-8")
    assert main(["init", str(data), "--out", str(out)]) == 0
    assert f"tuner tune shoe_qa --config {out}" in capsys.readouterr().out
    assert load_config(out).task == "shoe_qa"
    assert main(["init", str(data), "--out", str(out), "--task", "sentiment", "--force"]) == 0
    assert f"tuner tune sentiment --config {out}" in capsys.readouterr().out
    assert load_config(out).data.labels == {"no": 0, "yes": 1}


def test_a_task_that_is_not_known_is_wrong_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path), "--out", str(tmp_path / "a.yaml"), "--task", "fashion"]) == 2
    assert "init knows only sentiment and shoe_qa" in capsys.readouterr().err
