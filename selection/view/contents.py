"""Every content that somebody holds or the catalogue names, by number, and who holds it. Pure.

A content is 32 bytes of digest and a few numbers. The mirrors that hold it are an int used as a bit set, bit n for
mirror number n; whole trees are usually on the same mirrors, so equal sets are kept once.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

import msgspec

from events.names import SHA256_BYTES, Digest
from selection.view.columns import Cells, Column, Slots
from selection.view.holders import HolderSets, HolderSetsDump

_SHIFT: Final = 5
_NARROW_MAX: Final = 255  # what the narrowest column holds
_EACH_DIGEST: Final = Struct(f"{SHA256_BYTES}s")
assert 1 << _SHIFT == SHA256_BYTES  # noqa: S101 - the module is wrong where it does not hold


class ContentsDump(msgspec.Struct, array_like=True):
    """The contents, as a snapshot has them."""

    digests: bytes
    held: Cells
    uses: Cells
    sets: HolderSetsDump


class Contents:
    """The contents by number, from 1 on. The numbers of contents that nobody holds or names go to others.

    ``watched`` are those of which somebody keeps an answer until ``watched_version`` rises.
    """

    def __init__(self) -> None:
        self.digests = bytearray(SHA256_BYTES)
        self.held = Column()
        self.uses = Column()
        for column in (self.held, self.uses):
            column.append(0)
        self.sets = HolderSets()
        self._slots = Slots(self._hash_of)
        self._free: list[int] = []
        self.watched: set[int] = set()
        self.watched_version = 0

    def find(self, sha256: Digest) -> int:
        """Give the number of a content, or 0."""
        slots, digests = self._slots, self.digests
        cells, mask = slots.cells, slots.mask
        place = hash(sha256) & mask
        while number := cells[place]:
            if digests[number << _SHIFT : number + 1 << _SHIFT] == sha256:
                return number
            place = (place + 1) & mask
        return 0

    def need(self, sha256: Digest) -> int:
        """Give the number of a content; one that nobody spoke of yet is given its number."""
        slots, digests = self._slots, self.digests
        cells, mask = slots.cells, slots.mask
        place = hash(sha256) & mask
        while number := cells[place]:  # as in ``find``
            if digests[number << _SHIFT : number + 1 << _SHIFT] == sha256:
                return number
            place = (place + 1) & mask
        return self._add(sha256)

    def digest(self, number: int) -> Digest:
        """Give the digest of a content."""
        return Digest(bytes(self.digests[number << _SHIFT : number + 1 << _SHIFT]))

    def holders(self, number: int) -> int:
        """Give the mirrors that hold a content, as a bit set; nobody holds number 0."""
        return self.sets.values[self.held.cells[number]]

    def hold(self, sha256: Digest, bit: int, mirror: int) -> bool:
        """Note that a mirror holds a content; tell whether that is new. ``bit`` is that of its number."""
        slots, digests, sets = self._slots, self.digests, self.sets
        cells, mask = slots.cells, slots.mask
        place = hash(sha256) & mask
        while number := cells[place]:  # as in ``find``: a call more for each fact is felt
            if digests[number << _SHIFT : number + 1 << _SHIFT] == sha256:
                break
            place = (place + 1) & mask
        else:
            number = self._add(sha256)
        held_cells, values = self.held.cells, sets.values
        held = held_cells[number]
        before = values[held]
        after = before | bit
        if after == before:
            return False
        now = sets.memo.get((held, mirror), 0)
        if now and values[now] == after:
            uses = sets.uses
            uses[now] += 1
            if held:
                uses[held] -= 1
                if not uses[held]:
                    sets.release(held)
        else:
            now = sets.step(held, after, mirror)
        try:
            held_cells[number] = now
        except OverflowError:
            self.held.put(number, now)
        if number in self.watched:
            self.watched_version += 1
        return True

    def hold_all(self, joined: bytes, bit: int, mirror: int) -> tuple[list[int], int]:
        """Note that a mirror holds contents, given by their digests one after the other.

        Gives their numbers, and how many of them it holds only now.
        """
        slots, digests, values = self._slots, self.digests, self.sets.values
        cells, mask, held_cells = slots.cells, slots.mask, self.held.cells
        listed: list[int] = []
        added = 0
        for (sha256,) in _EACH_DIGEST.iter_unpack(joined):
            place = hash(sha256) & mask
            while number := cells[place]:  # as in ``find``
                if digests[number << _SHIFT : number + 1 << _SHIFT] == sha256:
                    break
                place = (place + 1) & mask
            if not (number and values[held_cells[number]] & bit):
                added += self.hold(sha256, bit, mirror)
                cells, mask, held_cells = slots.cells, slots.mask, self.held.cells
                number = number or self.find(sha256)
            listed.append(number)
        return listed, added

    def release(self, number: int, bit: int, mirror: int) -> bool:
        """Note that a mirror holds a content no more; tell whether that is new."""
        held = self.held.cells[number]
        before = self.sets.values[held]
        if not before & bit:
            return False
        now = self.sets.step(held, before & ~bit, mirror)
        if now != held:
            self.held.put(number, now)
        if number in self.watched:
            self.watched_version += 1
        self._drop_if_idle(number)
        return True

    def held_by(self, bit: int) -> list[int]:
        """Give the contents that a mirror holds."""
        having = {number for number, holders in enumerate(self.sets.values) if holders & bit}
        return [number for number, held in enumerate(self.held.cells) if held in having] if having else []

    def use(self, number: int) -> None:
        """Note that the catalogue names a content once more."""
        uses = self.uses.cells
        if uses[number] < _NARROW_MAX:
            uses[number] += 1
        else:
            self.uses.put(number, uses[number] + 1)

    def disuse(self, number: int) -> None:
        """Note that the catalogue names a content once less."""
        self.uses.put(number, self.uses.cells[number] - 1)
        self._drop_if_idle(number)

    def disuse_all(self) -> None:
        """Note that the catalogue names nothing any more."""
        for number, uses in enumerate(self.uses.cells):
            if uses:
                self.uses.put(number, 0)
                self._drop_if_idle(number)

    def dump(self) -> ContentsDump:
        """Give all that cannot be derived, as ``load`` takes it."""
        return ContentsDump(bytes(self.digests), self.held.dump(), self.uses.dump(), self.sets.dump())

    def load(self, dumped: ContentsDump) -> None:
        """Take what ``dump`` gave."""
        self.digests = bytearray(dumped.digests)
        self.held.load(dumped.held)
        self.uses.load(dumped.uses)
        self.sets.load(dumped.sets)
        idle = [not (held or uses) for held, uses in zip(self.held.cells, self.uses.cells, strict=True)]
        self._free = [number for number, is_idle in enumerate(idle) if number and is_idle]
        taken = (number for number, is_idle in enumerate(idle) if not is_idle)
        self._slots.fill(taken, len(idle) - 1 - len(self._free))

    def _add(self, sha256: Digest) -> int:
        if self._free:
            number = self._free.pop()
            self.digests[number << _SHIFT : number + 1 << _SHIFT] = sha256
        else:
            number = len(self.uses.cells)
            self.digests += sha256
            self.held.cells.append(0)
            self.uses.cells.append(0)
        self._slots.put(number, hash(sha256))
        return number

    def _drop_if_idle(self, number: int) -> None:
        if not self.held.cells[number] and not self.uses.cells[number]:
            self._slots.drop(number)
            self._free.append(number)

    def _hash_of(self, number: int) -> int:
        return hash(bytes(self.digests[number << _SHIFT : number + 1 << _SHIFT]))
