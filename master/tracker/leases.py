"""Leases: leave for one mirror to fetch one piece from one source, for a while. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from events.names import Digest
from events.pieces import Span

LEASE_S_MIN: Final = 60.0  # a connection, a queue at the source and a few retransmissions
SLOWEST_BYTES_PER_SECOND: Final = 100_000  # a source below that is better given up
SENT_TIMES_MAX: Final = 2  # as for visitors: what was on the way when a connection broke is sent again
LEASE_ID_BYTES: Final = 16  # it is the id of the peer's grant, too


@dataclass(slots=True, kw_only=True)
class Lease:
    """One lease. ``asker`` and ``source`` are numbers of stations, ``span`` the bytes of the piece.

    Of the origin's alone: ``sending`` while it sends, ``sent_bytes`` what left. A mirror may go on inside the piece
    after its connection broke, but not take it again and again.
    """

    lease_id: bytes
    sha256: Digest
    piece: int
    span: Span
    asker: int
    source: int
    expires_at_s: float
    sending: bool = False
    sent_bytes: int = 0

    @property
    def piece_bytes(self) -> int:
        """The length of the piece."""
        return self.span.stop - self.span.start

    def allows(self, asked: Span) -> bool:
        """Tell whether these bytes may be sent now: the piece, or the rest of it."""
        start, stop = self.span
        within = start <= asked.start < asked.stop == stop
        left_bytes = SENT_TIMES_MAX * self.piece_bytes - self.sent_bytes
        return within and not self.sending and asked.stop - asked.start <= left_bytes


@dataclass(slots=True)
class Leases:
    """All leases that run."""

    _by_id: dict[bytes, Lease] = field(default_factory=dict[bytes, Lease])
    _by_piece: dict[tuple[int, Digest, int], Lease] = field(default_factory=dict[tuple[int, Digest, int], Lease])
    _by_end: list[tuple[float, bytes]] = field(default_factory=list[tuple[float, bytes]])

    def __len__(self) -> int:
        """Count them."""
        return len(self._by_id)

    def add(self, lease: Lease) -> None:
        """Begin a lease."""
        self._by_id[lease.lease_id] = lease
        self._by_piece[lease.asker, lease.sha256, lease.piece] = lease
        heapq.heappush(self._by_end, (lease.expires_at_s, lease.lease_id))

    def find(self, lease_id: bytes) -> Lease | None:
        """Find a lease that runs."""
        return self._by_id.get(lease_id)

    def remove(self, lease: Lease) -> bool:
        """End a lease; tell whether it ran."""
        if self._by_id.pop(lease.lease_id, None) is None:
            return False
        del self._by_piece[lease.asker, lease.sha256, lease.piece]
        return True

    def of_station(self, number: int) -> list[Lease]:
        """Give all leases to and from a station."""
        return [lease for lease in self._by_id.values() if number in (lease.asker, lease.source)]

    def of_content(self, sha256: Digest) -> list[Lease]:
        """Give all leases of a content."""
        return [lease for lease in self._by_id.values() if lease.sha256 == sha256]

    def of_piece(self, asker: int, sha256: Digest, piece: int) -> Lease:
        """Give an asker's lease of a piece: it has one at a time."""
        return self._by_piece[asker, sha256, piece]

    def expired(self, now_s: float) -> Iterator[Lease]:
        """Give the leases whose time is over."""
        while self._by_end and self._by_end[0][0] <= now_s:
            _, lease_id = heapq.heappop(self._by_end)
            lease = self._by_id.get(lease_id)
            if lease is not None:
                yield lease


def lease_s(piece_bytes: int) -> float:
    """Give how long a lease of so many bytes runs."""
    return max(LEASE_S_MIN, piece_bytes / SLOWEST_BYTES_PER_SECOND)
