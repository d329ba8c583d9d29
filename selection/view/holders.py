"""Sets of mirrors, each kept once: whole trees are usually on the same mirrors. Pure."""

from __future__ import annotations

from array import array
from typing import Final, TypeAlias

from selection.view.columns import Slots

MEMO_MAX: Final = 4096  # steps from set to set that lie ahead of the others: a mirror fetches what the one before has

HolderSetsDump: TypeAlias = tuple[list[bytes], bytes]


class HolderSets:
    """Bit sets by id, each as long as something uses it. Id 0 is the empty one. Read ``values`` directly.

    ``memo`` has the id that a set had lately after a change of one mirror, by the set's id and the mirror's number;
    look whether its value is the wanted one, since ids go to others.
    """

    __slots__ = ("_free", "_slots", "memo", "uses", "values")

    def __init__(self) -> None:
        self.values: list[int] = [0]
        self.uses: list[int] = [0]
        self._slots = Slots(self._hash_of)
        self._free: list[int] = []
        self.memo: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        """Count the different sets."""
        return len(self.values) - len(self._free)

    def step(self, held: int, after: int, mirror: int) -> int:
        """Exchange one use of a set for one of what it is after a change of one mirror."""
        if len(self.memo) >= MEMO_MAX:
            self.memo.clear()
        now = self.memo[held, mirror] = self._exchange(held, after)
        return now

    def release(self, number: int) -> None:
        """Let go of a set that nothing uses any more."""
        self._slots.drop(number)
        self.uses[number] = 0
        self.values[number] = 0
        self._free.append(number)

    def dump(self) -> HolderSetsDump:
        """Give the sets and the use that is made of each, as ``load`` takes them."""
        return [value.to_bytes((value.bit_length() + 7) // 8, "little") for value in self.values], array(
            "I", self.uses
        ).tobytes()

    def load(self, dumped: HolderSetsDump) -> None:
        """Take what ``dump`` gave; an id without use is free."""
        values, counts = dumped
        uses = array("I", counts).tolist()
        self.values, self.uses = [int.from_bytes(value, "little") for value in values], uses
        self._free = [number for number, used in enumerate(uses) if number and not used]
        self._slots.fill((number for number, used in enumerate(uses) if used), len(uses) - 1 - len(self._free))

    def _exchange(self, held: int, after: int) -> int:
        uses = self.uses
        now = self._find(after)
        if now:
            uses[now] += 1
        if held and uses[held] == 1:
            if after and not now:  # nobody else has it: let it become the other
                self._slots.drop(held)
                self.values[held] = after
                self._slots.put(held, _mixed(after))
                return held
            self.release(held)
        elif held:
            uses[held] -= 1
        return now or (self._add(after) if after else 0)

    def _find(self, value: int) -> int:
        slots, values = self._slots, self.values
        cells, mask = slots.cells, slots.mask
        place = _mixed(value) & mask
        while cell := cells[place]:
            if values[cell] == value:
                return cell
            place = (place + 1) & mask
        return 0

    def _add(self, value: int) -> int:
        if self._free:
            number = self._free.pop()
            self.values[number] = value
            self.uses[number] = 1
        else:
            number = len(self.values)
            self.values.append(value)
            self.uses.append(1)
        self._slots.put(number, _mixed(value))
        return number

    def _hash_of(self, number: int) -> int:
        return _mixed(self.values[number])


def _mixed(value: int) -> int:
    """Hash a bit set. The hash of an int is the int: sets that are alike in their low bits would lie in one heap."""
    return hash((value,))
