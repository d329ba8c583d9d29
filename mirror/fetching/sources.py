"""The sources of one content during one fetch: how each is asked, which are left out, and what they did wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import structlog
from aiohttp import hdrs

from events.names import ORIGIN, Digest, MirrorName
from events.schemas import SourceBanned
from events.trace import HEADER, TraceContext
from mirror.fetching.blame import Blame, Fault, SourceBusyError, SourceFaultError
from mirror.fetching.origin import Origin
from mirror.fetching.source import Source
from mirror.fetching.tracker import Lease
from mirror.state.database import StoreError
from mirror.state.traces import Said

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """All that a mirror may fetch from, and how it tells of those that it leaves out."""

    mirror: MirrorName
    origin: Origin
    peers: aiohttp.ClientSession = field(repr=False)
    blame: Blame
    say: Callable[[Said], Awaitable[None]]


class Sources:
    """Who is asked for one content. ``faults`` has the last one of each that failed during this fetch."""

    def __init__(self, around: Neighbourhood, sha256: Digest, trace: TraceContext | None) -> None:
        self.faults: dict[MirrorName, Fault] = {}
        self._around = around
        self._sha256 = sha256
        self._trace = trace
        self._excluded: set[MirrorName] = set()

    def origin(self, *, lease: str | None = None) -> Source:
        """Give the master as a source."""
        return self._around.origin.content(self._sha256, lease=lease, trace=self._trace)

    def leased(self, lease: Lease) -> Source:
        """Give the source that a lease is for."""
        if lease.source == ORIGIN:
            return self.origin(lease=lease.lease)
        headers: dict[str, str] = {hdrs.AUTHORIZATION: f"Bearer {lease.token}"}
        if self._trace is not None:
            headers[HEADER] = self._trace.traceparent
        return Source(
            name=lease.source,
            url=f"{lease.url}/-/peer/{self._sha256.hex()}",
            headers=headers,
            session=self._around.peers,
            guarded=True,
        )

    def avoided(self, source: MirrorName) -> Fault | None:
        """Give for what a source is not asked now; None where it may be."""
        if (fault := self._around.blame.banned(source, self._sha256, now_s=_now_s())) is not None:
            self.faults[source] = fault
            return fault
        return self.faults[source] if source in self._excluded else None

    def exclude(self, source: MirrorName) -> None:
        """Ask a source that failed no more during this fetch."""
        self._excluded.add(source)

    def praise(self, source: MirrorName) -> None:
        """Note that a source sent a piece that is right."""
        self.faults.pop(source, None)
        self._around.blame.praise(source, self._sha256)

    async def note(self, source: MirrorName, error: SourceFaultError) -> None:
        """Note what a source did wrong, and tell of it once it is banned."""
        fault = self.faults[source] = error.fault
        log.info("source.failed", source=source, sha256=self._sha256.hex(), fault=str(fault))
        if isinstance(error, SourceBusyError):
            return
        if self._around.blame.note(source, self._sha256, fault, now_s=_now_s()):
            await self._tell(source, fault)

    async def _tell(self, source: MirrorName, fault: Fault) -> None:
        log.warning("source.banned", source=source, sha256=self._sha256.hex(), fault=fault.fault.value)
        banned = SourceBanned(
            mirror=self._around.mirror,
            source=source,
            sha256=self._sha256,
            fault=fault.fault,
            piece=fault.piece,
            detail=fault.detail,
        )
        try:
            await self._around.say(Said(banned, self._trace))
        except StoreError as error:
            log.warning("source.ban_unsaid", source=source, error=str(error))


def _now_s() -> float:
    return asyncio.get_running_loop().time()
