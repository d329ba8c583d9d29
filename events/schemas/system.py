"""What is said about the event system itself."""

from __future__ import annotations

from msgspec import Struct

from events.schemas.fields import Generation, Reader, Selector, Sequence, tidy


class LogOpened(Struct, frozen=True, kw_only=True, array_like=True, tag="log.opened/1"):
    """A new, empty generation of the log began. The master says its catalogue again, to ``catalogue.restated``."""

    generation: Generation


class CatalogueRestated(Struct, frozen=True, kw_only=True, array_like=True, tag="catalogue.restated/1"):
    """The master has said all that holds again: channels, files, mirrors and subscriptions.

    What it said before its own sequence ``since`` and has not said again no longer holds. It does so at the opening
    of a log, and before the log's retention cuts off what it said last. Who reads a log from the middle knows the whole
    catalogue at the first restatement that began, at ``since``, after where he began. Mirrors announce themselves again
    when they hear it, and look whether they missed something.
    """

    generation: Generation
    since: Sequence


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
