"""Writes a log into an export, and goes on where one ends."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from history.entry import Entry, Position
from history.export.folder import ExportError
from history.export.layout import EXPORT_ID_BYTES
from history.export.segment import Ends
from history.export.writer import ExportWriter
from history.privacy import Addresses
from history.sources.port import Source

Progress: TypeAlias = Callable[[int, Position], None]
"""Told after each batch: how many entries so far, and the place of the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export is now.

    Attributes:
        entries: how many were added.
        segments: how many it has in all.
        last: the place of its last entry; None: it has none.
        chain: the chain's end, to be kept elsewhere.
        is_adjoining: False: the log did not reach back to the export's former end any more.
    """

    entries: int
    segments: int
    last: Position | None
    chain: bytes
    is_adjoining: bool


async def export_log(
    source: Source, folder: Path, *, addresses: Addresses = Addresses.KEEP, progress: Progress | None = None
) -> Exported:
    """Put into a folder what the log holds now, behind what an earlier export left there.

    However this ends, what was read is kept, and the next export goes on behind it.

    Raises:
        SourceError: the log cannot be read (any further).
        ExportError: the folder does not take it, or holds another log.
    """
    export_id = secrets.token_bytes(EXPORT_ID_BYTES)
    with ExportWriter(folder, vhost=source.vhost, export_id=export_id, addresses=addresses) as writer:
        going_on = _GoingOn(writer.ends)
        entries = 0
        async with aclosing(source.batches(after=going_on.after)) as batches:
            async for batch in batches:
                fresh = going_on.fresh(batch)
                if going_on.has_gap and not entries:
                    writer.leave_gap()
                writer.write(fresh)
                entries += len(fresh)
                if progress is not None:
                    progress(entries, batch[-1].position)
        going_on.verify_found()
        writer.seal()
    return Exported(
        entries=entries,
        segments=writer.segments,
        last=None if writer.ends is None else writer.ends.last,
        chain=writer.chain,
        is_adjoining=not going_on.has_gap,
    )


class _GoingOn:
    """Proves that a log is the one that was exported: the last entry is read again, and must be the same."""

    def __init__(self, ends: Ends | None) -> None:
        self._ends = ends
        self._is_found = ends is None
        self.has_gap = False

    @property
    def after(self) -> Position | None:
        """The place right before the last entry that was exported."""
        if self._ends is None:
            return None
        return Position(self._ends.last.generation, self._ends.last.offset - 1)

    def fresh(self, batch: Sequence[Entry]) -> Sequence[Entry]:
        """Give what was not exported yet.

        Raises:
            ExportError: another entry stands in the last one's place.
        """
        if self._is_found or self._ends is None:
            return batch
        self._is_found = True
        first = batch[0]
        if first.position != self._ends.last:
            self.has_gap = True
            return batch
        if first.message_id != self._ends.footer.last_message_id:
            raise self._another_log()
        return batch[1:]

    def verify_found(self) -> None:
        """Tell that all was read.

        Raises:
            ExportError: the log ends before the export does.
        """
        if not self._is_found:
            raise self._another_log()

    def _another_log(self) -> ExportError:
        return ExportError("this is not the log that was exported into the folder: export it into an empty one")
