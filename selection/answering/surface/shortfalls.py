"""What each mirror is to hold and lacks: counted over the whole catalogue, bit by bit, and kept for a while.

Anybody may ask for it, and a million files take seconds to go through. So visitors get their turn after every few
files, those who ask meanwhile wait for the same answer, and it is given again for many times as long as it took.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from events.names import MirrorName
from events.schemas import ReplicaDeclined
from selection.view.file import PublishedFile
from selection.view.fleet import FleetView

# Who asks without end costs a twentieth of a core. A site of a thousand files is counted anew ten times a second.
KEPT_FACTOR: Final = 20
FILES_AT_ONCE: Final = 200  # gone through in a millisecond
# Of so many missing copies it is found out whether they were declined; a mirror that has just joined lacks everything.
DECLINES_SOUGHT_MAX: Final = 200_000
_DIGEST_BYTES_KEPT: Final = 8  # two of a million contents agree in those once in 40 million sites


@dataclass(slots=True)
class Shortfall:
    """Of ``wanted`` contents, those of its channels, a mirror lacks ``missing``, and could not fetch ``declined``.

    ``example`` is the first of the declined by path.
    """

    wanted: int = 0
    missing: int = 0
    declined: int = 0
    example: ReplicaDeclined | None = None


NONE: Final = Shortfall()


class Count:
    """One count, file by file. A content that stands under several paths counts once for each mirror."""

    def __init__(self, view: FleetView) -> None:
        self._view = view
        self._names = {one.number: one.name for one in view.mirrors()}
        self._fleet = sum(1 << number for number in self._names)
        self._wanted_by: dict[int, int] = {}
        self._wanted: Counter[int] = Counter()
        self._missing: Counter[int] = Counter()
        self._declined: dict[MirrorName, Shortfall] = {}
        self._sought = 0

    def add(self, file: PublishedFile) -> None:
        """Count one file."""
        content = int.from_bytes(file.sha256[:_DIGEST_BYTES_KEPT])
        before = self._wanted_by.get(content, 0)
        wanted = self._view.followers(file) & self._fleet & ~before
        if not wanted:
            return
        self._wanted_by[content] = before | wanted
        self._wanted[wanted] += 1
        if missing := wanted & ~self._view.holders(file.sha256):
            self._missing[missing] += 1
            self._seek_declines(file, missing)

    def result(self) -> dict[MirrorName, Shortfall]:
        """Give what was found."""
        found = self._declined
        for mirrors, count in self._wanted.items():
            for number in _bits(mirrors):
                found.setdefault(self._names[number], Shortfall()).wanted += count
        for mirrors, count in self._missing.items():
            for number in _bits(mirrors):
                found[self._names[number]].missing += count
        return found

    def _seek_declines(self, file: PublishedFile, missing: int) -> None:
        for number in islice(_bits(missing), max(0, DECLINES_SOUGHT_MAX - self._sought)):
            self._sought += 1
            mirror = self._view.by_number(number)
            if event := self._view.declined(mirror, file.sha256):
                shortfall = self._declined.setdefault(mirror.name, Shortfall())
                shortfall.declined += 1
                shortfall.example = shortfall.example or event


def count_all(view: FleetView) -> dict[MirrorName, Shortfall]:
    """Count all files at once."""
    count = Count(view)
    for file in view.catalogue.files():
        count.add(file)
    return count.result()


class Shortfalls:
    """Counts in the background of visitors."""

    def __init__(self, view: FleetView) -> None:
        self._view = view
        self._counting = asyncio.Lock()
        self._found: Mapping[MirrorName, Shortfall] = {}
        self._ended_s = self._until_s = float("-inf")

    async def now(self) -> Mapping[MirrorName, Shortfall]:
        """Give each mirror's shortfall, as it is or was a moment ago; one that wants nothing is not in it."""
        clock = asyncio.get_running_loop().time
        asked_s = clock()
        async with self._counting:
            began_s = clock()
            if began_s >= self._until_s and self._ended_s <= asked_s:
                self._found = await self._count()
                self._ended_s = clock()
                self._until_s = self._ended_s + KEPT_FACTOR * (self._ended_s - began_s)
        return self._found

    async def _count(self) -> dict[MirrorName, Shortfall]:
        count, after = Count(self._view), ""
        while seen := list(islice(self._view.catalogue.after(after), FILES_AT_ONCE)):
            for file in seen:
                count.add(file)
            after = seen[-1].path
            await asyncio.sleep(0)  # visitors first
        return count.result()


def _bits(mirrors: int) -> Iterator[int]:
    while mirrors:
        lowest = mirrors & -mirrors
        yield lowest.bit_length() - 1
        mirrors ^= lowest
