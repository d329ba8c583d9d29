"""Every content that somebody holds or the catalogue names, by number, and who holds it. Pure.

A content is 32 bytes of digest and a few numbers. The mirrors that hold it are an int used as a bit set, bit n for
mirror number n; whole trees are usually on the same mirrors, so equal sets are kept once.
"""

from __future__ import annotations

from events.names import SHA256_BYTES, Digest
from selection.view.columns import Column, Slots
from selection.view.interning import Interned

NOWHERE = -1


class Contents:
    """The contents. ``watched`` are those of which somebody keeps an answer until ``watched_version`` rises."""

    def __init__(self) -> None:
        self._digests = bytearray()
        self._holders = Column()
        self._uses = Column()
        self._sets: Interned[int] = Interned(0)
        self._slots = Slots(self._hash_of)
        self._free: list[int] = []
        self.watched: set[int] = set()
        self.watched_version = 0

    def find(self, sha256: Digest) -> int:
        """Give the number of a content, or ``NOWHERE``."""
        slots, digests = self._slots, self._digests
        cells, mask = slots.cells, slots.mask
        place = hash(sha256) & mask
        while cell := cells[place]:
            number = cell - 1
            if digests.startswith(sha256, number << 5):
                return number
            place = (place + 1) & mask
        return NOWHERE

    def need(self, sha256: Digest) -> int:
        """Give the number of a content; one that nobody spoke of yet is given its number."""
        number = self.find(sha256)
        return self._add(sha256) if number < 0 else number

    def digest(self, number: int) -> Digest:
        """Give the digest of a content."""
        return Digest(bytes(self._digests[number * SHA256_BYTES : (number + 1) * SHA256_BYTES]))

    def holders(self, number: int) -> int:
        """Give the mirrors that hold a content, as a bit set."""
        return self._sets.values[self._holders.cells[number]]

    def hold(self, number: int, bit: int) -> bool:
        """Note that a mirror holds a content; tell whether that is new."""
        held = self._holders.cells[number]
        before = self._sets.values[held]
        after = before | bit
        if after == before:
            return False
        now = self._sets.exchange(held, after)
        if now != held:
            self._holders.put(number, now)
        if number in self.watched:
            self.watched_version += 1
        return True

    def release(self, number: int, bit: int) -> bool:
        """Note that a mirror holds a content no more; tell whether that is new."""
        held = self._holders.cells[number]
        before = self._sets.values[held]
        if not before & bit:
            return False
        now = self._sets.exchange(held, before & ~bit)
        if now != held:
            self._holders.put(number, now)
        if number in self.watched:
            self.watched_version += 1
        self._drop_if_idle(number)
        return True

    def held_by(self, bit: int) -> list[int]:
        """Give the contents that a mirror holds."""
        having = {number for number, holders in enumerate(self._sets.values) if holders & bit}
        return [number for number, held in enumerate(self._holders.cells) if held in having] if having else []

    def use(self, number: int) -> None:
        """Note that the catalogue names a content once more."""
        self._uses.put(number, self._uses.cells[number] + 1)

    def disuse(self, number: int) -> None:
        """Note that the catalogue names a content once less."""
        self._uses.put(number, self._uses.cells[number] - 1)
        self._drop_if_idle(number)

    def disuse_all(self) -> None:
        """Note that the catalogue names nothing any more."""
        for number, uses in enumerate(self._uses.cells):
            if uses:
                self._uses.put(number, 0)
                self._drop_if_idle(number)

    def __len__(self) -> int:
        """Give a number above those of all contents."""
        return len(self._uses.cells)

    def _add(self, sha256: Digest) -> int:
        if self._free:
            number = self._free.pop()
            self._digests[number * SHA256_BYTES : (number + 1) * SHA256_BYTES] = sha256
        else:
            number = len(self._uses.cells)
            self._digests += sha256
            self._holders.append(0)
            self._uses.append(0)
        self._slots.put(number)
        return number

    def _drop_if_idle(self, number: int) -> None:
        if not self._holders.cells[number] and not self._uses.cells[number]:
            self._slots.drop(number)
            self._free.append(number)

    def _hash_of(self, number: int) -> int:
        return hash(bytes(self._digests[number * SHA256_BYTES : (number + 1) * SHA256_BYTES]))
