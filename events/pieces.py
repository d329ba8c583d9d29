"""How a file is cut into pieces that are verified one by one, so that a mirror can fetch from many and blame one. Pure.

All pieces are equally long but the last. Their SHA-256 stand, one after the other, in the event that publishes the
file, so nobody has to be believed but the master. Short files are one piece, whose digest is the file's own.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from events.names import SHA256_BYTES, Digest

PIECE_BYTES_MIN: Final = 4 << 20  # measured: below, requests and hashing in steps cost more than the pieces gain
PIECES_WANTED: Final = 500  # enough to spread over many sources; a digest each is 16 kB in the event
PIECES_MAX: Final = 2048  # 64 kB of digests, half of what a message of the broker should have
ONE_PIECE_BYTES_MAX: Final = 2 * PIECE_BYTES_MIN  # below, a second piece gains nothing
LEASE_HEADER: Final = "Distributary-Lease"  # by which a mirror shows the master its leave to fetch a piece
SEEDED_FROM_BYTES: Final = 1 << 20  # below, to ask who else has a file costs more than to send it


class Span(NamedTuple):
    """The bytes of one piece: from ``start`` up to and without ``stop``."""

    start: int
    stop: int


def piece_bytes_for(size_bytes: int) -> int:
    """Choose how long the pieces of a file are: a power of two, from 4 MiB on, at most 500 of them; 0 for one piece."""
    if size_bytes < ONE_PIECE_BYTES_MAX:
        return 0
    return max(PIECE_BYTES_MIN, 1 << (-(-size_bytes // PIECES_WANTED) - 1).bit_length())


def piece_count(size_bytes: int, piece_bytes: int) -> int:
    """Count the pieces of a file; ``piece_bytes`` of 0 makes it one. An empty file is one empty piece."""
    return max(1, -(-size_bytes // piece_bytes)) if piece_bytes else 1


def span_of(piece: int, size_bytes: int, piece_bytes: int) -> Span:
    """Give the bytes of a piece, counted from 0.

    Raises:
        IndexError: there is no such piece.
    """
    if not 0 <= piece < piece_count(size_bytes, piece_bytes):
        raise IndexError(f"piece {piece} of {piece_count(size_bytes, piece_bytes)}")
    if not piece_bytes:
        return Span(0, size_bytes)
    return Span(piece * piece_bytes, min(size_bytes, (piece + 1) * piece_bytes))


def digest_of(piece: int, sha256: Digest, digests: bytes) -> Digest:
    """Give what the bytes of a piece hash to; without ``digests`` the file is one piece."""
    if not digests:
        return sha256
    return Digest(digests[piece * SHA256_BYTES : (piece + 1) * SHA256_BYTES])
