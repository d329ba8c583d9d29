"""The place of an address, from a database in MaxMind's format.

Two spellings of records are read: nested (``location.latitude``, ``country.iso_code``: GeoLite2) and flat
(``latitude``, ``country_code``: DB-IP and others). What the database does not hold has no known place.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Final, cast

import maxminddb
import structlog

from events.grants import IPAddress
from selection.places.place import NOWHERE, Place

PLACES_KEPT: Final = 16_384  # some 4 MB; a look-up in a city database takes 16 µs, one in here 0.4
COUNTRY_LENGTH: Final = 2
LATITUDE_MAX: Final = 90.0
LONGITUDE_MAX: Final = 180.0

log = structlog.stdlib.get_logger()


class GeoFileError(OSError):
    """The database cannot be read. Get it again, or start without one."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class Places:
    """Looks up addresses. Without a database no place is known."""

    def __init__(self, reader: maxminddb.Reader | None = None) -> None:
        self._reader = reader
        self._look_up = lru_cache(maxsize=PLACES_KEPT)(self._read)

    @property
    def database(self) -> str:
        """Name the database with its date, or nothing without one."""
        if self._reader is None:
            return ""
        metadata = self._reader.metadata()
        return f"{metadata.database_type} {metadata.build_epoch}"

    def place_of(self, address: IPAddress) -> Place:
        """Give what is known of the place of an address."""
        return NOWHERE if self._reader is None else self._look_up(address)

    def _read(self, address: IPAddress) -> Place:
        assert self._reader is not None  # noqa: S101 - place_of asked
        try:
            record = cast("object", self._reader.get(address))  # pyright: ignore[reportUnknownMemberType] - loosely typed
            return place_in(record)
        except ValueError:  # an IPv6 address in a database of IPv4 ones
            return NOWHERE
        except maxminddb.InvalidDatabaseError as error:
            log.warning("geoip.damaged", error=str(error))
            return NOWHERE


@contextmanager
def open_places(path: Path | None) -> Generator[Places]:
    """Open a database while the block is entered.

    Raises:
        GeoFileError: it cannot be read.
    """
    if path is None:
        yield Places()
        return
    try:
        reader = maxminddb.open_database(str(path))  # pyright: ignore[reportUnknownMemberType] - loosely typed
    except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
        raise GeoFileError(path, str(error)) from error
    with reader:
        yield Places(reader)


def place_in(record: object) -> Place:
    """Read a place out of a record of either spelling."""
    fields = _fields(record)
    latitude, longitude = _position(_fields(fields.get("location")) or fields)
    return Place(latitude=latitude, longitude=longitude, country=_country(fields))


def _fields(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _position(fields: dict[str, object]) -> tuple[float, float] | tuple[None, None]:
    try:
        latitude, longitude = float(str(fields["latitude"])), float(str(fields["longitude"]))
    except (KeyError, ValueError):
        return None, None
    on_globe = abs(latitude) <= LATITUDE_MAX and abs(longitude) <= LONGITUDE_MAX  # never true of NaN
    return (latitude, longitude) if on_globe else (None, None)


def _country(fields: dict[str, object]) -> str:
    country = fields.get("country_code", fields.get("country"))
    if isinstance(country, dict):
        country = _fields(cast("object", country)).get("iso_code")
    return country.upper() if isinstance(country, str) and len(country) == COUNTRY_LENGTH else ""
