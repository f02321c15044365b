"""`tuner keys`: made once, listed, revoked, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from serve.audit import verify
from serve.keys import KeyRing
from tuner.cli.main import main
from tuner.cli.registry import user

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_key_is_shown_once_and_alone_on_standard_output(capsys: Capture) -> None:
    assert main(["keys", "create", "ci", "--scopes", "deploy, read", "--days", "30", "--rate", "600"]) == 0
    out, words = capsys.readouterr()
    key = KeyRing(Path("results/keys.json")).find(out.strip())
    assert key is not None
    assert (key.name, key.scopes, key.rate) == ("ci", {"deploy", "read"}, 600)
    assert key.expires == key.created + 30 * 86_400
    assert "The key of ci, for read, deploy. It is shown this once" in words
    assert main(["keys", "list"]) == 0
    out, _ = capsys.readouterr()
    heading, line = out.splitlines()
    assert heading.split()[:3] == ["name", "scopes", "created"]
    assert line.split()[:3] == ["ci", "read,", "deploy"]
    assert line.split()[-2:] == ["valid", "600"]
    assert key.hash not in out


def test_who_makes_or_revokes_one_is_noted(capsys: Capture) -> None:
    assert main(["keys", "create", "ci", "--scopes", "deploy,read"]) == 0
    assert main(["keys", "create", "ci"]) == 2
    assert main(["keys", "revoke", "ci"]) == 0
    text = capsys.readouterr().out.splitlines()[0]
    notes = verify(Path("results/registry/audit.jsonl")).entries
    assert [(note.action, note.target) for note in notes] == [
        ("create key", "ci for deploy, read"),
        ("create key", "ci for infer, read"),
        ("revoke key", "ci"),
    ]
    assert [note.outcome.split(":")[0] for note in notes] == ["done", "refused", "done"]
    assert {note.who for note in notes} == {user()}
    assert text[-64:] not in Path("results/registry/audit.jsonl").read_text()


def test_without_options_a_key_may_infer_and_read_for_ever(capsys: Capture) -> None:
    assert main(["keys", "create", "ci", "--results", "elsewhere"]) == 0
    key = KeyRing(Path("elsewhere/keys.json")).find(capsys.readouterr().out.strip())
    assert key is not None
    assert (key.scopes, key.expires, key.rate) == ({"infer", "read"}, None, None)


def test_revoked(capsys: Capture) -> None:
    main(["keys", "create", "ci"])
    text = capsys.readouterr().out.strip()
    assert main(["keys", "revoke", "ci"]) == 0
    assert "The key ci is revoked" in capsys.readouterr().out
    key = KeyRing(Path("results/keys.json")).find(text)
    assert key is not None
    assert key.revoked is not None
    main(["keys", "list"])
    assert "revoked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["create"], "NAME = None: is missing. As in: tuner keys create ci"),
        (["revoke"], "NAME = None: is missing. As in: tuner keys revoke ci"),
        (["list", "ci"], "NAME = 'ci': list takes no name"),
        (["list", "--rate", "3"], "--rate = 3: belongs to create"),
        (["create", "ci", "--scopes", "root,,"], "scope = 'root': is not a scope. Use some of: read, infer"),
        (["create", "ci", "--scopes", ","], "scopes = '': a key needs a scope"),
        (["create", "../ci"], "name = '../ci': is not a name for a key"),
        (["create", "ci", "--days", "0"], "days = 0: is less than 1"),
    ],
)
def test_mistakes_are_sentences(arguments: list[str], sentence: str, capsys: Capture) -> None:
    assert main(["keys", *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("results/keys.json").exists()


def test_no_file(capsys: Capture) -> None:
    assert main(["keys", "list"]) == 1
    assert "there are no API keys: results/keys.json is missing. Make one" in capsys.readouterr().err
