"""What a record of a database in MaxMind's format says. Pure.

Two spellings are read: nested (``location.latitude``, ``country.iso_code``: GeoLite2 and DB-IP) and flat (``latitude``,
``country_code``, ``asn``: IPinfo and others). A position that stands for a whole country is none: GeoLite2 gives those
a radius of 1,000 km, and a whole country's visitors would go to whoever is near its middle.
"""

from __future__ import annotations

import math
import re
from typing import Final, TypeAlias, cast

from selection.places.findings import Finding

CODE_LENGTH: Final = 2
LATITUDE_MAX: Final = 90.0
LONGITUDE_MAX: Final = 180.0
RADIUS_KM_MAX: Final = 500.0  # GeoLite2's radii are 1 to 200 km for cities and regions, 1,000 for countries
CONTINENTS: Final = frozenset({"AF", "AN", "AS", "EU", "NA", "OC", "SA"})
ASN_MAX: Final = 2**32 - 1

_ASN: Final = re.compile(r"(?:AS)?(?P<number>[0-9]{1,10})", re.ASCII)
_Fields: TypeAlias = dict[str, object]


def finding_in(record: object) -> Finding:
    """Read what a record says; whatever is not of the form that it should have says nothing."""
    fields = _fields(record)
    latitude, longitude = _position(_fields(fields.get("location")) or fields)
    return Finding(
        latitude=latitude,
        longitude=longitude,
        country=_code(fields, "country", "iso_code"),
        continent=_continent(fields),
        asn=_asn(fields),
    )


def _fields(value: object) -> _Fields:
    return cast("_Fields", value) if isinstance(value, dict) else {}


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return math.nan


def _position(fields: _Fields) -> tuple[float, float] | tuple[None, None]:
    latitude, longitude = _number(fields.get("latitude")), _number(fields.get("longitude"))
    on_globe = abs(latitude) <= LATITUDE_MAX and abs(longitude) <= LONGITUDE_MAX  # never true of NaN
    is_wide = _number(fields.get("accuracy_radius")) > RADIUS_KM_MAX
    return (latitude, longitude) if on_globe and not is_wide else (None, None)


def _code(fields: _Fields, name: str, nested: str) -> str:
    code = fields.get(f"{name}_code", fields.get(name))
    if isinstance(code, dict):
        code = _fields(cast("object", code)).get(nested)
    plain = isinstance(code, str) and len(code) == CODE_LENGTH and code.isascii() and code.isalpha()
    return cast("str", code).upper() if plain else ""


def _continent(fields: _Fields) -> str:
    code = _code(fields, "continent", "code")
    return code if code in CONTINENTS else ""


def _asn(fields: _Fields) -> int:
    written = _ASN.fullmatch(str(fields.get("autonomous_system_number", fields.get("asn", ""))))
    return int(written["number"]) if written and int(written["number"]) <= ASN_MAX else 0
