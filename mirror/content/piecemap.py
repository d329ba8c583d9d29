"""How a content is cut into pieces, and which of its pieces are there. Pure.

A ``PieceLayout`` knows where each piece lies and what its bytes hash to. A ``PieceMap`` has a bit for each piece: set
once the piece was verified. Its bytes, with piece 0 as the highest bit of byte 0, are what is kept beside a part and
what the master is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from events.names import Digest
from events.pieces import Span, digest_of, piece_count, span_of
from mirror.state.plan import Entry

_BITS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceLayout:
    """A content and its pieces; ``piece_bytes`` is 0 and ``piece_digests`` empty where it is one piece."""

    sha256: Digest
    size_bytes: int
    piece_bytes: int = 0
    piece_digests: bytes = b""

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """Give the layout of the content that an entry refers to."""
        return cls(
            sha256=entry.sha256,
            size_bytes=entry.size_bytes,
            piece_bytes=entry.piece_bytes,
            piece_digests=entry.piece_digests,
        )

    @property
    def count(self) -> int:
        """How many pieces there are; an empty content is one empty piece."""
        return piece_count(self.size_bytes, self.piece_bytes)

    def span(self, piece: int) -> Span:
        """Give the bytes of a piece.

        Raises:
            IndexError: there is no such piece.
        """
        return span_of(piece, self.size_bytes, self.piece_bytes)

    def digest(self, piece: int) -> Digest:
        """Give what the bytes of a piece hash to."""
        return digest_of(piece, self.sha256, self.piece_digests)

    def piece_of(self, start: int, stop: int) -> int | None:
        """Give the piece of which these bytes are all, or the end from ``start`` on; None where there is none.

        A fetch that broke off goes on inside a piece, so that where it begins is free; it never ends early.
        """
        if not 0 <= start < stop <= self.size_bytes:
            return None
        piece = start // self.piece_bytes if self.piece_bytes else 0
        return piece if self.span(piece).stop == stop else None


class PieceMap:
    """One bit for each of ``count`` pieces."""

    def __init__(self, count: int) -> None:
        self.count: Final = count
        self._bits = bytearray(-(-count // _BITS))
        self._set = 0

    @classmethod
    def read(cls, bits: bytes, count: int) -> Self:
        """Take over the bits of an earlier map; bytes that are no map of so many pieces say nothing."""
        found = cls(count)
        if len(bits) == len(found._bits):
            for piece in range(count):
                if bits[piece // _BITS] & _mask(piece):
                    found.add(piece)
        return found

    @classmethod
    def full(cls, count: int) -> Self:
        """Give a map with all bits set."""
        found = cls(count)
        for piece in range(count):
            found.add(piece)
        return found

    def __bytes__(self) -> bytes:
        """Give the bits, those after the last piece 0."""
        return bytes(self._bits)

    def __contains__(self, piece: int) -> bool:
        """Tell whether a piece is there."""
        return 0 <= piece < self.count and bool(self._bits[piece // _BITS] & _mask(piece))

    def __iter__(self) -> Iterator[int]:
        """Give the pieces that are there, in their order."""
        return (piece for piece in range(self.count) if piece in self)

    def __len__(self) -> int:
        """Count the pieces that are there."""
        return self._set

    @property
    def complete(self) -> bool:
        """Tell whether all pieces are there."""
        return self._set == self.count

    def add(self, piece: int) -> None:
        """Set the bit of a piece.

        Raises:
            IndexError: there is no such piece.
        """
        if not 0 <= piece < self.count:
            raise IndexError(f"piece {piece} of {self.count}")
        if piece not in self:
            self._bits[piece // _BITS] |= _mask(piece)
            self._set += 1


def _mask(piece: int) -> int:
    return 0x80 >> piece % _BITS
