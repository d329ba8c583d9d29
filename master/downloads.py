"""What the master says of the downloads that it serves itself, as the mirror ``origin``.

A download is told of when its first byte leaves and when a request ends, through the outbox like everything else.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from edge.files import Sent
from events.grants import Grant, IPAddress
from events.names import ORIGIN
from events.schemas import DownloadAborted, DownloadFinished, DownloadStarted, Event
from events.trace import TraceContext
from master.store.store import Store

# A grant can be resumed for hours; the oldest is forgotten first and then merely asks the site for a new link.
STARTED_MAX: Final = 100_000
ABORTED_BY_VISITOR: Final = "the visitor's connection ended"


class Transfer:
    """One request under a grant. ``meter`` counts; ``ended`` is told what ``send_file`` said."""

    def __init__(self) -> None:
        self.sent_bytes = 0
        self.completed = False
        self.has_body = False
        self.begun = asyncio.Event()

    def meter(self, count: int) -> None:
        """Count bytes that left."""
        self.sent_bytes += count
        self.begun.set()

    def ended(self, sent: Sent) -> None:
        """Keep what became of the request."""
        self.completed = sent.completed
        self.has_body = sent.wanted_bytes > 0


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
    async def transfer(self, grant: Grant, address: IPAddress, *, trace: TraceContext) -> AsyncGenerator[Transfer]:
        """Say what becomes of one request while the block is entered."""
        transfer = Transfer()
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
        if not transfer.begun.is_set() and not transfer.has_body:
            return  # HEAD, an unchanged copy, or a range that is none
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
        if events:
            async with self._store.changing(trace=trace) as transaction:
                await transaction.journal.say(events)
            self._wake()


def _end(transfer: Transfer, grant: Grant) -> Event:
    if transfer.completed:
        return DownloadFinished(
            mirror=ORIGIN, grant_id=grant.grant_id, sha256=grant.sha256, sent_bytes=transfer.sent_bytes
        )
    return DownloadAborted(
        mirror=ORIGIN,
        grant_id=grant.grant_id,
        sha256=grant.sha256,
        sent_bytes=transfer.sent_bytes,
        reason=ABORTED_BY_VISITOR,
    )
