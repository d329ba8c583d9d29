"""The downloads that the master serves itself, as the mirror ``origin``: who may, how much, and what is said of it.

A download is told of when its first byte leaves and when a request ends, through the outbox like everything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from edge.files import Sent
from edge.ranges import Part
from edge.running import Cut
from edge.visits import Excess, Visits
from events.errors import OtherFamilyError
from events.grants import Grant, IPAddress, check, claim_of
from events.names import ORIGIN, Digest
from events.revocation import revokes
from events.schemas import DownloadAborted, DownloadFinished, DownloadStarted, Event, GrantClaimed, GrantsRevoked
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

    def __init__(self, grant: Grant, asked: Part, visits: Visits) -> None:
        self.asked = asked
        self.asked_bytes: Final = asked.stop - asked.start
        self.sent_bytes = 0
        self.completed = False
        self.began_download = False
        self.begun = asyncio.Event()
        self._grant_id = grant.grant_id
        self._visits = visits

    def meter(self, count: int) -> None:
        """Count bytes that left. The first ones of a grant, whichever request they take, begin its download."""
        if not self._visits.started(self._grant_id):
            self.began_download = True
        self._visits.count(self._grant_id, count)
        self.sent_bytes += count
        self.begun.set()

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

    async def prove(self, grant: Grant, address: IPAddress, *, trace: TraceContext) -> None:
        """Check that a grant holds for a visitor now. The first who comes by the other address family claims it.

        Raises:
            ForeignGrantError: it is another visitor's.
            ExpiredGrantError: too late.
        """
        now_s, started = self._clock_s(), self._visits.started(grant.grant_id)
        claimed = self._visits.claimed(grant.grant_id)
        try:
            check(grant, address=address, now_s=now_s, started=started, claimed=claimed)
        except OtherFamilyError:
            claim = claim_of(grant, address)
            check(grant, address=address, now_s=now_s, started=started, claimed=claim)
            self._visits.claim(grant, claim, now_s=now_s)
            claim_event = GrantClaimed(mirror=ORIGIN, grant_id=grant.grant_id, address=str(address))
            await self._say(claim_event, trace=trace)

    @asynccontextmanager
    async def transfer(
        self, grant: Grant, address: IPAddress, asked: Part, cut: Cut, *, trace: TraceContext
    ) -> AsyncGenerator[Transfer]:
        """Count one request while the block is entered, and say what becomes of it. One without a body costs nothing.

        Raises:
            ExcessError: it would be too much.
        """
        transfer = Transfer(grant, asked, self._visits)
        if not transfer.asked_bytes:
            yield transfer
            return
        if excess := self._visits.enter(grant, asked_bytes=transfer.asked_bytes, now_s=self._clock_s()):
            raise ExcessError(excess)
        teller = asyncio.create_task(self._tell_start(transfer, grant, address, trace), name="tell-start")
        try:
            yield transfer
        finally:
            cut.over()
            self._visits.leave(grant.grant_id, unsent_bytes=transfer.asked_bytes - transfer.sent_bytes)
            teller.cancel()
            await asyncio.wait([teller])
            await self._tell_end(transfer, grant, address, cut, trace)

    async def _tell_start(self, transfer: Transfer, grant: Grant, address: IPAddress, trace: TraceContext) -> None:
        await transfer.begun.wait()
        await self._say(*_start(transfer, grant, address), trace=trace)

    async def _tell_end(
        self, transfer: Transfer, grant: Grant, address: IPAddress, cut: Cut, trace: TraceContext
    ) -> None:
        if transfer.sent_bytes:
            reason = cut.reason or ABORTED_BY_VISITOR
            await self._say(*_start(transfer, grant, address), _end(transfer, grant, reason), trace=trace)

    async def _say(self, *events: Event, trace: TraceContext) -> None:
        """Say events. A download is worth more than its tale: without a database it goes on untold."""
        if not events:
            return
        try:
            await uncut(self._commit(events, trace))
        except StoreError as error:
            log.warning("download.untold", events=[type(event).__name__ for event in events], error=error.message)
        else:
            self._wake()

    async def _commit(self, events: Sequence[Event], trace: TraceContext) -> None:
        async with self._store.changing(trace=trace) as transaction:
            await transaction.journal.say(events)


def _start(transfer: Transfer, grant: Grant, address: IPAddress) -> list[Event]:
    """Give the event of a grant's first byte, once."""
    if not transfer.began_download:
        return []
    transfer.began_download = False
    return [DownloadStarted(mirror=ORIGIN, grant_id=grant.grant_id, sha256=grant.sha256, address=str(address))]


def _end(transfer: Transfer, grant: Grant, reason: str) -> Event:
    if transfer.completed:
        return DownloadFinished(
            mirror=ORIGIN,
            grant_id=grant.grant_id,
            sha256=grant.sha256,
            first_byte=transfer.asked.start,
            sent_bytes=transfer.sent_bytes,
        )
    return DownloadAborted(
        mirror=ORIGIN,
        grant_id=grant.grant_id,
        sha256=grant.sha256,
        first_byte=transfer.asked.start,
        wanted_bytes=transfer.asked_bytes,
        sent_bytes=transfer.sent_bytes,
        reason=reason,
    )
