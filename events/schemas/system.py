"""What is said about the event system itself."""

from __future__ import annotations

from msgspec import Struct

from events.names import SelectorName


class LogOpened(Struct, frozen=True, kw_only=True, array_like=True, tag="log.opened/1"):
    """A new, empty generation of the log began. The master says its catalogue again, each mirror its inventory."""

    generation: int


class SelectorCameOnline(Struct, frozen=True, kw_only=True, array_like=True, tag="selector.online/1"):
    """A selector (re)started. It has caught up with the log when it reads this fact of its own back."""

    selector: SelectorName


class EventUnreadable(Struct, frozen=True, kw_only=True, array_like=True, tag="event.unreadable/1"):
    """A message could not be used: undecodable, or forged. Said once; the log keeps the original.

    ``reader`` is the source that says so, ``message_id`` and ``routing_key`` are the message's own claims.
    """

    reader: str
    message_id: str
    exchange: str
    routing_key: str
    user_id: str
    reason: str
