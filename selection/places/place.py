"""Where somebody is, and how far that is from a server. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from events.schemas import Location

EARTH_RADIUS_KM: Final = 6371.0088  # the mean radius (IUGG): a sphere is within 0.6 % of the true distance
CELL_DEGREES: Final = 2  # some 220 km from south to north: what city databases err by anyway
KEY_WITHOUT_ASN: Final = ~(0xFFFF_FFFF << 32)  # what of a place's key is the same in all networks
_COLUMNS: Final = 360 // CELL_DEGREES


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is known of a visitor's place: any of it, or nothing.

    Attributes:
        latitude: of the visitor's position or, unless ``precise``, of where his country's people live.
        longitude: the same.
        country: ISO 3166-1 alpha-2; empty: unknown.
        continent: AF, AN, AS, EU, NA, OC or SA; empty: unknown.
        asn: the autonomous system that his address is routed by; 0: unknown.
        precise: the position, where there is one, is his own and not one for his whole country.
        key: small and hashable. Places of one key are in the same cell, country and network, and so near to each other
            that servers rank alike for them.
    """

    latitude: float | None = None
    longitude: float | None = None
    country: str = ""
    continent: str = ""
    asn: int = 0
    precise: bool = True
    key: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work the key out once; it is asked for at each redirect."""
        cell = 0 if self.latitude is None or self.longitude is None else 1 + cell_of(self.latitude, self.longitude)
        key = (cell << 1 | self.precise) << 32 | self.asn
        object.__setattr__(self, "key", key << 32 | int.from_bytes(f"{self.country}{self.continent}".encode()))


NOWHERE: Final = Place()


def cell_of(latitude: float, longitude: float) -> int:
    """Number the cell of ``CELL_DEGREES`` that a position is in, from the south pole and the date line on."""
    row = int((latitude + 90) // CELL_DEGREES)
    return row * _COLUMNS + int((longitude + 180) // CELL_DEGREES) % _COLUMNS


def cell_centre(cell: int) -> tuple[float, float]:
    """Give the latitude and longitude of the middle of a cell; the topmost row is the pole alone."""
    row, column = divmod(cell, _COLUMNS)
    half = CELL_DEGREES / 2
    return min(90.0, row * CELL_DEGREES - 90 + half), column * CELL_DEGREES - 180 + half


def distance_km(place: Place, location: Location | None) -> float | None:
    """Give the great-circle distance, or None where either end is unknown."""
    if place.latitude is None or place.longitude is None or location is None:
        return None
    return great_circle_km(place.latitude, place.longitude, location.latitude, location.longitude)


def great_circle_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Give the distance along the surface by the haversine formula, which is exact for near points, too."""
    phi, other_phi = math.radians(latitude), math.radians(other_latitude)
    half_phi, half_lambda = (other_phi - phi) / 2, math.radians(other_longitude - longitude) / 2
    haversine = math.sin(half_phi) ** 2 + math.cos(phi) * math.cos(other_phi) * math.sin(half_lambda) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, haversine)))
