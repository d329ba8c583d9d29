"""Figures as people read them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from events.schemas.fields import NS_PER_S

_KILO: Final = 1000
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_ONE_DECIMAL_BELOW: Final = 100


def size_text(size_bytes: int) -> str:
    """Write a size with three digits or so: ``1.4 GB``."""
    size, unit = float(size_bytes), 0
    while round(size) >= _KILO and unit < len(_UNITS) - 1:
        size, unit = size / _KILO, unit + 1
    digits = 1 if unit and size < _ONE_DECIMAL_BELOW else 0
    return f"{size:.{digits}f} {_UNITS[unit]}"


def count_text(count: int) -> str:
    """Write a count with its thousands apart."""
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def moment(at_ns: int) -> datetime:
    """Give a moment from nanoseconds since 1970, without what is less than a second."""
    return datetime.fromtimestamp(at_ns // NS_PER_S, tz=UTC)


def moment_text(at: datetime) -> str:
    """Write a moment to the minute."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def distance_text(distance_km: float | None) -> str:
    """Write a distance, or nothing where it is unknown."""
    return "" if distance_km is None else f"{count_text(round(distance_km))} km"
