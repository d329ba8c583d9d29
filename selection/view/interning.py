"""Values that many things share, kept once and named by a number. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Value = TypeVar("Value", bound=Hashable)


class Interned(Generic[Value]):
    """Values by id, each as long as something uses it. Id 0 is the value that most begin with; it is never dropped.

    Read ``values`` directly.
    """

    __slots__ = ("_free", "_ids", "_last", "_uses", "values")

    def __init__(self, first: Value) -> None:
        self.values: list[Value] = [first]
        self._ids: dict[Value, int] = {first: 0}
        self._uses = [0]
        self._free: list[int] = []
        self._last = 0

    def __len__(self) -> int:
        """Count the different values."""
        return len(self._ids)

    def exchange(self, held: int, value: Value) -> int:
        """Give back one use of an id and take one of a value's; give its id. The same one again is found at once."""
        known = self._last
        if value is self.values[known] and known != held:
            self._uses[known] += 1
            if held:
                self._release(held)
            return known
        self._last = now = self._exchange(held, value)
        return now

    def _exchange(self, held: int, value: Value) -> int:
        known = self._ids.get(value)
        if known == held:
            return held
        if known is not None:
            self._uses[known] += 1
            if held:
                self._release(held)
            return known
        if held and self._uses[held] == 1:  # nobody else has it: let it become the other
            del self._ids[self.values[held]]
            self.values[held] = value
            self._ids[value] = held
            return held
        if held:
            self._uses[held] -= 1
        return self._add(value)

    def dump(self) -> tuple[list[Value], list[int]]:
        """Give the values and the use that is made of each, as ``load`` takes them."""
        return self.values, self._uses

    def load(self, values: Iterable[Value], uses: Iterable[int]) -> None:
        """Take what ``dump`` gave; an id without use is free."""
        self.values, self._uses = list(values), list(uses)
        self._free = [number for number, used in enumerate(self._uses) if number and not used]
        free = set(self._free)
        self._ids = {value: number for number, value in enumerate(self.values) if number not in free}

    def _release(self, number: int) -> None:
        self._uses[number] -= 1
        if not self._uses[number]:
            del self._ids[self.values[number]]
            self.values[number] = self.values[0]
            self._free.append(number)
            if number == self._last:
                self._last = 0

    def _add(self, value: Value) -> int:
        if self._free:
            number = self._free.pop()
            self.values[number], self._uses[number] = value, 1
        else:
            number = len(self.values)
            self.values.append(value)
            self._uses.append(1)
        self._ids[value] = number
        return number
