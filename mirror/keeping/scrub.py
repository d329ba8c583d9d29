"""Reads all copies again, the one that was verified longest ago first, slowly, and takes out what is damaged.

A damaged copy is committed and said to be lost, and only then moved to the quarantine; the keeper fetches what is wrong
with it again. A copy that cannot be read, or is shorter or longer than it should be, is damaged like one with a wrong
digest. What was read is given back to the page cache, unless visitors are at it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import Executor
from enum import Enum
from typing import Final, ParamSpec, TypeVar

import structlog

from edge.shortage import is_shortage
from events.names import Digest
from events.schemas import LossReason
from mirror.content.objects import Objects
from mirror.fetching.landing import finished
from mirror.keeping.keeper import Keeper
from mirror.state.database import StoreError
from mirror.state.store import Store

BLOCK_BYTES: Final = 4 << 20  # a fifth of a second at the usual rate, so that a visitor's read never waits for long
LOOK_EVERY_S: Final = 60.0  # whether a copy is due, and to write down what was noted
COPY_COST_BYTES: Final = 256 << 10  # opening a file costs the disk about as much as reading that much of it

_P = ParamSpec("_P")
_T = TypeVar("_T")

log = structlog.stdlib.get_logger()


class Verdict(Enum):
    """What became of looking at a copy."""

    SOUND = "its bytes are what was published"
    DAMAGED = "its bytes are not what was published, or cannot be read"
    GONE = "it is not held any more"
    UNSEEN = "too many files are open to look at it; it stays due"


class Scrubber:
    """Scrubs one store. ``run`` does it until cancelled."""

    def __init__(
        self,
        store: Store,
        objects: Objects,
        keeper: Keeper,
        executor: Executor,
        *,
        bytes_per_second: int,
        every_s: float,
        served: Callable[[], Collection[Digest]],
        cut: Callable[[Digest], object],
        clock_s: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Make a scrubber.

        Args:
            store: what is held.
            objects: where the bytes are.
            keeper: who fetches again what is damaged, and has the quarantine.
            executor: where it reads.
            bytes_per_second: how much it reads at most.
            every_s: how often each copy is read.
            served: gives the contents of which a transfer runs.
            cut: ends the transfers of a content whose bytes are wrong.
            clock_s: the Unix time.
            sleep: how it waits.
        """
        self._store = store
        self._objects = objects
        self._keeper = keeper
        self._executor = executor
        self._bytes_per_second = bytes_per_second
        self._every_s = every_s
        self._served = served
        self._cut = cut
        self._clock_s = clock_s
        self._sleep = sleep

    async def run(self) -> None:
        """Scrub until cancelled."""
        while True:
            await self.scrub_due()
            await self._sleep(LOOK_EVERY_S)

    async def scrub_due(self) -> None:
        """Look at each copy that is due, and write down what was noted."""
        written_at_s = self._clock_s()
        for sha256 in self._due():
            await self.examine(sha256)
            if self._clock_s() - written_at_s >= LOOK_EVERY_S:
                written_at_s = self._clock_s()
                await self.write_down()
        await self.write_down()

    async def examine(self, sha256: Digest) -> Verdict:
        """Read one copy and do what follows from it."""
        if sha256 not in self._store.replicas:
            return Verdict.GONE
        as_of_s = self._store.upkeep.care(sha256).verified_at_s
        try:
            verdict = await self._read(sha256, self._store.replicas[sha256].size_bytes)
        except OSError as error:
            if is_shortage(error):
                log.warning("scrub.postponed", sha256=sha256.hex(), error=str(error))
                return Verdict.UNSEEN
            log.error("replica.unreadable", sha256=sha256.hex(), error=str(error))  # noqa: TRY400 - no bug of ours
            verdict = Verdict.DAMAGED
        if verdict is Verdict.SOUND:
            self._store.upkeep.verified(sha256, now_s=self._clock_s())
        elif verdict is Verdict.DAMAGED:
            await self._take_out(sha256, as_of_s)
        return verdict

    def _due(self) -> list[Digest]:
        due_s = self._clock_s() - self._every_s
        return [sha256 for verified_at_s, sha256 in self._store.upkeep.oldest_first() if verified_at_s <= due_s]

    async def _read(self, sha256: Digest, size_bytes: int) -> Verdict:
        """Hash a copy, no faster than is allowed."""
        pace = _Pace(self._bytes_per_second, self._sleep)
        await pace.after(COPY_COST_BYTES)
        fd = await self._in_thread(_open, self._objects, sha256)
        try:
            digest, position = hashlib.sha256(), 0
            while block := await self._in_thread(os.pread, fd, BLOCK_BYTES, position):
                await self._in_thread(digest.update, block)
                read_bytes = len(block)
                if sha256 not in self._served():
                    os.posix_fadvise(fd, position, read_bytes, os.POSIX_FADV_DONTNEED)
                position += read_bytes
                if sha256 not in self._store.replicas:
                    return Verdict.GONE
                await pace.after(read_bytes)
        finally:
            os.close(fd)
        return Verdict.SOUND if position == size_bytes and digest.digest() == sha256 else Verdict.DAMAGED

    async def _take_out(self, sha256: Digest, as_of_s: int) -> None:
        """Say that a copy is lost, put it into quarantine, and let it be fetched again."""
        with self._keeper.alone_with(sha256) as alone:
            if not alone or not self._is_held_since(sha256, as_of_s):
                return  # it is being worked on, or is another copy by now: it will be due again
            try:
                await self._store.lose_replicas({sha256: LossReason.CORRUPT})
            except StoreError as error:
                log.warning("replica.damage_unsaid", sha256=sha256.hex(), error=str(error))
                return
            log.error("replica.damaged", sha256=sha256.hex())
            self._cut(sha256)
            try:
                await self._in_thread(self._keeper.quarantine.put, sha256)
            except OSError as error:  # it is not there at all, or stays where no row vouches for it
                log.warning("quarantine.failed", sha256=sha256.hex(), error=str(error))
        self._keeper.consider(sha256)

    def _is_held_since(self, sha256: Digest, as_of_s: int) -> bool:
        return sha256 in self._store.replicas and self._store.upkeep.care(sha256).verified_at_s == as_of_s

    async def write_down(self) -> None:
        """Write down what was noted of the copies since the last time, if the disk takes it."""
        try:
            await self._store.save_upkeep()
        except StoreError as error:
            log.warning("upkeep.unwritten", error=str(error))

    async def _in_thread(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        loop = asyncio.get_running_loop()
        return await finished(loop.run_in_executor(self._executor, lambda: work(*args, **kwargs)))


class _Pace:
    """Waits so that no more than so many bytes a second are read. What was slow by itself is not made up for."""

    def __init__(self, bytes_per_second: int, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._bytes_per_second = bytes_per_second
        self._sleep = sleep
        self._clock = asyncio.get_running_loop().time
        self._last_s = self._clock()

    async def after(self, read_bytes: int) -> None:
        """Wait as long as these bytes should have taken."""
        lasted_s = self._clock() - self._last_s
        await self._sleep(max(0.0, read_bytes / self._bytes_per_second - lasted_s))
        self._last_s = self._clock()


def _open(objects: Objects, sha256: Digest) -> int:
    return os.open(objects.path(sha256), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
