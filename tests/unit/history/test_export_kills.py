"""An export that is killed at any moment leaves what a second one goes on with, and what is sound."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from history.entry import Entry
from history.export.source import ExportSource
from history.export.verification import verify
from history.export.writer import ExportWriter

ENTRIES = 25
SEGMENT_ENTRIES = 10
KILLS_MAX = 1000  # far more than there are things to be done


def entry(number: int) -> Entry:
    return Entry(1, number, "fleet", "mirror.oslo.ready", f"mirror/oslo:1:{number}", "x/1", "site.oslo", b"%d" % number)


def export(folder: Path) -> None:
    """Export the log, behind what is there."""
    with ExportWriter(folder, vhost="site", export_id=b"one", entries_max=SEGMENT_ENTRIES) as writer:
        done = 0 if writer.ends is None else writer.ends.last.offset + 1
        writer.write(map(entry, range(done, ENTRIES)))


class Killer:
    """Counts what is done to files, and kills this process at the n-th: before it, or in the middle of a write."""

    def __init__(self, at: int) -> None:
        self._left = at

    def reach(self, half_done: Callable[[], object] = lambda: None) -> None:
        if self._left == 0:
            half_done()
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the call takes
            self.reach()
            return call(*args, **kwargs)

        return counted

    def install(self) -> None:
        """Watch over all that an export does to files."""
        is_read = Path.open

        def opened(path: Path, mode: str) -> Any:  # noqa: ANN401 - a file or its stand-in
            if mode == "rb":
                return is_read(path, mode)
            self.reach()
            return TornFile(path, mode, self)

        for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "unlink"), (Path, "mkdir")):
            setattr(owner, name, self.around(getattr(owner, name)))
        setattr(Path, "open", opened)  # noqa: B010 - plain assignment wants the same signature


class TornFile:
    """A file whose writes can be torn."""

    def __init__(self, path: Path, mode: str, killer: Killer) -> None:
        self._file = open(path, mode, buffering=0)  # noqa: PTH123, SIM115 - Path.open is what is replaced
        self._killer = killer

    def write(self, data: bytes) -> int:
        self._killer.reach(lambda: self._file.write(data[: len(data) // 2]))
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the file's own
        return getattr(self._file, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def is_killed(folder: Path, at: int) -> bool:
    """Export in a child that dies at its n-th step; tell whether it did, or came to its end."""
    child = os.fork()
    if child == 0:
        failed = 1
        try:
            Killer(at).install()
            export(folder)
            failed = 0
        finally:
            os._exit(failed)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or not os.WEXITSTATUS(status), "it failed by itself"
    return os.WIFSIGNALED(status)


async def test_an_export_killed_at_any_step_is_sound_and_gone_on_with(tmp_path: Path) -> None:
    sizes = set[int]()
    for at in range(KILLS_MAX):
        folder = tmp_path / str(at)
        was_killed = is_killed(folder, at)
        if folder.exists():
            verdict = verify(folder)
            assert verdict.fault is None, at
            sizes.add(verdict.entries)
        export(folder)
        assert [each async for batch in ExportSource(folder).batches() for each in batch] == list(
            map(entry, range(ENTRIES))
        ), at
        assert verify(folder).fault is None, at
        assert not list(folder.glob("*.part")), at
        if not was_killed:
            break
    assert sizes == {0, SEGMENT_ENTRIES, 2 * SEGMENT_ENTRIES, ENTRIES}


async def test_an_export_that_goes_on_killed_at_any_step_keeps_what_was_there(tmp_path: Path) -> None:
    for at in range(KILLS_MAX):
        folder = tmp_path / str(at)
        with ExportWriter(folder, vhost="site", export_id=b"one") as writer:
            writer.write(map(entry, range(3)))
        (folder / "segment-00000002.zst.part").write_bytes(b"half a segment")
        was_killed = is_killed(folder, at)
        assert verify(folder, expected=writer.chain).fault is None, at
        export(folder)
        assert verify(folder, expected=writer.chain).entries == ENTRIES, at
        if not was_killed:
            break
