"""The pieces of one content, gathered from whoever has them.

The master leases pieces, each with its source; a few of them land at once. What becomes of a lease is told with the
next question. A source that has proved nothing yet is given one piece at a time, so that a liar costs no more than one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Final

import structlog

from broker.backoff import backoff_s
from events.names import MirrorName
from events.schemas import SourceFault
from mirror.config import FetchLimits
from mirror.content.parts import Part
from mirror.fetching.blame import SourceFaultError, SourcesBadError
from mirror.fetching.landing import Lander
from mirror.fetching.origin import OriginError, OriginForgotUsError, OriginUnavailableError
from mirror.fetching.sources import Sources
from mirror.fetching.tracker import Lease, Leases, Report, Tracker

PIECES_AT_ONCE_MAX: Final = 4  # of one content; measured: more gain nothing
CONNECTIONS_PER_SOURCE_MAX: Final = 2  # of one content; a friend's line is not ours alone
FAILURES_MAX: Final = 30  # in a row, without one good piece between them
WAITING_S_MAX: Final = 60.0  # for a piece that nobody has yet; then another content gets its turn
LAST_REPORT_S: Final = 2.0  # who stops or gives up does not wait longer for the master to hear of it
ASK_AGAIN_S: Final = 1.0  # while pieces land and more could: other mirrors verify some, too

log = structlog.stdlib.get_logger()


class Gathering:
    """One content being gathered. ``run`` it once."""

    def __init__(
        self, part: Part, lander: Lander, tracker: Tracker, sources: Sources, *, limits: FetchLimits, rng: Random
    ) -> None:
        self._part = part
        self._lander = lander
        self._tracker = tracker
        self._sources = sources
        self._limits = limits
        self._rng = rng
        self._clock = asyncio.get_running_loop().time
        self._patience_s: float | None = None
        self._running: dict[asyncio.Task[SourceFault | None], Lease] = {}
        self._turns: dict[MirrorName, _Turns] = {}
        self._reports: list[Report] = []
        self._failures = 0
        self._ask_at_s = self._waiting_since_s = self._clock()

    async def run(self, *, patiently: bool = True) -> None:
        """Work until all pieces are there; not ``patiently``, give up where nobody has one to give at once.

        Raises:
            SourcesBadError: all that are to be had failed.
            OriginError: the master does not say who has it, or nobody has had a piece to give for a while.
            DiskFullError: there is no room.
        """
        if not patiently:
            self._patience_s = 0.0
        try:
            while not self._part.pieces.complete:
                await self._start_more()
                await self._settle_some()
        finally:
            await self._drop_running()
            await self._tell_last()

    async def _start_more(self) -> None:
        room = PIECES_AT_ONCE_MAX - len(self._running)
        if room <= 0 or self._clock() < self._ask_at_s:
            return
        answer = await self._ask(room)
        started = [self._start(lease) for lease in answer.leases]
        if any(started):
            self._waiting_since_s = self._clock()
        elif not self._running:
            self._check_patience()
        pause_s = max(answer.retry_after_s, ASK_AGAIN_S if self._running else 0.0)
        self._ask_at_s = self._clock() + pause_s + (self._backoff_s() if started and not any(started) else 0.0)

    async def _ask(self, room: int) -> Leases:
        wait_s = 0.0 if self._running else min(self._limits.lease_wait_s, self._patience())
        try:
            return await self._tell(want_max=room, wait_s=wait_s)
        except OriginError as error:
            if isinstance(error, OriginUnavailableError) and self._running:
                return Leases((), ASK_AGAIN_S)
            if self._sources.faults and not isinstance(error, OriginForgotUsError):
                raise self._bad() from error
            raise

    def _start(self, lease: Lease) -> bool:
        """Begin with a leased piece; False where it is not to be fetched, or not there."""
        if lease.piece in self._part.pieces:
            self._reports.append(Report(lease.lease, None))
            return False
        if lease.piece in {running.piece for running in self._running.values()}:
            self._reports.append(Report(lease.lease, SourceFault.OTHER))
            return False
        if (fault := self._sources.avoided(lease.source)) is not None:
            self._reports.append(Report(lease.lease, fault.fault))
            self._failures += 1
            return False
        task = asyncio.create_task(self._carry(lease), name=f"piece-{lease.piece}")
        self._running[task] = lease
        return True

    async def _carry(self, lease: Lease) -> SourceFault | None:
        """Land one piece; give what the source did wrong, if anything."""
        turns = self._turns.setdefault(lease.source, _Turns())
        async with turns.taken():
            if (known := self._sources.avoided(lease.source)) is not None:
                return known.fault
            try:
                await self._lander.land(lease.piece, self._sources.leased(lease))
            except SourceFaultError as error:
                await self._sources.note(lease.source, error)
                return error.fault.fault
            turns.proven = True
            self._sources.praise(lease.source)
            return None

    async def _settle_some(self) -> None:
        """Wait until a piece has landed or failed, or the next question is due."""
        due_in_s = max(0.0, self._ask_at_s - self._clock())
        if not self._running:
            await asyncio.sleep(due_in_s)
            return
        full = len(self._running) >= PIECES_AT_ONCE_MAX
        done, _ = await asyncio.wait(
            self._running, timeout=None if full else due_in_s, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            fault = SourceFault.OTHER if task.cancelled() else task.result()
            self._settle(self._running.pop(task), fault)
        if self._failures > FAILURES_MAX:
            raise self._bad()

    def _settle(self, lease: Lease, fault: SourceFault | None) -> None:
        self._reports.append(Report(lease.lease, fault))
        if fault is None:
            self._failures = 0
            self._ask_at_s = self._waiting_since_s = self._clock()
            return
        self._failures += 1
        self._ask_at_s = self._clock() + self._backoff_s()
        if self._sources.avoided(lease.source) is not None:
            self._cancel(task for task, other in self._running.items() if other.source == lease.source)

    def _backoff_s(self) -> float:
        tries = max(0, self._failures - 1)
        return backoff_s(tries, first_s=self._limits.retry_first_s, max_s=self._limits.retry_max_s, rng=self._rng)

    def _patience(self) -> float:
        """Give how long to wait for a piece that can be had; not long where sources failed, so that it is said why."""
        if self._patience_s is not None:
            return self._patience_s
        return self._limits.lease_wait_s if self._sources.faults else WAITING_S_MAX

    def _check_patience(self) -> None:
        if self._clock() - self._waiting_since_s < self._patience():
            return
        if self._sources.faults:
            raise self._bad()
        raise OriginUnavailableError(f"nobody has had a piece of {self._part.layout.sha256.hex()} to give for a while")

    def _bad(self) -> SourcesBadError:
        return SourcesBadError(self._part.layout.sha256, self._sources.faults)

    def _cancel(self, tasks: Iterable[asyncio.Task[SourceFault | None]]) -> None:
        for task in tasks:
            task.cancel()

    async def _drop_running(self) -> None:
        self._cancel(self._running)
        if self._running:
            await asyncio.wait(self._running)
        for task, lease in self._running.items():
            if not task.cancelled() and (error := task.exception()) is not None:
                log.debug("piece.dropped", piece=lease.piece, error=repr(error))
            self._reports.append(Report(lease.lease, SourceFault.OTHER))
        self._running.clear()

    async def _tell_last(self) -> None:
        """Tell what became of the last leases, so that nobody is kept waiting for them."""
        if not self._reports:
            return
        with suppress(OriginError, TimeoutError):  # leases end by themselves
            async with asyncio.timeout(LAST_REPORT_S):
                await self._tell(want_max=0, wait_s=0.0)

    async def _tell(self, *, want_max: int, wait_s: float) -> Leases:
        reports = tuple(self._reports)
        answer = await self._tracker.lease(
            self._part.layout, self._part.pieces, want_max=want_max, wait_s=wait_s, reports=reports
        )
        del self._reports[: len(reports)]  # not before it is known that they were heard
        return answer


class _Turns:
    """How many pieces one source is asked for at once: one until it has sent a right one."""

    def __init__(self) -> None:
        self.proven = False
        self._places = asyncio.Semaphore(CONNECTIONS_PER_SOURCE_MAX)
        self._trial = asyncio.Lock()

    @asynccontextmanager
    async def taken(self) -> AsyncGenerator[None]:
        """Take a turn while the block is entered."""
        async with self._places:
            if self.proven:
                yield
            else:
                async with self._trial:
                    yield
