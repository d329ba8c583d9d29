"""An entry and what it says, or why nobody can tell. Pure."""

from __future__ import annotations

from typing import NamedTuple

from broker.reading import read_envelope
from events.envelope import Envelope
from events.errors import ForgedEventError, UnknownEventTypeError, UnreadableEventError
from events.schemas import tag_of
from history.entry import Entry


class Told(NamedTuple):
    """``envelope`` is None where the entry cannot be read or believed; ``trouble`` then says why."""

    entry: Entry
    envelope: Envelope | None
    trouble: str = ""

    @property
    def type(self) -> str:
        """Give the event's type; of what cannot be read, the one that its message claims."""
        return self.entry.type if self.envelope is None else tag_of(self.envelope.event)

    @property
    def id(self) -> str:
        """Give the event's identity; of what cannot be read, the one that its message claims."""
        return self.entry.message_id if self.envelope is None else self.envelope.id


def tell(entry: Entry, *, vhost: str) -> Told:
    """Read an entry as every reader of events does. Nothing in it raises."""
    try:
        return Told(entry, read_envelope(entry.delivery, vhost=vhost))
    except UnknownEventTypeError as error:
        return Told(entry, None, f"of a newer version: {error}")
    except ForgedEventError as error:
        return Told(entry, None, f"forged: {error}")
    except UnreadableEventError as error:
        return Told(entry, None, f"unreadable: {error}")
