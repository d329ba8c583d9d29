"""The draw among near-equals: each mirror's chance is in proportion to its weight, exactly. Pure.

A mirror's weight (its free slots, times what the site makes of it) changes with each report and each grant, while
groups may have hundreds of members. So a group's table is made from bounds, which weights rarely pass: whoever is
drawn by his bound is taken with a chance of weight to bound, and otherwise the dice fall again. That is the weighted
draw, without a table for each change. Where too many dice fall in vain all candidates are looked at.

Equal dice choose equal mirrors, in whatever order the mirrors became known and whatever they went through before:
members are in the order of their names, a bound follows from the weight and the most that it can be, and how is drawn
from the candidates alone. So a choice can be made again from the log (ADR 21).
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final, Protocol, TypeAlias

from selection.view.changes import Changes

Dice: TypeAlias = Callable[[], float]  # from 0 to under 1


class Rng(Protocol):
    """Whoever throws dice."""

    def random(self) -> float:
        """Give a number from 0 up to but not including 1."""
        ...


FEW: Final = 16  # candidates that are looked at one by one: as long as a dozen dice, and no table need be made
THROWS_MAX: Final = 8  # then looking at all is about as quick
BOUND_STEP: Final = 4  # a bound is all that the mirror has, a quarter of it, or a sixteenth
_TABLE_BYTES: Final = 300
_MEMBER_BYTES: Final = 12


def bounds_of(weight: int, capacity: int) -> tuple[int, int]:
    """Give the bounds of a weight that is at most ``capacity``: the upper one stays while it is above the lower one.

    The upper one is what is drawn by; it seldom changes, and is never below the weight.
    """
    quarter = capacity // BOUND_STEP
    if weight > quarter:
        return quarter, capacity
    sixteenth = quarter // BOUND_STEP
    return (sixteenth, quarter) if weight > sixteenth else (0, sixteenth)


class Weights:
    """The weight of each mirror, by number; 0: it is not to be drawn. ``bits`` has each mirror's bit.

    ``rebounds`` tells whose bounds changed.
    """

    def __init__(self) -> None:
        self.of: list[int] = []
        self.bits: list[int] = []
        self.bounds: list[int] = []
        self.order: list[int] = []
        self.rebounds = Changes()

    def grow(self, count: int) -> None:
        """Make room for mirrors up to this number."""
        for number in range(len(self.of), count):
            self.of.append(0)
            self.bits.append(1 << number)
            self.bounds.append(0)

    def numbers_in(self, mirrors: int, limit: int = -1) -> list[int]:
        """Give the numbers of a bit set, the highest first; no more than a limit, if there is one."""
        found: list[int] = []
        bits = self.bits
        while mirrors and limit:
            number = mirrors.bit_length() - 1
            found.append(number)
            mirrors ^= bits[number]
            limit -= 1
        return found

    def put(self, number: int, weight: int, capacity: int) -> int:
        """Note the weight of a mirror, and the most that it can be as things stand.

        Gives the lower bound: while a weight that falls stays above it, nothing else changes.
        """
        self.of[number] = weight
        floor, bound = bounds_of(weight, capacity)
        if bound != self.bounds[number]:
            self.bounds[number] = bound
            self.rebounds.note(number)
        return floor


class DrawTable:
    """The members of one group with their bounds added up. ``version``: of the rebounds that it has taken up."""

    __slots__ = ("_members", "_sums", "version")

    def __init__(self, weights: Weights, members: Sequence[int]) -> None:
        self._members = array("I", members)
        self._add_up(weights)

    def refresh(self, weights: Weights, group: int) -> None:
        """Take up the bounds of the group's members as they are now."""
        rebounds = weights.rebounds
        numbers = rebounds.since(self.version)
        if numbers is None or len(numbers) > len(self._members) or any(group & weights.bits[n] for n in numbers):
            self._add_up(weights)
        self.version = rebounds.version

    def _add_up(self, weights: Weights) -> None:
        bounds = weights.bounds
        self._sums = array("Q", accumulate([bounds[number] for number in self._members]))
        self.version = weights.rebounds.version

    @property
    def size_bytes(self) -> int:
        """Estimate how much memory it takes."""
        return _TABLE_BYTES + _MEMBER_BYTES * len(self._members)

    def throw(self, candidates: int, weights: Weights, dice: Dice) -> int:
        """Draw one of the candidates; -1: the dice fell in vain each time."""
        members, sums = self._members, self._sums
        of, bits, total = weights.of, weights.bits, sums[-1]
        for _ in range(THROWS_MAX):
            lot = dice() * total
            at = bisect_right(sums, lot)
            number = members[at]
            if sums[at] - lot <= of[number] and candidates & bits[number]:
                return number
        return -1


def draw_from(numbers: list[int], weights: Weights, dice: Dice) -> int:
    """Draw one of a few, each by its weight."""
    numbers.sort(key=weights.order.__getitem__)
    return draw_ordered(numbers, weights, dice)


def draw_ordered(numbers: Sequence[int], weights: Weights, dice: Dice) -> int:
    """Draw one of a few that are in the order of their names."""
    if len(numbers) == 1:
        return numbers[0]
    of, total = weights.of, 0
    sums: list[int] = []
    for number in numbers:  # mostly two or three
        total += of[number]
        sums.append(total)
    return numbers[bisect_right(sums, dice() * total)]
