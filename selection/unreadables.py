"""What could not be used and was said once. Pure.

The log keeps unusable messages for ever, and each start of a selector reads it all again: what any selector reported
already is in the log, too, and is not reported again.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from broker.port import Delivery
from events.schemas import EventUnreadable

REPORTS_MAX: Final = 1000  # enough to mend what is wrong; somebody who floods the log must not make us flood it, too
_SELECTOR_PREFIX: Final = "selector/"


class Unreadables:
    """Counts what could not be used, and gives each message that nobody has reported yet, once."""

    def __init__(self, reader: str) -> None:
        self._reader = reader
        self._known: set[tuple[str, str, str]] = set()
        self._due: deque[EventUnreadable] = deque(maxlen=REPORTS_MAX)
        self.unreadable = 0
        self.unknown_types = 0

    def note(self, delivery: Delivery, reason: str) -> None:
        """Count a message; keep a report of it until ``due`` asks."""
        self.unreadable += 1
        self._due.append(
            EventUnreadable(
                reader=self._reader,
                message_id=delivery.message_id,
                exchange=delivery.exchange,
                routing_key=delivery.routing_key,
                user_id=delivery.user_id,
                reason=reason,
            )
        )

    def reported(self, event: EventUnreadable) -> None:
        """Take note that a reader said it."""
        if event.reader.startswith(_SELECTOR_PREFIX) and len(self._known) < REPORTS_MAX:
            self._known.add(_key(event))

    def due(self) -> list[EventUnreadable]:
        """Give the reports that are to be published now, and regard them as published."""
        found: list[EventUnreadable] = []
        while self._due:
            event = self._due.popleft()
            if _key(event) not in self._known and len(self._known) < REPORTS_MAX:
                self._known.add(_key(event))
                found.append(event)
        return found


def _key(event: EventUnreadable) -> tuple[str, str, str]:
    return event.exchange, event.routing_key, event.message_id
