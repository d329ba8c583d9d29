"""``ExportSource``: the log as an export holds it, each entry proved while it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from history.entry import Entry, Position
from history.export.blocks import BlockDamagedError
from history.export.faults import FaultFoundError
from history.export.folder import ExportError, segments_in
from history.export.layout import entries_of
from history.export.segment import Ends, read_ends, read_header
from history.export.walk import Proved, Walk
from history.sources.port import Extent, SourceError


class ExportSource:
    """Implements ``history.sources.port.Source``."""

    def __init__(self, folder: Path) -> None:
        """Open an export.

        Raises:
            SourceError: there is none in this folder.
        """
        self._folder, self.name = folder, str(folder)
        try:
            paths = segments_in(folder)
            if not paths:
                raise SourceError(f"{folder} holds no export: name the folder that `events export` wrote")
            self.vhost = read_header(paths[min(paths)]).vhost
        except ExportError as error:
            raise SourceError(str(error)) from error

    async def extent(self) -> Extent:
        """Tell what there is, by the segments' own ends. See ``Source``."""
        ends = self._ends()
        first = ends[0].header
        return Extent(
            first=Position(first.generation, first.first_offset),
            last=ends[-1].last,
            entries=sum(each.footer.entries for each in ends),
        )

    async def batches(self, *, after: Position | None = None) -> AsyncGenerator[Sequence[Entry]]:
        """Give the entries behind a place. See ``Source``.

        What stands in segments that end before it is not looked at, and hence not proved.
        """
        try:
            for proved in self._walk(after).proved():
                if batch := _behind(after, proved):
                    yield batch
                await asyncio.sleep(0)
        except (FaultFoundError, BlockDamagedError, ExportError) as error:
            raise SourceError(f"{self.name}: {error}") from error

    def _walk(self, after: Position | None) -> Walk:
        skipped = 0 if after is None else sum(each.last <= after for each in self._ends())
        return Walk(self._folder, first=skipped + 1)

    def _ends(self) -> list[Ends]:
        try:
            return [read_ends(path) for path in segments_in(self._folder).values()]
        except ExportError as error:
            raise SourceError(f"{error}: see `events audit --source {self.name}`") from error


def _behind(after: Position | None, proved: Proved) -> Sequence[Entry]:
    """Read a block's entries; none where all are at or before the place."""
    if after is not None and entries_of(proved.records[-1:])[0].position <= after:
        return ()
    entries = entries_of(proved.records)
    return entries if after is None else [entry for entry in entries if entry.position > after]
