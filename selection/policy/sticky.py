"""Which of several mirrors one visitor always has a channel's metadata from. Pure.

Rendezvous hashing: each mirror gets a number for this visitor and channel, and the best one wins. So all selectors send
him to the same mirror, and when a mirror comes or goes, only those move who had it or get it. The chances are in
proportion to the mirrors' slots times their weight, which change rarely; free slots would move visitors all the time.

The hash is linear modulo a prime under a key drawn from visitor and channel: pairwise independent, and quick.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, NamedTuple

from events.grants import IPAddress, bind
from events.names import ChannelName, MirrorName

_PRIME: Final = (1 << 61) - 1


class StickyKey(NamedTuple):
    """A visitor (an IPv4 address, an IPv6 /64) and a channel."""

    factor: int
    summand: int


def sticky_key(address: IPAddress, channel: ChannelName) -> StickyKey:
    """Give the key of a visitor and a channel."""
    digest = blake2b(bind(address).address.packed + channel.encode(), digest_size=16).digest()
    return StickyKey(1 + int.from_bytes(digest[:8]) % (_PRIME - 1), int.from_bytes(digest[8:]) % _PRIME)


def salt_of(mirror: MirrorName) -> int:
    """Give a mirror's own number, from its name."""
    return int.from_bytes(blake2b(mirror.encode(), digest_size=8).digest()) % _PRIME


def lot_of(key: StickyKey, salt: int, capacity: int) -> float:
    """Give a mirror's lot: the largest wins, with a chance in proportion to the mirror's capacity."""
    return math.log((1 + (salt * key.factor + key.summand) % _PRIME) / (_PRIME + 1)) / capacity


def stuck_to(numbers: Iterable[int], key: StickyKey, salts: list[int], capacities: list[int]) -> int:
    """Give the mirror that a visitor has a channel's metadata from."""
    return max(numbers, key=lambda number: (lot_of(key, salts[number], capacities[number]), salts[number]))
