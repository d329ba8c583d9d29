"""Which mirrors name a network that an address is in. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, ip_network
from typing import Final

from events.grants import IPAddress

_BITS: Final = {4: 32, 6: 128}


class NetworkTable:
    """Mirrors, as a bit set, by the networks that they name. An address is looked up once for each length of prefix."""

    def __init__(self, networks_of: Mapping[int, Iterable[str]]) -> None:
        tables: dict[int, dict[int, dict[int, int]]] = {4: {}, 6: {}}
        self.mirrors = 0
        for number, networks in networks_of.items():
            for text in networks:
                network = ip_network(text)
                shift = _BITS[network.version] - network.prefixlen
                table = tables[network.version].setdefault(shift, {})
                prefix = int(network.network_address) >> shift
                table[prefix] = table.get(prefix, 0) | 1 << number
                self.mirrors |= 1 << number
        self._ipv4, self._ipv6 = tuple(tables[4].items()), tuple(tables[6].items())

    def containing(self, address: IPAddress) -> int:
        """Give the mirrors that name a network with this address in it."""
        value, found = int(address), 0
        for shift, table in self._ipv4 if isinstance(address, IPv4Address) else self._ipv6:
            found |= table.get(value >> shift, 0)
        return found
