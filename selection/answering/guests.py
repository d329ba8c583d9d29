"""Who visits: what of an address is worked out once, and kept while visitors come back from it.

Who comes with a download tool asks for many files, and carriers put thousands behind one address. What is kept follows
from what the connection and our own proxies said alone, so it is the same whoever came before.
"""

from __future__ import annotations

import socket
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Final

from edge.simple import SimpleRequest
from edge.visitors import Proxies, came_by_https, parse_address
from events.grants import bound_to
from selection.answering.visit import Guest, guest_of
from selection.places.blocks import ipv4_block
from selection.places.geo import Places
from selection.policy.visitor import Visitor

GUESTS_KEPT: Final = 2048  # those of the last half second of a release day; 2 MB, so that it stays in a cache near by
_FORWARDED_FOR: Final = b"\nx-forwarded-for:"
_FORWARDED_PROTO: Final = b"\nx-forwarded-proto:"
_IPV4_MASK: Final = (1 << 32) - 1


class Guests:
    """Reads who sent a simple request."""

    def __init__(self, places: Places, proxies: Proxies) -> None:
        self._places, self._proxies = places, proxies
        self._begin()

    def of(self, request: SimpleRequest) -> Guest | None:
        """Give a visitor; None: his proxies wrote more than one field of a name.

        Raises:
            ForwardedForError: a proxy of ours wrote nonsense.
        """
        if self._version != self._places.version:
            self._begin()
        forwarded_for, proto = request.value(_FORWARDED_FOR), request.value(_FORWARDED_PROTO)
        if forwarded_for is None or proto is None:
            return None
        return self._found(request.peer, forwarded_for, proto)

    def _begin(self) -> None:
        """Forget all: places are others now."""
        self._version = self._places.version
        self._found = lru_cache(maxsize=GUESTS_KEPT)(self._find)

    def _find(self, peer: str, forwarded_for: bytes, proto: bytes) -> Guest:
        """Work out what the fields say, each of them empty where there is none."""
        proxies, places = self._proxies, self._places
        hops = forwarded_for.decode("ascii")
        secure = True if proto and came_by_https(peer, [hops], [proto.decode("ascii")], proxies.networks) else None
        text = proxies.told(peer, hops)
        try:
            # Most have such an address, and the system reads it in one spelling only: that in which we would write it.
            bound = bound_to(socket.inet_pton(socket.AF_INET, text))
        except (OSError, ValueError):
            address = parse_address(text)
            return guest_of(Visitor(address, places.place_of(address), secure))
        claimant = int.from_bytes(bound.packed)
        number = claimant & _IPV4_MASK
        address = IPv4Address(number)
        return Guest(Visitor(address, places.place_in(ipv4_block(number), address), secure), bound, claimant, text)
