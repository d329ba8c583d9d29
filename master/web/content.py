"""Bytes: for mirrors by digest, and for visitors by grant where no mirror fits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlencode

from aiohttp import hdrs, web

from edge.errors import ApiError
from edge.files import Content, ContentGoneError, asked_part, send_file
from edge.tracing import trace_of
from edge.visitors import ForwardedForError, IPNetwork, visitor_of
from events.errors import ExpiredGrantError, ForeignGrantError, MalformedGrantError
from events.grants import Grant, IPAddress, check, read
from events.names import ORIGIN, parse_digest
from master.downloads import Downloads
from master.errors import UnusableFileError
from master.joining import Joining
from master.serving import Serving
from master.web.mirrors import asking

RETRY_AFTER_S: Final = 60  # somebody has to put a clock right
DETOURS_MAX: Final = 8  # more mirrors than the selector sends anybody to

_REDIRECT_HEADERS: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


class OriginRoutes:
    """``/-/origin/<sha256>``."""

    def __init__(self, joining: Joining, serving: Serving) -> None:
        self._joining = joining
        self._serving = serving

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Send a mirror what one of its channels holds."""
        mirror = await asking(request, self._joining)
        content = await self._serving.for_mirror(mirror.name, parse_digest(request.match_info["sha256"]))
        try:
            return (await send_file(request, content, meter=_uncounted)).response
        except ContentGoneError as error:
            raise _gone(content, error) from error


class FallbackRoutes:
    """``/d/<token>/<name>``."""

    def __init__(
        self,
        serving: Serving,
        downloads: Downloads,
        *,
        keys: Mapping[int, bytes],
        proxies: Sequence[IPNetwork],
        site_url: str,
    ) -> None:
        self._serving = serving
        self._downloads = downloads
        self._keys = keys
        self._proxies = proxies
        self._site_url = site_url

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Send a visitor what he was granted; one who comes too late is sent back to ask anew."""
        address = self._address(request)
        grant = self._grant(request)
        try:
            check(grant, address=address, now_s=time.time(), started=self._downloads.has_started(grant))
        except ForeignGrantError as error:
            raise ApiError(
                "grant_foreign", str(error), "ask the site for a link of your own", status=HTTPStatus.FORBIDDEN
            ) from error
        except ExpiredGrantError as error:
            return await self._back_to_site(request, grant, error)
        content = await self._serving.for_visitor(grant.sha256)
        asked = asked_part(request, content)
        async with self._downloads.transfer(grant, address, asked, trace=trace_of(request)) as transfer:
            try:
                sent = await send_file(request, content, meter=transfer.meter)
            except ContentGoneError as error:
                raise _gone(content, error) from error
            transfer.ended(sent)
        return sent.response

    def _address(self, request: web.Request) -> IPAddress:
        try:
            return visitor_of(request, self._proxies)
        except ForwardedForError as error:
            raise ApiError("forwarded_for_invalid", str(error), "tell the operator of the proxy") from error

    def _grant(self, request: web.Request) -> Grant:
        try:
            return read(request.match_info["token"], mirror=ORIGIN, keys=self._keys)
        except MalformedGrantError as error:
            # Nothing tells a guesser how close he came.
            raise ApiError("not_found", "there is nothing here", status=HTTPStatus.NOT_FOUND) from error

    async def _back_to_site(self, request: web.Request, grant: Grant, error: ExpiredGrantError) -> web.Response:
        """Send a visitor to ask anew; one whom the master sent back before comes with a grant that never holds."""
        path = await self._serving.path_of(grant.sha256)
        if path is None:
            raise ApiError("grant_expired", str(error), status=HTTPStatus.GONE) from error
        left = request.query.getall("not", [])[:DETOURS_MAX]
        if ORIGIN in left:
            raise ApiError(
                "grant_expired_again",
                f"the site's new link had expired, too: {error}",
                "tell the site's operator: the clocks of its selector and its master are far apart",
                status=HTTPStatus.SERVICE_UNAVAILABLE,
                headers={hdrs.RETRY_AFTER: str(RETRY_AFTER_S)},
            ) from error
        query = urlencode([("not", name) for name in (*left, ORIGIN)])
        headers = {hdrs.LOCATION: f"{self._site_url}/{quote(path)}?{query}", **_REDIRECT_HEADERS}
        return web.Response(status=HTTPStatus.FOUND, headers=headers)


def _uncounted(_count: int) -> None:
    """Let bytes for mirrors pass: the mirrors tell what they hold."""


def _gone(content: Content, error: ContentGoneError) -> UnusableFileError:
    return UnusableFileError(
        "file_changed",
        f"{content.file_name} is not what was published: {error.problem}",
        hint="the site must publish it again",
    )
