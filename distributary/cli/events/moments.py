"""Where in the log, as people write it: a time, how long ago, or a place. Times without a zone are UTC. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, TypeAlias

from distributary.units import UnitError, parse_duration
from history.entry import Position

Moment: TypeAlias = Position | int
"""A place in the log, or nanoseconds since 1970."""

HOW_TO_WRITE: Final = "write 2026-11-22, '2026-11-22 10:41:07', 2h (ago), now, or a place like g1:1234"

_PLACE: Final = re.compile(r"g(?P<generation>[1-9]\d{0,8}):(?P<offset>\d{1,18})", re.ASCII)
_NS_PER_S: Final = 1_000_000_000
_NS_PER_US: Final = 1000


class MomentError(ValueError):
    """This is no time and no place. The message says how to write one."""


def parse_moment(text: str, *, now_ns: int) -> Moment:
    """Read a time or place.

    Raises:
        MomentError: it is neither.
    """
    written = text.strip()
    if match := _PLACE.fullmatch(written):
        return Position(int(match["generation"]), int(match["offset"]))
    if written == "now":
        return now_ns
    try:
        return _nanoseconds(datetime.fromisoformat(written))
    except ValueError:
        pass
    try:
        return now_ns - int(parse_duration(written) * _NS_PER_S)
    except UnitError:
        raise MomentError(f"{text!r} is no time: {HOW_TO_WRITE}") from None


def is_reversed(begin: Moment | None, until: Moment | None) -> bool:
    """Tell whether a span ends before it begins. A time and a place are known to do so only once the log is read."""
    if isinstance(begin, Position):
        return isinstance(until, Position) and until < begin
    return isinstance(begin, int) and isinstance(until, int) and until < begin


def _nanoseconds(moment: datetime) -> int:
    known = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = known - datetime.fromtimestamp(0, UTC)
    return (since.days * 86_400 + since.seconds) * _NS_PER_S + since.microseconds * _NS_PER_US
