"""Writers in several processes and threads lose no change, and a reader never sees half of one."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from tests.registry.toys import BY, NAME, make_adapter, promote, several
from tuner.registry import Registry, Version

COUNT = 40
WRITER = f"""
import sys
from pathlib import Path
from tuner.registry import AdapterName, Registry
registry, alias, versions = Registry(Path(sys.argv[1])), sys.argv[2], sys.argv[3:]
sys.stdin.readline()
for number in range({COUNT}):
    registry.set_alias(AdapterName("sentiment", "reviews"), alias, {{versions[number % 2]: 1}}, by=alias)
"""


def test_no_change_is_lost(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    versions = several(registry, tmp_path, 2)
    start = registry.state().generation
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(registry.path), alias, *versions],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
        )
        for alias in ("first", "second")
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.close()
    generations = [start]
    while any(writer.poll() is None for writer in writers):
        state = registry.state()  # raises if it is half written
        generations.append(state.generation)
    assert [writer.wait() for writer in writers] == [0, 0]
    assert generations == sorted(generations)
    state = registry.state()
    assert state.generation == start + 2 * COUNT
    for alias in ("first", "second"):
        changes = state.adapter(NAME).history[alias]
        assert [change.number for change in changes] == list(range(1, COUNT + 1))
        assert {change.by for change in changes} == {alias}


def test_threads_that_promote_at_once(tmp_path: Path) -> None:
    """Two of them promote the same adapter; all are there in the end."""
    sources = [make_adapter(tmp_path / f"source-{number}", number % 5) for number in range(6)]
    failed: list[Exception] = []

    def work(source: Path) -> None:
        registry = Registry(tmp_path / "registry")
        try:
            for _ in range(3):
                registry.verify(promote(registry, source))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    registry = Registry(tmp_path / "registry")
    versions = registry.state().adapter(NAME).versions
    assert len(versions) == 5
    assert sorted(path.name for path in registry.path.glob("versions/*/*/*")) == sorted(versions)
    for entry in versions.values():
        registry.verify(entry)
    registry.set_alias(NAME, "champion", {next(iter(versions)): 1}, by=BY)


def test_what_another_publishes_meanwhile_is_not_moved(tmp_path: Path) -> None:
    """Between the look at what is there and the lock another may come, and whoever reads its files goes on reading."""
    source = make_adapter(tmp_path / "source", 1)
    places: list[int] = []

    class Late(Registry):
        def _is_intact(self, version: Version) -> bool:
            was = super()._is_intact(version)
            if not places:
                entry = promote(Registry(self.path), source)
                places.append(self.folder(entry).stat().st_ino)
            return was

    registry = Late(tmp_path / "registry")
    entry = promote(registry, source)
    assert [registry.folder(entry).stat().st_ino] == places
    registry.verify(entry)
