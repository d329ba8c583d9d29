"""Envelope to MessagePack and back. msgspec writes and validates; msgpack looks into what msgspec refuses.

Whoever kept bytes that ``decode`` or ``encode`` had found good reads them again by ``events.proven``, at a third of the
cost. Whoever made an event of nothing but what was validated before writes it by ``encode_proven``, at a thirtieth.
"""

from __future__ import annotations

from typing import Final, cast

import msgpack
import msgspec

from events.envelope import Envelope, Source
from events.errors import UnknownEventTypeError, UnreadableEventError, UnspeakableEventError
from events.schemas import TAGS, tag_of
from events.schemas.fields import Count, Sequence, TimeNs, Traceparent

CONTENT_TYPE: Final = "application/msgpack"

# The largest event is a page of an inventory: 10,000 digests of 34 bytes. Three times that is no event of ours.
BODY_BYTES_MAX: Final = 1 << 20

_EVENT_POSITION: Final = Envelope.__struct_fields__.index("event")


class _Outline(msgspec.Struct, frozen=True, array_like=True):
    """An envelope as far as it can be judged without knowing the event."""

    source: Source
    epoch: Count
    sequence: Sequence
    time_ns: TimeNs
    traceparent: Traceparent
    event: msgspec.Raw


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)
_outline_decoder = msgspec.msgpack.Decoder(_Outline)


def encode(envelope: Envelope) -> bytes:
    """Write an envelope as MessagePack, and make sure that it can be read: what is in the log stays there.

    Raises:
        UnspeakableEventError: a field holds what it may not, or the whole is too large.
    """
    body = encode_proven(envelope)
    try:
        decode(body)
    except UnreadableEventError as error:
        raise UnspeakableEventError(f"{tag_of(envelope.event)}: {error}") from error
    return body


def encode_proven(envelope: Envelope) -> bytes:
    """Write an envelope whose every field was decoded before, or made by code of ours that makes none but valid ones.

    Only that it can be written, and is not too large, is made sure of. What is wrong in it stays in the log, and all
    who read it refuse it.

    Raises:
        UnspeakableEventError: a field is of a type that cannot be written, or the whole is too large.
    """
    try:
        body = _encoder.encode(envelope)
    except (msgspec.MsgspecError, OverflowError, TypeError) as error:
        raise UnspeakableEventError(f"{tag_of(envelope.event)}: {error}") from error
    if len(body) > BODY_BYTES_MAX:
        raise UnspeakableEventError(f"{tag_of(envelope.event)}: {_too_large(body)}")
    return body


def decode(body: bytes) -> Envelope:
    """Read an envelope and validate it. Fields that a newer version added are ignored.

    Raises:
        UnknownEventTypeError: a sound envelope around an event type that we do not know; skip it.
        UnreadableEventError: anything else; the message says where it broke.
    """
    if len(body) > BODY_BYTES_MAX:
        raise UnreadableEventError(_too_large(body))
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:  # ValidationError is one, too
        tag = _unknown_tag(body)
        if tag is not None:
            raise UnknownEventTypeError(tag) from None
        raise UnreadableEventError(str(error)) from error
    except (RecursionError, UnicodeDecodeError) as error:
        raise UnreadableEventError(f"nested too deeply or not UTF-8: {error}") from error


def _too_large(body: bytes) -> str:
    return f"{len(body)} bytes; an event has at most {BODY_BYTES_MAX}"


def _unknown_tag(body: bytes) -> str | None:
    """Find the event's tag where the envelope is sound and the tag is not one of ours; else None."""
    try:
        _outline_decoder.decode(body)
        outer = cast("object", msgpack.unpackb(body, raw=False, strict_map_key=False))  # pyright: ignore[reportUnknownMemberType] - msgpack has no types
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException, msgspec.DecodeError):
        return None  # TypeError: a map with a key that cannot be one
    inner = cast("list[object]", outer)[_EVENT_POSITION]
    if not isinstance(inner, list) or not inner:
        return None
    tag = cast("list[object]", inner)[0]
    return tag if isinstance(tag, str) and tag not in TAGS else None
