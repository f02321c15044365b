"""API keys: what the file keeps, who may read it, and how fast a running server follows it."""

from __future__ import annotations

import json
import re
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.keys import ApiKey, KeyRing, create_key, read_keys, revoke_key, split_key
from tuner.errors import ConfigError, StoreError

NOW = 1_000_000.0


class Clock:
    """A time that the test sets."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results" / "keys.json"


def test_the_file_is_private_and_holds_no_secret(path: Path) -> None:
    key, text = create_key(path, "ci", ["infer", "read"], NOW, days=2, rate=60)
    assert re.fullmatch(r"lt_[0-9a-f]{16}[0-9a-f]{64}", text)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = path.read_text()
    assert text not in kept
    assert text[19:] not in kept
    assert read_keys(path) == (key,)
    assert (key.scopes, key.created, key.expires, key.rate) == ({"infer", "read"}, NOW, NOW + 2 * 86_400, 60)
    assert text not in repr(key)


def test_keys_differ(path: Path) -> None:
    texts = {create_key(path, f"key{number}", ["read"], NOW)[1] for number in range(20)}
    assert len({text[3:19] for text in texts}) == len({text[19:] for text in texts}) == 20


def test_all_mistakes_are_told_at_once(path: Path) -> None:
    create_key(path, "ci", ["read"], NOW)
    with pytest.raises(ConfigError) as caught:
        create_key(path, "ci", ["read", "root"], NOW, days=0, rate=-1)
    assert [problem.name for problem in caught.value.problems] == ["scope", "name", "days", "rate"]
    with pytest.raises(ConfigError, match=r"name = 'a\\nb': is not a name(.|\n)*") as caught:
        create_key(path, "a\nb", [], NOW)
    assert len(caught.value.problems) == 2
    assert [key.name for key in read_keys(path)] == ["ci"]


def test_a_revoked_key_stays_revoked_and_keeps_its_name(path: Path) -> None:
    create_key(path, "ci", ["read"], NOW)
    assert revoke_key(path, "ci", NOW + 1).revoked == NOW + 1
    assert revoke_key(path, "ci", NOW + 2).revoked == NOW + 1
    with pytest.raises(ConfigError, match="there is, or was, a key of that name"):
        create_key(path, "ci", ["read"], NOW)
    with pytest.raises(ConfigError, match="Did you mean ci"):
        revoke_key(path, "cli", NOW)


def test_makers_at_the_same_time_lose_no_key(path: Path) -> None:
    threads = [threading.Thread(target=create_key, args=(path, f"key{number}", ["read"], NOW)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.name for key in read_keys(path)} == {f"key{number}" for number in range(8)}


def test_scopes_and_states(path: Path) -> None:
    reader, _ = create_key(path, "reader", ["read"], NOW, days=1)
    admin, _ = create_key(path, "admin", ["admin"], NOW)
    assert [reader.allows(scope) for scope in ("read", "infer", "deploy", "admin")] == [True, False, False, False]
    assert all(admin.allows(scope) for scope in ("read", "infer", "deploy", "admin"))
    assert (reader.state(NOW), reader.state(NOW + 86_400), admin.state(NOW * 9)) == ("valid", "expired", "valid")
    assert revoke_key(path, "reader", NOW).state(NOW) == "revoked"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_open_to_others_is_refused(path: Path, mode: int) -> None:
    create_key(path, "ci", ["read"], NOW)
    path.chmod(mode)
    with pytest.raises(StoreError, match="by others"):
        KeyRing(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-9],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"read"', '"root"'),
        lambda text: text.replace('"id"', '"identity"'),
        lambda text: re.sub('"hash": "..', '"hash": "', text),
        lambda text: re.sub("[0-9a-f]{64}", "\u0660" * 64, text),
        lambda text: text.replace('"format": 1', '"format": 2'),
        lambda text: json.dumps({"format": 1, "keys": 2 * json.loads(text)["keys"]}),
    ],
)
def test_a_damaged_file_is_refused(path: Path, damage: object) -> None:
    create_key(path, "ci", ["read"], NOW)
    before = path.read_text()
    damaged = damage(before)  # type: ignore[operator]
    assert damaged != before
    path.write_text(damaged)
    with pytest.raises(StoreError, match="is damaged"):
        KeyRing(path)


def test_no_file_is_no_server(path: Path) -> None:
    with pytest.raises(StoreError, match="tuner keys create"):
        KeyRing(path)


@given(st.text(max_size=100) | st.from_regex(r"lt_[0-9a-f]{80}", fullmatch=True) | st.binary().map(bytes.hex))
def test_any_text_is_a_key_or_none(text: str) -> None:
    parts = split_key(text)
    assert (parts is None) == (len(text) != 83 or not text.startswith("lt_") or not text.isascii())
    if parts is not None:
        assert ("lt_" + parts[0] + parts[1], len(parts[0]), len(parts[1])) == (text, 16, 64)


def test_only_the_whole_key_is_found(path: Path) -> None:
    key, text = create_key(path, "ci", ["read"], NOW)
    _, other = create_key(path, "other", ["read"], NOW)
    ring = KeyRing(path)
    assert ring.find(text) == key
    wrong = text[:-1] + ("0" if text[-1] != "0" else "1")
    for tried in (wrong, text.upper(), text[:-1], text + "0", text[:19] + other[19:], "", "lt_", text + "\n", "é" * 83):
        assert ring.find(tried) is None


def test_a_running_server_follows_the_file(path: Path) -> None:
    _, text = create_key(path, "ci", ["read"], NOW)
    clock = Clock()
    ring = KeyRing(path, clock)
    _, later = create_key(path, "later", ["read"], NOW)
    revoke_key(path, "ci", NOW)
    assert found(ring, text).revoked is None, "the file is not looked at before 200 ms have passed"
    assert ring.find(later) is None
    clock.now += 0.2
    assert found(ring, text).revoked == NOW
    assert found(ring, later).name == "later"


def found(ring: KeyRing, text: str) -> ApiKey:
    """The key, which must be there."""
    key = ring.find(text)
    assert key is not None
    return key


@pytest.mark.parametrize("how", ["gone", "open", "damaged"])
def test_a_file_that_goes_bad_admits_nobody_until_it_is_cured(
    path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, text = create_key(path, "ci", ["read"], NOW)
    clock = Clock()
    ring = KeyRing(path, clock)
    good = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "open":
        path.chmod(0o644)
    else:
        path.write_bytes(good[:-5])
    for _ in range(3):
        clock.now += 1
        with pytest.raises(StoreError):
            ring.find(text)
    assert len(caplog.records) == 1, "the log says it once"
    path.write_bytes(good)
    path.chmod(0o600)
    clock.now += 1
    assert found(ring, text).name == "ci"
