"""The records of decisions that wait until the view has come to where they were decided. Pure.

A selector decided by the log up to an entry (``Seen``), and its record stands some entries behind that. So records are
gathered ahead of the fold and taken when the fold comes to their entry: each selector's in the order of their numbers,
epoch by epoch, though relays may have written them a little otherwise, or twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from events.codec import decode
from events.schemas import Decision, DecisionsRecorded, Seen, StandingRecorded
from history.entry import Entry, Position


class Step(NamedTuple):
    """What comes next of one selector: how all mirrors stood, or one decision; and the record that tells of it."""

    told: StandingRecorded | Decision
    seen: Seen
    nth: int
    sequence: int
    entry: Entry


class Places:
    """Where the messages stand that were read and not left behind by the fold."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[Position, ...]] = {}

    def add(self, entry: Entry) -> None:
        """Take note of an entry that was read."""
        self._places[entry.message_id] = (*self._places.get(entry.message_id, ()), entry.position)

    def forget(self, entry: Entry) -> None:
        """Forget an entry that the fold has left behind."""
        left = tuple(place for place in self._places.get(entry.message_id, ()) if place != entry.position)
        if left:
            self._places[entry.message_id] = left
        else:
            self._places.pop(entry.message_id, None)

    def of(self, seen: Seen) -> Position | None:
        """Give where an entry stands: where it stood, or elsewhere in a log that was imported; None: nowhere."""
        places = self._places.get(seen.message_id, ())
        own = Position.of(seen)
        return own if own in places else places[-1] if places else None


class Records:
    """The records of one selector's epoch, and what they tell, step by step."""

    def __init__(self) -> None:
        self._records: list[tuple[int, Position, Seen, Entry]] = []
        self._steps: deque[Step] = deque()
        self._begun = 0

    def put(self, sequence: int, seen: Seen, entry: Entry) -> None:
        """Take a record. One that was begun before, or has a lower number than that, is not begun any more."""
        if sequence > self._begun:
            heappush(self._records, (sequence, entry.position, seen, entry))

    def next_seen(self) -> Seen | None:
        """Give what had been read at the next step; None: there is none now. Records may yet come before it."""
        if self._steps:
            return self._steps[0].seen
        while self._records and self._records[0][0] <= self._begun:
            heappop(self._records)
        return self._records[0][2] if self._records else None

    def take(self) -> Step:
        """Take the next step, of which ``next_seen`` told."""
        if not self._steps:
            self._begun, _, _, entry = heappop(self._records)
            self._steps.extend(_steps_of(self._begun, entry))
        return self._steps.popleft()


def _steps_of(sequence: int, entry: Entry) -> Iterator[Step]:
    """Read a record that was found good before."""
    event = decode(entry.body).event
    if isinstance(event, StandingRecorded):
        yield Step(event, event.seen, 0, sequence, entry)
    elif isinstance(event, DecisionsRecorded):
        seen = event.seen
        for nth, decision in enumerate(event.decisions):
            seen = decision.seen or seen
            yield Step(decision, seen, nth, sequence, entry)
