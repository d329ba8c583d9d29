"""An entry as a line for people: when, where in the log, what kind, who, what. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from events.schemas.fields import NS_PER_S
from history.telling.records import position_text
from history.telling.sentences import sentence_of
from history.telling.told import Told

# So wide that the columns stand under one another in all but odd cases, which push the rest to the right.
PLACE_WIDTH: Final = 9
TYPE_WIDTH: Final = 20  # subscription.granted, availability.changed
SOURCE_WIDTH: Final = 17
NO_TIME: Final = "-" * len("2026-11-22 10:41:07.123")

_NS_PER_MS: Final = 1_000_000
_MS_PER_S: Final = 1000


def line_of(told: Told) -> str:
    """Write an entry in one line. Times are UTC; the type's version is left out."""
    envelope = told.envelope
    time = NO_TIME if envelope is None else clock_text(envelope.time_ns)
    source = f"({told.entry.user_id})" if envelope is None else envelope.source
    what = told.trouble if envelope is None else sentence_of(envelope.event)
    place, kind = position_text(told.entry.position), told.type.partition("/")[0]
    return f"{time}  {place:<{PLACE_WIDTH}}  {kind:<{TYPE_WIDTH}}  {source:<{SOURCE_WIDTH}}  {what}"


def clock_text(time_ns: int) -> str:
    """Write a time in UTC to the millisecond, as people read it."""
    moment = datetime.fromtimestamp(time_ns // NS_PER_S, tz=UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{time_ns // _NS_PER_MS % _MS_PER_S:03}"
