"""Human sizes, durations and places, read and written. ``50GB`` is decimal, ``50GiB`` binary, as SI and IEC have it.

What ``format_size`` and ``format_duration`` write is read back by ``parse_size`` and ``parse_duration`` to within
the rounding that they show.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_SIZE = re.compile(r"(?P<number>\d{1,19}(?:\.\d{1,9})?)\s*(?P<unit>[a-z]*)", re.IGNORECASE | re.ASCII)
_DURATION_PART = re.compile(r"(?P<number>\d{1,12}(?:\.\d{1,9})?)\s*(?P<unit>[a-z]+)", re.IGNORECASE | re.ASCII)

_DECIMAL_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_BINARY_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB")
_SIZE_UNITS: Final[dict[str, int]] = {
    "": 1,
    **{unit.lower(): 1000**power for power, unit in enumerate(_DECIMAL_UNITS)},
    **{unit[0].lower(): 1000**power for power, unit in enumerate(_DECIMAL_UNITS) if power},
    **{unit.lower(): 1024**power for power, unit in enumerate(_BINARY_UNITS, start=1)},
}
_DURATION_UNITS: Final[dict[str, Decimal]] = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "min": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86_400),
    "w": Decimal(604_800),
}
SIZE_BYTES_MAX: Final = 2**63 - 1  # what SQLite, PostgreSQL and msgpack keep in a signed integer
_KILO: Final = 1000
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400


class UnitError(ValueError):
    """Not a size or duration. The message says how to write one."""


def parse_size(text: str) -> int:
    """Read ``1MB``, ``1.5 GiB`` or ``1048576`` as bytes.

    Raises:
        UnitError: not a size, not a whole number of bytes, or more than a signed 64-bit integer holds.
    """
    matched = _SIZE.fullmatch(text.strip())
    factor = _SIZE_UNITS.get(matched["unit"].lower()) if matched else None
    if matched is None or factor is None:
        raise UnitError(f"{text!r} is not a size; write it like 500kB, 1MB, 50GB or 1.5GiB")
    size_bytes = Decimal(matched["number"]) * factor
    if size_bytes != size_bytes.to_integral_value():
        raise UnitError(f"{text!r} is not a whole number of bytes")
    if size_bytes > SIZE_BYTES_MAX:
        raise UnitError(f"{text!r} is larger than {SIZE_BYTES_MAX} bytes")
    return int(size_bytes)


def format_size(size_bytes: int) -> str:
    """Write bytes for people, decimal, with three significant digits: ``2.1 GB``."""
    value = float(size_bytes)
    for unit in _DECIMAL_UNITS[:-1]:
        # 999.5 would be shown as 1000 of this unit.
        if value < _KILO - 0.5:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= _KILO
    return f"{value:,.3g} {_DECIMAL_UNITS[-1]}" if value < _KILO - 0.5 else f"{value:,.0f} {_DECIMAL_UNITS[-1]}"


def parse_duration(text: str) -> float:
    """Read ``36h``, ``90s``, ``1d12h`` or ``250ms`` as seconds.

    Raises:
        UnitError: not a duration.
    """
    stripped = text.strip()
    parts = list(_DURATION_PART.finditer(stripped))
    if not parts or "".join(part.group() for part in parts).replace(" ", "") != stripped.replace(" ", ""):
        raise UnitError(f"{text!r} is not a duration; write it like 30s, 15m, 36h, 7d or 1d12h")
    total_s = Decimal(0)
    for part in parts:
        factor = _DURATION_UNITS.get(part["unit"].lower())
        if factor is None:
            raise UnitError(f"{text!r}: {part['unit']!r} is not a unit of time; use ms, s, m, h, d or w")
        total_s += Decimal(part["number"]) * factor
    return float(total_s)


def format_duration(seconds: float) -> str:
    """Write seconds for people, in at most two units: ``1d 12h``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < _MINUTE_S:
        return f"{seconds:.3g}s"
    whole_s = round(seconds)
    if whole_s < _HOUR_S:
        return _two_units(whole_s, _MINUTE_S, "m", 1, "s")
    if whole_s < _DAY_S:
        return _two_units(whole_s, _HOUR_S, "h", _MINUTE_S, "m")
    return _two_units(whole_s, _DAY_S, "d", _HOUR_S, "h")


def _two_units(whole_s: int, large_s: int, large: str, small_s: int, small: str) -> str:
    count, rest_s = divmod(whole_s, large_s)
    return f"{count}{large} {rest_s // small_s}{small}" if rest_s >= small_s else f"{count}{large}"


def parse_location(text: str) -> tuple[float, float]:
    """Read ``41.15,-8.61`` as degrees north and east.

    Raises:
        UnitError: not two numbers, or off the globe.
    """
    try:
        latitude, longitude = (float(part) for part in text.split(","))
    except ValueError:
        raise UnitError(f"{text!r} is not a place; write latitude,longitude like 41.15,-8.61") from None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):  # noqa: PLR2004 - the globe
        raise UnitError(f"{text!r} is not on the globe: latitude -90..90, longitude -180..180")
    return latitude, longitude


def parse_listen(text: str) -> tuple[str, int]:
    """Read ``127.0.0.1:8080`` or ``[::1]:8080`` as host and port; port 0 lets the system choose.

    Raises:
        UnitError: not a host and a port.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:  # noqa: PLR2004 - a port
        raise UnitError(f"{text!r} is not an address to listen on; write it like 127.0.0.1:8080 or [::]:8080")
    return host, int(port)
