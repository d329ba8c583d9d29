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
    """The records of one selector's epoch, and what they tell, step by step.

    ``sequence`` is the number of the record that was begun last; 0 before the first.
    """

    def __init__(self) -> None:
        self._records: list[tuple[int, Entry]] = []
        self._steps: deque[Step] = deque()
        self.sequence = 0

    def put(self, sequence: int, entry: Entry) -> None:
        """Take a record."""
        heappush(self._records, (sequence, entry))

    def head(self) -> Step | None:
        """Give what comes next, without taking it. A record that was begun or done before is not begun again."""
        while not self._steps and self._records:
            sequence, entry = heappop(self._records)
            if sequence > self.sequence:
                self.sequence = sequence
                self._steps.extend(_steps_of(sequence, entry))
        return self._steps[0] if self._steps else None

    def take(self) -> Step:
        """Take what comes next."""
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
