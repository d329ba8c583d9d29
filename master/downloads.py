"""The downloads that the master serves itself, as the mirror ``origin``: who may, how much, and what is said of it.

A download is told of when its first byte left and when a request ended, soon and together with others, through the
outbox like everything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from aiohttp import web

from edge.files import Sent
from edge.ranges import Part
from edge.reports import SAY_EVERY_S, Reports
from edge.running import Cut
from edge.sending import Meter
from edge.visits import Excess, Visits
from events.grants import Grant, IPAddress
from events.names import ORIGIN, Digest
from events.revocation import revokes
from events.schemas import Download, DownloadOutcome, Event, GrantClaimed, GrantsRevoked
from events.schemas.fields import NS_PER_S
from events.trace import TraceContext
from master.errors import StoreError
from master.store.store import Store, uncut

ABORTED_BY_VISITOR: Final = "the visitor's connection ended"

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A content that is being sent: to a visitor under a grant, or to a mirror."""

    sha256: Digest
    grant: Grant | None = None
    address: IPAddress | None = None

    def is_under(self, revoked: GrantsRevoked) -> bool:
        """Tell whether the grant was taken back."""
        return self.grant is not None and revokes(revoked, self.grant, mirror=ORIGIN, address=self.address)


class ExcessError(Exception):
    """A visitor with a good grant wants too much of what is limited here; nothing was sent."""

    def __init__(self, excess: Excess) -> None:
        super().__init__(excess.value)
        self.excess = excess


class Transfer:
    """One request under a grant, for the bytes ``asked``. ``meter`` counts; ``ended`` is told what became of it."""

    def __init__(self, asked: Part, meter: Meter) -> None:
        self.asked = asked
        self.asked_bytes: Final = asked.stop - asked.start
        self.sent_bytes = 0
        self.completed = False
        self._meter = meter

    def meter(self, count: int) -> None:
        """Count bytes that left."""
        self._meter(count)
        self.sent_bytes += count

    def ended(self, sent: Sent) -> None:
        """Keep what became of the request."""
        self.completed = sent.completed


class Downloads:
    """Lets visitors in, and says what becomes of their downloads. ``wake`` is called after each commit."""

    def __init__(self, store: Store, *, slots: int, wake: Callable[[], None], clock_s: Callable[[], float]) -> None:
        self._store = store
        self._wake = wake
        self._clock_s = clock_s
        self._visits = Visits(slots)
        self._reports = Reports(ORIGIN)
        self._noted = asyncio.Event()

    async def reporting(self, _app: web.Application) -> AsyncGenerator[None]:
        """Tell what becomes of downloads as long as an application lives, and the rest when its last request ended."""
        telling = asyncio.create_task(self._tell_for_ever(), name="tell-downloads")
        yield
        telling.cancel()
        await asyncio.wait([telling])
        await self._tell_waiting()

    async def prove(self, grant: Grant, address: IPAddress, *, trace: TraceContext) -> None:
        """Check that a grant holds for a visitor now. The first who comes by the other address family claims it.

        Raises:
            ForeignGrantError: it is another visitor's.
            ExpiredGrantError: too late.
        """
        if self._visits.prove(grant, address, now_s=self._clock_s()):
            claim_event = GrantClaimed(mirror=ORIGIN, grant_id=grant.grant_id, address=str(address))
            await self._say(claim_event, trace=trace)

    @contextmanager
    def transfer(
        self, grant: Grant, address: IPAddress, asked: Part, cut: Cut, *, trace: TraceContext
    ) -> Generator[Transfer]:
        """Count one request while the block is entered, and tell what becomes of it. One without a body costs nothing.

        Raises:
            ExcessError: it would be too much.
        """

        def meter(count: int) -> None:
            if not self._visits.started(grant.grant_id):  # whichever request they take, the first bytes begin it
                self._note(self._told(grant, DownloadOutcome.STARTED, trace, address=str(address)))
            self._visits.count(grant.grant_id, count)

        transfer = Transfer(asked, meter)
        if not transfer.asked_bytes:
            yield transfer
            return
        if excess := self._visits.enter(grant, asked_bytes=transfer.asked_bytes, now_s=self._clock_s()):
            raise ExcessError(excess)
        try:
            yield transfer
        finally:
            self._visits.leave(grant.grant_id, unsent_bytes=transfer.asked_bytes - transfer.sent_bytes)
            if transfer.sent_bytes:
                self._note(self._end(grant, transfer, cut, trace))

    def _end(self, grant: Grant, transfer: Transfer, cut: Cut, trace: TraceContext) -> Download:
        told = self._told(grant, DownloadOutcome.FINISHED if transfer.completed else DownloadOutcome.ABORTED, trace)
        return msgspec.structs.replace(
            told,
            first_byte=transfer.asked.start,
            wanted_bytes=transfer.asked_bytes,
            sent_bytes=transfer.sent_bytes,
            reason="" if transfer.completed else cut.reason or ABORTED_BY_VISITOR,
        )

    def _told(self, grant: Grant, outcome: DownloadOutcome, trace: TraceContext, *, address: str = "") -> Download:
        return Download(
            grant_id=grant.grant_id,
            sha256=grant.sha256,
            outcome=outcome,
            at_ns=round(self._clock_s() * NS_PER_S),
            address=address,
            traceparent=trace.traceparent,
        )

    def _note(self, download: Download) -> None:
        self._reports.note(download)
        self._noted.set()

    async def _tell_for_ever(self) -> None:
        while True:
            await self._noted.wait()
            self._noted.clear()
            await self._tell_waiting()
            await asyncio.sleep(SAY_EVERY_S)

    async def _tell_waiting(self) -> None:
        """Say what waits. A download is worth more than its tale: without a database it goes on, untold for now."""
        reports = self._reports.take()
        if reports and not await self._say(*reports, trace=None):
            self._reports.put_back(reports)

    async def _say(self, *events: Event, trace: TraceContext | None) -> bool:
        try:
            await uncut(self._commit(events, trace))
        except StoreError as error:
            log.warning("download.untold", events=[type(event).__name__ for event in events], error=error.message)
            return False
        self._wake()
        return True

    async def _commit(self, events: Sequence[Event], trace: TraceContext | None) -> None:
        async with self._store.changing(trace=trace) as transaction:
            await transaction.journal.say(events)
