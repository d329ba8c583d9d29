"""The few AMQP 0-9-1 frames that are written and read for each message, as bytes. Pure.

aiormq takes three quarters of a millisecond of processor time for a message that is published, confirmed and read; most
of that goes into objects, tasks and futures for each frame. These are plain reads and writes of what the broker says a
thousand times for each other word. They understand less than all of AMQP, and say so: whatever is odd is aiormq's.
"""

from __future__ import annotations

from struct import Struct, error
from typing import Final, NamedTuple

from broker.port import Message
from events.codec import CONTENT_TYPE

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
END: Final = 0xCE
HEAD_BYTES: Final = 7
EMPTY_BYTES: Final = HEAD_BYTES + 1
HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"

CHANNEL_CLOSE: Final = (20, 40)
CHANNEL_CLOSE_OK: Final = (20, 41)
BASIC_PUBLISH: Final = (60, 40)
BASIC_RETURN: Final = (60, 50)
BASIC_DELIVER: Final = (60, 60)
BASIC_ACK: Final = (60, 80)
BASIC_NACK: Final = (60, 120)

PERSISTENT: Final = 2  # delivery-mode
OFFSET_HEADER: Final = "x-stream-offset"
DELIVERIES_HEADER: Final = "x-delivery-count"

frame_head: Final = Struct(">BHI")  # type, AMQP channel, size
method_id: Final = Struct(">HH")
_tag_and_bits: Final = Struct(">QB")
_content: Final = Struct(">HHQH")  # class, weight, size of the body, which properties follow
_long: Final = Struct(">I")
_long_long: Final = Struct(">Q")
_TABLE_INTEGERS: Final = {ord(kind): Struct(">" + form) for kind, form in zip("bBsuIil", "bBhHiIq", strict=True)}
_LONG_STRING: Final = ord("S")

_MANDATORY: Final = b"\x01"
_TRANSIENT, _PERSISTENT = b"\x01", b"\x02"
_MULTIPLE: Final = 1
_CLASS_BASIC: Final = 60
# Which properties there are: one bit each, in the order in which they follow.
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE, _PRIORITY = 1 << 15, 1 << 14, 1 << 13, 1 << 12, 1 << 11
_CORRELATION_ID, _REPLY_TO, _EXPIRATION, _MESSAGE_ID, _TIMESTAMP = 1 << 10, 1 << 9, 1 << 8, 1 << 7, 1 << 6
_TYPE, _USER_ID, _APP_ID, _CLUSTER_ID, _MORE = 1 << 5, 1 << 4, 1 << 3, 1 << 2, 1
_WRITTEN: Final = _CONTENT_TYPE | _DELIVERY_MODE | _MESSAGE_ID | _TIMESTAMP | _TYPE | _USER_ID
_SHORT_STRING_MAX: Final = 255


class NotUnderstoodError(ValueError):
    """It is not what these few functions read; whoever knows all of AMQP may."""


class Deliver(NamedTuple):
    """What RabbitMQ says before a message."""

    tag: int
    redelivered: bool
    exchange: str
    routing_key: str


class Confirm(NamedTuple):
    """Which publish is meant, and whether all before it are, too."""

    tag: int
    multiple: bool


class Content(NamedTuple):
    """What stands before a message's body. ``headers`` are those that are texts."""

    body_size: int
    message_id: str
    type: str
    user_id: str
    headers: dict[str, str]
    offset: int | None
    deliveries: int


def published(message: Message, *, amqp_channel: int, user: str, time_s: int, body_max: int) -> bytes:
    """Write a mandatory publish: its method, its header, and its body in frames of at most ``body_max`` bytes.

    Raises:
        ValueError: a name is longer than AMQP allows.
    """
    method = (
        method_id.pack(*BASIC_PUBLISH)
        + b"\0\0"
        + _short_string(message.exchange)
        + _short_string(message.routing_key)
        + _MANDATORY
    )
    body = message.body
    parts = [_framed(METHOD, amqp_channel, method), _framed(HEADER, amqp_channel, _header(message, user, time_s))]
    parts += (_framed(BODY, amqp_channel, body[at : at + body_max]) for at in range(0, len(body), body_max))
    return b"".join(parts)


def read_deliver(data: bytes, at: int, end: int) -> Deliver:
    """Read ``basic.deliver`` behind its method's number.

    Raises:
        NotUnderstoodError: it is none.
    """
    try:
        _, at = _read_short_string(data, at)  # the consumer: there is one on each AMQP channel
        tag, bits = _tag_and_bits.unpack_from(data, at)
        exchange, at = _read_short_string(data, at + _tag_and_bits.size)
        routing_key, at = _read_short_string(data, at)
    except (error, IndexError, UnicodeDecodeError) as cause:
        raise NotUnderstoodError(str(cause)) from cause
    _expect_end(at, end)
    return Deliver(tag, bool(bits), exchange, routing_key)


