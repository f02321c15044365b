"""`tuner serve`: its settings, what it says before it serves, and what it refuses."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from serve.keys import create_key
from tests.cli.samples import finished, save
from tuner.cli import serve
from tuner.cli.main import main, verb_parser


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(serve, "_on_ray", lambda settings, out: 0)


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return str(free.getsockname()[1])


def test_options_win_over_the_file_and_places_are_absolute(tmp_path: Path) -> None:
    Path("serve.yaml").write_text("port: 9000\nrate_per_minute: 7\ntasks: {fashion: {queue: 3}, sentiment: {}}\n")
    words = ["--config", "serve.yaml", "--port", "9001", "--results", "there", "--tasks", "fashion", "--development"]
    settings = serve._settings(verb_parser("serve").parse_args(words))
    assert (settings.port, settings.rate_per_minute, settings.development) == (9001, 7, True)
    assert {name: own.queue for name, own in settings.tasks.items()} == {"fashion": 3}
    assert settings.registry == tmp_path / "there" / "registry"
    assert settings.keys == tmp_path / "there" / "keys.json"


def test_it_says_what_is_promoted_and_offers_the_last_study(capsys: pytest.CaptureFixture[str]) -> None:
    save(Path("results"), finished("first", 1.0))
    assert main(["serve", "--development", "--port", free_port()]) == 0
    out = capsys.readouterr().out
    assert "sentiment: nothing is promoted yet. The best of first scored 0.801: tuner promote first --as" in out
    assert "fashion: nothing is promoted yet. No study has a winner either: tuner tune fashion" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--development", "--host", "0.0.0.0"], "others can reach it, and development mode asks for no key"),
        ([], "keys.json"),
        (["--development", "--tasks", "sentiments"], "there is no such task to serve"),
        (["--development", "--port", "70000"], "port"),
        (["--config", "none.yaml"], "it cannot be read"),
    ],
)
def test_what_cannot_be_is_a_sentence(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *words]) in (1, 2)
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--development", "--port", str(taken.getsockname()[1])]) == 2
    assert "cannot be listened on" in capsys.readouterr().err


def test_with_keys_it_may_listen_elsewhere() -> None:
    create_key(Path("results/keys.json"), "shop", ["infer"], time.time())
    assert main(["serve", "--host", "0.0.0.0", "--port", free_port()]) == 0
