"""Numbers by number, as narrow as they can be: what a million files take depends on it. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

Cells: TypeAlias = tuple[str, bytes]

_WIDTHS: Final = "BHIQ"
_SLOTS_MIN: Final = 8
_FULL_FRACTION: Final = 3, 5  # beyond, searches that find nothing grow long


class Column:
    """Unsigned numbers by position, kept in the fewest bytes that the largest of them needs.

    Read ``cells`` directly, and keep no reference to it: a larger number puts another array in its place.
    """

    __slots__ = ("cells",)

    def __init__(self, width: str = "B") -> None:
        self.cells: array[int] = array(width)

    def append(self, value: int) -> None:
        """Put a number at the end."""
        try:
            self.cells.append(value)
        except OverflowError:
            self._widen(value)
            self.cells.append(value)

    def put(self, position: int, value: int) -> None:
        """Put a number in the place of another."""
        try:
            self.cells[position] = value
        except OverflowError:
            self._widen(value)
            self.cells[position] = value

    def dump(self) -> Cells:
        """Give the width and the numbers, as ``load`` takes them."""
        return self.cells.typecode, self.cells.tobytes()

    def load(self, cells: Cells) -> None:
        """Take what ``dump`` gave."""
        width, numbers = cells
        self.cells = array(width, numbers)

    def _widen(self, value: int) -> None:
        width = next(width for width in _WIDTHS if value < 1 << 8 * array(width).itemsize)
        self.cells = array(width, self.cells)


class Slots:
    """An open-addressing table from the hash of a thing to its number: seven to thirteen bytes for each thing.

    The things are elsewhere, by number from 1 on; ``hash_of`` gives the hash of one that is in the table. To find a
    thing: begin at ``hash & mask``, go on by ones, end at a cell of 0.
    """

    __slots__ = ("_hash_of", "_room", "cells", "mask")

    def __init__(self, hash_of: Callable[[int], int]) -> None:
        self._hash_of = hash_of
        self._reset(_SLOTS_MIN)

    def fill(self, numbers: Iterable[int], count: int) -> None:
        """Hold these numbers, so many, and no others."""
        size = _SLOTS_MIN
        while _room_in(size) <= count:  # one more than these has its place, too
            size *= 2
        self._reset(size)
        self._room -= count
        cells, mask, hash_of = self.cells, self.mask, self._hash_of
        for number in numbers:
            place = hash_of(number) & mask
            while cells[place]:
                place = (place + 1) & mask
            cells[place] = number

    def put(self, number: int, hashed: int, place: int) -> None:
        """Put a number in that is not there; ``hashed`` is the hash of its thing, ``place`` where the search ended."""
        if not self._room:  # no list is made of what is there: it would be the largest thing in memory
            self.fill(filter(None, self.cells), _room_in(self.mask + 1))
            place = hashed & self.mask
            while self.cells[place]:
                place = (place + 1) & self.mask
        self._room -= 1
        self.cells[place] = number

    def drop(self, number: int) -> None:
        """Take a number out; its thing is still there. What lies behind moves up, so that no search ends too early."""
        cells, mask = self.cells, self.mask
        hole = self._hash_of(number) & mask
        while cells[hole] != number:
            hole = (hole + 1) & mask
        self._room += 1
        place = hole
        while other := cells[place := (place + 1) & mask]:
            home = self._hash_of(other) & mask
            if (place - home) & mask >= (place - hole) & mask:
                cells[hole] = other
                hole = place
        cells[hole] = 0

    def _reset(self, size: int) -> None:
        self.cells = array("I", (0,)) * size  # exactly as large, and nothing beside it meanwhile
        self.mask = size - 1
        self._room = _room_in(size)


def _room_in(size: int) -> int:
    wanted, of = _FULL_FRACTION
    return size * wanted // of
