"""``Walk``: reads an export from its beginning, and proves each record before it gives it on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import NamedTuple

from history.entry import Position
from history.export.blocks import BlockCutError, BlockDamagedError, BlockReader
from history.export.chain import BEGINNING, Link, Record
from history.export.faults import Fault, FaultFoundError, FaultKind
from history.export.folder import ExportError, segments_in
from history.export.layout import Header, HeaderAlteredError, entries_of, header_of
from history.export.proving import SegmentFaultError, prove
from history.export.segment import read_header


class Proved(NamedTuple):
    """Records of entries that follow all before them, and the header of their segment."""

    header: Header
    records: list[Record]


class Walk:
    """One reading of an export. Begun at another segment than the first, it takes that one's word for what is before.

    Attributes:
        entries: how many were proved.
        last: the place of the last one.
        ends: the chain's values where a segment ended, and at its beginning.
    """

    def __init__(self, folder: Path, *, first: int = 1) -> None:
        self._paths = segments_in(folder)
        self._headers = _readable_headers(self._paths)
        ids = Counter(header.export for header in self._headers.values())
        self._export_id = ids.most_common(1)[0][0] if ids else b""
        self._number = first - 1
        self._link = Link(0, BEGINNING)
        self._proves_previous = first == 1
        self.entries = 0
        self.last: Position | None = None
        self.ends: list[bytes] = [BEGINNING]

    @property
    def segments(self) -> int:
        """How many segments were read to their end."""
        return self._number

    @property
    def chain(self) -> bytes:
        """The chain's value behind the last record that was proved; the chain's end when all was read."""
        return self._link.chain

    def proved(self) -> Generator[Proved]:
        """Give all entries, a block at a time.

        Raises:
            FaultFoundError: what comes next is not as it was written.
        """
        while self._number < max(self._paths, default=0):
            yield from self._segment(self._number + 1)
            self._number += 1
            self._link = Link(0, self._link.chain)
            self.ends.append(self._link.chain)

    def fault(self, kind: FaultKind, detail: str, *, index: int = 0) -> FaultFoundError:
        """Name a fault of the segment that comes next."""
        return FaultFoundError(Fault(kind=kind, segment=self._number + 1, index=index, after=self.last, detail=detail))

    def _segment(self, number: int) -> Generator[Proved]:
        if number not in self._paths:
            raise self._missing(number)
        try:
            with self._paths[number].open("rb") as file:
                yield from self._records(BlockReader(file), number)
        except SegmentFaultError as error:
            raise self.fault(error.kind, error.detail, index=error.index) from error
        except OSError as error:
            raise self.fault(FaultKind.UNREADABLE, str(error)) from error

    def _records(self, reader: BlockReader, number: int) -> Generator[Proved]:
        header, link = self._begin(reader)
        self._verify_place(header, number)
        for step in prove(link, iter(reader.next, None), self._earlier(number)):
            self._link = step.link
            if step.records:
                self.last = _place_of(step.records[-1])
                self.entries += len(step.records)
                yield Proved(header, step.records)

    def _begin(self, reader: BlockReader) -> tuple[Header, Link]:
        try:
            reader.begin()
            return header_of(reader.next())
        except BlockCutError as error:
            raise SegmentFaultError(0, FaultKind.CUT, str(error)) from error
        except HeaderAlteredError as error:
            raise SegmentFaultError(0, FaultKind.ALTERED, str(error)) from error
        except BlockDamagedError as error:
            raise SegmentFaultError(0, FaultKind.UNREADABLE, str(error)) from error

    def _earlier(self, number: int) -> Callable[[int], Record | None]:
        """Give a look back at what was proved in a segment."""

        def find(index: int) -> Record | None:
            with self._paths[number].open("rb") as file:
                reader = BlockReader(file)
                reader.begin()
                reader.next()
                records = (record for block in iter(reader.next, None) for record in block.records)
                return next((record for record in records if record.index == index), None)

        return find

    def _verify_place(self, header: Header, number: int) -> None:
        """Prove that this segment belongs here."""
        if header.export != self._export_id:
            raise self.fault(FaultKind.FOREIGN, "this segment is of another export")
        if header.number != number:
            original = self._headers.get(header.number)
            is_again = original is not None and original.number == header.number
            kind = FaultKind.DUPLICATED if is_again else FaultKind.SWAPPED
            raise self.fault(kind, f"segment {header.number} stands here{', and in its own place again' * is_again}")
        if header.previous != self._link.chain and self._proves_previous:
            raise self.fault(FaultKind.ALTERED, "it does not follow the end of the segment before")
        self._proves_previous = True

    def _missing(self, number: int) -> FaultFoundError:
        for named, header in self._headers.items():
            if header.number == number and header.export == self._export_id:
                return self.fault(FaultKind.SWAPPED, f"segment {number} stands in the place of segment {named}")
        return self.fault(FaultKind.DROPPED, f"segment {number} is missing")


def _place_of(record: Record) -> Position:
    try:
        return entries_of([record])[0].position
    except BlockDamagedError as error:
        raise SegmentFaultError(record.index, FaultKind.UNREADABLE, str(error)) from error


def _readable_headers(paths: Mapping[int, Path]) -> dict[int, Header]:
    headers: dict[int, Header] = {}
    for number, path in paths.items():
        try:
            headers[number] = read_header(path)
        except ExportError:
            continue  # its own turn will tell
    return headers
