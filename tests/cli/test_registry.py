"""`tuner registry`: what it shows, what it changes, and what it says of a mistake."""

from __future__ import annotations

import getpass
import json
import os
from pathlib import Path
from typing import Any

import pytest

from serve.audit import FILE, AuditLog, verify
from tests.readme import commands
from tests.registry.toys import NAME, fine, make_adapter
from tuner.cli.main import main
from tuner.cli.registry import user
from tuner.registry import Limits, Origin, Registry, Target


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three versions, the last of them the champion, in the folder to run in."""
    monkeypatch.chdir(tmp_path)
    found = []
    for number in range(3):
        origin = Origin("minilm", metrics={"score": 0.5 + number / 10}, study=f"study-{number}", trial=f"t{number}")
        source = make_adapter(tmp_path / f"source-{number}", number)
        made = registry().promote(source, NAME, origin=origin, alias="champion", check=fine, by="cli:ada")
        found.append(made.version)
    return found


def registry() -> Registry:
    return Registry(Path("results/registry"))


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """What a command says."""
    assert main(["registry", *words]) == code
    out, err = capsys.readouterr()
    assert not (err if code == 0 else out)
    return err if code else out


def at(alias: str = "champion") -> Target | None:
    found = registry().state().adapter(NAME).alias(alias)
    return found.target if found else None


def test_an_empty_registry_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "list", "--registry", str(tmp_path))
    assert "Nothing is promoted" in out
    assert "Next: tuner promote STUDY --as TASK/NAME" in out
    assert json.loads(run(capsys, "list", "--registry", str(tmp_path), "--json")) == []


def test_list(versions: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    registry().set_alias(NAME, "canary", {versions[0]: 3, versions[1]: 1}, by="admin")
    lines = run(capsys, "list").splitlines()
    assert lines[0].split()[:2] == ["adapter", "alias"]
    assert lines[1].split()[:3] == ["sentiment/reviews", "champion", versions[2]]
    assert f"{versions[0]} 75 %" in lines[2]
    assert f"{versions[1]} 25 %" in lines[2]
    (listed,) = json.loads(run(capsys, "list", "--json"))
    assert listed["name"] == "sentiment/reviews"
    assert list(listed["versions"]) == versions
    assert listed["aliases"]["canary"]["target"]["split"] == {versions[0]: 0.75, versions[1]: 0.25}
    assert [change["number"] for change in listed["history"]["champion"]] == [1, 2, 3]


def test_list_of_what_has_no_alias(versions: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "delete", "sentiment/reviews", "champion")
    assert run(capsys, "list").splitlines()[1].split() == ["sentiment/reviews", "-", "-", "-", "-", "3"]


def test_show(versions: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "show", "sentiment/reviews")
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line[:12] in versions}
    assert rows[versions[1]][3:] == ["cli:ada", "minilm", "0.6000", "study-1", "t1", "-"]
    assert rows[versions[2]][-2:] == ["champion", "(split)"]
    assert f"sentiment/reviews@champion: {versions[2]}\n" in out
    assert out.count("promoted") == 4, "the heading, and why each of three changes was made"
    shown = json.loads(run(capsys, "show", "sentiment/reviews", "--json"))
    assert shown == json.loads(run(capsys, "list", "--json"))[0]


def test_show_one_version(versions: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "show", f"sentiment/reviews@{versions[0]}")
    assert "adapter_model.safetensors" in out
    assert "score = 0.5" in out
    assert "Every file is as it was promoted." in out
    shown: list[dict[str, Any]] = json.loads(run(capsys, "show", "sentiment/reviews@champion", "--json"))
    assert [each["version"] for each in shown] == [f"sentiment/reviews@{versions[2]}"]
    assert shown[0]["study"] == "study-2"
    (Path(shown[0]["folder"]) / "adapter_config.json").unlink()
    assert "adapter_config.json is missing" in run(capsys, "show", "sentiment/reviews@champion", code=1)
    (Path(shown[0]["folder"]) / "manifest.json").unlink()
    assert "damaged: promote it again" in run(capsys, "show", "sentiment/reviews")


def test_alias(versions: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    a, b, c = versions
    words = ["alias", "sentiment/reviews", "champion", f"{a}=90", f"{b}=10", "--shadow", c, "--why", "canary"]
    limits = ["--max-errors", "0.05", "--max-latency-ms", "200", "--max-latency-ratio", "2", "--over", "50"]
    out = run(capsys, *words, *limits)
    said = {share for share in (f"{a} 90 %", f"{b} 10 %", f"shadow {c}", f"before: {c}.") if share in out}
    assert len(said) == 4
    assert "To go back: tuner registry rollback sentiment/reviews champion\n" in out
    assert at() == Target.of({a: 0.9, b: 0.1}, c, Limits(0.05, 200.0, 2.0, 50))
    change = registry().state().adapter(NAME).history["champion"][-1]
    assert (change.by, change.why) == (user(), "canary")
    assert "as before" in run(capsys, *words[:-2], *limits)
    run(capsys, "alias", "sentiment/reviews", "champion", a, "--max-errors", "0.1")
    assert at() == Target.of({a: 1}, None, Limits(max_errors=0.1))
    assert "before: nothing" in run(capsys, "alias", "sentiment/reviews", "other", a)


def test_rollback(versions: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    a, b, c = versions
    words = ["rollback", "sentiment/reviews", "champion"]
    assert f"points to {b}; before: {c}." in run(capsys, *words, "--why", "slow")
    assert f"points to {a}; before: {b}." in run(capsys, *words)
    assert "there is nothing to roll" in run(capsys, *words, code=2)
    assert registry().state().adapter(NAME).history["champion"][-2].why == "slow"


def test_delete(versions: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    err = run(capsys, "delete", "sentiment/reviews", versions[2], code=2)
    assert "aliases of sentiment/reviews need it: champion (split). Point them elsewhere first." in err
    assert "Deleted" in run(capsys, "delete", "sentiment/reviews", versions[0])
    assert list(registry().state().adapter(NAME).versions) == versions[1:]
    out = run(capsys, "delete", "sentiment/reviews", "champion", "--why", "over")
    assert "To bring it back: tuner registry rollback sentiment/reviews champion" in out
    assert at() is None
    assert "a version has no history" in run(capsys, "delete", "sentiment/reviews", versions[1], "--why", "x", code=2)
    run(capsys, "rollback", "sentiment/reviews", "champion")
    assert at() == Target.of({versions[2]: 1})


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (["show"], ["show takes NAME[@ALIAS]"]),
        (["list", "x", "--why", "y"], ["2 problems", "list takes nothing more", "option of rollback, delete, alias"]),
        (["rollback", "sentiment/reviews", "champion", "x"], ["Write: tuner registry rollback NAME ALIAS"]),
        (
            ["rollback", "sentiment/reviews", "a", "--shadow", "x", "--json"],
            ["not of rollback", "option of list, show, audit"],
        ),
        (["show", "sentiment/review"], ["no such adapter in the registry. Known: sentiment/reviews."]),
        (["show", "sentiment/reviews@champ"], ["has no such alias. Known: champion."]),
        (["show", "sentiment/../../etc"], ["'..'"]),
        (["alias", "sentiment/reviews", "x", "abc"], ["a version is 12 hex digits"]),
        (["alias", "sentiment/reviews", "x", "0" * 12], ["has no such version"]),
        (["alias", "sentiment/reviews", "0" * 12, "0" * 12], ["no alias may look like one"]),
        (["alias", "sentiment/reviews", "x", "a=b", "a"], ["2 problems", "a weight is a number", "named twice"]),
        (["alias", "sentiment/reviews", "x", "0" * 12 + "=0"], ["a weight lies from"]),
        (["alias", "sentiment/reviews", "x", "0" * 12, "--over", "5"], ["Give a share of errors or a latency"]),
        (["alias", "sentiment/reviews", "champion", "0" * 12, "--why", "a\nb"], ["one line"]),
    ],
)
def test_mistakes(
    versions: list[str], capsys: pytest.CaptureFixture[str], words: list[str], messages: list[str]
) -> None:
    before = registry().state()
    err = run(capsys, *words, code=2)
    for message in messages:
        assert message in err
    assert registry().state() == before


def test_every_change_is_in_the_audit_log(versions: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    a, b, c = versions
    run(capsys, "alias", "sentiment/reviews", "champion", f"{a}=9", b, "--shadow", c)
    run(capsys, "rollback", "sentiment/reviews", "champion")
    run(capsys, "rollback", "sentiment/review", "champion", code=2)
    run(capsys, "alias", "sentiment/../x", "champion", a, code=2)
    run(capsys, "delete", "sentiment/reviews", c, code=2)
    run(capsys, "delete", "sentiment/reviews", "champion")
    run(capsys, "delete", "sentiment/reviews", a)
    run(capsys, "list")
    entries = verify(registry().path / FILE).entries
    assert {(entry.who, entry.request_id) for entry in entries} == {(user(), "")}
    assert [(entry.action, entry.target, entry.outcome.partition(":")[0]) for entry in entries] == [
        ("alias", f"sentiment/reviews@champion to {a}=9 {b} shadow {c}", "done"),
        ("rollback", "sentiment/reviews@champion", "done"),
        ("rollback", "sentiment/review@champion", "refused"),
        ("alias", f"sentiment/../x@champion to {a}", "refused"),
        ("delete", f"sentiment/reviews@{c}", "refused"),
        ("remove alias", "sentiment/reviews@champion", "done"),
        ("delete", f"sentiment/reviews@{a}", "done"),
    ]
    assert "need it: champion (split)" in entries[4].outcome


def test_audit(versions: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "alias", "sentiment/reviews", "canary", versions[0])
    AuditLog(registry().path / FILE).append(
        "http:[ci]", "promote", "sentiment/x@champion from s", "refused: a\n  b", "r7"
    )
    lines = run(capsys, "audit").splitlines()
    assert lines[0].split() == ["when", "who", "action", "on", "outcome", "request"]
    assert lines[1].split()[2:] == [
        user(), "alias", "sentiment/reviews@canary", "to", versions[0], "done", "-"
    ]  # fmt: skip
    assert lines[2].split()[2:] == [
        "http:[ci]",
        "promote",
        "sentiment/x@champion",
        "from",
        "s",
        "refused:",
        "a",
        "b",
        "r7",
    ]
    assert lines[3] == "The chain of 2 entries is whole."
    told = [json.loads(line) for line in run(capsys, "audit", "--json").splitlines()]
    assert [each["request_id"] for each in told] == ["", "r7"]
    assert told[1]["previous"] == told[0]["hash"]


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_broken_audit_log(versions: list[str], capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    for alias in "abc":
        run(capsys, "alias", "sentiment/reviews", alias, versions[0])
    path = registry().path / FILE
    path.write_bytes(path.read_bytes().replace(b"reviews@b", b"reviews@x"))
    assert main(["registry", "audit", *more]) == 1
    out, err = capsys.readouterr()
    assert "reviews@a" in out
    assert "reviews@x" not in out
    assert "reviews@c" not in out
    assert "line 2 does not match its hash" in err


def test_an_audit_log_that_is_not_there(
    versions: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Nothing was changed" in run(capsys, "audit", "--registry", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
    assert "cannot be read: No such file" in run(capsys, "audit", code=1)


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert user() == f"cli:{getpass.getuser()}"

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert user() == f"cli:{os.getuid()}"


def test_the_readme_can_list_it() -> None:
    text = commands()
    assert "### `tuner registry ACTION WORD`" in text
    assert "alias NAME ALIAS VERSION[=WEIGHT]..." in text
    assert "### `tuner promote [STUDY]`" in text
