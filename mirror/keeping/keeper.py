"""Makes the store hold what is wanted: fetches what is missing, removes what nobody wants, tries again what failed.

It is driven by levels and not by edges: whoever changes something asks it to ``consider`` a content, and it looks at
what is wanted and what is held at the moment that it gets there. One content is never worked on twice at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Generator
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

import structlog

from events.names import Digest, MirrorName
from events.schemas import DeclineReason, LossReason, ReplicaDeclined
from events.schemas.fields import plain
from events.trace import TraceContext
from mirror.config import FetchLimits, MirrorConfig
from mirror.content.objects import DigestMismatchError, DiskFailedError, DiskFullError, Objects
from mirror.fetching.blame import SourcesBadError
from mirror.fetching.landing import finished
from mirror.fetching.origin import OriginConfusedError, OriginError, OriginRefusedError, OriginUnavailableError
from mirror.keeping.quarantine import Quarantine
from mirror.keeping.room import NoRoomYetError, Room
from mirror.state.database import StoreError
from mirror.state.plan import Entry
from mirror.state.store import Store
from mirror.state.traces import Said, Traces

JITTER: Final = 0.2  # so that mirrors that lost the same source do not come back in step

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a content could not be fetched at the last attempt, for the status page."""

    reason: str
    detail: str
    attempts: int


class UnwantedError(Exception):
    """A content was withdrawn while it was being fetched. Remove what is there."""


class Fetching(Protocol):
    """What gets contents into the store: ``mirror.fetching.fetch.Fetcher``, which tells what it raises."""

    def fetched(self, entry: Entry, *, trace: TraceContext | None = None) -> AbstractAsyncContextManager[None]:
        """Get a content, verify it, and put it in its place in the store; the block is for writing its row down."""
        ...


