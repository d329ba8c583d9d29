"""Where somebody is, and how far that is from a server. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from events.schemas import Location

EARTH_RADIUS_KM: Final = 6371.0088  # the mean radius (IUGG): a sphere is within 0.6 % of the true distance


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is known of a visitor's place: a position, a country (ISO 3166-1 alpha-2), both or neither."""

    latitude: float | None = None
    longitude: float | None = None
    country: str = ""


NOWHERE: Final = Place()


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
