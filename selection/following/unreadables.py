"""What could not be used and was said once. Pure.

The log keeps unusable messages for ever, and each start of a selector reads it all again: what any selector reported
already is in the log, too, and is not reported again. Whoever floods the log must not make us flood it, too, nor keep
us from reporting others: each speaker (as the broker proves him) is reported so often an hour, and the rest is counted.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from broker.port import Delivery
from events.schemas import EventUnreadable

REPORTS_PER_SPEAKER_MAX: Final = 100  # enough to mend what is wrong
RENEWED_EVERY_S: Final = 3600.0
SPEAKERS_MAX: Final = 1000  # as many mirrors; past that the one that was heard first is begun anew
KNOWN_MAX: Final = 10_000  # some 3 MB; what is older may be reported once more
_SELECTOR_PREFIX: Final = "selector/"


class _Speaker:
    """What one speaker is yet to be reported for, newest kept, and how often he was in this hour."""

    def __init__(self) -> None:
        self.due: deque[EventUnreadable] = deque(maxlen=REPORTS_PER_SPEAKER_MAX)
        self._reported = 0
        self._renewed_s = float("-inf")

    def may_report(self, now_s: float) -> bool:
        """Take one report from the allowance, if there is one left."""
        if now_s - self._renewed_s >= RENEWED_EVERY_S:
            self._reported, self._renewed_s = 0, now_s
        if self._reported >= REPORTS_PER_SPEAKER_MAX:
            return False
        self._reported += 1
        return True


class Unreadables:
    """Counts what could not be used, and gives each message that nobody has reported yet, once."""

    def __init__(self, reader: str) -> None:
        self._reader = reader
        self._known: dict[tuple[str, str, str], None] = {}
        self._speakers: dict[str, _Speaker] = {}
        self._waiting: dict[str, None] = {}
        self.unreadable = 0
        self.unknown_types = 0

    def note(self, delivery: Delivery, reason: str) -> None:
        """Count a message; keep a report of it until ``due`` asks."""
        self.unreadable += 1
        self._waiting[delivery.user_id] = None
        self._speaker(delivery.user_id).due.append(
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
        if event.reader.startswith(_SELECTOR_PREFIX):
            self._know(event)

    def due(self, now_s: float) -> list[EventUnreadable]:
        """Give the reports that are to be published now, and regard them as published. ``now_s`` is on any clock."""
        found: list[EventUnreadable] = []
        for user_id in self._waiting:
            speaker = self._speaker(user_id)
            for event in speaker.due:
                if _key(event) not in self._known and speaker.may_report(now_s):
                    self._know(event)
                    found.append(event)
            speaker.due.clear()
        self._waiting.clear()
        return found

    def _speaker(self, user_id: str) -> _Speaker:
        if user_id not in self._speakers:
            if len(self._speakers) >= SPEAKERS_MAX:
                del self._speakers[next(iter(self._speakers))]
            self._speakers[user_id] = _Speaker()
        return self._speakers[user_id]

    def _know(self, event: EventUnreadable) -> None:
        self._known[_key(event)] = None
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]


def _key(event: EventUnreadable) -> tuple[str, str, str]:
    return event.exchange, event.routing_key, event.message_id
