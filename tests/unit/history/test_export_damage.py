"""Damage to the files of an export: found, with the segment and the place in it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgpack
import msgspec
import pytest
import zstandard

from history.entry import Entry, Position
from history.export.blocks import PREAMBLE, BlockReader
from history.export.faults import FaultKind
from history.export.folder import ExportError, segment_path
from history.export.source import ExportSource
from history.export.verification import Verdict, verify
from history.export.writer import ExportWriter
from history.sources.port import SourceError

SEGMENT_ENTRIES = 2_500  # three blocks of entries
SEGMENTS = 4
FLIP_EVERY, CUT_EVERY = 211, 307  # bytes; a few hundred of each


def entry(number: int) -> Entry:
    name = f"mirror/oslo:1:{number + 1}"
    return Entry(1, number, "fleet", "mirror.oslo.ready", name, "replica.ready/1", "site.oslo", b"%d" % number**9)


def written(folder: Path, *, export_id: bytes = b"one", entries: int = SEGMENT_ENTRIES * SEGMENTS) -> bytes:
    """Write an export; give the chain's end."""
    with ExportWriter(folder, vhost="site", export_id=export_id, entries_max=SEGMENT_ENTRIES) as writer:
        writer.write(map(entry, range(entries)))
    return writer.chain


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    written(folder)
    return folder


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    written(folder, export_id=b"two")
    return folder


@pytest.fixture
def export(sound: Path, tmp_path: Path) -> Path:
    """An export of four segments, to be damaged."""
    return Path(shutil.copytree(sound, tmp_path / "export"))


def fault(verdict: Verdict) -> tuple[FaultKind, int, int]:
    assert verdict.fault is not None
    return verdict.fault.kind, verdict.fault.segment, verdict.fault.index


@dataclass(frozen=True)
class Span:
    """Bytes of a file, and the record that is named when one of them is wrong."""

    begin: int
    end: int
    index: int


def spans(path: Path) -> list[Span]:
    """What a segment's file consists of."""
    found = [Span(0, len(PREAMBLE), 0)]
    with path.open("rb") as file:
        reader = BlockReader(file)
        reader.begin()
        while (block := reader.next()) is not None:
            found.append(Span(found[-1].end, file.tell(), block.records[0].index))
    return found


def span_at(path: Path) -> Iterator[tuple[int, Span]]:
    """Each byte of a segment with what it belongs to."""
    return ((at, span) for span in spans(path) for at in range(span.begin, span.end))


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def test_a_sound_export_is_proved_to_its_end(export: Path, sound: Path) -> None:
    last = SEGMENT_ENTRIES * SEGMENTS - 1
    verdict = verify(export, expected=verify(sound).chain)
    assert (verdict.fault, verdict.entries, verdict.segments) == (None, last + 1, SEGMENTS)
    assert verdict.last == Position(1, last)


def test_progress_tells_each_block(export: Path) -> None:
    told: list[tuple[int, Position | None]] = []
    verify(export, progress=lambda entries, last: told.append((entries, last)))
    assert told[:3] == [(1000, Position(1, 999)), (2000, Position(1, 1999)), (2500, Position(1, 2499))]
    assert told[-1] == (10_000, Position(1, 9_999))


def test_a_segment_is_a_zstandard_file_that_anybody_can_read(export: Path) -> None:
    with (
        segment_path(export, 1).open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as plain,
    ):
        blocks = cast("list[list[list[Any]]]", list(msgpack.Unpacker(plain)))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - msgpack has no types
    assert sum(len(block) for block in blocks) == 1 + SEGMENT_ENTRIES + 1
    assert msgspec.msgpack.decode(blocks[1][0][2], type=Entry) == entry(0)


def test_a_flipped_byte_anywhere_in_a_file_is_found_in_its_block(export: Path) -> None:
    path = segment_path(export, 1)
    data = path.read_bytes()
    heads = {at for span in spans(path) for at in range(span.begin, min(span.begin + 48, span.end))}
    for at, span in span_at(path):
        if at % FLIP_EVERY == 0 or at in heads:
            path.write_bytes(flipped(data, at))
            assert fault(verify(export)) == (FaultKind.UNREADABLE, 1, span.index), at


def test_a_file_cut_at_any_byte_is_found_where_the_records_end(export: Path) -> None:
    path = segment_path(export, 1)
    data = path.read_bytes()
    begins = {span.begin for span in spans(path)}
    for at, span in span_at(path):
        if at % CUT_EVERY == 0 or {at - 1, at, at + 1} & begins:
            path.write_bytes(data[:at])
            assert fault(verify(export)) == (FaultKind.CUT, 1, span.index), at


