"""What of mirrors depends on who asks: where they stand, whom they take, and how they are reached. Pure."""

from __future__ import annotations

from functools import cached_property

from events.grants import IPAddress
from selection.policy.atlas import Atlas, spot_of
from selection.policy.networks import NetworkTable
from selection.policy.rules import Rules
from selection.policy.shares import Shares
from selection.policy.standing import is_secure
from selection.policy.sticky import salt_of
from selection.view.roster import Mirror


class Terrain:
    """The mirrors by number, and bit sets of them.

    Attributes:
        atlas: where they stand, and which countries and continents they take.
        shares: the caps of their shares.
        salts: what tells them apart for sticky choices.
        capacities: their slots times their weight. ``capacities_version`` counts the changes.
        secure: those whose URL is https.
        is_uneven: some limit their networks, or are not reached by both address families.
        has_neighbours: some name networks that they are near to.
    """

    def __init__(self, rules: Rules, shares: Shares) -> None:
        self._rules = rules
        self.atlas = Atlas(near_km=rules.near_km)
        self.shares = shares
        self.salts: list[int] = []
        self.capacities: list[int] = []
        self.capacities_version = 0
        self.secure = 0
        self._unreached = {4: 0, 6: 0}
        self._networks: dict[int, tuple[str, ...]] = {}
        self._limits: tuple[dict[int, tuple[str, ...]], ...] = ({}, {})
        self.is_uneven = self.has_neighbours = False

    def put(self, mirror: Mirror) -> None:
        """Note what a mirror offers, and what the site rules for it."""
        number, profile, ruled = mirror.number, mirror.profile, mirror.ruled
        while number >= len(self.salts):
            self.salts.append(0)
            self.capacities.append(0)
        self.salts[number] = salt_of(mirror.name)
        self.shares.cap(number, min(self._rules.share_percent_max, ruled.share_percent_max))
        if profile is None:
            self.atlas.put(number, None)
            return
        self.atlas.put(number, spot_of(profile, ruled.reach))
        self.secure = _with(self.secure, number, is_in=is_secure(profile.url))
        self._unreached[4] = _with(self._unreached[4], number, is_in=not profile.ipv4)
        self._unreached[6] = _with(self._unreached[6], number, is_in=not profile.ipv6)
        self._put_networks(number, profile.networks, (profile.reach.networks_only, ruled.reach.networks_only))

    def set_capacity(self, number: int, capacity: int) -> None:
        """Note a mirror's slots times its weight."""
        if self.capacities[number] != capacity:
            self.capacities[number] = capacity
            self.capacities_version += 1

    def neighbours(self, address: IPAddress) -> int:
        """Give the mirrors that name a network that an address is in as near."""
        return self._neighbours.containing(address)

    def closed_to(self, address: IPAddress) -> int:
        """Give the mirrors that take only networks that an address is not in, or are not reached by its family."""
        closed = self._unreached[address.version]
        for table in self._limiting:
            closed |= table.mirrors & ~table.containing(address)
        return closed

    def reached(self, servers: int, *, secure: bool | None) -> int:
        """Leave those of some mirrors that are reached by https (True), by plain http (False), or anyhow."""
        if secure is None:
            return servers
        return servers & self.secure if secure else servers & ~self.secure

    @cached_property
    def _neighbours(self) -> NetworkTable:
        return NetworkTable(self._networks)

    @cached_property
    def _limiting(self) -> tuple[NetworkTable, ...]:
        return tuple(NetworkTable(limits) for limits in self._limits)

    def _put_networks(self, number: int, near: tuple[str, ...], limits: tuple[tuple[str, ...], ...]) -> None:
        """Note the networks that a mirror is near to, and those that it and the site limit it to."""
        kept = (self._networks, *self._limits)
        for networks_of, networks in zip(kept, (near, *limits), strict=True):
            if networks_of.get(number, ()) != networks:
                networks_of[number] = networks
                self.__dict__.pop("_neighbours", None)
                self.__dict__.pop("_limiting", None)
        self.has_neighbours = any(self._networks.values())
        is_limited = any(any(networks_of.values()) for networks_of in self._limits)
        self.is_uneven = is_limited or any(self._unreached.values())


def _with(bits: int, number: int, *, is_in: bool) -> int:
    bit = 1 << number
    return bits | bit if is_in else bits & ~bit
