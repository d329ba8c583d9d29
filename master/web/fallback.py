"""Bytes for visitors by grant, where no mirror fits: the master as the mirror ``origin``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlencode

from aiohttp import hdrs, web

from edge.detours import TICKET, ticket_query
from edge.errors import ApiError
from edge.files import ContentGoneError, asked_for, send_file
from edge.running import Cut, Running
from edge.tracing import trace_of
from edge.visitors import ForwardedForError, IPNetwork, visitor_of
from edge.visits import Excess
from events.errors import ExpiredGrantError, ForeignGrantError, MalformedGrantError
from events.grants import Grant, IPAddress, read
from events.names import ORIGIN
from master.downloads import Downloads, ExcessError, Outgoing
from master.revoking import Revoking
from master.serving import Serving
from master.web.content import gone

CLOCK_RETRY_AFTER_S: Final = 60  # somebody has to put a clock right
FULL_RETRY_AFTER_S: Final = 30  # of some hundred downloads one has ended by then
DETOURS_MAX: Final = 8  # more mirrors than the selector sends anybody to

_REDIRECT_HEADERS: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackSettings:
    """What serving visitors needs to be told."""

    keys: Mapping[int, bytes]
    proxies: Sequence[IPNetwork]
    site_url: str


class FallbackRoutes:
    """``/d/<token>/<name>``."""

    def __init__(
        self,
        serving: Serving,
        downloads: Downloads,
        revoking: Revoking,
        running: Running[Outgoing],
        settings: FallbackSettings,
    ) -> None:
        self._serving = serving
        self._downloads = downloads
        self._revoking = revoking
        self._running = running
        self._settings = settings

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Send a visitor what he was granted; one who comes too late, or too often, is sent back to ask anew."""
        address, grant = self._address(request), self._grant(request)
        # It can be cut before it is looked up: what is withdrawn or revoked meanwhile does not slip through.
        with self._running.entered(Outgoing(sha256=grant.sha256, grant=grant, address=address)) as cut:
            self._revoking.check(grant, address)
            try:
                return await self._send(request, grant, address, cut)
            except ForeignGrantError as error:
                raise ApiError(
                    "grant_foreign", str(error), "ask the site for a link of your own", status=HTTPStatus.FORBIDDEN
                ) from error
            except ExpiredGrantError as error:
                return await self._back_to_site(request, grant, str(error))
            except ExcessError as error:
                if error.excess is Excess.SLOTS:
                    raise _full() from error
                return await self._back_to_site(request, grant, str(error))

    async def _send(self, request: web.Request, grant: Grant, address: IPAddress, cut: Cut) -> web.StreamResponse:
        trace = trace_of(request)
        await self._downloads.prove(grant, address, trace=trace)
        content = await self._serving.for_visitor(grant.sha256)
        asked = asked_for(request, content)
        with self._downloads.transfer(grant, address, asked.part, cut, trace=trace) as transfer:
            try:
                sent = await send_file(request, asked, meter=transfer.meter)
            except ContentGoneError as error:
                raise gone(content, error) from error
            transfer.ended(sent)
        return sent.response

    def _address(self, request: web.Request) -> IPAddress:
        try:
            return visitor_of(request, self._settings.proxies)
        except ForwardedForError as error:
            raise ApiError("forwarded_for_invalid", str(error), "tell the operator of the proxy") from error

    def _grant(self, request: web.Request) -> Grant:
        try:
            grant = read(request.match_info["token"], mirror=ORIGIN, keys=self._settings.keys)
        except MalformedGrantError as error:
            raise _nothing_here() from error
        if grant.peer:
            raise _nothing_here()
        return grant

    async def _back_to_site(self, request: web.Request, grant: Grant, problem: str) -> web.Response:
        """Send a visitor to ask anew; one whom the master sent back before would run in circles."""
        path = await self._serving.path_of(grant.sha256)
        if path is None:
            raise ApiError("grant_expired", problem, status=HTTPStatus.GONE)
        left = request.query.getall("not", [])[:DETOURS_MAX]
        if ORIGIN in left:
            raise ApiError(
                "grant_unusable_again",
                f"the site's new link could not be used either: {problem}",
                "end other downloads of this file; else tell the site's operator to compare the servers' clocks",
                status=HTTPStatus.SERVICE_UNAVAILABLE,
                headers={hdrs.RETRY_AFTER: str(CLOCK_RETRY_AFTER_S)},
            )
        ticket = ticket_query(request.query.getall(TICKET, []))
        query = urlencode([("not", name) for name in (*left, ORIGIN)]) + ticket
        headers = {hdrs.LOCATION: f"{self._settings.site_url}/{quote(path)}?{query}", **_REDIRECT_HEADERS}
        return web.Response(status=HTTPStatus.FOUND, headers=headers)


def _nothing_here() -> ApiError:
    """Nothing tells a guesser how close he came."""
    return ApiError("not_found", "there is nothing here", status=HTTPStatus.NOT_FOUND)


def _full() -> ApiError:
    return ApiError(
        "slots_full",
        "as many downloads run here as the site's server takes on at once",
        "try again in a while",
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        headers={hdrs.RETRY_AFTER: str(FULL_RETRY_AFTER_S)},
    )
