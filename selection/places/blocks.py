"""Blocks of addresses that are nearly always in one place: of IPv4 a /24, of IPv6 a /48. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from events.grants import IPAddress

IPV4_BLOCK_BITS: Final = 24  # the smallest network that is routed in the internet
IPV6_BLOCK_BITS: Final = 48  # what a site is given
_IPV4_SHIFT: Final = 32 - IPV4_BLOCK_BITS
_IPV6_SHIFT: Final = 128 - IPV6_BLOCK_BITS
_IPV6: Final = 1 << IPV6_BLOCK_BITS


def block_of(address: IPAddress) -> int:
    """Number the block that an address is in."""
    if isinstance(address, IPv4Address):
        return ipv4_block(int(address))
    return int(address) >> _IPV6_SHIFT | _IPV6


def ipv4_block(number: int) -> int:
    """Number the block that the IPv4 address of a number is in."""
    return number >> _IPV4_SHIFT


def first_of(block: int) -> IPAddress:
    """Give the first address of a block."""
    if block < _IPV6:
        return IPv4Address(block << _IPV4_SHIFT)
    return IPv6Address((block ^ _IPV6) << _IPV6_SHIFT)


def block_bits(address: IPAddress) -> int:
    """Give how many bits the addresses of one block share."""
    return IPV4_BLOCK_BITS if isinstance(address, IPv4Address) else IPV6_BLOCK_BITS


def is_inside_block(network: IPv4Network | IPv6Network) -> bool:
    """Tell whether a network is but a part of a block."""
    return network.prefixlen > block_bits(network.network_address)