class Keeper:
    """Keeps one store in line with one catalogue. ``quarantine`` has what was damaged of it."""

    def __init__(
        self,
        config: MirrorConfig,
        store: Store,
        objects: Objects,
        fetcher: Fetching,
        executor: Executor,
        rng: Random,
        *,
        served: Callable[[], Collection[Digest]],
    ) -> None:
        """Make a keeper; ``served`` gives the contents of which a transfer runs."""
        self.quarantine: Final = Quarantine(config.data_folder, objects)
        self._mirror: MirrorName = config.name
        self._limits = config.limits
        self._marks_of = config.disk_marks
        self._room = Room(
            store, objects, self.quarantine, executor, marks=self._marks_of(config.disk_bytes_max), served=served
        )
        self._making_room = asyncio.Lock()
        self._shrink = asyncio.Event()
        self._shrink.set()  # the operator may lend less than when the mirror stopped
        self._room_became_free = True
        self._fetches_max = config.fetches_max
        self._store = store
        self._objects = objects
        self._fetcher = fetcher
        self._executor = executor
        self._rng = rng
        self._fetches: asyncio.Queue[Digest] = asyncio.Queue()
        self._removals: asyncio.Queue[Digest] = asyncio.Queue()
        self._queued: dict[Digest, asyncio.Queue[Digest]] = {}
        self._busy: dict[Digest, int] = {}
        self._attempts: dict[Digest, asyncio.Timeout] = {}
        self._again: set[Digest] = set()
        self._timers: dict[Digest, asyncio.TimerHandle] = {}
        self._troubles: dict[Digest, Trouble] = {}
        self._traces = Traces[Digest]()

    @property
    def fetching(self) -> tuple[Digest, ...]:
        """What is being worked on now."""
        return tuple(self._busy)

    @property
    def troubles(self) -> dict[Digest, Trouble]:
        """What failed and will be tried again."""
        return dict(self._troubles)

    def consider(self, *sha256s: Digest) -> None:
        """Look at these contents again, soon; an attempt to fetch what nobody wants any more ends at once."""
        for sha256 in sha256s:
            wanted = self._store.catalogue.wanted(sha256) is not None
            if sha256 in self._busy:
                self._again.add(sha256)
                if not wanted and (attempt := self._attempts.pop(sha256, None)) is not None:
                    attempt.reschedule(0)
            elif self._queued.get(sha256) is not (queue := self._fetches if wanted else self._removals):
                self._queued[sha256] = queue  # the other one passes it over: removals never wait for fetches
                queue.put_nowait(sha256)

    def want(self, sha256: Digest, *, trace: TraceContext | None) -> None:
        """Look at a content that was told of just now; ``trace`` led to it, and to what becomes of it."""
        self._traces.note(sha256, trace)
        self.consider(sha256)

    def limit_disk(self, disk_bytes_max: int | None) -> None:
        """Use so much of the disk from now on; None: all there is."""
        marks = self._marks_of(disk_bytes_max)
        if marks != self._room.marks:
            self._room.marks = marks
            self._shrink.set()

    @contextmanager
    def alone_with(self, sha256: Digest) -> Generator[bool]:
        """Work on a content while the block is entered and nobody else does; gives False where somebody is at it."""
        if sha256 in self._busy:
            yield False
            return
        self._busy[sha256] = 0
        try:
            yield True
        finally:
            self._let_go(sha256)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as workers:
                workers.create_task(self._keep_within(), name="shrink")
                workers.create_task(self._work(self._removals), name="remove")
                for number in range(self._fetches_max):
                    workers.create_task(self._work(self._fetches), name=f"fetch-{number}")
        finally:
            for timer in self._timers.values():
                timer.cancel()

    async def _work(self, queue: asyncio.Queue[Digest]) -> None:
        while True:
            sha256 = await queue.get()
            if self._queued.get(sha256) is queue:
                del self._queued[sha256]
                await self._work_on(sha256)
            self._welcome()

    async def _work_on(self, sha256: Digest) -> None:
        with self.alone_with(sha256) as alone:
            if not alone:
                self._again.add(sha256)
                return
            try:
                await self.settle(sha256)
            except Exception as error:  # the next content may do better
                log.exception("replica.failed", sha256=sha256.hex())
                self._later(sha256, type(error).__name__, str(error))

    def _let_go(self, sha256: Digest) -> None:
        del self._busy[sha256]
        if sha256 in self._again:
            self._again.discard(sha256)
            self.consider(sha256)

    async def _keep_within(self) -> None:
        """Make room whenever the operator lends less than before."""
        while True:
            await self._shrink.wait()
            self._shrink.clear()
            try:
                async with self._making_room:
                    await self._room.keep_within(busy=self._busy)
            except (StoreError, OSError) as error:
                delay_s = self._limits.retry_max_s
                log.warning("disk.not_kept_within", error=str(error), retry_after_s=delay_s)
                await asyncio.sleep(delay_s)
                self._shrink.set()
            self._room_became_free = True
            self._welcome()

    def _welcome(self) -> None:
        """See again to what did not fit and then to what had to go, once all that is new was seen to."""
        if self._room_became_free and self._fetches.empty():
            self._room_became_free = False
            self.consider(*(short for short, trouble in self._troubles.items() if trouble.reason == _DISK_FULL))
            self.consider(*self._room.welcome(busy=self._busy))

    async def settle(self, sha256: Digest) -> None:
        """Do at once what is to be done about a content. The caller is the only one who works on it."""
        if (timer := self._timers.pop(sha256, None)) is not None:
            timer.cancel()
        wanted = self._store.catalogue.wanted(sha256)
        if wanted is None:
            await self._remove(sha256)
        elif sha256 not in self._store.replicas:
            self._store.acknowledgements.settle(sha256)  # wanted again
            await self._fetch(wanted)
        else:
            self._traces.forget(sha256)
            self._store.acknowledgements.settle(sha256)

    async def _remove(self, sha256: Digest) -> None:
        if sha256 in self._store.replicas:
            await self._store.lose_replicas({sha256: LossReason.WITHDRAWN})
        await self._in_thread(lambda: self._objects.remove(sha256))
        self._store.acknowledgements.settle(sha256)
        self._troubles.pop(sha256, None)
        self._traces.forget(sha256)
        self._room_became_free = True

    async def _fetch(self, wanted: Entry) -> None:
        sha256, size_bytes = wanted.sha256, wanted.size_bytes
        trace = self._traces.of(sha256)
        try:
            await self._make_room(wanted)
            await self._in_thread(lambda: self.quarantine.salvage(wanted))
            async with self._while_wanted(sha256), self._fetcher.fetched(wanted, trace=trace):
                await self._take_in(sha256, size_bytes, trace)
        except UnwantedError:
            self._again.add(sha256)
        except NoRoomYetError:
            self._troubles.pop(sha256, None)
        except DiskFullError as error:
            await self._decline(wanted, DeclineReason.DISK_FULL, error)
        except SourcesBadError as error:
            await self._decline(wanted, error.reason, error)
        except (DigestMismatchError, OriginConfusedError) as error:
            await self._decline(wanted, DeclineReason.DIGEST_MISMATCH, error)
        except OriginRefusedError as error:
            await self._decline(wanted, DeclineReason.SOURCE_REFUSED, error)
        except (OriginUnavailableError, OriginError) as error:
            await self._decline(wanted, DeclineReason.SOURCE_UNAVAILABLE, error)
        except (DiskFailedError, StoreError) as error:
            log.warning("replica.stalled", sha256=sha256.hex(), path=wanted.path, error=str(error))
            self._later(sha256, type(error).__name__, str(error))
        else:
            self._troubles.pop(sha256, None)

    @asynccontextmanager
    async def _while_wanted(self, sha256: Digest) -> AsyncGenerator[None]:
        """Do what is in the block as long as somebody wants the content.

        Raises:
            UnwantedError: nobody does any more.
        """
        if self._store.catalogue.wanted(sha256) is None:  # since room was made for it
            raise UnwantedError(sha256.hex())
        attempt = self._attempts[sha256] = asyncio.timeout(None)
        try:
            async with attempt:
                try:
                    yield
                finally:
                    self._attempts.pop(sha256, None)
        except TimeoutError as error:
            if attempt.expired():
                raise UnwantedError(sha256.hex()) from error
            raise

    async def _take_in(self, sha256: Digest, size_bytes: int, trace: TraceContext | None) -> None:
        """Commit what stands in its place already. Should that fail, the bytes go back among the parts."""
        try:
            added = await self._store.add_replica(sha256, size_bytes, trace=trace)
        except StoreError:
            await self._in_thread(lambda: self._objects.demote(sha256))
            raise
        if added:
            self._traces.forget(sha256)
            log.info("replica.ready", sha256=sha256.hex(), size_bytes=size_bytes, trace_id=_id_of(trace))
        else:
            self._again.add(sha256)

    async def _make_room(self, wanted: Entry) -> None:
        """See ``Room.make``. One at a time, so that what another worker takes up next is not taken for idle."""
        async with self._making_room:
            self._room_became_free |= await self._room.make(wanted, busy=self._busy)
            self._busy[wanted.sha256] = wanted.size_bytes

    async def _decline(self, wanted: Entry, reason: DeclineReason, error: Exception) -> None:
        detail = plain(str(error))
        delay_s = self._later(wanted.sha256, reason.name, detail)
        trace = self._traces.of(wanted.sha256)
        log.warning(
            "replica.declined",
            path=wanted.path,
            reason=reason.name,
            detail=detail,
            retry_after_s=delay_s,
            trace_id=_id_of(trace),
        )
        declined = ReplicaDeclined(
            mirror=self._mirror,
            sha256=wanted.sha256,
            path=wanted.path,
            generation=wanted.generation,
            reason=reason,
            detail=detail,
            retry_after_s=delay_s,
        )
        try:
            await self._store.say(Said(declined, trace))
        except StoreError as failure:  # the disk is so full that it cannot even be said; the next attempt says it
            log.warning("replica.decline_unsaid", path=wanted.path, error=str(failure))

    def _later(self, sha256: Digest, reason: str, detail: str) -> float:
        """Come back to a content after a while, longer each time."""
        known = self._troubles.get(sha256)
        attempts = known.attempts + 1 if known is not None else 1
        self._troubles[sha256] = Trouble(reason, detail, attempts)
        delay_s = retry_after_s(attempts, self._limits, self._rng)
        self._timers[sha256] = asyncio.get_running_loop().call_later(delay_s, self.consider, sha256)
        return delay_s

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await finished(asyncio.get_running_loop().run_in_executor(self._executor, work))


def _id_of(trace: TraceContext | None) -> str:
    return "" if trace is None else trace.trace_id


_DISK_FULL: Final = DeclineReason.DISK_FULL.name


def retry_after_s(attempts: int, limits: FetchLimits, rng: Random) -> float:
    """Give how long to wait after so many failures in a row."""
    doublings = min(attempts - 1, 30)  # beyond that the limit decides anyway, and the power would only grow
    delay_s = min(limits.retry_first_s * 2**doublings, limits.retry_max_s)
    return delay_s * (1 + JITTER * rng.random())
