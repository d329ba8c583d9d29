"""Every content that somebody holds or the catalogue names, by number, and who holds it. Pure.

A content is 32 bytes of digest and a few numbers. The mirrors that hold it are an int used as a bit set, bit n for
mirror number n; whole trees are usually on the same mirrors, so equal sets are kept once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from struct import Struct
from typing import Final

import msgspec

from events.names import SHA256_BYTES, Digest
from selection.view.columns import Cells, Column, Slots
from selection.view.holders import HolderSets, HolderSetsDump

_SHIFT: Final = 5
_DIGEST: Final = Struct(f"{SHA256_BYTES}s")  # reads one in half the time that a slice takes, and then its copy
# A file enters several channels and comes to all its mirrors within minutes. Some 200 bytes each.
LATELY_MAX: Final = 1024
_NARROW_MAX: Final = 255  # what the narrowest column holds
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
        self._slots = Slots(self._hashes_of)
        self._free: list[int] = []
        self._lately: dict[Digest, int] = {}
        self._gathered: dict[int, set[Digest]] = {}
        self.watched: set[int] = set()
        self.watched_version = 0

    def find(self, sha256: Digest) -> int:
        """Give the number of a content, or 0."""
        slots, digests = self._slots, self.digests
        cells, mask = slots.cells, slots.mask
        place = hash(sha256) & mask
        while number := cells[place]:
            if digests.startswith(sha256, number << _SHIFT):
                return number
            place = (place + 1) & mask
        return 0

    def holders_at(self, number: int, sha256: Digest) -> int:
        """Give the place in ``sets`` of those who hold a content that had this number when somebody looked last.

        A number that is free, or goes to another, has no holders, or another digest: then the content is looked for.
        """
        held = self.held.cells[number] if self.digests.startswith(sha256, number << _SHIFT) else 0
        return held or self.held.cells[self.find(sha256)]

    def need(self, sha256: Digest) -> int:
        """Give the number of a content; one that nobody spoke of yet is given its number."""
        return self._lately.get(sha256) or self._need(sha256)

    def digest(self, number: int) -> Digest:
        """Give the digest of a content."""
        digest: Digest = _DIGEST.unpack_from(self.digests, number << _SHIFT)[0]  # not to be named by a call
        return digest

    def holders(self, number: int) -> int:
        """Give the mirrors that hold a content, as a bit set; nobody holds number 0."""
        return self.sets.values[self.held.cells[number]]

    def hold(self, sha256: Digest, bit: int) -> bool:
        """Note that a mirror holds a content; tell whether that is new. ``bit`` is that of its number."""
        return not self._settle(self.need(sha256), bit)

    def hold_all(self, numbers: Sequence[int], bit: int) -> int:
        """Note that a mirror holds some contents, each given once; tell how many of them it holds only now."""
        cells, sets = self.held.cells, self.sets
        held = [cells[number] for number in numbers]
        steps: dict[int, int] = {}
        added = 0
        for before, uses in Counter(held).items():
            value = sets.values[before]
            if value & bit:
                steps[before] = before
            else:
                steps[before] = sets.exchange(before, value | bit, uses)
                added += uses
        if added:
            self._step(numbers, [steps[before] for before in held])
        return added

    def gather(self, sha256s: set[Digest], bit: int) -> set[Digest]:
        """Take note that a mirror holds contents, to be put together with what other mirrors tell of the same ones.

        Nobody may ask who holds what until all is settled: a content has no number for being gathered. Gives those
        that were not gathered of this mirror before.
        """
        known = self._gathered.get(bit)
        if known is None:
            self._gathered[bit] = sha256s
            return sha256s
        added = sha256s - known
        known |= added
        return added

    def settle(self) -> list[tuple[Digest, int]]:
        """Note what was gathered. Gives the contents that some of these mirrors held already, and those mirrors."""
        gathered, self._gathered = self._gathered, {}
        holders: defaultdict[Digest, int] = defaultdict(int)
        for bit, sha256s in gathered.items():
            for sha256 in sha256s:
                holders[sha256] |= bit
        settle, need = self._settle, self.need
        return [(sha256, held) for sha256, bits in holders.items() if (held := settle(need(sha256), bits))]

    def ungather(self, sha256: Digest, bit: int) -> bool:
        """Take back that a mirror holds a content, where that was gathered; tell whether it was."""
        sha256s = self._gathered.get(bit)
        if sha256s is None or sha256 not in sha256s:
            return False
        sha256s.remove(sha256)
        return True

    def release(self, number: int, bit: int) -> bool:
        """Note that a mirror holds a content no more; tell whether that is new."""
        held = self.held.cells[number]
        before = self.sets.values[held]
        if not before & bit:
            return False
        self.held.put(number, self.sets.exchange(held, before & ~bit))
        if number in self.watched:
            self.watched_version += 1
        self._drop_if_idle(number)
        return True

    def held_by(self, bit: int) -> list[int]:
        """Give the contents that a mirror holds."""
        having = {number for number, holders in enumerate(self.sets.values) if holders & bit}
        return [number for number, held in enumerate(self.held.cells) if held in having] if having else []

    def use(self, sha256: Digest) -> int:
        """Note that the catalogue names a content once more; give its number."""
        number = self.need(sha256)
        uses = self.uses.cells
        if uses[number] < _NARROW_MAX:
            uses[number] += 1
        else:
            self.uses.put(number, uses[number] + 1)
        return number

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

    def _settle(self, number: int, bits: int) -> int:
        sets, held = self.sets, self.held.cells[number]
        before = sets.values[held]
        after = before | bits
        if after != before:
            now = sets.exchange(held, after)
            try:
                self.held.cells[number] = now
            except OverflowError:
                self.held.put(number, now)
            if number in self.watched:
                self.watched_version += 1
        return before & bits

    def _step(self, numbers: Sequence[int], now: Sequence[int]) -> None:
        """Note which sets hold some contents now."""
        cells = self.held.cells
        try:
            for number, held in zip(numbers, now, strict=True):
                cells[number] = held
        except OverflowError:
            for number, held in zip(numbers, now, strict=True):
                self.held.put(number, held)
        if self.watched and not self.watched.isdisjoint(numbers):
            self.watched_version += 1

    def _need(self, sha256: Digest) -> int:
        """Find a content that nobody spoke of lately, or begin it."""
        if len(self._lately) >= LATELY_MAX:
            self._lately.clear()
        slots, digests = self._slots, self.digests
        cells, mask = slots.cells, slots.mask
        hashed = hash(sha256)
        place = hashed & mask
        while number := cells[place]:  # as in ``find``
            if digests.startswith(sha256, number << _SHIFT):
                break
            place = (place + 1) & mask
        else:
            number = self._begin(sha256)
            slots.put(number, hashed, place)
        self._lately[sha256] = number
        return number

    def _begin(self, sha256: Digest) -> int:
        """Give a number to a content that has none."""
        if self._free:
            number = self._free.pop()
            self.digests[number << _SHIFT : number + 1 << _SHIFT] = sha256
        else:
            number = len(self.uses.cells)
            self.digests += sha256
            self.held.cells.append(0)
            self.uses.cells.append(0)
        return number

    def _drop_if_idle(self, number: int) -> None:
        if not self.held.cells[number] and not self.uses.cells[number]:
            self._lately.pop(self.digest(number), None)
            self._slots.drop(number)
            self._free.append(number)

    def _hashes_of(self, numbers: Iterable[int]) -> Iterator[int]:
        places = map(SHA256_BYTES.__mul__, numbers)
        return map(hash, chain.from_iterable(map(_DIGEST.unpack_from, repeat(self.digests), places)))
