"""How many connections may be open: in all, and from one address. Pure.

A connection that says nothing costs memory and a descriptor until its deadline; whoever opens thousands would keep all
others out. Those past a limit are closed at once, unheard; those that the kernel has yet to give us (``edge.arrivals``:
it waits a while for their first word) are not counted. A proxy of our own speaks for many visitors, and is counted
by its own address under a limit of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, TypeAlias

from edge.visitors import PEERS_KEPT, IPNetwork
from events.grants import bound_of, normalise

Seat: TypeAlias = bytes
"""By what a connection is counted: its address or, of IPv6, the /64 that one visitor has."""

CONNECTIONS_MAX: Final = 10_000  # some 50 MB of idle ones
CONNECTIONS_PER_ADDRESS_MAX: Final = 256  # an office or a carrier behind one address; one visitor has at most a dozen
CONNECTIONS_PER_PROXY_MAX: Final = 4_096  # what nginx's worker opens at most, as Debian and we configure it
DESCRIPTORS_SPARE: Final = 256  # for databases, the broker, fetches and what they write
DESCRIPTORS_PER_CONNECTION: Final = 2  # itself, and the file that is sent by it


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """The limits of one server; ``proxies`` are those in front of it."""

    total: int = CONNECTIONS_MAX
    per_address: int = CONNECTIONS_PER_ADDRESS_MAX
    per_proxy: int = CONNECTIONS_PER_PROXY_MAX
    proxies: Sequence[IPNetwork] = ()

    def within(self, descriptors: int) -> ConnectionLimits:
        """Give limits that leave a process with so many descriptors enough to do its work.

        A process without one takes files that it holds for lost.
        """
        most = max(1, (descriptors - DESCRIPTORS_SPARE) // DESCRIPTORS_PER_CONNECTION)
        return replace(self, total=min(self.total, most))


class Gate:
    """Counts the open connections of one server."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._open = 0
        self._by_address: dict[Seat, int] = {}
        self._known = lru_cache(maxsize=PEERS_KEPT)(self._find)  # whoever closes after each answer is soon back

    def __len__(self) -> int:
        """Count the open connections."""
        return self._open

    def enter(self, peer: str) -> Seat | None:
        """Let a connection from an address in; ``leave`` by what this gives. None: there are too many.

        Raises:
            ValueError: not an address.
        """
        seat, most = self._known(peer)
        here = self._by_address.get(seat, 0)
        if self._open >= self._limits.total or here >= most:
            return None
        self._open += 1
        self._by_address[seat] = here + 1
        return seat

    def leave(self, seat: Seat) -> None:
        """Take note that a connection ended."""
        self._open -= 1
        left = self._by_address.pop(seat) - 1
        if left:
            self._by_address[seat] = left

    def _find(self, peer: str) -> tuple[Seat, int]:
        """Give how an address is counted, and how many connections it may have."""
        address = normalise(peer.partition("%")[0])
        trusted = any(address in network for network in self._limits.proxies)
        return bound_of(address).packed, self._limits.per_proxy if trusted else self._limits.per_address
