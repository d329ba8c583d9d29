"""The visitor's address: the peer's, or what our own proxies say of it. Pure.

``X-Forwarded-For`` is a list to which each proxy appends the address it was spoken to from. Only the entries that our
own proxies appended can be believed, so the list is read from the right, and only as far as the address just found is
one of the configured proxies. Whatever a visitor writes into the header himself stands further left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeAlias

from aiohttp import web

from events.grants import IPAddress, normalise

IPNetwork: TypeAlias = IPv4Network | IPv6Network

FORWARDED_FOR = "X-Forwarded-For"


class ForwardedForError(ValueError):
    """A configured proxy appended something that is no address. Answer 400 and tell the operator of the proxy."""

    def __init__(self, entry: str) -> None:
        super().__init__(f"a proxy wrote {entry!r} into {FORWARDED_FOR}, which is no IP address")
        self.entry = entry


def parse_proxies(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """Read the CIDR blocks of the proxies in front of us.

    Raises:
        ValueError: not a CIDR block, or one with bits set after its prefix.
    """
    return tuple(ip_network(text) for text in texts)


def visitor_address(peer: str, forwarded_for: Sequence[str], proxies: Sequence[IPNetwork]) -> IPAddress:
    """Give the visitor's address; IPv4-mapped ones as IPv4.

    Args:
        peer: who is at the other end of the connection.
        forwarded_for: the values of all ``X-Forwarded-For`` fields, in their order.
        proxies: whom we believe.

    Raises:
        ForwardedForError: a believed proxy wrote nonsense.
    """
    address = _address(peer)
    entries = [entry.strip() for field in forwarded_for for entry in field.split(",") if entry.strip()]
    while entries and any(address in network for network in proxies):
        address = _address(entries.pop())
    return address


def visitor_of(request: web.BaseRequest, proxies: Sequence[IPNetwork]) -> IPAddress:
    """Give the address of the visitor who sent a request.

    Raises:
        ForwardedForError: a believed proxy wrote nonsense, or the connection has no address at all.
    """
    return visitor_address(request.remote or "", request.headers.getall(FORWARDED_FOR, []), proxies)


def believes(request: web.BaseRequest, proxies: Sequence[IPNetwork]) -> bool:
    """Tell whether a request came from one of our own proxies."""
    try:
        return any(_address(request.remote or "") in network for network in proxies)
    except ForwardedForError:
        return False


def _address(text: str) -> IPAddress:
    try:
        return normalise(text.partition("%")[0])  # a zone says which cable, not who
    except ValueError as error:
        raise ForwardedForError(text) from error
