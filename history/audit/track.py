"""The numbers of one source in one epoch, as they stand in a log: what is missing, repeated or out of place. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from history.entry import Entry, Position

# A relay publishes 200 at once, and goes through its outbox again from its oldest after a failure.
LATE_MAX: Final = 1_000
# A selector numbers a notice when its batch begins, and says it when those to all other mirrors are said: of ten
# thousand mirrors, 10,000 notices later. In the time of six notices it numbers one or two records and says them at
# once: up to 3,400 more, however fast it is. The rest is for the records that it numbers while the broker is away.
SELECTOR_LATE_MAX: Final = 20_000


class Heard(Enum):
    """What a number is to those before it."""

    NEW = "new"
    REPEATED = "repeated"
    ALTERED = "altered"
    MISPLACED = "misplaced"


class Gap(NamedTuple):
    """Missing numbers, and the entry behind them; ``generation`` is that of the entry before them."""

    low: int
    high: int
    position: Position
    message_id: str
    generation: int
    opened_ns: int


@dataclass(slots=True, kw_only=True)
class Track:
    """The numbering of a source in one epoch.

    Attributes:
        late_max: how far behind later numbers one may come. What was said so lately is compared with what repeats it,
            at 8 bytes each, and so many gaps are told apart: a source that makes sense has half of them at most.
        first: the lowest number, where it stands, and the log's time when the source was first heard.
        heard_first: the number that was heard first; lower ones may have come after it.
        last: the highest number, and the log's time when it came.
    """

    late_max: int
    first: int
    first_position: Position
    first_message_id: str
    first_ns: int
    last: int = field(init=False)
    last_ns: int = field(init=False, default=0)
    heard_first: int = field(init=False)
    _generation: int = field(init=False)
    _gaps: list[Gap] = field(init=False, default_factory=list[Gap])
    _bodies: array[int] = field(init=False, default_factory=lambda: array("q"))

    def __post_init__(self) -> None:
        """Begin with the first number that is in the log."""
        self.last, self.heard_first, self._generation = self.first - 1, self.first, self.first_position.generation

    def note(self, sequence: int, entry: Entry, *, log_time_ns: int) -> Heard:
        """Note that a number stands at an entry."""
        heard = self._place(sequence, entry, log_time_ns)
        if heard is Heard.NEW:
            self._remember(sequence, hash(entry.body))
        return heard

    def end(self) -> None:
        """Take note that no number follows any more."""
        self._bodies = array("q")

    def gaps(self) -> Iterator[Gap]:
        """Give what is missing between the first and the last number."""
        return iter(self._gaps)

    def missing_before(self, begun: int) -> Gap | None:
        """Give what is missing between the number that it begins with and the first that is there.

        In a later generation of the log that may have been lost with the one before.
        """
        if self.first <= begun:
            return None
        position = self.first_position
        generation = max(1, position.generation - 1)
        return Gap(begun, self.first - 1, position, self.first_message_id, generation, self.first_ns)

    def may_stand_before(self, gap: Gap) -> bool:
        """Tell whether missing numbers may stand before the first that was heard, which came late then."""
        return gap.high < self.heard_first + self.late_max

    def is_missing(self, after: int, before: int) -> bool:
        """Tell whether any number between these two is missing."""
        place = bisect_left(self._gaps, (after,))
        return place < len(self._gaps) and self._gaps[place].low < before

    def _place(self, sequence: int, entry: Entry, log_time_ns: int) -> Heard:
        if sequence > self.last:
            if sequence > self.last + 1:
                self._open(self.last + 1, sequence - 1, entry, log_time_ns)
            self.last, self.last_ns, self._generation = sequence, log_time_ns, entry.generation
            return Heard.NEW
        is_late = sequence <= self.last - self.late_max
        if sequence < self.first:
            if is_late:
                return Heard.MISPLACED
            if sequence + 1 < self.first:
                self._open(sequence + 1, self.first - 1, entry, log_time_ns)
            self.first, self.first_position, self.first_message_id = sequence, entry.position, entry.message_id
            return Heard.NEW
        if self._close(sequence):
            return Heard.MISPLACED if is_late else Heard.NEW
        return self._compare(sequence, entry)

    def _open(self, low: int, high: int, entry: Entry, log_time_ns: int) -> None:
        insort(self._gaps, Gap(low, high, entry.position, entry.message_id, self._generation, log_time_ns))
        if len(self._gaps) > self.late_max:
            oldest, next_one = self._gaps[:2]
            self._gaps[:2] = [oldest._replace(high=next_one.high)]

    def _close(self, sequence: int) -> bool:
        """Take a number out of the gap that it lies in, if any."""
        place = bisect_left(self._gaps, (sequence + 1,)) - 1
        if place < 0 or self._gaps[place].high < sequence:
            return False
        gap = self._gaps[place]
        pieces = (gap._replace(high=sequence - 1), gap._replace(low=sequence + 1))
        self._gaps[place : place + 1] = [piece for piece in pieces if piece.low <= piece.high]
        return True

    def _remember(self, sequence: int, hashed: int) -> None:
        place = (sequence - self.heard_first) % self.late_max
        if place >= len(self._bodies):
            self._bodies.extend([0] * (place + 1 - len(self._bodies)))
        self._bodies[place] = hashed

    def _compare(self, sequence: int, entry: Entry) -> Heard:
        if sequence <= self.last - self.late_max:
            return Heard.MISPLACED
        known = self._bodies[(sequence - self.heard_first) % self.late_max]
        return Heard.REPEATED if known == hash(entry.body) else Heard.ALTERED
