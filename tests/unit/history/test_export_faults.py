"""One record altered, dropped, swapped, duplicated or cut off, wherever in a segment: found, with its place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from history.entry import Entry
from history.export.blocks import Block, BlockKind
from history.export.chain import BEGINNING, Link, Record
from history.export.faults import FaultKind
from history.export.layout import Footer, Header, entry_record, footer_block, header_block
from history.export.proving import SegmentFaultError, prove
from history.privacy import Addresses

ENTRIES = 10_000
RECORDS = range(ENTRIES)
STRIDE = 37  # between two that are swapped

HEADER = Header(
    export=bytes(16),
    number=1,
    vhost="site",
    generation=1,
    first_offset=0,
    previous=BEGINNING,
    addresses=Addresses.KEEP,
    is_adjoining=True,
)


def entry(number: int) -> Entry:
    return Entry(
        1, number, "fleet", "mirror.oslo.ready", f"mirror/oslo:1:{number}", "replica.ready/1", "site.oslo", b""
    )


class Segment:
    """A whole segment: its records, its footer, and the place before each of them."""

    def __init__(self) -> None:
        _, link = header_block(HEADER)
        self.links, self.records = [link], list[Record]()
        for number in RECORDS:
            record, link = entry_record(entry(number), link)
            self.records.append(record)
            self.links.append(link)
        footer = Footer(entries=ENTRIES, last_offset=ENTRIES - 1, last_message_id=entry(ENTRIES - 1).message_id)
        self.footer, self.end = footer_block(footer, link)

    def found(self, at: int, records: list[Record]) -> tuple[FaultKind, int]:
        """Read on to the first fault: from the record before ``at``, which is sound, and then these instead."""
        begun = max(0, at - 1)
        blocks = [Block(BlockKind.ENTRIES, [*self.records[begun:at], *records]), self.footer]
        return self.found_in(begun, iter(blocks))

    def found_in(self, at: int, blocks: Iterator[Block]) -> tuple[FaultKind, int]:
        """Read on from a record with these blocks to the first fault."""
        try:
            for _ in prove(self.links[at], blocks, lambda index: self.records[index] if index < ENTRIES else None):
                pass
        except SegmentFaultError as error:
            return error.kind, error.index
        raise AssertionError(f"no fault is found behind record {at}")


@pytest.fixture(scope="module")
def segment() -> Segment:
    return Segment()


def mutated(canonical: bytes, number: int) -> bytes:
    """Flip one bit, another one for each record."""
    at = number % len(canonical)
    return canonical[:at] + bytes([canonical[at] ^ 1 << number % 8]) + canonical[at + 1 :]


def test_a_segment_without_a_fault_has_none(segment: Segment) -> None:
    *steps, last = prove(segment.links[0], iter([Block(BlockKind.ENTRIES, segment.records), segment.footer]), _nothing)
    assert [record for step in steps for record in step.records] == segment.records
    assert last.link == Link(ENTRIES + 1, segment.end)


def _nothing(index: int) -> Record | None:
    raise AssertionError(index)


def test_each_altered_record_is_found_at_its_place(segment: Segment) -> None:
    for at in RECORDS:
        record = segment.records[at]
        altered = replace(record, canonical=mutated(record.canonical, at))
        assert segment.found(at, [altered, *segment.records[at + 1 :]]) == (FaultKind.ALTERED, at)


def test_each_dropped_record_is_found_where_it_stood(segment: Segment) -> None:
    for at in RECORDS:
        assert segment.found(at, segment.records[at + 1 :]) == (FaultKind.DROPPED, at)


def test_each_record_swapped_with_the_next_is_found_at_the_earlier_place(segment: Segment) -> None:
    for at in RECORDS[:-1]:
        first, second = segment.records[at : at + 2]
        assert segment.found(at, [second, first, *segment.records[at + 2 :]]) == (FaultKind.SWAPPED, at)


def test_each_record_swapped_with_a_distant_one_is_found_at_the_earlier_place(segment: Segment) -> None:
    for at in RECORDS:
        first, second = sorted((at, (at + STRIDE) % ENTRIES))
        rest = segment.records[first:]
        rest[0], rest[second - first] = rest[second - first], rest[0]
        assert segment.found(first, rest) == (FaultKind.SWAPPED, first)


def test_each_duplicated_record_is_found_where_it_stands_again(segment: Segment) -> None:
    for at in RECORDS:
        again = [segment.records[at], *segment.records[at + 1 :]]
        assert segment.found(at + 1, again) == (FaultKind.DUPLICATED, at + 1)


def test_each_cut_is_found_where_the_records_end(segment: Segment) -> None:
    for at in RECORDS:
        kept = [Block(BlockKind.ENTRIES, segment.records[at - 1 : at])] if at else []
        assert segment.found_in(max(0, at - 1), iter(kept)) == (FaultKind.CUT, at)


@pytest.mark.parametrize("at", [7, 8, 4_999, 9_998, 9_999])
@pytest.mark.parametrize("by", [-7, -1, 1, 7])
def test_a_record_with_another_number_is_found(segment: Segment, at: int, by: int) -> None:
    altered = replace(segment.records[at], index=at + by)
    assert segment.found(at, [altered, *segment.records[at + 1 :]]) == (FaultKind.ALTERED, at)


@pytest.mark.parametrize("at", [0, 1, 4_999, 9_998, 9_999])
def test_a_record_with_another_value_of_the_chain_is_found(segment: Segment, at: int) -> None:
    altered = replace(segment.records[at], chain=bytes(16))
    assert segment.found(at, [altered, *segment.records[at + 1 :]]) == (FaultKind.ALTERED, at)


@pytest.mark.parametrize("at", [0, 1, 4_999, 9_998, 9_999])
def test_a_record_that_stands_again_before_its_place_is_found_where_it_stands(segment: Segment, at: int) -> None:
    for later in {min(at + 1, ENTRIES - 1), min(at + 1000, ENTRIES - 1)} - {at}:
        rest = [segment.records[later], *segment.records[at:]]
        assert segment.found(at, rest) == (FaultKind.DUPLICATED, at)


@pytest.mark.parametrize("at", [0, 1, 4_999, 9_997])
def test_a_record_that_was_moved_is_found_where_it_is_missing(segment: Segment, at: int) -> None:
    rest = segment.records[at:]
    rest.insert(len(rest) // 2 + 1, rest.pop(0))
    assert segment.found(at, rest) == (FaultKind.SWAPPED, at)


@pytest.mark.parametrize("at", [1, 5_000, 9_999])
def test_an_older_record_put_in_with_other_bytes_is_found_where_it_stands(segment: Segment, at: int) -> None:
    forged = replace(segment.records[at - 1], canonical=b"forged")
    assert segment.found(at, [forged, *segment.records[at:]]) == (FaultKind.ALTERED, at)


def test_several_missing_records_are_named_by_the_first(segment: Segment) -> None:
    assert segment.found(5_000, segment.records[5_100:]) == (FaultKind.DROPPED, 5_000)
    assert segment.found(5_000, []) == (FaultKind.DROPPED, 5_000)


def test_entries_behind_the_footer_are_found(segment: Segment) -> None:
    blocks = [segment.footer, Block(BlockKind.ENTRIES, segment.records[:1])]
    assert segment.found_in(ENTRIES, iter(blocks)) == (FaultKind.UNREADABLE, ENTRIES + 1)


def test_a_footer_that_counts_wrong_is_found(segment: Segment) -> None:
    footer = Footer(entries=ENTRIES + 1, last_offset=ENTRIES, last_message_id="")
    block, _ = footer_block(footer, segment.links[-1])
    assert segment.found_in(ENTRIES, iter([block])) == (FaultKind.ALTERED, ENTRIES)
