"""Profiles as they stand in columns: by names, so that they stay legible; on the wire they are arrays."""

from __future__ import annotations

import msgspec

from events.schemas import Location, Profile
from master.store.tables import JsonObject


def stored(profile: Profile) -> JsonObject:
    """Write a profile for a column."""
    plain = msgspec.structs.asdict(profile)
    plain["location"] = None if profile.location is None else msgspec.structs.asdict(profile.location)
    return plain


def read_back(stored: JsonObject) -> Profile:
    """Read a profile from a column."""
    plain = msgspec.convert(stored["location"], dict[str, object] | None)
    location = None if plain is None else [plain[name] for name in Location.__struct_fields__]
    return msgspec.convert([*((stored | {"location": location})[name] for name in Profile.__struct_fields__)], Profile)
