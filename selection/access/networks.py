"""Who may download a file: the first criterion. Pure."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from events.grants import IPAddress
from events.schemas import Access, AccessMode

_LISTS_KEPT: Final = 1024  # files share few lists; each takes about a kilobyte


def has_access(access: Access, address: IPAddress) -> bool:
    """Tell whether a visitor at this address may download. Decoding has checked that these are CIDR blocks."""
    if not access.networks:
        return True
    return any(address in network for network in _networks(access.networks))


def is_listed(access: Access, address: IPAddress) -> bool:
    """Tell whether lists may show a file to a visitor at this address: only what he may have without being asked."""
    return access.mode is AccessMode.PUBLIC and has_access(access, address)


@lru_cache(maxsize=_LISTS_KEPT)
def _networks(texts: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(map(ip_network, texts))
