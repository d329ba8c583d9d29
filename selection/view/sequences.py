"""Which numbers of one source were seen, and which are missing between them. Pure.

What is missing is the complement of what was seen, so neither order nor repetition matters.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import Final

GAPS_MAX: Final = 1000  # a relay that repeats a failed batch makes one; past this a source makes noise and no sense


@dataclass(slots=True)
class SequenceTrack:
    """The numbering of one source in one epoch. ``gaps`` are inclusive ranges of missing numbers, in order."""

    epoch: int
    first: int
    last: int
    gaps: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    @property
    def missing(self) -> int:
        """Count the numbers between the first and the last that nobody has seen."""
        return sum(high - low + 1 for low, high in self.gaps)

    def note(self, sequence: int) -> None:
        """Note that a number was seen."""
        if sequence > self.last:
            self._open(self.last + 1, sequence - 1)
            self.last = sequence
        elif sequence < self.first:
            self._open(sequence + 1, self.first - 1)
            self.first = sequence
        elif self.gaps:
            self._close(sequence)

    def _open(self, low: int, high: int) -> None:
        if low <= high and len(self.gaps) < GAPS_MAX:
            insort(self.gaps, (low, high))

    def _close(self, sequence: int) -> None:
        """Take one number out of the gap that it lies in, if any."""
        after = bisect_left(self.gaps, (sequence + 1,))
        if after == 0:
            return
        low, high = self.gaps[after - 1]
        if sequence > high:
            return
        pieces = [(low, sequence - 1), (sequence + 1, high)]
        self.gaps[after - 1 : after] = [piece for piece in pieces if piece[0] <= piece[1]]
