"""The envelope: who says it, when, and where it stands in the order of what they said.

Each source numbers its events without a gap inside an *epoch*. A source that lost its numbering (a mirror whose
database was reset, a selector that restarted) begins a higher epoch. ``(epoch, sequence)`` orders the events of
one source; nothing orders events of two sources but their place in the log.
"""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple, TypeAlias

from msgspec import Meta, Struct

from events.names import MirrorName, SelectorName
from events.schemas import Event
from events.schemas.fields import MESSAGE_ID_LENGTH_MAX, Count, Sequence, TimeNs, Traceparent

MASTER_SOURCE: Final = "master"
SOURCE_LENGTH_MAX: Final = 64  # "selector/" and "mirror/…/load" around a name of 31

Source: TypeAlias = Annotated[str, Meta(min_length=1, max_length=SOURCE_LENGTH_MAX)]


class Version(NamedTuple):
    """A place in one source's order; the higher one is newer."""

    epoch: int
    sequence: int


class Identity(NamedTuple):
    """What an event's id consists of."""

    source: str
    epoch: int
    sequence: int


def parse_id(text: str) -> Identity | None:
    """Read an event's id, such as an AMQP ``message_id``; None where it is none."""
    source, _, epoch_and_sequence = text.partition(":")
    epoch, _, sequence = epoch_and_sequence.partition(":")
    is_id = source and epoch.isascii() and epoch.isdigit() and sequence.isascii() and sequence.isdigit()
    return Identity(source, int(epoch), int(sequence)) if is_id and len(text) <= MESSAGE_ID_LENGTH_MAX else None


class Envelope(Struct, frozen=True, kw_only=True, array_like=True):
    """An event with its origin. On the wire an array in this order.

    ``time_ns`` is the source's own clock (Unix epoch): good for people, never for order. ``traceparent`` is the W3C
    Trace Context of the request or event that led to this one, with the id of the span in which its source took that
    up; empty where nothing led to it or nobody knows any more. It is for people: nothing is decided by it.
    """

    source: Source
    epoch: Count
    sequence: Sequence
    time_ns: TimeNs
    traceparent: Traceparent
    event: Event

    @property
    def id(self) -> str:
        """The event's identity, also AMQP's ``message_id``. Two envelopes with the same id are the same fact."""
        return f"{self.source}:{self.epoch}:{self.sequence}"

    @property
    def version(self) -> Version:
        """Where this event stands among all of its source."""
        return Version(self.epoch, self.sequence)


def mirror_source(mirror: MirrorName) -> str:
    """Name a mirror as the source of lasting events."""
    return f"mirror/{mirror}"


def load_source(mirror: MirrorName) -> str:
    """Name a mirror as the source of telemetry, which has a numbering of its own because nobody keeps it."""
    return f"mirror/{mirror}/load"


def selector_source(selector: SelectorName) -> str:
    """Name a selector as a source."""
    return f"selector/{selector}"
