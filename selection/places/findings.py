"""What one source knows of an address, and the place that follows from what all of them know. Pure.

Sources come in an order, and the first that knows something is believed. A position counts only with the country that
was found: a table that corrects the country corrects the position as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from events.grants import IPAddress
from selection.places.countries import country_of
from selection.places.place import Place


class Finding(NamedTuple):
    """What a source knows of an address."""

    latitude: float | None = None
    longitude: float | None = None
    country: str = ""
    continent: str = ""
    asn: int = 0


NOTHING: Final = Finding()


class Source(Protocol):
    """Something that knows where addresses are."""

    @property
    def name(self) -> str:
        """What it is, for the operator."""
        ...

    def find(self, address: IPAddress) -> tuple[Finding, int]:
        """Give what it knows of an address, and how many of its first bits others share of which it knows the same."""
        ...


def place_from(findings: Sequence[Finding]) -> Place:
    """Make one place of what the sources found, the most believed first."""
    country = next((found.country for found in findings if found.country), "")
    alike = [found for found in findings if found.country in {"", country}]
    known = country_of(country)
    continent = next((found.continent for found in alike if found.continent), known.continent if known else "")
    latitude, longitude = next(
        ((found.latitude, found.longitude) for found in alike if found.latitude is not None), (None, None)
    )
    stands_for_country = False
    if latitude is None and known is not None:
        stands_for_country = True
        latitude, longitude = known.latitude, known.longitude
    return Place(
        latitude=latitude,
        longitude=longitude,
        country=country,
        continent=continent,
        asn=next((found.asn for found in findings if found.asn), 0),
        precise=not stands_for_country,
    )
