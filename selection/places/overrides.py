"""The operator's own table of where networks are: believed before any database. Pure.

One network a line, then whatever is known of it, in any order: a country, a position, a network's number.

    # network           what is known of it
    203.0.113.0/24      PT 41.15,-8.61
    10.0.0.0/8          DE
    2001:db8::/32       41.15,-8.61 AS64500

The longest network that holds an address counts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final

from events.grants import IPAddress
from selection.places.blocks import block_bits, block_of, is_inside_block
from selection.places.countries import country_of
from selection.places.findings import NOTHING, Finding
from selection.places.records import ASN_MAX, LATITUDE_MAX, LONGITUDE_MAX

OVERRIDES_MAX: Final = 100_000  # some 30 MB; who has more makes a database of them

_POSITION: Final = re.compile(
    r"(?P<latitude>-?[0-9]{1,2}(?:\.[0-9]+)?),(?P<longitude>-?[0-9]{1,3}(?:\.[0-9]+)?)", re.ASCII
)
_ASN: Final = re.compile(r"AS(?P<number>[0-9]{1,10})", re.ASCII)


class OverrideError(ValueError):
    """A line of the table cannot be read. Mend it; ``line`` is its number."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line, self.problem = line, problem


class Overrides:
    """A table that was read."""

    def __init__(self, networks: Mapping[IPv4Network | IPv6Network, Finding]) -> None:
        self._count = len(networks)
        self._by_length: dict[tuple[int, int], dict[int, Finding]] = defaultdict(dict)
        for network, finding in networks.items():
            self._by_length[network.version, network.prefixlen][int(network.network_address)] = finding
        self._lengths = {
            version: sorted((length for each, length in self._by_length if each == version), reverse=True)
            for version in (4, 6)
        }
        self._parted = frozenset(block_of(each.network_address) for each in networks if is_inside_block(each))

    @property
    def name(self) -> str:
        """How much it is."""
        return f"{self._count} overrides"

    def find(self, address: IPAddress) -> tuple[Finding, int]:
        """Give what the table says of an address, and whether for its block or for it alone."""
        number = int(address)
        prefix_bits = address.max_prefixlen if block_of(address) in self._parted else block_bits(address)
        for length in self._lengths[address.version]:
            shift = address.max_prefixlen - length
            found = self._by_length[address.version, length].get(number >> shift << shift)
            if found is not None:
                return found, prefix_bits
        return NOTHING, prefix_bits


def read_overrides(lines: Iterable[str]) -> Overrides:
    """Read a table.

    Raises:
        OverrideError: a line is none, names a network twice, or is one too many.
    """
    networks: dict[IPv4Network | IPv6Network, Finding] = {}
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        network = _network(words[0], number)
        if network in networks:
            raise OverrideError(number, f"{network} has a line already")
        if len(networks) == OVERRIDES_MAX:
            raise OverrideError(number, f"more than {OVERRIDES_MAX} networks; make a database of them")
        networks[network] = _finding(words[1:], number)
    return Overrides(networks)


def _network(text: str, line: int) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise OverrideError(line, str(error)) from error


def _finding(words: Sequence[str], line: int) -> Finding:
    if not words:
        raise OverrideError(line, "says nothing of the network; write a country, a position or a number like AS64500")
    found = NOTHING
    for word in words:
        told = _told(word)
        if told is None:
            raise OverrideError(
                line, f"{word!r} is no country like PT, position like 41.15,-8.61, or number like AS64500"
            )
        found = found._replace(**told)
    return found


def _told(word: str) -> dict[str, Any] | None:
    """Read one word of what is known."""
    if country_of(word.upper()) is not None:
        return {"country": word.upper()}
    if (asn := _ASN.fullmatch(word)) and int(asn["number"]) <= ASN_MAX:
        return {"asn": int(asn["number"])}
    if position := _POSITION.fullmatch(word):
        latitude, longitude = float(position["latitude"]), float(position["longitude"])
        if abs(latitude) <= LATITUDE_MAX and abs(longitude) <= LONGITUDE_MAX:
            return {"latitude": latitude, "longitude": longitude}
    return None
