"""`tuner doctor`: every check on facts made for it, and the whole on this machine."""

from __future__ import annotations

import json
import socket
from importlib import metadata
from pathlib import Path

import pytest

from tuner.cli import doctor
from tuner.cli.doctor import FAILURE, OK, WARNING
from tuner.cli.main import main


@pytest.mark.parametrize(("version", "state"), [((3, 10, 9), FAILURE), ((3, 11, 0), OK), ((3, 13, 1), OK)])
def test_python(version: tuple[int, ...], state: str) -> None:
    assert [finding.state for finding in doctor.check_python(version)] == [state]


def test_packages_missing_other_and_right() -> None:
    here = metadata.version("pytest")
    findings = list(doctor.check_packages({"no-such-package-here": "1.0", "rich": "0.1", "pytest": here, "pip": None}))
    assert [(finding.name, finding.state) for finding in findings] == [
        ("no-such-package-here", FAILURE),
        ("rich", WARNING),
        ("packages", OK),
    ]
    assert findings[0].cure.endswith("pip install no-such-package-here==1.0")
    assert f"pytest {here}" in findings[2].found


def test_wanted_versions_are_the_pinned_ones() -> None:
    wanted = doctor.wanted_versions()
    assert {"ray", "torch", "optuna", "peft", "transformers"} <= set(wanted)
    assert "pytest" not in wanted, "tools for development are not needed to tune"
    pins = dict(line.split("==") for line in doctor.CONSTRAINTS.read_text().splitlines() if "==" in line)
    assert wanted["ray"] == pins["ray"]


def test_cluster_states(tmp_path: Path) -> None:
    address = next(doctor.check_cluster({"RAY_ADDRESS": "10.0.0.1:6379"}))
    assert (address.state, "10.0.0.1:6379" in address.found) == (OK, True)
    assert "none runs here" in next(doctor.check_cluster({"RAY_TMPDIR": str(tmp_path)})).found
    (tmp_path / "ray").mkdir()
    marker = tmp_path / "ray" / "ray_current_cluster"
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        marker.write_text(f"127.0.0.1:{server.getsockname()[1]}")
        assert next(doctor.check_cluster({"RAY_TMPDIR": str(tmp_path)})).state == OK
    stale = next(doctor.check_cluster({"RAY_TMPDIR": str(tmp_path)}))
    assert (stale.state, stale.cure) == (WARNING, "Run: ray stop")


def test_ports() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert next(doctor.check_ports({port: "a test"})).state == WARNING
    assert next(doctor.check_ports({port: "a test"})).state == OK


def test_tokens(tmp_path: Path) -> None:
    token = tmp_path / ".ray" / "auth_token"
    assert next(doctor.check_token({}, tmp_path)).state == OK
    missing = next(doctor.check_token({"RAY_AUTH_MODE": "token"}, tmp_path))
    assert (missing.state, missing.cure) == (FAILURE, "Run: ray get-auth-token --generate")
    token.parent.mkdir()
    token.write_text("abcdef0123456789")
    token.chmod(0o644)
    readable = next(doctor.check_token({}, tmp_path))
    assert (readable.state, readable.cure) == (WARNING, f"Run: chmod 600 {token}")
    token.chmod(0o600)
    assert next(doctor.check_token({"RAY_AUTH_MODE": "token"}, tmp_path)).state == OK
    assert next(doctor.check_token({"RAY_AUTH_MODE": "disabled"}, tmp_path)).state == WARNING
    assert next(doctor.check_token({"RAY_AUTH_TOKEN_PATH": str(token)}, tmp_path / "other")).state == OK
    given = next(doctor.check_token({"RAY_AUTH_TOKEN": "abcdef0123456789"}, tmp_path / "other"))
    assert (given.state, "abcdef" in given.found) == (OK, False)


def test_results_folder(tmp_path: Path) -> None:
    findings = {finding.name: finding for finding in doctor.check_results(tmp_path / "not" / "made" / "yet")}
    assert findings["results"].state == OK
    assert str(tmp_path) in findings["disk"].found
    assert not (tmp_path / "not").exists(), "looking changes nothing"
    (tmp_path / "file").touch()
    assert next(doctor.check_results(tmp_path / "file")).state == FAILURE


def test_hub_settings() -> None:
    assert "only models that are on this disk" in next(doctor.check_hub({"HF_HUB_OFFLINE": "1"})).found
    assert "may be downloaded" in next(doctor.check_hub({"HF_HUB_OFFLINE": "0"})).found


def test_a_failure_is_exit_code_1_and_has_a_cure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["doctor", "--json", "--results", str(tmp_path / "file")]) == 1
    findings = json.loads(capsys.readouterr().out)
    failures = [finding for finding in findings if finding["state"] == FAILURE]
    assert [finding["name"] for finding in failures] == ["results"]
    assert all(finding["cure"] for finding in findings if finding["state"] != OK)


@pytest.mark.slow
def test_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where these tests run, nothing may fail: every package, a device, the embedded base."""
    assert main(["doctor", "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for part in (
        "Python",
        "packages",
        "Ray cluster",
        "port 6379",
        "port 8265",
        "Ray token",
        "cpu:",
        "memory",
        "disk",
        "minilm",
    ):
        assert part in out
    assert out.rstrip().endswith("0 failures")
    assert "\x1b" not in out
