"""The draw among near-equals: each mirror's chance is in proportion to its weight, exactly. Pure.

A mirror's weight (its free slots, times what the site makes of it) changes with each report and each grant, while
groups may have hundreds of members. So a group's table is made from bounds, which weights rarely pass: whoever is
drawn by his bound is taken with a chance of weight to bound, and otherwise the dice fall again. That is the weighted
draw, without a table for each change. Weights that rise past their bound make tables anew; where too many dice fall in
vain all candidates are looked at.

Equal dice choose equal mirrors, in whatever order the mirrors became known: members are in the order of their names.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

from selection.view.changes import Changes

Dice: TypeAlias = Callable[[], float]  # from 0 to under 1

FEW: Final = 16  # candidates that are looked at one by one: as long as a dozen dice, and no table need be made
THROWS_FIRST: Final = 2  # where a table is at hand: most candidates are in it, or else few are
THROWS_MAX: Final = 8  # then looking at all is about as quick
SLACK: Final = 4  # a bound is a quarter above the weight, and is lowered when the weight is a quarter of it
_TABLE_BYTES: Final = 300
_MEMBER_BYTES: Final = 12


class Weights:
    """The weight of each mirror, by number; 0: it is not to be drawn. ``bits`` has each mirror's bit.

    ``version`` counts changes of bounds, ``rises`` tells which rose.
    """

    def __init__(self) -> None:
        self.of: list[int] = []
        self.bits: list[int] = []
        self.bounds: list[int] = []
        self.order: list[int] = []
        self.rises = Changes()
        self.version = 0

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

    def put(self, number: int, weight: int) -> None:
        """Note the weight of a mirror."""
        self.of[number] = weight
        bound = self.bounds[number]
        if not weight or weight <= bound <= weight * SLACK:
            return
        self.bounds[number] = weight + weight // SLACK
        self.version += 1
        if weight > bound:
            self.rises.note(number)


class DrawTable:
    """The members of one group with their bounds added up. ``version``: of the rises that are known to change nothing.

    The bounds of ``weights`` may be lower by now, which costs some dice; none of a member's weights may be above.
    """

    __slots__ = ("_bounds_version", "_members", "_sums", "version")

    def __init__(self, weights: Weights, members: Sequence[int]) -> None:
        self._members = array("I", members)
        self.rebound(weights)
        self.version = weights.rises.version

    def rebound(self, weights: Weights) -> None:
        """Take up the bounds as they are now."""
        bounds = weights.bounds
        self._sums = array("Q", accumulate([bounds[number] for number in self._members]))
        self._bounds_version = weights.version

    def loosen(self, weights: Weights) -> None:
        """Take up the bounds as they are now, if that can help: too many dice fell in vain."""
        if self._bounds_version != weights.version:
            self.rebound(weights)

    @property
    def size_bytes(self) -> int:
        """Estimate how much memory it takes."""
        return _TABLE_BYTES + _MEMBER_BYTES * len(self._members)

    def throw(self, candidates: int, weights: Weights, dice: Dice, *, throws: int) -> int:
        """Draw one of the candidates; -1: the dice fell in vain each time."""
        members, sums = self._members, self._sums
        total = sums[-1]
        for _ in range(throws):
            lot = dice() * total
            at = bisect_right(sums, lot)
            number = members[at]
            if candidates & weights.bits[number] and sums[at] - lot <= weights.of[number]:
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
    of = weights.of
    sums = [*accumulate([of[number] for number in numbers])]
    return numbers[bisect_right(sums, dice() * sums[-1])]
