"""The visitor's address and how he came: as the connection shows it, or as our own proxies say.

``X-Forwarded-For`` is a list to which each proxy appends the address it was spoken to from. Only the entries that our
own proxies appended can be believed, so the list is read from the right, and only as far as the address just found is
one of the configured proxies. Whatever a visitor writes into the header himself stands further left. So is
``X-Forwarded-Proto``, of which each proxy appends, sets or passes on what it was spoken to by.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from typing import Final, TypeAlias

from aiohttp import web

from events.grants import IPAddress, normalise

IPNetwork: TypeAlias = IPv4Network | IPv6Network

FORWARDED_FOR = "X-Forwarded-For"
PEERS_KEPT: Final = 1024  # of those connected now; whether one is a proxy of ours
THIS_MACHINE: Final = "127.0.0.1"  # who speaks through a socket of the file system
FORWARDED_PROTO = "X-Forwarded-Proto"


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
    return _hops(peer, forwarded_for, proxies)[-1]


def came_by_https(
    peer: str, forwarded_for: Sequence[str], forwarded_proto: Sequence[str], proxies: Sequence[IPNetwork]
) -> bool:
    """Tell whether the visitor spoke TLS to the outermost of our own proxies. To this server nobody does.

    Args:
        peer: who is at the other end of the connection.
        forwarded_for: the values of all ``X-Forwarded-For`` fields, in their order.
        forwarded_proto: the values of all ``X-Forwarded-Proto`` fields, in their order.
        proxies: whom we believe.

    Raises:
        ForwardedForError: a believed proxy wrote nonsense into ``X-Forwarded-For``.
    """
    hops = _hops(peer, forwarded_for, proxies)
    believed = sum(_is_in(address, proxies) for address in hops)
    entries = _entries(forwarded_proto)[-believed:] if believed else []
    return bool(entries) and entries[0].lower() == "https"


def visitor_of(request: web.BaseRequest, proxies: Sequence[IPNetwork]) -> IPAddress:
    """Give the address of the visitor who sent a request.

    Raises:
        ForwardedForError: a believed proxy wrote nonsense, or the connection has no address at all.
    """
    return visitor_address(peer_of(request), request.headers.getall(FORWARDED_FOR, []), proxies)


def peer_of(request: web.BaseRequest) -> str:
    """Give the address at the other end of a request's connection; none, if it has left already."""
    return request.remote or ("" if request.transport is None else peer_address(request.transport))


def peer_address(transport: asyncio.BaseTransport) -> str:
    """Give the address at the other end of a connection; none, if it has left already."""
    peer = transport.get_extra_info("peername")
    if peer:
        return str(peer[0])
    connection = transport.get_extra_info("socket")
    return THIS_MACHINE if connection is not None and connection.family == socket.AF_UNIX else ""


def believes(peer: str, proxies: Sequence[IPNetwork]) -> bool:
    """Tell whether one of our own proxies is at the other end of a connection."""
    try:
        return any(parse_address(peer) in network for network in proxies)
    except ForwardedForError:
        return False


class Proxies:
    """The proxies of a server that believes these networks; it remembers who they are, for they ask most often."""

    def __init__(self, networks: Sequence[IPNetwork]) -> None:
        self.networks = networks
        self.have = lru_cache(maxsize=PEERS_KEPT)(partial(believes, proxies=networks))

    def visitor(self, peer: str, forwarded_for: Sequence[str]) -> IPAddress:
        """Give what ``visitor_address`` gives, sooner: of a proxy one address is all that counts.

        Raises:
            ForwardedForError: a believed proxy wrote nonsense.
        """
        if len(forwarded_for) == 1:
            return parse_address(self.told(peer, forwarded_for[0]))
        return visitor_address(peer, forwarded_for, self.networks)

    def told(self, peer: str, forwarded_for: str) -> str:
        """Give what tells the visitor's address: as it was written, where no other entry has to be read to find it.

        ``forwarded_for`` is the value of the one ``X-Forwarded-For`` field; empty: there is none.

        Raises:
            ForwardedForError: a believed proxy wrote nonsense into a list. (A single entry is not read here.)
        """
        if not self.have(peer):
            return peer
        if "," in forwarded_for:
            return str(visitor_address(peer, [forwarded_for], self.networks))
        return forwarded_for.strip() or peer


def _hops(peer: str, forwarded_for: Sequence[str], proxies: Sequence[IPNetwork]) -> list[IPAddress]:
    """Give the addresses from the peer's outwards, as far as they are believed; the visitor's is the last."""
    hops = [parse_address(peer)]
    entries = _entries(forwarded_for)
    while entries and _is_in(hops[-1], proxies):
        hops.append(parse_address(entries.pop()))
    return hops


def _entries(fields: Sequence[str]) -> list[str]:
    return [entry.strip() for field in fields for entry in field.split(",") if entry.strip()]


def _is_in(address: IPAddress, proxies: Sequence[IPNetwork]) -> bool:
    return any(address in network for network in proxies)


def parse_address(text: str) -> IPAddress:
    """Read an address that a proxy or the system wrote.

    Raises:
        ForwardedForError: it is none.
    """
    try:
        return IPv4Address(int.from_bytes(socket.inet_pton(socket.AF_INET, text)))  # a tenth of reading it in Python
    except (OSError, ValueError):
        pass
    try:
        return normalise(text.partition("%")[0])  # a zone says which cable, not who
    except ValueError as error:
        raise ForwardedForError(text) from error
