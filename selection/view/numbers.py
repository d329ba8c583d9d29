"""Which events of each source were counted, so that one that is told again is not counted again. Pure.

The log tells at least once, and a selector that begins the log anew over figures that it has kept reads all of it
again. What must not be added up twice is known by its number. Sources number without gaps, so one range says it.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, TypeAlias

RANGES_MAX: Final = 1000  # past that the oldest hole is given up: what it lacks and comes later is not counted
EPOCHS_MAX: Final = 3  # a selector begins one at each start, and what the broker held back may come after that
SOURCES_MAX: Final = 20_000  # 10,000 mirrors and 1,000 selectors, twice over

DumpedNumbers: TypeAlias = dict[str, dict[int, list[tuple[int, int]]]]


class Numbers:
    """Numbers of one source in one epoch, as inclusive ranges in order. The last one ends at ``last``."""

    __slots__ = ("_older", "_since", "last")

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        *self._older, (self._since, self.last) = ranges

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Give the ranges."""
        return [*self._older, (self._since, self.last)]

    def note(self, number: int) -> bool:
        """Note a number that does not follow the last one; tell whether it is new."""
        ranges = self.ranges
        after = bisect_right(ranges, (number, number))
        touched = ranges[max(0, after - 1) : after + 1]
        if any(low <= number <= high for low, high in touched):
            return False
        joined = [each for each in touched if each[1] == number - 1 or each[0] == number + 1]
        merged = (min([number, *(low for low, _ in joined)]), max([number, *(high for _, high in joined)]))
        ranges = sorted({*ranges, merged}.difference(joined))
        if len(ranges) > RANGES_MAX:
            ranges[:2] = [(ranges[0][0], ranges[1][1])]
        *self._older, (self._since, self.last) = ranges
        return True


class Counted:
    """The numbers of all sources."""

    def __init__(self) -> None:
        self._sources: dict[str, dict[int, Numbers]] = {}

    def note(self, source: str, epoch: int, number: int) -> bool:
        """Note an event; tell whether it is new."""
        epochs = self._sources.get(source)
        if epochs is None or (numbers := epochs.get(epoch)) is None:
            return self._begin(source, epoch, number)
        if number != numbers.last + 1:
            return numbers.note(number)
        numbers.last = number
        return True

    def dumped(self) -> DumpedNumbers:
        """Write all down."""
        return {
            source: {epoch: numbers.ranges for epoch, numbers in epochs.items()}
            for source, epochs in self._sources.items()
        }

    @classmethod
    def read(cls, dumped: DumpedNumbers) -> Counted:
        """Read what ``dumped`` wrote."""
        counted = cls()
        for source, epochs in dumped.items():
            counted._sources[source] = {epoch: Numbers(ranges) for epoch, ranges in epochs.items() if ranges}
        return counted

    def _begin(self, source: str, epoch: int, number: int) -> bool:
        """Begin an epoch, unless it is older than those that are kept: what it tells was counted long ago."""
        epochs = self._sources.setdefault(source, {})
        if len(epochs) >= EPOCHS_MAX:
            oldest = min(epochs)
            if epoch < oldest:
                return False
            del epochs[oldest]
        epochs[epoch] = Numbers([(number, number)])
        if len(self._sources) > SOURCES_MAX:
            del self._sources[next(iter(self._sources))]
        return True
