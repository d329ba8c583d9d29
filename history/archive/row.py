"""From an entry of the log to a row of the archive: itself byte for byte, and what it says where it is sound. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

import msgspec

from broker.reading import read_envelope
from events.envelope import MASTER_SOURCE, Envelope
from events.errors import ForgedEventError, LanguageError, UnknownEventTypeError
from events.schemas import DecisionsRecorded, DownloadsGranted, DownloadsReported, GrantClaimed, GrantsRevoked
from history.entry import Entry

SITES_OWN: Final = (MASTER_SOURCE, "selector/")
"""Whose clocks the log's time is read from; a mirror's may show anything."""

NO_TEXT: Final = "\x00"
"""What PostgreSQL keeps in no text. RabbitMQ does."""

PERSONAL: Final = (DownloadsGranted, DownloadsReported, DecisionsRecorded, GrantClaimed, GrantsRevoked)
"""What tells of visitors' addresses; a test compares it with ``history.privacy``."""


class Verdict(Enum):
    """What an entry is, as the archiver read it.

    ``SOUND``: an event that may be believed. ``UNKNOWN``: one of a newer version. ``UNREADABLE``: none. ``FORGED``: it
    is not where it belongs, or another user wrote it.
    """

    SOUND = "sound"
    UNKNOWN = "unknown"
    UNREADABLE = "unreadable"
    FORGED = "forged"


class AddressState(Enum):
    """What became of the visitors' addresses in a body: it has ``NONE``, or they are as they came, cut, or gone."""

    NONE = "none"
    WHOLE = "whole"
    SHORTENED = "shortened"
    DROPPED = "dropped"


class Words(NamedTuple):
    """The words around an entry's body."""

    exchange: str
    routing_key: str
    message_id: str
    type: str
    user_id: str


class Row(NamedTuple):
    """A row of ``events``; see ``history.archive.store.tables``."""

    number: int
    log_generation: int
    log_offset: int
    exchange: str
    routing_key: str
    message_id: str
    type: str
    user_id: str
    raw: bytes | None
    body: bytes
    verdict: str
    addresses: str
    log_time_ns: int
    source: str | None = None
    epoch: int | None = None
    sequence: int | None = None
    time_ns: int | None = None
    mirror: str | None = None
    channel: str | None = None
    path: str | None = None


def row_of(entry: Entry, *, number: int, vhost: str, log_time_ns: int, now_ns: int) -> Row:
    """Give an entry's row. ``log_time_ns`` is the log's time at the row before, ``now_ns`` the archiver's clock."""
    envelope, verdict = _judge(entry, vhost=vhost)
    words, raw = _words(entry)
    row = Row(
        number=number,
        log_generation=entry.generation,
        log_offset=entry.offset,
        exchange=words.exchange,
        routing_key=words.routing_key,
        message_id=words.message_id,
        type=words.type,
        user_id=words.user_id,
        raw=raw,
        body=entry.body,
        verdict=verdict.value,
        addresses=AddressState.WHOLE.value,
        log_time_ns=log_time_ns,
    )
    return row if envelope is None else _told(row, envelope, now_ns=now_ns)


def raw_entry(generation: int, offset: int, raw: bytes, body: bytes) -> Entry:
    """Give the entry of a row whose words text columns cannot hold."""
    words = _raw_decoder.decode(raw)
    return Entry(
        generation, offset, words.exchange, words.routing_key, words.message_id, words.type, words.user_id, body
    )


def log_time(before_ns: int, envelope: Envelope, *, now_ns: int) -> int:
    """Give the log's time at an event: the latest that master or selectors have said, and not after our own clock.

    A clock that was wrong once would else hold the time up for years, and with it the cutting of addresses.
    """
    if not envelope.source.startswith(SITES_OWN):
        return before_ns
    return max(before_ns, min(envelope.time_ns, now_ns))


_raw_encoder = msgspec.msgpack.Encoder()
_raw_decoder = msgspec.msgpack.Decoder(Words)


def _told(row: Row, envelope: Envelope, *, now_ns: int) -> Row:
    """Fill in what a sound event tells."""
    addresses = AddressState.WHOLE if isinstance(envelope.event, PERSONAL) else AddressState.NONE
    return row._replace(
        addresses=addresses.value,
        log_time_ns=log_time(row.log_time_ns, envelope, now_ns=now_ns),
        source=envelope.source,
        epoch=envelope.epoch,
        sequence=envelope.sequence,
        time_ns=envelope.time_ns,
        mirror=getattr(envelope.event, "mirror", None),
        channel=getattr(envelope.event, "channel", None),
        path=getattr(envelope.event, "path", None),
    )


def _judge(entry: Entry, *, vhost: str) -> tuple[Envelope | None, Verdict]:
    try:
        return read_envelope(entry.delivery, vhost=vhost), Verdict.SOUND
    except UnknownEventTypeError:
        return None, Verdict.UNKNOWN
    except ForgedEventError:
        return None, Verdict.FORGED
    except LanguageError:
        return None, Verdict.UNREADABLE


def _words(entry: Entry) -> tuple[Words, bytes | None]:
    """Give an entry's words as text columns hold them, and as they were where that is something else."""
    words = Words(entry.exchange, entry.routing_key, entry.message_id, entry.type, entry.user_id)
    if not any(NO_TEXT in word for word in words):
        return words, None
    shown = Words(*(word.replace(NO_TEXT, "\N{REPLACEMENT CHARACTER}") for word in words))
    return shown, _raw_encoder.encode(words)
