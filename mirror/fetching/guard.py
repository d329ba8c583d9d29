"""Keeps a mirror from being led into its own network by the address that another mirror announced.

Each connection to a peer is checked at the moment when it is made, against the address that it is made to: a name that
resolves to another address the second time, a number written in an odd way and a literal all come to that. Only
addresses of the public internet pass, and those that the operator allows. The master's address is not checked here:
the operator gave it himself.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

import aiohttp
from yarl import URL

from edge.clients import AddressInfo, SocketFactory, new_session
from events.grants import IPAddress, normalise

# Python calls addresses of IPv6 global that lead elsewhere: into IPv4 by translation (64:ff9b::/96), to one's own site
# (fec0::/10). Only what is handed out to the public can be meant.
_IPV6_UNICAST: Final = IPv6Network("2000::/3")
_DISGUISED: Final = tuple(
    ip_network(block)
    for block in (
        "2001::/23",  # Teredo (RFC 4380) and other blocks of the IETF's own
        "2002::/16",  # 6to4, RFC 3056
        "3fff::/20",  # for documents, RFC 9637
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "192.0.0.0/24",  # the IETF's own, RFC 6890
    )
)
_WEB_PORTS: Final = frozenset({80, 443})
_UNPRIVILEGED_PORT_MIN: Final = 1024  # below are mail, shells and other services that no mirror is


class ForbiddenUrlError(ValueError):
    """A mirror's address is none that another one connects to. Leave it."""


class ForbiddenAddressError(PermissionError):
    """A mirror's name leads to an address that is not on the public internet, and that nobody allowed."""

    def __init__(self, address: str) -> None:
        super().__init__(errno.EACCES, f"{address} is no public address; private_addresses would have to allow it")
        self.address = address


def is_allowed(address: IPAddress, allowed: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Tell whether a peer may be at an address."""
    if any(address in network for network in allowed):
        return True
    if isinstance(address, IPv6Address) and address not in _IPV6_UNICAST:
        return False
    return address.is_global and not address.is_multicast and not any(address in block for block in _DISGUISED)


def check_peer_url(url: str) -> None:
    """Check what an address says itself; where it leads to is checked when it is connected to.

    Raises:
        ForbiddenUrlError: another scheme than HTTP, a user, or a port where no mirror is.
    """
    try:
        parts = URL(url)
        port = parts.port
    except ValueError as error:
        raise ForbiddenUrlError(f"no URL: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.host:
        raise ForbiddenUrlError(f"scheme {parts.scheme!r}: only http and https")
    if parts.user is not None or parts.password is not None:
        raise ForbiddenUrlError("a user in the URL")
    if port is None or (port not in _WEB_PORTS and port < _UNPRIVILEGED_PORT_MIN):
        raise ForbiddenUrlError(f"port {port}: only 80, 443 and those from {_UNPRIVILEGED_PORT_MIN} on")


def peer_session(private_addresses: Sequence[str], *, read_timeout_s: float) -> aiohttp.ClientSession:
    """Make a session that connects to public addresses, and to those in these CIDR blocks. The caller closes it."""
    allowed = tuple(ip_network(block) for block in private_addresses)
    return new_session(read_timeout_s=read_timeout_s, socket_factory=_guarded(allowed))


def _guarded(allowed: Sequence[IPv4Network | IPv6Network]) -> SocketFactory:
    def make(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, (host, *_) = info
        if not is_allowed(normalise(str(host).partition("%")[0]), allowed):
            raise ForbiddenAddressError(str(host))
        return socket.socket(family=family, type=kind, proto=protocol)

    return make
