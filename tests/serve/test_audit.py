"""The audit log: one chain whoever writes, and no byte of it can change unseen."""

from __future__ import annotations

import multiprocessing
import os
import stat
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.audit import AuditLog, verify
from tuner.errors import StoreError


def write(path: Path, count: int, who: str = "ci") -> None:
    log = AuditLog(path)
    for number in range(count):
        log.append(who, "alias", f"sentiment/reviews@{number}", "ok", f"r{number}")


@cache
def chain() -> bytes:
    """Four lines as they are written."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "audit.jsonl"
        write(path, 4)
        return path.read_bytes()


def first_broken(data: bytes) -> int | None:
    """Where `verify` finds a break in these bytes."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "audit.jsonl"
        path.write_bytes(data)
        return verify(path).broken


def test_entries_come_back_as_they_were_given(tmp_path: Path) -> None:
    path = tmp_path / "new" / "audit.jsonl"
    log = AuditLog(path, lambda: 0.0)
    first = log.append("ci", "delete", "a\nb\ud800é" + "x" * 5000, "refused: serving", "r1")
    second = log.append("ops", "alias", "sentiment/reviews@2", "ok", "r2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (first.time, first.target[:5], len(first.target)) == ("1970-01-01T00:00:00.000+00:00", "a\nb?é", 300)
    assert (first.previous, second.previous) == ("0" * 64, first.hash)
    assert verify(path).entries == (first, second)
    assert verify(path).broken is None
    assert len(path.read_bytes().splitlines()) == 2


@given(st.data())
def test_any_changed_byte_is_found_in_its_line(data: st.DataObject) -> None:
    whole = chain()
    place = data.draw(st.integers(0, len(whole) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != whole[place]))
    changed = whole[:place] + bytes([value]) + whole[place + 1 :]
    assert first_broken(changed) == whole.count(b"\n", 0, place) + 1


def test_lines_taken_out_swapped_doubled_or_cut() -> None:
    lines = chain().splitlines(keepends=True)
    assert first_broken(b"".join(lines)) is None
    assert first_broken(b"".join(lines[1:])) == 1
    assert first_broken(b"".join([lines[0], *lines[2:]])) == 2
    assert first_broken(b"".join([lines[0], lines[2], lines[1], lines[3]])) == 2
    assert first_broken(b"".join([lines[0], lines[0]])) == 2
    assert first_broken(b"".join(lines)[:-1]) == 4
    assert first_broken(b"".join([*lines, b"\n"])) == 5


def test_processes_keep_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write, args=(path, 25, f"key{number}")) for number in range(2)]
    for writer in writers:
        writer.start()
    write(path, 25, "here")
    for writer in writers:
        writer.join()
    verdict = verify(path)
    assert verdict.broken is None
    assert sorted({entry.who for entry in verdict.entries}) == ["here", "key0", "key1"]
    assert len(verdict.entries) == 75


@pytest.mark.parametrize("tail", [b"{", b"x" * 9000, b"\n"])
def test_nothing_is_added_to_a_broken_end(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(chain() + tail)
    with pytest.raises(StoreError, match="its last line is not an entry"):
        write(path, 1)
    assert path.read_bytes() == chain() + tail


def test_long_lines_are_followed(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    for _ in range(3):
        log.append("é" * 300, "é" * 300, "é" * 300, "é" * 300, "é" * 300)
    assert len(path.read_bytes()) > 3 * 4096
    assert verify(path).broken is None


def test_a_link_and_a_folder_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.touch()
    os.symlink(target, tmp_path / "audit.jsonl")
    for path in (tmp_path / "audit.jsonl", tmp_path):
        with pytest.raises(StoreError, match="cannot be written"):
            write(path, 1)
    assert target.read_bytes() == b""
    with pytest.raises(StoreError, match="cannot be read"):
        verify(tmp_path / "missing")


def test_what_is_done_is_noted_with_how_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "registry" / "audit.jsonl"
    log = AuditLog(path)
    with log.noted("ci", "delete", "a", "r1"):
        pass
    with log.noted("ci", "promote", "b") as note:
        note.outcome = "done: 1a2b"
    with pytest.raises(StoreError), log.noted("ci", "alias", "c"):
        raise StoreError("no space")
    with pytest.raises(KeyboardInterrupt), log.noted("ci", "alias", "d"):
        raise KeyboardInterrupt
    assert [(entry.target, entry.outcome, entry.request_id) for entry in verify(path).entries] == [
        ("a", "done", "r1"),
        ("b", "done: 1a2b", ""),
        ("c", "refused: no space", ""),
        ("d", "failed: KeyboardInterrupt", ""),
    ]


def test_nothing_is_done_that_cannot_be_noted(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    write(path, 2)
    path.write_bytes(path.read_bytes()[:-1])
    done = []
    with pytest.raises(StoreError, match="is damaged"), AuditLog(path).noted("ci", "alias", "a"):
        done.append("a")
    with pytest.raises(StoreError, match="is damaged"):
        AuditLog(path).check()
    assert not done
