"""What a mirror answers to let nginx send a file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from aiohttp import hdrs

from edge.files import CACHE_CONTROL, FIELDS_REMEMBERED_MAX, date_field, etag_of, representation_fields
from events.names import Digest
from mirror.serving.nginx import ACCOUNT_FIELD, PRESUMED, place_of


class Order(NamedTuple):
    """An answer that makes nginx send: its fields, and the same as they are written."""

    fields: Mapping[str, str]
    written: bytes

    def at(self, bytes_per_second: int) -> Order:
        """Let nginx send no faster than this; 0 is no limit."""
        if not bytes_per_second:
            return self
        limit = {"X-Accel-Limit-Rate": str(bytes_per_second)}
        return Order({**self.fields, **limit}, self.written + _written(limit))


@lru_cache(maxsize=FIELDS_REMEMBERED_MAX)
def order_of(
    sha256: Digest, media_type: str, file_name: str, changed_s: int | None, *, whole: bool, presumed: bool
) -> Order:
    """Order nginx to send a content: all of it, or the range that it was asked for.

    Where that is ``presumed`` to be sent, nginx tells of it only if it was not.
    """
    fields = {
        **representation_fields(sha256, media_type, file_name),
        "X-Accel-Redirect": place_of(sha256, whole=whole),
        hdrs.ETAG: etag_of(sha256),
        hdrs.CACHE_CONTROL: CACHE_CONTROL,
        **date_field(changed_s),
    }
    if presumed:
        fields[ACCOUNT_FIELD] = PRESUMED
    return Order(MappingProxyType(fields), _written(fields))


def _written(fields: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode("ascii")
