"""A selector's snapshots over its life: what it begins with, what it writes from time to time, and at its end.

Where nothing usable is found the log is read from its first entry, and the reason is told. Nothing that goes wrong with
snapshots keeps a selector from its work.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import structlog

from edge.health import Check
from events.names import SelectorName
from selection.following.child import ChildError, in_child
from selection.following.loads import NO_LOADS, UnusableLoadsError, dump_loads, restore_loads
from selection.following.snapshot import Mark, Part, UnusableSnapshotError, read, written
from selection.following.snapshot_file import SnapshotFile
from selection.view.fleet import FleetView
from selection.view.snapshot import SnapshotUnusableError, dump, load
from selection.view.statistics import Statistics, UnusableStatisticsError

WRITE_EVERY_S: Final = 300.0  # the tail of a busy log is then read in a second or two
_FRESH: Final = SelectorName("fresh")

log = structlog.stdlib.get_logger()


class Restored(NamedTuple):
    """What a selector begins with. Without a ``mark`` it reads all of the log, whatever it knows already."""

    view: FleetView
    statistics: Statistics
    mark: Mark | None


class Snapshots:
    """The snapshots of one selector; without a ``file`` there are none. ``site`` is ``snapshot.site_of``'s."""

    def __init__(self, file: SnapshotFile | None, *, site: bytes, clock_s: Callable[[], float]) -> None:
        self._file = file
        self._site = site
        self._clock_s = clock_s
        self._written: Mark | None = None
        self._size_bytes = 0
        self._turn = asyncio.Lock()
        self._restored: Mark | None = None
        self.problem = ""

    def restore(self, *, days_kept: int) -> Restored:
        """Read what there is.

        Raises:
            OSError: the folder cannot be used.
        """
        if self._file is None:
            return Restored(FleetView(), Statistics(days_kept=days_kept), None)
        self._file.prepare()
        reading = _Reading(self._site, days_kept)
        for path, data in self._file.found():
            reading.take(path, data)
        if reading.problems:
            self.problem = "; ".join(reading.problems)
            log.warning("snapshot.unusable", because=self.problem)
        restored = reading.restored()
        self._restored = self._written = restored.mark
        self._size_bytes = reading.size_bytes
        if restored.mark is not None:
            age_s = round(self._clock_s() - restored.mark.taken_at_s)
            log.info("snapshot.read", generation=restored.mark.generation, offset=restored.mark.offset, age_s=age_s)
        return restored

    async def run(self, known: Restored, mark: Callable[[], Mark | None]) -> None:
        """Write from time to time, until cancelled. ``mark`` tells how far the log is read into what is known then."""
        while self._file is not None:
            await asyncio.sleep(WRITE_EVERY_S)
            if (now := self._due(mark())) is not None:
                await self._write(self._file, known, now)

    @asynccontextmanager
    async def fresh(self, known: Restored, mark: Callable[[], Mark | None]) -> AsyncGenerator[Path]:
        """Write one for somebody who asks, and give it while the block is entered. One is written at a time.

        Raises:
            ChildError: it could not be written, or what is known is not all that the log tells.
            OSError: there is no room for it.
        """
        async with self._turn:
            with TemporaryDirectory(prefix=_FRESH) as folder:
                file = SnapshotFile(Path(folder), _FRESH)
                parent = os.getpid()
                if (now := mark()) is None:
                    raise ChildError("the view is not all that the log tells yet")
                await in_child(lambda: file.write(self._parts(known, now), while_child_of=parent))
                yield file.newest

    def write_last(self, known: Restored, mark: Mark | None) -> None:
        """Write at the end, when nobody waits any more."""
        if self._file is None or (now := self._due(mark)) is None:
            return
        try:
            self._note(now, self._file, self._file.write(self._parts(known, now)))
        except OSError as error:
            self._note_problem(str(error))

    def check(self) -> Check:
        """Tell whether a restart would be a quick one."""
        if self._file is None:
            return Check(name="snapshot", ok=True, detail="none is kept: selector.state_dir is not set", vital=False)
        detail = self.problem or (f"at offset {self._written.offset}" if self._written else "none yet")
        return Check(name="snapshot", ok=not self.problem, detail=detail, vital=False)

    def status(self) -> dict[str, object]:
        """Give figures for people."""
        written_at_s = self._written.taken_at_s if self._written else None
        return {
            "kept": self._file is not None,
            "began_at_offset": self._restored.offset if self._restored else None,
            "offset": self._written.offset if self._written else None,
            "age_s": None if written_at_s is None else round(self._clock_s() - written_at_s, 1),
            "size_bytes": self._size_bytes,
            "problem": self.problem,
        }

    def _due(self, mark: Mark | None) -> Mark | None:
        """Give the mark to write at; None where there is none, or nothing new."""
        before = self._written
        if mark is None or (before and (mark.generation, mark.offset) == (before.generation, before.offset)):
            return None
        return mark

    async def _write(self, file: SnapshotFile, known: Restored, mark: Mark) -> None:
        parent = os.getpid()
        try:
            await in_child(lambda: file.write(self._parts(known, mark), while_child_of=parent))
            self._note(mark, file, file.newest.stat().st_size)
        except (ChildError, OSError) as error:
            self._note_problem(str(error))

    def _parts(self, known: Restored, mark: Mark) -> list[bytes]:
        parts = {
            Part.VIEW: dump(known.view),
            Part.LOADS: dump_loads(known.view),
            Part.STATISTICS: known.statistics.dump(),
        }
        return written(mark, parts, site=self._site)

    def _note(self, mark: Mark, file: SnapshotFile, size_bytes: int) -> None:
        self._written, self._size_bytes, self.problem = mark, size_bytes, ""
        log.info("snapshot.written", path=str(file.newest), offset=mark.offset, size_bytes=size_bytes)

    def _note_problem(self, problem: str) -> None:
        self.problem = f"not written: {problem}"
        log.error("snapshot.failed", error=problem)


class _Reading:
    """Takes the newest usable view, and the newest usable statistics."""

    def __init__(self, site: bytes, days_kept: int) -> None:
        self._site = site
        self._days_kept = days_kept
        self._view: tuple[FleetView, Mark] | None = None
        self._statistics: tuple[Statistics, Mark] | None = None
        self.problems: list[str] = []
        self.size_bytes = 0  # of the one that the view is from

    def take(self, path: Path, data: bytes) -> None:
        """Look what can be used of a snapshot."""
        if self._view is not None and self._statistics is not None:
            return
        try:
            found = read(data, site=self._site)
            if found.damage:
                self.problems.append(f"{path.name}: {found.damage}")
            if self._view is None and Part.VIEW in found.parts:
                view = load(found.parts[Part.VIEW])
                restore_loads(view, found.parts.get(Part.LOADS, NO_LOADS))
                self._view, self.size_bytes = (view, found.mark), len(data)
            if self._statistics is None and Part.STATISTICS in found.parts:
                self._statistics = Statistics.load(found.parts[Part.STATISTICS], days_kept=self._days_kept), found.mark
        except (UnusableSnapshotError, SnapshotUnusableError, UnusableStatisticsError, UnusableLoadsError) as error:
            self.problems.append(f"{path.name}: {error}")

    def restored(self) -> Restored:
        """Give what is used. The log is read on at the older mark: what one of them knows already changes nothing."""
        view, statistics = self._view, self._statistics
        mark = min(view[1], statistics[1], key=lambda mark: mark.taken_at_s) if view and statistics else None
        return Restored(
            view[0] if view else FleetView(),
            statistics[0] if statistics else Statistics(days_kept=self._days_kept),
            mark,
        )
