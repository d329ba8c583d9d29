"""An entry as an object for programs: ``distributary/event/1``, described in ``docs/cli.md``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Final, cast

from msgspec import Struct

from events.schemas.fields import NS_PER_S
from history.entry import Position
from history.telling.told import Told

SCHEMA: Final = "distributary/event/1"

_US_PER_S: Final = 1_000_000
_NS_PER_US: Final = 1000


def record_of(told: Told) -> dict[str, object]:
    """Give all that an entry says, with its place. What cannot be read has ``trouble`` and its bytes instead."""
    entry, envelope = told.entry, told.envelope
    record: dict[str, object] = {
        "type": "event",
        "schema": SCHEMA,
        "position": position_text(entry.position),
        "id": told.id,
        "event": told.type,
        "exchange": entry.exchange,
        "routing_key": entry.routing_key,
        "user": entry.user_id,
    }
    if envelope is None:
        return record | {"trouble": told.trouble, "body": entry.body.hex()}
    return record | {
        "source": envelope.source,
        "epoch": envelope.epoch,
        "sequence": envelope.sequence,
        "time": time_text(envelope.time_ns),
        "traceparent": envelope.traceparent,
        "content": plain(envelope.event),
    }


def position_text(position: Position) -> str:
    """Write a place in the log: ``g1:1234``."""
    return f"g{position.generation}:{position.offset}"


def time_text(time_ns: int) -> str:
    """Write a time as RFC 3339 in UTC, to the microsecond."""
    moment = datetime.fromtimestamp(time_ns // NS_PER_S, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ns // _NS_PER_US % _US_PER_S:06}Z"


def plain(value: object) -> object:
    """Write a value of an event in what JSON has: structs by the names of their fields, bytes in hexadecimal."""
    match value:
        case Struct():
            return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        case Enum():
            return value.value
        case bytes():
            return value.hex()
        case tuple() | list():
            return [plain(each) for each in cast("tuple[object, ...]", value)]
        case dict():
            return {str(plain(key)): plain(each) for key, each in cast("Mapping[object, object]", value).items()}
        case _:
            return value
