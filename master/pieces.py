"""The digests of a file's pieces, taken while its bytes come by for the digest of the whole. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from events.pieces import piece_bytes_for


@dataclass(frozen=True, slots=True)
class Pieces:
    """How a file is cut into pieces, and their SHA-256 one after the other; a file of one piece has neither."""

    piece_bytes: int
    digests: bytes


ONE_PIECE: Final = Pieces(0, b"")


class PieceHasher:
    """Hashes the pieces of a file of ``size_bytes``, whose bytes come in blocks of any length."""

    def __init__(self, size_bytes: int) -> None:
        self._piece_bytes = piece_bytes_for(size_bytes)
        self._digests: list[bytes] = []
        self._piece = hashlib.sha256()
        self._left_bytes = self._piece_bytes

    def update(self, block: memoryview) -> None:
        """Take the next bytes. A file of one piece costs nothing here."""
        while self._piece_bytes and block:
            taken, block = block[: self._left_bytes], block[self._left_bytes :]
            self._piece.update(taken)
            self._left_bytes -= len(taken)
            if not self._left_bytes:
                self._close()

    def finish(self) -> Pieces:
        """Give all digests, when all bytes have come."""
        if self._left_bytes < self._piece_bytes:
            self._close()
        return Pieces(self._piece_bytes, b"".join(self._digests))

    def _close(self) -> None:
        self._digests.append(self._piece.digest())
        self._piece, self._left_bytes = hashlib.sha256(), self._piece_bytes
