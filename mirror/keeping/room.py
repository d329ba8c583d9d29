"""Keeps the operator's limit of disk space, and room for our own database.

Room is made, in this order, of parts that nobody works on, of damaged copies, and of copies that are held: which of
these go, and when they may come back, ``eviction`` decides. A copy is gone for the fleet before it is gone from the
disk: its loss is committed, the broker has it or had its time, and only then the bytes are removed. What a crash leaves
in between is removed at the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from events.names import Digest
from mirror.content.objects import DiskFullError, Objects
from mirror.keeping.eviction import Copy, Displaced, Marks, returning, victims
from mirror.keeping.quarantine import Quarantine
from mirror.state.database import StoreError
from mirror.state.plan import Entry
from mirror.state.store import Store

DISK_FREE_BYTES_MIN: Final = 4 << 20  # left for our own database, which has to say that the disk is full
LOSS_HEARD_S: Final = 5.0  # a broker that is there has it in milliseconds; one that is away must not keep the disk full

_EVERYTHING_S: Final = 1 << 62  # later than any copy was used

_T = TypeVar("_T")

log = structlog.stdlib.get_logger()


class NoRoomYetError(Exception):
    """A content that had to go cannot come back yet. Come back to it when room became free."""


@dataclass(frozen=True, slots=True)
class _Spare:
    """What can be removed at no loss, and what the file system has left."""

    idle: Mapping[Digest, int]
    damaged: Mapping[Digest, int]
    free_bytes: int

    @property
    def bytes(self) -> int:
        return sum(self.idle.values()) + sum(self.damaged.values())


class Room:
    """The disk space of one store. ``marks`` is None where the operator sets no limit.

    One at a time: who makes room reckons with what is worked on, and nobody else may begin meanwhile. ``served`` gives
    the contents of which a transfer runs.
    """

    def __init__(
        self,
        store: Store,
        objects: Objects,
        quarantine: Quarantine,
        executor: Executor,
        *,
        marks: Marks | None,
        served: Callable[[], Collection[Digest]],
    ) -> None:
        self.marks = marks
        self._store = store
        self._objects = objects
        self._quarantine = quarantine
        self._executor = executor
        self._served = served

    async def make(self, wanted: Entry, *, busy: Mapping[Digest, int]) -> bool:
        """Make sure that a content fits; tell whether copies had to go.

        Args:
            wanted: what is to be fetched.
            busy: what is worked on, ``wanted`` among it, with the size for which room was made.

        Raises:
            NoRoomYetError: it had to go once, and there is no room for it under the low mark.
            DiskFullError: there is not enough room; nothing was removed.
            StoreError: the loss of what is to go could not be written down; nothing was removed.
        """
        parts = await self._in_thread(self._objects.parts_bytes)
        spare = await self._spare(parts, busy)
        missing_bytes = max(0, wanted.size_bytes - parts.get(wanted.sha256, 0))
        short_bytes = missing_bytes - spare.free_bytes
        if short_bytes > spare.bytes:
            raise DiskFullError(f"{wanted.path}: {missing_bytes} bytes to come, {spare.free_bytes} free")
        others_bytes = self._store.held_bytes + self._busy_bytes(parts, busy, without=wanted.sha256)
        over_bytes = freed_bytes = 0
        if self.marks is not None:
            going = self._going_for(wanted, others_bytes, busy, self.marks)
            freed_bytes = await self._evict(going)
            over_bytes = others_bytes + wanted.size_bytes - freed_bytes + spare.bytes - self.marks.high_bytes
        await self._in_thread(lambda: self._remove_spare(spare, max(short_bytes, over_bytes), wanted.sha256))
        return freed_bytes > 0

    async def keep_within(self, *, busy: Mapping[Digest, int]) -> None:
        """Bring what is used under the marks, whatever is wanted: the operator lends less than before.

        Raises:
            StoreError: the loss of what is to go could not be written down; nothing was removed.
        """
        if self.marks is None:
            return
        parts = await self._in_thread(self._objects.parts_bytes)
        spare = await self._spare(parts, busy)
        used_bytes = self._store.held_bytes + self._busy_bytes(parts, busy)
        over_bytes = used_bytes + spare.bytes - self.marks.high_bytes
        await self._in_thread(lambda: self._remove_spare(spare, over_bytes, None))
        copies = tuple(self._copies(busy))
        going = victims(copies, used_bytes=used_bytes, wanted_bytes=0, told_at_s=_EVERYTHING_S, marks=self.marks)
        # None: all of them are not enough, since the rest is being worked on.
        await self._evict(going if going is not None else tuple(copy.sha256 for copy in copies))

    def welcome(self, *, busy: Mapping[Digest, int]) -> tuple[Digest, ...]:
        """Give which of the contents that had to go may come back now."""
        gone = [entry for entry in map(self._store.catalogue.wanted, self._store.wants.evicted) if entry is not None]
        if self.marks is None:
            return tuple(entry.sha256 for entry in gone)
        displaced = (
            Displaced(entry.sha256, entry.size_bytes, self._store.wants.of(entry.sha256).since_s) for entry in gone
        )
        used_bytes = self._store.held_bytes + self._busy_bytes({}, busy)
        return returning(displaced, used_bytes=used_bytes, marks=self.marks)

    def _going_for(
        self, wanted: Entry, others_bytes: int, busy: Mapping[Digest, int], marks: Marks
    ) -> tuple[Digest, ...]:
        """Decide what has to go for a content."""
        want = self._store.wants.of(wanted.sha256)
        if want.evicted and others_bytes + wanted.size_bytes > marks.low_bytes:
            raise NoRoomYetError(f"{wanted.path}: it had to go, and does not fit under the low mark yet")
        going = victims(
            self._copies(busy),
            used_bytes=others_bytes,
            wanted_bytes=wanted.size_bytes,
            told_at_s=want.since_s,
            marks=marks,
        )
        if going is None:
            with_it_bytes = others_bytes + wanted.size_bytes
            raise DiskFullError(f"{wanted.path}: {with_it_bytes} bytes with it, {marks.high_bytes} allowed")
        return going

    def _copies(self, busy: Mapping[Digest, int]) -> Iterator[Copy]:
        """Give the copies that may go."""
        served = self._served()
        for sha256, replica in self._store.replicas.items():
            if sha256 not in busy:
                used_at_s = max(self._store.upkeep.care(sha256).served_at_s, self._store.wants.of(sha256).since_s)
                yield Copy(sha256, replica.size_bytes, used_at_s, is_served=sha256 in served)

    def _busy_bytes(
        self, parts: Mapping[Digest, int], busy: Mapping[Digest, int], *, without: Digest | None = None
    ) -> int:
        """Give what is taken by all that is worked on and not held yet."""
        return sum(
            max(size_bytes, parts.get(sha256, 0))
            for sha256, size_bytes in busy.items()
            if sha256 != without and sha256 not in self._store.replicas
        )

    async def _evict(self, sha256s: Collection[Digest]) -> int:
        """Say that these copies are lost, let the broker hear it, remove them; give how many bytes became free."""
        if not sha256s:
            return 0
        held_bytes = self._store.held_bytes
        await self._store.evict(sha256s)
        freed_bytes = held_bytes - self._store.held_bytes
        heard = False
        with suppress(StoreError):  # what was committed is to be done all the same
            heard = await self._store.database.until_taken(LOSS_HEARD_S)
        log.info("replicas.evicted", replicas=len(sha256s), freed_bytes=freed_bytes, heard=heard)
        await self._in_thread(lambda: self._remove(sha256s))
        return freed_bytes

    def _remove(self, sha256s: Collection[Digest]) -> None:
        for sha256 in sha256s:
            try:
                self._objects.remove(sha256)
            except OSError as error:  # the next start removes it
                log.error("replica.unremoved", sha256=sha256.hex(), error=str(error))  # noqa: TRY400 - no bug of ours

    async def _spare(self, parts: Mapping[Digest, int], busy: Mapping[Digest, int]) -> _Spare:
        idle = {sha256: size_bytes for sha256, size_bytes in parts.items() if sha256 not in busy}
        damaged = await self._in_thread(self._quarantine.listing)
        free_bytes = await self._in_thread(self._objects.free_bytes)
        return _Spare(idle, damaged, free_bytes - DISK_FREE_BYTES_MIN)

    def _remove_spare(self, spare: _Spare, lacking_bytes: int, wanted: Digest | None) -> None:
        """Remove the largest idle parts, then the oldest damaged copies, until enough is free."""
        for sha256, size_bytes in sorted(spare.idle.items(), key=lambda each: -each[1]):
            if lacking_bytes <= 0:
                return
            self._objects.remove_part(sha256)
            lacking_bytes -= size_bytes
            log.info("part.removed", sha256=sha256.hex(), size_bytes=size_bytes)
        for sha256, size_bytes in spare.damaged.items():
            if lacking_bytes <= 0:
                return
            if sha256 == wanted and not self._objects.part_path(sha256).exists():
                self._quarantine.give_back(sha256)  # what of it is sound need not be fetched
            else:
                self._quarantine.remove(sha256)
            lacking_bytes -= size_bytes
            log.info("quarantine.removed", sha256=sha256.hex(), size_bytes=size_bytes)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
