"""The chain that makes an export tell-tale: each record carries a hash of itself and of all before it. Pure.

Who alters, drops, moves or repeats a record breaks the chain there. Who works out the whole rest of the chain anew as
well cannot keep its end: whoever wrote the end down elsewhere finds that out.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from msgspec import Struct

CHAIN_BYTES: Final = 16  # a second text of the same hash is out of reach; 32 would be a tenth of an export more
BEGINNING: Final = bytes(CHAIN_BYTES)  # what the first segment's header follows


class Record(Struct, frozen=True, array_like=True, gc=False):
    """One record of a segment: its number there from 0, its value of the chain, and the bytes that are chained."""

    index: int
    chain: bytes
    canonical: bytes


class Link(NamedTuple):
    """A place in a segment's chain: the next record's number, and the value that it follows. A fold begins anywhere."""

    next_index: int
    chain: bytes

    def joins(self, record: Record) -> bool:
        """Tell whether this record comes next."""
        return record.index == self.next_index and record.chain == linked(self.chain, record.canonical)


def linked(previous: bytes, canonical: bytes) -> bytes:
    """Give the value of the chain after one more record."""
    return blake2b(previous + canonical, digest_size=CHAIN_BYTES).digest()


def fold(link: Link, records: Sequence[Record]) -> Link:
    """Go on as far as the records follow each other; the place behind the last one that does."""
    index, chain = link
    for record in records:
        value = blake2b(chain + record.canonical, digest_size=CHAIN_BYTES).digest()
        if value != record.chain or record.index != index:
            break
        chain = value
        index += 1
    return Link(index, chain)
