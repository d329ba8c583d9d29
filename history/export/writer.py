"""``ExportWriter``: puts entries behind those that an export has, segment after segment."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from history.entry import Entry, Position
from history.export.chain import BEGINNING
from history.export.folder import ExportError, locked, remove_parts, segment_path, segments_in
from history.export.layout import Header
from history.export.segment import SEGMENT_BYTES_MAX, SEGMENT_ENTRIES_MAX, Ends, SegmentWriter, read_ends
from history.privacy import Addresses, without_addresses


class ExportWriter:
    """``with ExportWriter(folder, …) as writer: writer.write(entries)``; leaving the block seals what was written.

    A new export is begun in an empty folder; ``export_id`` is a random number for it. Killed at any moment it leaves a
    sound export, as far as the last segment that was whole.
    """

    def __init__(
        self,
        folder: Path,
        *,
        vhost: str,
        export_id: bytes,
        addresses: Addresses = Addresses.KEEP,
        entries_max: int = SEGMENT_ENTRIES_MAX,
        bytes_max: int = SEGMENT_BYTES_MAX,
    ) -> None:
        self._folder = folder
        self._vhost, self._export_id, self._addresses = vhost, export_id, addresses
        self._entries_max, self._bytes_max = entries_max, bytes_max
        self._resources = ExitStack()
        self._segment: SegmentWriter | None = None
        self._number = 0
        self._ends: Ends | None = None
        self._last: Position | None = None
        self._is_adjoining = True

    @property
    def ends(self) -> Ends | None:
        """The ends of the last whole segment; None: there is none."""
        return self._ends

    @property
    def chain(self) -> bytes:
        """The chain's end behind the last whole segment. Whoever knows it notices whatever is done to the export."""
        return BEGINNING if self._ends is None else self._ends.chain

    @property
    def segments(self) -> int:
        """How many segments the export has."""
        return self._number

    def __enter__(self) -> Self:
        """Take the folder, and find where to go on.

        Raises:
            ExportError: it is somebody else's export, another kind of one, or it cannot be gone on with.
        """
        with ExitStack() as resources:
            resources.enter_context(locked(self._folder))
            remove_parts(self._folder)
            self._find_end()
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Keep what was written: whatever ended the block, it is sound. Not where it was the disk."""
        with self._resources:
            if isinstance(error, ExportError):
                self._discard()
            else:
                self.seal()

    def write(self, entries: Iterable[Entry]) -> None:
        """Write entries, each behind the one before.

        Raises:
            ExportError: the disk does not take them, or they do not come in the log's order.
        """
        try:
            for entry in entries:
                self._write(self._without_addresses(entry))
        except OSError as error:
            raise self._unwritable(error) from error

    def leave_gap(self) -> None:
        """Note that between what was written and what comes now entries may be missing."""
        self.seal()
        self._is_adjoining = False

    def seal(self) -> None:
        """End the segment that is being written, if one is; it is on the disk when this returns.

        Raises:
            ExportError: the disk does not take it.
        """
        if self._segment is None:
            return
        try:
            self._ends = self._segment.seal()
        except OSError as error:
            raise self._unwritable(error) from error
        self._segment = None

    def _write(self, entry: Entry) -> None:
        if self._last is not None and entry.position <= self._last:
            raise ExportError(f"the log gives {entry.position} behind {self._last}: it is not one log")
        if self._segment is None or not self._segment.takes(entry):
            self.seal()
            self._segment = self._begun(entry)
        self._segment.add(entry)
        self._last = entry.position

    def _begun(self, first: Entry) -> SegmentWriter:
        header = Header(
            export=self._export_id,
            number=self._number + 1,
            vhost=self._vhost,
            generation=first.generation,
            first_offset=first.offset,
            previous=self.chain,
            addresses=self._addresses,
            is_adjoining=self._is_adjoining,
        )
        path = segment_path(self._folder, header.number)
        segment = SegmentWriter(path, header, entries_max=self._entries_max, bytes_max=self._bytes_max)
        self._number, self._is_adjoining = header.number, True
        return segment

    def _without_addresses(self, entry: Entry) -> Entry:
        if self._addresses is Addresses.KEEP:
            return entry
        return entry._replace(body=without_addresses(entry.body, self._addresses))

    def _find_end(self) -> None:
        segments = segments_in(self._folder)
        if not segments:
            return
        self._number = max(segments)
        self._ends = read_ends(segments[self._number])
        self._last = self._ends.last
        self._export_id = self._ends.header.export
        self._verify_same(self._ends.header)

    def _verify_same(self, header: Header) -> None:
        if header.vhost != self._vhost:
            raise ExportError(f"{self._folder} holds the log of {header.vhost!r}, not of {self._vhost!r}: take another")
        if header.addresses is not self._addresses:
            raise ExportError(
                f"{self._folder} was begun with addresses {header.addresses.value!r}: go on so, or take another folder"
            )

    def _discard(self) -> None:
        if self._segment is not None:
            self._segment.discard()
            self._segment = None

    def _unwritable(self, error: OSError) -> ExportError:
        return ExportError(f"{self._folder} cannot be written to: {error.strerror}; what is whole in it stays")
