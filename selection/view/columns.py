"""Numbers by number, as narrow as they can be: what a million files take depends on it. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from itertools import tee
from typing import Final, TypeAlias

Cells: TypeAlias = tuple[str, bytes]

ROWS: Final = 64  # made at once: to fill a row that is there takes half of what it takes to add one to six columns

_WIDTHS: Final = "BHIQ"
_SLOTS_MIN: Final = 8
_SMALL: Final = 1 << 15  # slots, 128 kB: up to there room is made for longer, since things are hashed again each time
_GROWTH_SMALL: Final = 4
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

    def extend(self, count: int) -> None:
        """Put so many zeros at the end."""
        self.cells.frombytes(bytes(count * self.cells.itemsize))

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
    """An open-addressing table from the hash of a thing to its number: 7 to 14 bytes for each of very many things.

    The things are elsewhere, by number from 1 on; ``hashes_of`` gives the hashes of some that are in the table. To find
    a thing: begin at ``hash & mask``, go on by ones, end at a cell of 0.
    """

    __slots__ = ("_hashes_of", "_room", "cells", "mask")

    def __init__(self, hashes_of: Callable[[Iterable[int]], Iterable[int]]) -> None:
        self._hashes_of = hashes_of
        self._reset(_SLOTS_MIN)

    def fill(self, numbers: Iterable[int], count: int) -> None:
        """Hold these numbers, so many, and no others."""
        size = _SLOTS_MIN
        while _room_in(size) <= count:  # one more than these has its place, too
            size *= _GROWTH_SMALL if size < _SMALL else 2
        self._reset(size)
        self._room -= count
        cells, mask = self.cells, self.mask
        numbers, again = tee(numbers)
        for number, hashed in zip(numbers, self._hashes_of(again), strict=True):
            place = hashed & mask
            while cells[place]:
                place = (place + 1) & mask
            cells[place] = number

    def add(self, number: int) -> None:
        """Put a number in that is not there; its thing is."""
        hashed = self._hash_of(number)
        self.put(number, hashed, self._end(hashed))

    def put(self, number: int, hashed: int, place: int) -> None:
        """Put a number in that is not there; ``hashed`` is the hash of its thing, ``place`` where the search ended."""
        if not self._room:  # no list is made of what is there: it would be the largest thing in memory
            self.fill(filter(None, self.cells), _room_in(self.mask + 1))
            place = self._end(hashed)
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

    def _hash_of(self, number: int) -> int:
        (hashed,) = self._hashes_of((number,))
        return hashed

    def _end(self, hashed: int) -> int:
        """Give the place where the search for a thing ends that is not there."""
        cells, mask = self.cells, self.mask
        place = hashed & mask
        while cells[place]:
            place = (place + 1) & mask
        return place

    def _reset(self, size: int) -> None:
        self.cells = array("I", (0,)) * size  # exactly as large, and nothing beside it meanwhile
        self.mask = size - 1
        self._room = _room_in(size)


def _room_in(size: int) -> int:
    wanted, of = _FULL_FRACTION
    return size * wanted // of