def read_confirm(data: bytes, at: int) -> Confirm:
    """Read ``basic.ack`` or ``basic.nack`` behind its method's number."""
    tag, bits = _tag_and_bits.unpack_from(data, at)
    return Confirm(tag, bool(bits & _MULTIPLE))


def read_content(data: bytes, at: int, end: int) -> Content:
    """Read a content header.

    Raises:
        NotUnderstoodError: it says what no message of ours says, or is none.
    """
    try:
        _, _, body_size, flags = _content.unpack_from(data, at)
        if flags & _MORE:
            raise NotUnderstoodError("more than AMQP's own properties")
        read = _read_properties(data, at + _content.size, end, flags)
    except (error, IndexError, UnicodeDecodeError) as cause:
        raise NotUnderstoodError(str(cause)) from cause
    message_id, kind, user_id, headers, integers = read
    return Content(
        body_size, message_id, kind, user_id, headers, integers.get(OFFSET_HEADER), integers.get(DELIVERIES_HEADER, 0)
    )


def _read_properties(
    data: bytes, at: int, end: int, flags: int
) -> tuple[str, str, str, dict[str, str], dict[str, int]]:
    """Read the properties that ``flags`` tell of, and keep those that matter to us."""
    headers: dict[str, str] = {}
    integers: dict[str, int] = {}
    at = _pass_over_texts(data, at, flags, _CONTENT_TYPE, _CONTENT_ENCODING)
    if flags & _HEADERS:
        at = _read_table(data, at, headers, integers)
    at += bool(flags & _DELIVERY_MODE) + bool(flags & _PRIORITY)
    at = _pass_over_texts(data, at, flags, _CORRELATION_ID, _REPLY_TO, _EXPIRATION)
    message_id, at = _read_short_string(data, at) if flags & _MESSAGE_ID else ("", at)
    at += _long_long.size if flags & _TIMESTAMP else 0
    kind, at = _read_short_string(data, at) if flags & _TYPE else ("", at)
    user_id, at = _read_short_string(data, at) if flags & _USER_ID else ("", at)
    _expect_end(_pass_over_texts(data, at, flags, _APP_ID, _CLUSTER_ID), end)
    return message_id, kind, user_id, headers, integers


def _pass_over_texts(data: bytes, at: int, flags: int, *properties: int) -> int:
    for flag in properties:
        if flags & flag:
            _, at = _read_short_string(data, at)  # what is no text, aiormq does not take either: all readers are alike
    return at


def _read_table(data: bytes, at: int, texts: dict[str, str], integers: dict[str, int]) -> int:
    """Read a table of texts and integers; give where it ends."""
    (size,) = _long.unpack_from(data, at)
    at += _long.size
    end = at + size
    while at < end:
        name, at = _read_short_string(data, at)
        kind, at = data[at], at + 1
        if kind == _LONG_STRING:
            (length,) = _long.unpack_from(data, at)
            at += _long.size
            texts[name] = data[at : at + length].decode()
            at += length
        elif (integer := _TABLE_INTEGERS.get(kind)) is not None:
            (integers[name],) = integer.unpack_from(data, at)
            at += integer.size
        else:
            raise NotUnderstoodError(f"a header of the type {kind}")
    _expect_end(at, end)
    return at


def _header(message: Message, user: str, time_s: int) -> bytes:
    flags = _WRITTEN | _HEADERS if message.headers else _WRITTEN
    return b"".join((
        _content.pack(_CLASS_BASIC, 0, len(message.body), flags),
        _CONTENT_TYPE_WRITTEN,
        _table(message) if message.headers else b"",
        _PERSISTENT if message.persistent else _TRANSIENT,
        _short_string(message.message_id),
        _long_long.pack(time_s),
        _short_string(message.type),
        _short_string(user),
    ))  # fmt: skip


def _table(message: Message) -> bytes:
    entries = b"".join(
        _short_string(name) + b"S" + _long.pack(len(text := value.encode())) + text
        for name, value in message.headers.items()
    )
    return _long.pack(len(entries)) + entries


def _framed(kind: int, amqp_channel: int, payload: bytes) -> bytes:
    return frame_head.pack(kind, amqp_channel, len(payload)) + payload + b"\xce"


def _short_string(text: str) -> bytes:
    written = text.encode()
    if len(written) > _SHORT_STRING_MAX:
        raise ValueError(f"{len(written)} bytes; AMQP has room for {_SHORT_STRING_MAX}: {text[:40]!r}…")
    return bytes((len(written),)) + written


def _read_short_string(data: bytes, at: int) -> tuple[str, int]:
    begin = at + 1
    end = begin + data[at]
    return data[begin:end].decode(), end


def _expect_end(at: int, end: int) -> None:
    if at != end:
        raise NotUnderstoodError(f"it ends at {end}, and was read to {at}")


_CONTENT_TYPE_WRITTEN: Final = _short_string(CONTENT_TYPE)