def test_bytes_behind_the_footer_are_found(export: Path) -> None:
    with segment_path(export, 2).open("ab") as file:
        file.write(b"more")
    assert fault(verify(export)) == (FaultKind.UNREADABLE, 2, SEGMENT_ENTRIES + 1)


def test_zeros_in_the_place_of_a_file_are_found(export: Path) -> None:
    path = segment_path(export, 3)
    path.write_bytes(bytes(path.stat().st_size))
    assert fault(verify(export)) == (FaultKind.UNREADABLE, 3, 0)


@pytest.mark.parametrize("number", range(1, SEGMENTS))
def test_a_dropped_segment_is_found(export: Path, number: int) -> None:
    segment_path(export, number).unlink()
    assert fault(verify(export)) == (FaultKind.DROPPED, number, 0)


def test_a_missing_last_segment_is_found_by_the_end_that_was_told(export: Path) -> None:
    end = verify(export).chain
    segment_path(export, SEGMENTS).unlink()
    assert verify(export).fault is None
    assert fault(verify(export, expected=end)) == (FaultKind.CUT, SEGMENTS, 0)


def test_an_export_that_went_on_still_has_the_end_that_was_told_before(tmp_path: Path) -> None:
    end = written(tmp_path)
    with ExportWriter(tmp_path, vhost="site", export_id=b"", entries_max=SEGMENT_ENTRIES) as writer:
        writer.write(map(entry, range(SEGMENT_ENTRIES * SEGMENTS, SEGMENT_ENTRIES * SEGMENTS + 7)))
    assert verify(tmp_path, expected=end).fault is None
    assert verify(tmp_path, expected=writer.chain).fault is None


def test_an_export_made_anew_does_not_have_the_end_that_was_told(foreign: Path, sound: Path) -> None:
    assert verify(foreign).fault is None
    assert fault(verify(foreign, expected=verify(sound).chain)) == (FaultKind.CUT, SEGMENTS + 1, 0)


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 3), (1, 4), (3, 4)])
def test_swapped_segments_are_found_at_the_first(export: Path, first: int, second: int) -> None:
    segment_path(export, first).rename(export / "aside")
    segment_path(export, second).rename(segment_path(export, first))
    (export / "aside").rename(segment_path(export, second))
    assert fault(verify(export)) == (FaultKind.SWAPPED, first, 0)


@pytest.mark.parametrize(("number", "again"), [(1, 2), (2, 1), (2, 4), (4, 5), (1, 5)])
def test_a_duplicated_segment_is_found_where_it_stands_again(export: Path, number: int, again: int) -> None:
    shutil.copy(segment_path(export, number), segment_path(export, again))
    assert fault(verify(export)) == (FaultKind.DUPLICATED, again, 0)


@pytest.mark.parametrize("number", range(1, SEGMENTS + 1))
def test_a_segment_of_another_export_is_found(export: Path, foreign: Path, number: int) -> None:
    shutil.copy(segment_path(foreign, number), segment_path(export, number))
    assert fault(verify(export)) == (FaultKind.FOREIGN, number, 0)


@pytest.mark.parametrize("number", range(1, SEGMENTS))
def test_a_renamed_segment_is_found_where_it_is_missing(export: Path, number: int) -> None:
    segment_path(export, number).rename(segment_path(export, SEGMENTS + 3))
    assert fault(verify(export)) == (FaultKind.SWAPPED, number, 0)


def test_a_segment_written_anew_does_not_join_the_next(export: Path, tmp_path: Path) -> None:
    forged = tmp_path / "forged"
    with ExportWriter(forged, vhost="site", export_id=b"one", entries_max=SEGMENT_ENTRIES) as writer:
        writer.write(entry(number)._replace(body=b"forged") for number in range(SEGMENT_ENTRIES))
    shutil.copy(segment_path(forged, 1), segment_path(export, 1))
    assert fault(verify(export)) == (FaultKind.ALTERED, 2, 0)


async def test_a_damaged_export_is_read_as_far_as_it_is_proved(export: Path) -> None:
    path = segment_path(export, 2)
    path.write_bytes(flipped(path.read_bytes(), spans(path)[3].begin + 100))
    batches, read = ExportSource(export).batches(), list[Entry]()
    with pytest.raises(SourceError, match=r"segment 2, record 1000 \(behind g1:3499\): unreadable"):
        await read_all(batches, read)
    assert read == list(map(entry, range(3_500)))


async def read_all(batches: AsyncIterator[Sequence[Entry]], read: list[Entry]) -> None:
    async for batch in batches:
        read += batch


def test_other_files_in_the_folder_are_left_alone(export: Path) -> None:
    (export / "notes.txt").write_text("mine")
    (export / "segment-00000009.zst.part").write_bytes(b"half")
    assert verify(export).fault is None


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot be read"):
        verify(tmp_path / "missing")
