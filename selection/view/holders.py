"""Sets of mirrors, each kept once: whole trees are usually on the same mirrors. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from selection.view.columns import Slots

# A file comes to its mirrors one by one, each with an order of its own: most sets that it goes through are there for a
# moment. So into the table, which takes a tenth of a dict's memory, come only the sets that stay.
IDLE_MAX: Final = 1024  # sets that nothing uses and that are kept, since they may come again; some 100 bytes each
LATELY_MAX: Final = 4096  # sets that are found at once

HolderSetsDump: TypeAlias = tuple[list[bytes], bytes]


class HolderSets:
    """Bit sets by id, from 1 on; 0 is the empty one. Read ``values`` directly.

    An id keeps its set while something uses it, and mostly for a while longer. A set is in the table of sets that
    stay, or it is ``_young`` and found ``_lately``.
    """

    __slots__ = ("_free", "_idle", "_lately", "_slots", "_young", "uses", "values")

    def __init__(self) -> None:
        self.values: list[int] = [0]
        self.uses: list[int] = [0]
        self._slots = Slots(self._hashes_of)
        self._free: list[int] = []
        self._idle: list[int] = []
        self._young: list[int] = []
        self._lately: dict[int, int] = {}

    def __len__(self) -> int:
        """Count the different sets that are in use."""
        return sum(map(bool, self.uses))

    def exchange(self, held: int, value: int, uses: int = 1) -> int:
        """Give so many uses of an id back, and take as many of the set of this value; give that one's id."""
        now = self._lately.get(value)
        if now is None:
            now = self._lookup(value)
        counts = self.uses
        if now:
            counts[now] += uses
        if held:
            counts[held] -= uses
            if not counts[held]:
                self._leave_idle(held)
        return now

    def dump(self) -> HolderSetsDump:
        """Give the sets and the use that is made of each, as ``load`` takes them."""
        self._sift()
        values = [value.to_bytes((value.bit_length() + 7) // 8, "little") for value in self.values]
        return values, array("I", self.uses).tobytes()

    def load(self, dumped: HolderSetsDump) -> None:
        """Take what ``dump`` gave; an id without use is free."""
        values, counts = dumped
        uses = array("I", counts).tolist()
        self.values, self.uses = [int.from_bytes(value, "little") for value in values], uses
        self._free = [number for number, used in enumerate(uses) if number and not used]
        self._slots.fill((number for number, used in enumerate(uses) if used), len(uses) - 1 - len(self._free))

    def _lookup(self, value: int) -> int:
        """Find a set that did not come lately, or begin it."""
        if not value:
            return 0
        if len(self._lately) >= LATELY_MAX:
            self._sift()
            self._lately.clear()
        number = self._lately[value] = self._find(value) or self._begin(value)
        return number

    def _find(self, value: int) -> int:
        """Give the id of a set that is in the table, or 0."""
        cells, mask, values = self._slots.cells, self._slots.mask, self.values
        place = _mixed(value) & mask
        while number := cells[place]:
            if values[number] == value:
                return number
            place = (place + 1) & mask
        return 0

    def _begin(self, value: int) -> int:
        """Give an id to a set that has none."""
        if self._free:
            number = self._free.pop()
            self.values[number] = value
        else:
            number = len(self.values)
            self.values.append(value)
            self.uses.append(0)
        self._young.append(number)
        return number

    def _leave_idle(self, number: int) -> None:
        self._idle.append(number)
        if len(self._idle) > IDLE_MAX:
            self._sift()

    def _sift(self) -> None:
        """Put the sets that stay into the table, and let go of those that nothing uses."""
        for number in self._young:
            if self.uses[number]:
                self._slots.add(number)
            else:
                self._drop(number)
        self._young.clear()
        for number in self._idle:  # some stand here twice, others came into use again or were young
            if not self.uses[number] and self.values[number]:
                self._slots.drop(number)
                self._drop(number)
        self._idle.clear()

    def _drop(self, number: int) -> None:
        self._lately.pop(self.values[number], None)
        self.values[number] = 0
        self._free.append(number)

    def _hashes_of(self, numbers: Iterable[int]) -> Iterator[int]:
        return map(_mixed, map(self.values.__getitem__, numbers))


def _mixed(value: int) -> int:
    """Hash a bit set. The hash of an int is the int: sets that are alike in their low bits would lie in one heap."""
    return hash((value,))
