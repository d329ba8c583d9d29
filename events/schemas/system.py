"""What is said about the event system itself."""

from __future__ import annotations

from msgspec import Struct

from events.schemas.fields import Generation, Reader, Selector, tidy


class LogOpened(Struct, frozen=True, kw_only=True, array_like=True, tag="log.opened/1"):
    """A new, empty generation of the log began. The master says its catalogue again, each mirror its inventory."""

    generation: Generation


class SelectorCameOnline(Struct, frozen=True, kw_only=True, array_like=True, tag="selector.online/1"):
    """A selector (re)started. It has caught up with the log when it reads this fact of its own back."""

    selector: Selector


class EventUnreadable(Struct, frozen=True, kw_only=True, array_like=True, tag="event.unreadable/1"):
    """A message could not be used: undecodable, or forged. Said once; the log keeps the original.

    ``reader`` is the source that says so, ``message_id`` and ``routing_key`` are the message's own claims.
    """

    reader: Reader
    message_id: str
    exchange: str
    routing_key: str
    user_id: str
    reason: str

    def __post_init__(self) -> None:
        """Keep the text short and plain, whoever wrote it."""
        tidy(self, "message_id", "exchange", "routing_key", "user_id", "reason")
