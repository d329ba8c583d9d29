"""What the master says of the downloads that it serves itself, as the mirror ``origin``.

A download is told of when its first byte leaves and when a request ends, through the outbox like everything else.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog

from edge.files import Sent
from edge.ranges import Part
from events.grants import Grant, IPAddress
from events.names import ORIGIN
from events.schemas import DownloadAborted, DownloadFinished, DownloadStarted, Event
from events.trace import TraceContext
from master.errors import StoreError
from master.store.store import Store, uncut

# A grant can be resumed for hours; the oldest is forgotten first and then merely asks the site for a new link.
STARTED_MAX: Final = 100_000
ABORTED_BY_VISITOR: Final = "the visitor's connection ended"

log = structlog.stdlib.get_logger()


class Transfer:
    """One request under a grant, for the bytes ``asked``. ``meter`` counts; ``ended`` is told what became of it."""

    def __init__(self, asked: Part) -> None:
        self.asked = asked
        self.sent_bytes = 0
        self.completed = False
        self.begun = asyncio.Event()

    @property
    def has_body(self) -> bool:
        """Tell whether any bytes are to leave: not for HEAD, an unchanged copy, or a range that is none."""
        return self.asked.stop > self.asked.start

    def meter(self, count: int) -> None:
        """Count bytes that left."""
        self.sent_bytes += count
        self.begun.set()

    def ended(self, sent: Sent) -> None:
        """Keep what became of the request."""
        self.completed = sent.completed


class Downloads:
    """Knows which grants began here, and says what becomes of them. ``wake`` is called after each commit."""

    def __init__(self, store: Store, *, wake: Callable[[], None]) -> None:
        self._store = store
        self._wake = wake
        self._started: OrderedDict[bytes, None] = OrderedDict()

    def has_started(self, grant: Grant) -> bool:
        """Tell whether bytes left under a grant since this process began."""
        return grant.grant_id in self._started

    @asynccontextmanager
    async def transfer(
        self, grant: Grant, address: IPAddress, asked: Part, *, trace: TraceContext
    ) -> AsyncGenerator[Transfer]:
        """Say what becomes of one request while the block is entered."""
        transfer = Transfer(asked)
        teller = asyncio.create_task(self._tell_start(transfer, grant, address, trace), name="tell-start")
        try:
            yield transfer
        finally:
            teller.cancel()
            await asyncio.wait([teller])
            await self._tell_end(transfer, grant, address, trace)

    async def _tell_start(self, transfer: Transfer, grant: Grant, address: IPAddress, trace: TraceContext) -> None:
        await transfer.begun.wait()
        await self._say(*self._start(grant, address), trace=trace)

    async def _tell_end(self, transfer: Transfer, grant: Grant, address: IPAddress, trace: TraceContext) -> None:
        if not transfer.has_body:
            return
        await self._say(*self._start(grant, address), _end(transfer, grant), trace=trace)

    def _start(self, grant: Grant, address: IPAddress) -> list[Event]:
        """Give the event of a grant's first byte, once."""
        if self.has_started(grant):
            return []
        self._started[grant.grant_id] = None
        while len(self._started) > STARTED_MAX:
            self._started.popitem(last=False)
        return [DownloadStarted(mirror=ORIGIN, grant_id=grant.grant_id, sha256=grant.sha256, address=str(address))]

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


def _end(transfer: Transfer, grant: Grant) -> Event:
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
        wanted_bytes=transfer.asked.stop - transfer.asked.start,
        sent_bytes=transfer.sent_bytes,
        reason=ABORTED_BY_VISITOR,
    )
