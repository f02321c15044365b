"""Data sets of the hub: the library is loaded late, its failures are sentences, its splits become tables."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tuner.config import DataConfig
from tuner.data.classification import load_splits
from tuner.data.hub import is_hub_id
from tuner.errors import DataError

COLUMNS = {"text": "text", "label": "label"}


@pytest.mark.parametrize("source", ["imdb", "stanfordnlp/sst2", "nyu-mll/glue:sst2", "a.b/c_d-1"])
def test_ids(source: str) -> None:
    assert is_hub_id(source)


@pytest.mark.parametrize("source", ["../x", "a/b/c", "/abs", "a b", "", "./x", "-x", "x/..", "a:b:c"])
def test_not_ids(source: str) -> None:
    assert not is_hub_id(source)


def test_offline_is_honoured_and_the_failure_is_a_sentence() -> None:
    """In a process of its own, since the hub's library reads its settings once."""
    program = (
        "import sys\n"
        "from tuner.data.load import load_tables\n"
        "from tuner.config import DataConfig\n"
        "from tuner.errors import DataError\n"
        "assert 'datasets' not in sys.modules\n"
        "try:\n"
        "    load_tables(DataConfig(source='nobody/no-such-data'), {'text': 'text'})\n"
        "except DataError as error:\n"
        "    print(error)\n"
    )
    environment = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin", "HOME": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert "data.source = 'nobody/no-such-data'" in done.stdout
    assert "cannot be loaded from the hub" in done.stdout
    assert "name the file" in done.stdout


def test_splits_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is real; only its download is replaced."""
    datasets = pytest.importorskip("datasets")
    asked: list[Any] = []

    def load_dataset(identity: str, configuration: str | None) -> Any:
        asked.append((identity, configuration))
        rows = {"sentence": [f"Text {n}" for n in range(20)], "label": [n % 2 for n in range(20)]}
        data = datasets.Dataset.from_dict
        hidden = data({"sentence": ["Hidden."], "label": [-1]})
        return datasets.DatasetDict({"train": data(rows), "dev": data(rows), "test": hidden, "extra": data(rows)})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    config = DataConfig(source="nyu-mll/glue:sst2", columns={"text": "sentence"})
    splits = load_splits(config, COLUMNS)
    assert asked == [("nyu-mll/glue", "sst2")]
    assert splits.validation[2].where == "nyu-mll/glue:sst2[dev] row 3"
    assert len(splits.train) + len(splits.test) == 20
    assert any("splits not used: extra" in note for note in splits.notes)
    assert any("no labels (all are -1)" in note for note in splits.notes)


def test_a_hub_set_without_train(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    only = datasets.DatasetDict({"eval": datasets.Dataset.from_dict({"text": ["a"], "label": [1]})})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: only)
    with pytest.raises(DataError, match="no split called train; it has 'eval'"):
        load_splits(DataConfig(source="some/thing"), COLUMNS)
