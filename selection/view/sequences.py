"""Which numbers of one source were heard, and which are missing between them. Pure.

What is missing is the complement of what was heard, so neither order nor repetition matters. That holds for as long as
a gap is kept: past ``GAPS_MAX`` gaps the oldest counts as heard, and what it was for is not believed any more.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Final

from msgspec import Struct

# A relay that repeats a failed batch makes one. A selector numbers a batch when it begins, and says it in its mirror's
# turn: among 10,000 mirrors some 3,000 are open at once (``history.audit.track``). A source that makes more makes no
# sense, and takes 3 MB.
GAPS_MAX: Final = 20_000


class SequenceTrack(Struct):
    """The numbering of one source in one epoch. ``gaps`` are inclusive ranges of missing numbers, in order.

    ``given_up`` counts the missing numbers of gaps that are kept no more.
    """

    epoch: int
    first: int
    last: int
    gaps: list[tuple[int, int]] = []
    given_up: int = 0

    @property
    def missing(self) -> int:
        """Count the numbers between the first and the last that nobody has heard."""
        return self.given_up + sum(high - low + 1 for low, high in self.gaps)

    def note(self, sequence: int) -> bool:
        """Note that a number was heard; tell whether it is the first time."""
        if sequence > self.last:
            if sequence > self.last + 1:
                self._open(self.last + 1, sequence - 1)
            self.last = sequence
            return True
        if sequence < self.first:
            self._open(sequence + 1, self.first - 1)
            self.first = sequence
            return True
        return bool(self.gaps) and self._close(sequence)

    def is_whole_after(self, sequence: int) -> bool:
        """Tell whether all numbers after this one, up to the last, were heard."""
        return self.first <= sequence + 1 and (not self.gaps or self.gaps[-1][1] <= sequence)

    def _open(self, low: int, high: int) -> None:
        if low > high:
            return
        insort(self.gaps, (low, high))
        if len(self.gaps) > GAPS_MAX:
            oldest_low, oldest_high = self.gaps.pop(0)
            self.given_up += oldest_high - oldest_low + 1

    def _close(self, sequence: int) -> bool:
        """Take one number out of the gap that it lies in, if any."""
        after = bisect_left(self.gaps, (sequence + 1,))
        if after == 0:
            return False
        low, high = self.gaps[after - 1]
        if sequence > high:
            return False
        pieces = [(low, sequence - 1), (sequence + 1, high)]
        self.gaps[after - 1 : after] = [piece for piece in pieces if piece[0] <= piece[1]]
        return True
