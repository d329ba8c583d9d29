"""One segment's file: written whole or not at all, and its two ends read without what is between."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

from history.entry import Entry, Position
from history.export.blocks import (
    BLOCK_BYTES,
    BLOCK_RECORDS_MAX,
    PREAMBLE,
    BlockCutError,
    BlockDamagedError,
    BlockKind,
    BlockReader,
    packed,
)
from history.export.chain import Record
from history.export.folder import ExportError, part_path, put_in_place
from history.export.layout import Footer, Header, entry_record, footer_block, footer_of, header_block, header_of

# What a killed export has to do again, and what one damaged file can cost: some seconds of reading, some days of log.
SEGMENT_ENTRIES_MAX: Final = 1_000_000
SEGMENT_BYTES_MAX: Final = 64_000_000  # before compression
FILE_MODE: Final = 0o600  # it tells of visitors: where they were, and their addresses unless they were dropped
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


class Ends(NamedTuple):
    """The two ends of a segment, and the value of the chain behind it."""

    header: Header
    footer: Footer
    chain: bytes

    @property
    def last(self) -> Position:
        """Give the place of its last entry."""
        return Position(self.header.generation, self.footer.last_offset)


class SegmentWriter:
    """Writes one segment beside its place; ``seal`` puts it there."""

    def __init__(self, path: Path, header: Header, *, entries_max: int, bytes_max: int) -> None:
        self._path = path
        self._entries_max, self._bytes_max = entries_max, bytes_max
        self._header = header
        self._last: Entry | None = None
        self._bytes = 0
        self._waiting: list[Record] = []
        self._waiting_bytes = 0
        block, self._link = header_block(header)
        self._file = os.fdopen(os.open(part_path(path), _NEW, FILE_MODE), "wb")
        self._file.write(PREAMBLE + packed(block.kind, block.records))

    def takes(self, entry: Entry) -> bool:
        """Tell whether this entry belongs into this segment, and has room there."""
        has_room = self._link.next_index < self._entries_max and self._bytes < self._bytes_max
        return has_room and entry.generation == self._header.generation

    def add(self, entry: Entry) -> None:
        """Write one entry more."""
        record, self._link = entry_record(entry, self._link)
        self._last = entry
        self._waiting.append(record)
        self._waiting_bytes += len(record.canonical)
        if self._waiting_bytes >= BLOCK_BYTES or len(self._waiting) == BLOCK_RECORDS_MAX:
            self._flush()

    def seal(self) -> Ends:
        """Write the footer and give the file its name; it is on the disk when this returns."""
        assert self._last is not None  # noqa: S101 - a segment is begun for an entry
        self._flush()
        footer = Footer(
            entries=self._link.next_index, last_offset=self._last.offset, last_message_id=self._last.message_id
        )
        block, chain = footer_block(footer, self._link)
        with self._file as file:
            file.write(packed(block.kind, block.records))
            file.flush()
            os.fsync(file.fileno())
        put_in_place(part_path(self._path), self._path)
        return Ends(self._header, footer, chain)

    def discard(self) -> None:
        """Forget what was written."""
        self._file.close()
        part_path(self._path).unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._waiting:
            self._file.write(packed(BlockKind.ENTRIES, self._waiting))
            self._bytes += self._waiting_bytes
            self._waiting, self._waiting_bytes = [], 0


def read_header(path: Path) -> Header:
    """Read how a segment begins.

    Raises:
        ExportError: that cannot be read.
    """
    try:
        with path.open("rb") as file:
            reader = BlockReader(file)
            reader.begin()
            return header_of(reader.next())[0]
    except (OSError, BlockCutError, BlockDamagedError) as error:
        raise ExportError(f"{path.name} is no sound segment: {error}") from error


def read_ends(path: Path) -> Ends:
    """Read how a segment begins and ends.

    Raises:
        ExportError: one of the two cannot be read.
    """
    header = read_header(path)
    try:
        with path.open("rb") as file:
            footer, record = footer_of(BlockReader(file).last())
    except (OSError, BlockCutError, BlockDamagedError) as error:
        raise ExportError(f"{path.name} is no sound segment: {error}") from error
    return Ends(header, footer, record.chain)
