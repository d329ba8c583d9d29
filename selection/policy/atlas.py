"""How close each mirror is to a place, as a level: the lower, the sooner it is taken. The sixth criterion. Pure.

Level 0 is for mirrors in the visitor's own autonomous system. Then it depends on what is known of his place:

- His position: rings of distance around it. The first reaches to ``near_km``, each next edge is 1.5 times as far,
  since position databases err in proportion. In a ring the mirrors of his country come first, then the others.
- His country alone: its mirrors first, wherever they stand; then rings around where its people live.
- His country, and not where that is: its mirrors, then all others.
- Nothing: all are as good.

Mirrors that do not say where they stand come after all rings. A position counts as the middle of its cell of two
degrees: then a ranking serves all who live there, and the error is that of the databases. Mirrors whose reach does not
take visitors of this country or continent have no level.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Final, NamedTuple, TypeAlias

from events.schemas import Profile, Reach
from selection.places.place import EARTH_RADIUS_KM, Place, cell_centre, cell_of
from selection.view.changes import Changes

OWN_NETWORK: Final = 0
HOME: Final = 1
ABROAD: Final = 2
UNPLACED: Final = 254
OUT_OF_REACH: Final = 255

RING_GROWTH: Final = 1.5
NEAR_KM_MIN: Final = 1.0  # rings that begin at nothing never end; 25 of them reach around the Earth from here
FARTHEST_KM: Final = math.pi * EARTH_RADIUS_KM
_BEYOND_ALL: Final = 2.0  # no cosine is as large, whatever the rounding
_NONE: Final[AbstractSet[int]] = frozenset()
_NO_COUNTRY: Final = "-"  # no mirror says it stands there, while one may say nothing


_Point: TypeAlias = tuple[float, float, float, str]  # a vector, and the country


class Vector(NamedTuple):
    """A position as a unit vector from the middle of the Earth: a dot product then orders distances."""

    x: float
    y: float
    z: float


class Spot(NamedTuple):
    """What of a mirror decides for whom it is close. Equal spots are equally close to everybody."""

    vector: Vector | None
    country: str
    asn: int
    reaches: tuple[Reach, ...]


class Locale(NamedTuple):
    """What is known of a visitor's place, as coarse as rankings are kept."""

    vector: Vector | None
    precise: bool
    country: str
    continent: str
    asn: int


def spot_of(profile: Profile, ruled: Reach) -> Spot:
    """Give where a mirror stands and whom it takes by its own and the site's rules."""
    location = profile.location
    reaches = tuple(reach for reach in (profile.reach, ruled) if _has_area(reach))
    if location is None:
        return Spot(None, "", profile.asn, reaches)
    return Spot(vector_of(location.latitude, location.longitude), location.country, profile.asn, reaches)


def locale_of(place: Place, *, asn: int) -> Locale:
    """Give what rankings go by of a place; ``asn`` is the visitor's, or 0 where no mirror is in it."""
    vector = None
    if place.latitude is not None and place.longitude is not None:
        vector = _middle_of(cell_of(place.latitude, place.longitude))
    return Locale(vector, place.precise, place.country, place.continent, asn)


@cache  # there are some 16,000 cells
def _middle_of(cell: int) -> Vector:
    return vector_of(*cell_centre(cell))


def vector_of(latitude: float, longitude: float) -> Vector:
    """Give a position as a vector."""
    phi, lam = math.radians(latitude), math.radians(longitude)
    return Vector(math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam), math.sin(phi))


def is_in_reach(reaches: Iterable[Reach], *, country: str, continent: str) -> bool:
    """Tell whether all of these rules take visitors of a country and continent; empty ones are unknown."""
    return all(
        (not reach.countries_only or country in reach.countries_only)
        and country not in reach.countries_excluded
        and (not reach.continents_only or continent in reach.continents_only)
        for reach in reaches
    )


def _has_area(reach: Reach) -> bool:
    return bool(reach.countries_only or reach.countries_excluded or reach.continents_only)


