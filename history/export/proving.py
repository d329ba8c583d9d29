"""Proves a segment's blocks, one after the other, from its header or from any place that was proved before. Pure."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import chain
from typing import NamedTuple

from history.export.blocks import Block, BlockCutError, BlockDamagedError, BlockKind
from history.export.chain import Link, Record, fold
from history.export.diagnosis import diagnose
from history.export.faults import FaultKind
from history.export.layout import footer_of


class Step(NamedTuple):
    """The place that the proof has come to, and the entries' records on the way there."""

    link: Link
    records: list[Record]


class SegmentFaultError(Exception):
    """The record that should be ``index`` is not as it was written. Nothing behind it is proved."""

    def __init__(self, index: int, kind: FaultKind, detail: str) -> None:
        super().__init__(f"record {index}: {kind.value}: {detail}")
        self.index, self.kind, self.detail = index, kind, detail


def prove(link: Link, blocks: Iterator[Block], earlier: Callable[[int], Record | None]) -> Generator[Step]:
    """Give what follows ``link``, a block at a time. The last step is behind the footer.

    All that is proved is given before a fault is told. ``earlier`` gives a record that was, by its number.

    Raises:
        SegmentFaultError: what comes next is not as it was written.
    """
    while True:
        block = _next(blocks, link)
        first, link = link.next_index, fold(link, block.records)
        proved = link.next_index - first
        if block.kind is BlockKind.ENTRIES:
            yield Step(link, block.records[:proved])
        if proved < len(block.records):
            rest = chain(block.records[proved:], _records(blocks))
            raise SegmentFaultError(link.next_index, *diagnose(link, rest, earlier))
        if block.kind is not BlockKind.ENTRIES:
            _verify_end(block, blocks, entries=first)
            yield Step(link, [])
            return


def _next(blocks: Iterator[Block], link: Link) -> Block:
    try:
        return next(blocks)
    except StopIteration:
        raise SegmentFaultError(link.next_index, FaultKind.CUT, "the segment ends without its footer") from None
    except BlockCutError as error:
        raise SegmentFaultError(link.next_index, FaultKind.CUT, str(error)) from error
    except BlockDamagedError as error:
        raise SegmentFaultError(link.next_index, FaultKind.UNREADABLE, str(error)) from error


def _records(blocks: Iterator[Block]) -> Iterator[Record]:
    """Give what a segment holds further on, as far as it can be read."""
    try:
        for block in blocks:
            yield from block.records
    except (BlockCutError, BlockDamagedError):
        return


def _verify_end(block: Block, blocks: Iterator[Block], *, entries: int) -> None:
    """Prove that what follows the last entry is the footer, and the end."""
    try:
        footer, _ = footer_of(block)
        is_end = next(blocks, None) is None
    except BlockCutError:
        is_end = False
    except BlockDamagedError as error:
        raise SegmentFaultError(entries, FaultKind.UNREADABLE, str(error)) from error
    else:
        if footer.entries != entries:
            raise SegmentFaultError(entries, FaultKind.ALTERED, f"the footer tells of {footer.entries} entries")
    if not is_end:
        raise SegmentFaultError(entries + 1, FaultKind.UNREADABLE, "something follows the footer")
