"""Envelope to MessagePack and back. msgspec writes and validates; msgpack looks into what msgspec refuses."""

from __future__ import annotations

from typing import Final, cast

import msgpack
import msgspec

from events.envelope import Envelope
from events.errors import UnknownEventTypeError, UnreadableEventError
from events.schemas import TAGS

CONTENT_TYPE: Final = "application/msgpack"

# The largest event is a page of an inventory: 1,000 digests of 34 bytes. Thirty times that is no event of ours.
BODY_BYTES_MAX: Final = 1 << 20

_EVENT_POSITION: Final = Envelope.__struct_fields__.index("event")

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)


def encode(envelope: Envelope) -> bytes:
    """Write an envelope as MessagePack."""
    return _encoder.encode(envelope)


def decode(body: bytes) -> Envelope:
    """Read an envelope and validate it. Fields that a newer version added are ignored.

    Raises:
        UnknownEventTypeError: a sound envelope around an event type that we do not know; skip it.
        UnreadableEventError: anything else; the message says where it broke.
    """
    if len(body) > BODY_BYTES_MAX:
        raise UnreadableEventError(f"{len(body)} bytes; an event has at most {BODY_BYTES_MAX}")
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:  # ValidationError is one, too
        tag = _tag_inside(body)
        if tag is not None and tag not in TAGS:
            raise UnknownEventTypeError(tag) from None
        raise UnreadableEventError(str(error)) from error
    except (RecursionError, UnicodeDecodeError) as error:
        raise UnreadableEventError(f"nested too deeply or not UTF-8: {error}") from error


def _tag_inside(body: bytes) -> str | None:
    """Find the event's tag without any schema, or None where the bytes do not even have our envelope's form."""
    try:
        outer = cast("object", msgpack.unpackb(body, raw=False, strict_map_key=False))  # pyright: ignore[reportUnknownMemberType] - msgpack has no types
    except (ValueError, msgpack.UnpackException, RecursionError):
        return None
    if not isinstance(outer, list):
        return None
    fields = cast("list[object]", outer)
    if len(fields) <= _EVENT_POSITION:
        return None
    inner = fields[_EVENT_POSITION]
    if not isinstance(inner, list) or not inner:
        return None
    tag = cast("list[object]", inner)[0]
    return tag if isinstance(tag, str) else None
