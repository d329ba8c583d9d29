"""What a segment says beside its entries: the header before and the footer behind them, both chained. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from history.entry import Entry
from history.export.blocks import Block, BlockCutError, BlockDamagedError, BlockKind
from history.export.chain import Link, Record, linked
from history.privacy import Addresses

EXPORT_ID_BYTES: Final = 16


class HeaderAlteredError(BlockDamagedError):
    """The header can be read, but is not the one that was written."""


class Header(Struct, frozen=True, kw_only=True, array_like=True, tag="segment.header/1"):
    """What a segment is.

    Attributes:
        export: a random number that all segments of one export have.
        number: of the segment in the export, from 1.
        vhost: the broker's virtual host that the log was written in.
        generation: of the log; a segment holds entries of one.
        first_offset: of its first entry.
        previous: the value of the chain at the end of the segment before.
        addresses: what was done to visitors' addresses.
        is_adjoining: False: entries between the segment before and this one may be gone, since the log did not reach
            back that far any more when the export went on.
    """

    export: bytes
    number: int
    vhost: str
    generation: int
    first_offset: int
    previous: bytes
    addresses: Addresses
    is_adjoining: bool


class Footer(Struct, frozen=True, kw_only=True, array_like=True, tag="segment.footer/1"):
    """How a segment ends: how many entries it has, and the last one's place and message id."""

    entries: int
    last_offset: int
    last_message_id: str


Part = TypeVar("Part", Header, Footer)


def header_block(header: Header) -> tuple[Block, Link]:
    """Give a header's block, and where the first entry is to follow."""
    canonical = _encoder.encode(header)
    record = Record(0, linked(header.previous, canonical), canonical)
    return Block(BlockKind.HEADER, [record]), Link(0, record.chain)


def footer_block(footer: Footer, link: Link) -> tuple[Block, bytes]:
    """Give a footer's block, and the chain's end."""
    canonical = _encoder.encode(footer)
    record = Record(link.next_index, linked(link.chain, canonical), canonical)
    return Block(BlockKind.FOOTER, [record]), record.chain


def entry_record(entry: Entry, link: Link) -> tuple[Record, Link]:
    """Give an entry's record, and where the next one is to follow."""
    canonical = _encoder.encode(entry)
    chain = linked(link.chain, canonical)
    return Record(link.next_index, chain, canonical), Link(link.next_index + 1, chain)


def header_of(block: Block | None) -> tuple[Header, Link]:
    """Read the header, and where the first entry is to follow.

    Raises:
        BlockCutError: there is nothing.
        HeaderAlteredError: it is not the one that was written.
        BlockDamagedError: this is no header.
    """
    header, record = _part(block, BlockKind.HEADER, _header_decoder)
    if record.index or record.chain != linked(header.previous, record.canonical):
        raise HeaderAlteredError("the header is not the one that was written")
    return header, Link(0, record.chain)


def footer_of(block: Block | None) -> tuple[Footer, Record]:
    """Read the footer, and its record.

    Raises:
        BlockCutError: there is nothing.
        BlockDamagedError: this is no footer.
    """
    return _part(block, BlockKind.FOOTER, _footer_decoder)


def entries_of(records: Sequence[Record]) -> list[Entry]:
    """Read entries.

    Raises:
        BlockDamagedError: they are none, though they are what was written.
    """
    decode = _entry_decoder.decode
    try:
        return [decode(record.canonical) for record in records]
    except msgspec.DecodeError as error:
        raise BlockDamagedError(f"what is written is no entry: {error}") from error


def _part(block: Block | None, kind: BlockKind, decoder: msgspec.msgpack.Decoder[Part]) -> tuple[Part, Record]:
    if block is None:
        raise BlockCutError(f"the file ends without a {kind.name.lower()}")
    if block.kind is not kind or len(block.records) != 1:
        raise BlockDamagedError(f"where the {kind.name.lower()} should be is something else")
    record = block.records[0]
    try:
        return decoder.decode(record.canonical), record
    except msgspec.DecodeError as error:
        raise BlockDamagedError(f"the {kind.name.lower()} cannot be read: {error}") from error


_encoder = msgspec.msgpack.Encoder()
_header_decoder = msgspec.msgpack.Decoder(Header)
_footer_decoder = msgspec.msgpack.Decoder(Footer)
_entry_decoder = msgspec.msgpack.Decoder(Entry)
