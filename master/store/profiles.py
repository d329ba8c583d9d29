"""Profiles and rules as they stand in columns: by names, so that they stay legible; on the wire they are arrays."""

from __future__ import annotations

from typing import Final, TypeVar, cast

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo, fields

from events.schemas import Location, Reach
from master.store.tables import JsonObject

_T = TypeVar("_T", bound=Struct)

_INSIDE: Final[dict[str, type[Struct]]] = {"location": Location, "reach": Reach}


def stored(plain: Struct) -> JsonObject:
    """Write a profile, or what else is told by name, for a column."""
    return {
        name: stored(value) if isinstance(value, Struct) else value
        for name, value in msgspec.structs.asdict(plain).items()
    }


def read_back(kind: type[_T], column: JsonObject) -> _T:
    """Read it from a column. What an older version did not write has its default."""
    return kind(**{field.name: _value(field, column[field.name]) for field in fields(kind) if field.name in column})


def _value(field: FieldInfo, column: object) -> object:
    if isinstance(column, dict):
        return read_back(_INSIDE[field.name], cast("JsonObject", column))
    return msgspec.convert(column, field.type)