class Atlas:
    """Where all mirrors stand, by number. ``changes`` tells which of them moved, joined or left."""

    def __init__(self, *, near_km: float) -> None:
        self._edges = _ring_edges(near_km)
        self._spots: list[Spot | None] = []
        self._points: list[_Point] = []
        self._odd: set[int] = set()
        self._by_asn: dict[int, set[int]] = {}
        self.changes = Changes()

    def put(self, number: int, spot: Spot | None) -> None:
        """Note where a mirror stands; None: it offers nothing yet."""
        is_new = number >= len(self._spots)
        while number >= len(self._spots):
            self._spots.append(None)
            self._points.append((0.0, 0.0, 0.0, ""))
            self._odd.add(len(self._spots) - 1)
        before = self._spots[number]
        if spot == before and not is_new:  # whoever is new is noted, so that rankings have a level of his
            return
        self._spots[number] = spot
        self._place(number, spot)
        self._enlist(number, before, spot)
        self.changes.note(number)

    def has_network(self, asn: int) -> bool:
        """Tell whether a mirror is in this autonomous system."""
        return asn in self._by_asn

    def __len__(self) -> int:
        """Count the numbers that mirrors have."""
        return len(self._spots)

    def levels(self, locale: Locale, first: int = 0, end: int | None = None) -> bytearray:
        """Give the level of each mirror, by number; with ``first`` and ``end`` those of a slice of the numbers."""
        levels = bytearray(self._plain_levels(locale, self._points[first:end]))
        for number in self._odd | self._by_asn.get(locale.asn, _NONE):
            if 0 <= number - first < len(levels):
                levels[number - first] = self.level(locale, number)
        return levels

    def levels_of(self, locale: Locale, numbers: Sequence[int]) -> list[int]:
        """Give the levels of a few mirrors, in their order."""
        levels = self._plain_levels(locale, [self._points[number] for number in numbers])
        apart = self._by_asn.get(locale.asn, _NONE)
        for at, number in enumerate(numbers):
            if number in self._odd or number in apart:
                levels[at] = self.level(locale, number)
        return levels

    def level(self, locale: Locale, number: int) -> int:
        """Give the level of one mirror: what ``levels`` gives of it."""
        spot = self._spots[number]
        if spot is None or not is_in_reach(spot.reaches, country=locale.country, continent=locale.continent):
            return OUT_OF_REACH
        if spot.asn and spot.asn == locale.asn:
            return OWN_NETWORK
        is_home = bool(locale.country) and spot.country == locale.country
        if locale.vector is None:
            return HOME if is_home else ABROAD
        if spot.vector is None:
            return UNPLACED
        if is_home and not locale.precise:
            return HOME
        return 2 * self._ring(locale.vector, spot.vector) + (HOME if is_home else ABROAD)

    def _plain_levels(self, locale: Locale, points: Sequence[_Point]) -> list[int]:
        """Do the same for all at once, as if each said where it stands, had no rules and were in no network."""
        country = locale.country or _NO_COUNTRY
        if locale.vector is None:
            return [HOME if home == country else ABROAD for _, _, _, home in points]
        edges, (x, y, z) = self._edges, locale.vector
        if locale.precise:
            return [
                2 * bisect_left(edges, -(x * other_x + y * other_y + z * other_z))
                + (HOME if home == country else ABROAD)
                for other_x, other_y, other_z, home in points
            ]
        return [
            HOME if home == country else 2 * bisect_left(edges, -(x * other_x + y * other_y + z * other_z)) + ABROAD
            for other_x, other_y, other_z, home in points
        ]

    def _ring(self, vector: Vector, other: Vector) -> int:
        return bisect_left(self._edges, -(vector.x * other.x + vector.y * other.y + vector.z * other.z))

    def _place(self, number: int, spot: Spot | None) -> None:
        if spot is not None and spot.vector is not None:
            self._points[number] = (spot.vector.x, spot.vector.y, spot.vector.z, spot.country)
        if spot is None or spot.vector is None or spot.reaches:
            self._odd.add(number)
        else:
            self._odd.discard(number)

    def _enlist(self, number: int, before: Spot | None, spot: Spot | None) -> None:
        """Keep who is in which autonomous system."""
        if before is not None and before.asn:
            self._by_asn[before.asn].discard(number)
            if not self._by_asn[before.asn]:
                del self._by_asn[before.asn]
        if spot is not None and spot.asn:
            self._by_asn.setdefault(spot.asn, set()).add(number)


def _ring_edges(near_km: float) -> list[float]:
    """Give the outer edge of each ring as the negative cosine of its angle: like distances, these rise."""
    edges: list[float] = []
    edge_km = max(near_km, NEAR_KM_MIN)
    while edge_km < FARTHEST_KM:
        edges.append(-math.cos(edge_km / EARTH_RADIUS_KM))
        edge_km *= RING_GROWTH
    return [*edges, _BEYOND_ALL]
