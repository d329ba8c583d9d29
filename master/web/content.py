"""Bytes for mirrors, by digest."""

from __future__ import annotations

from aiohttp import hdrs, web

from edge.files import Asked, Content, ContentGoneError, asked_for, send_file
from edge.pacing import Pacing
from edge.running import Running
from edge.sending import Meter
from events.names import MirrorName, parse_digest
from events.pieces import LEASE_HEADER, SEEDED_FROM_BYTES, Span
from master.downloads import Outgoing
from master.errors import LeaseNeededError, UnusableFileError
from master.joining import Joining
from master.seeding import Seeding
from master.serving import Serving
from master.tracker.leases import Lease
from master.web.mirrors import asking


class OriginRoutes:
    """``/-/origin/<sha256>``. ``pacing`` is the rate that all mirrors share."""

    def __init__(
        self, joining: Joining, serving: Serving, seeding: Seeding, running: Running[Outgoing], *, pacing: Pacing
    ) -> None:
        self._joining = joining
        self._serving = serving
        self._seeding = seeding
        self._running = running
        self._pacing = pacing

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Send a mirror what one of its channels holds: a leased piece, or a short file without a lease."""
        mirror = await asking(request, self._joining)
        sha256 = parse_digest(request.match_info["sha256"])
        with self._running.entered(Outgoing(sha256=sha256)):
            content = await self._serving.for_mirror(mirror.name, sha256)
            asked = asked_for(request, content)
            if request.method == hdrs.METH_HEAD or content.size_bytes < SEEDED_FROM_BYTES:
                return await self._send(request, asked, self._seeding.count)
            return await self._send_leased(request, asked, self._lease(request, mirror.name, asked))

    async def _send_leased(self, request: web.Request, asked: Asked, lease: Lease) -> web.StreamResponse:
        def count(sent_bytes: int) -> None:
            lease.sent_bytes += sent_bytes
            self._seeding.count(sent_bytes)

        lease.sending = True
        try:
            return await self._send(request, asked, count)
        finally:
            lease.sending = False

    def _lease(self, request: web.Request, mirror: MirrorName, asked: Asked) -> Lease:
        """Give the lease that a request shows.

        Raises:
            LeaseNeededError: it shows none that allows what it asks for.
        """
        try:
            lease_id = bytes.fromhex(request.headers.get(LEASE_HEADER, ""))
        except ValueError:
            lease_id = b""
        lease = self._seeding.find_lease(mirror, lease_id, asked.content.sha256)
        if lease is None or not lease.allows(Span(asked.part.start, asked.part.stop)):
            raise LeaseNeededError(asked.content.sha256, span=None if lease is None else lease.span)
        return lease

    async def _send(self, request: web.Request, asked: Asked, meter: Meter) -> web.StreamResponse:
        try:
            return (await send_file(request, asked, meter=meter, pacing=self._pacing)).response
        except ContentGoneError as error:
            raise gone(asked.content, error) from error


def gone(content: Content, error: ContentGoneError) -> UnusableFileError:
    """Tell that a published file is not what was published."""
    return UnusableFileError(
        "file_changed",
        f"{content.file_name} is not what was published: {error.problem}",
        hint="the site must publish it again",
    )
