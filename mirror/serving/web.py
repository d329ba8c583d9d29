"""What a mirror answers over HTTP: files for tokens, its state for the operator.

Whatever cannot be served for a good token is a redirect back to the site, which finds another place; its target is made
of the configured address and our own tables, never of what the visitor sent. Tokens reach no log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import quote

import structlog
from aiohttp import hdrs, web

from edge.dates import changed_s
from edge.detours import TICKET, ticket_query
from edge.errors import ApiError
from edge.files import FIELDS_REMEMBERED_MAX, Asked, Content, ContentGoneError, asked_for, send_file
from edge.health import Check, add_health
from edge.server import new_app
from edge.shortage import NoDescriptorError
from edge.visitors import ForwardedForError, IPNetwork, believes, peer_of, visitor_of
from events.errors import (
    ExpiredGrantError,
    ForeignGrantError,
    InvalidNameError,
    MalformedGrantError,
)
from events.grants import Grant, IPAddress, read
from events.names import ORIGIN, Digest, FilePath, MirrorName, file_name, parse_mirror
from mirror.content.objects import Objects
from mirror.serving.external import External
from mirror.serving.loopback import require_loopback
from mirror.serving.nginx import REQUEST_FIELD
from mirror.serving.page import PAGE_HEADERS, page_of
from mirror.serving.slots import Refusal
from mirror.serving.traffic import RefusedError, Traffic
from mirror.state.store import Store

DETOURS_MAX: Final = 3  # then the master serves
DEFAULT_MEDIA_TYPE: Final = "application/octet-stream"

log = structlog.stdlib.get_logger()


class DetourError(Exception):
    """A good token that cannot be served here. Send the visitor back to the site."""

    def __init__(self, grant: Grant, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.grant, self.refusal = grant, refusal


class Due(NamedTuple):
    """What a visitor may have by his token."""

    grant: Grant
    address: IPAddress
    content: Content


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """Where visitors hand in their tokens: all that serving one needs.

    ``grant_keys`` gives the keys that hold now.
    """

    name: MirrorName
    site_url: str
    grant_keys: Callable[[], Mapping[int, bytes]]
    proxies: tuple[IPNetwork, ...]
    store: Store
    objects: Objects
    traffic: Traffic
    lost: Callable[[Digest], Awaitable[None]]
    left: Callable[[], str | None]
    clock_s: Callable[[], float]
    external: External | None = None

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer ``/d/<token>/<name>``."""
        try:
            address = visitor_of(request, self.proxies)
        except ForwardedForError as error:
            raise ApiError("forwarded_for", "a proxy in front of this mirror gave no address") from error
        try:
            due = self.due(request.match_info["token"], request.match_info["name"], address)
            return await self._send(request, due)
        except DetourError as detour:
            return self._detour(request, detour)

    def due(self, token: str, name: str, address: IPAddress) -> Due:
        """Tell what a visitor may have by his token.

        Raises:
            ApiError: nothing.
            DetourError: a good token, but nothing here.
        """
        grant = self._proved(token)
        self._check(grant, address)
        return Due(grant, address, self._content(grant, name))

    def _proved(self, token: str) -> Grant:
        try:
            grant = read(token, mirror=self.name, keys=self.grant_keys())
        except MalformedGrantError:
            raise _nothing_here() from None
        if grant.peer:  # for pieces between mirrors
            raise _nothing_here()
        return grant

    def _check(self, grant: Grant, address: IPAddress) -> None:
        if self.traffic.revoked(grant, address):
            raise ApiError(
                "revoked",  # in the words of the master; why is for the log, and no visitor's business
                "the site took this link back",
                "ask the site for the file anew",
                status=HTTPStatus.FORBIDDEN,
            )
        try:
            self._check_address_and_time(grant, address)
        except ForeignGrantError as error:
            raise ApiError(
                "foreign_grant", str(error), "ask the site for a link of your own", status=HTTPStatus.FORBIDDEN
            ) from None
        except ExpiredGrantError:
            raise DetourError(grant, Refusal.EXPIRED) from None
        if self.left() is not None:
            raise DetourError(grant, Refusal.LEFT)

    def _check_address_and_time(self, grant: Grant, address: IPAddress) -> None:
        """Check the grant; a visitor who is the first of the other address family claims it."""
        if self.traffic.slots.visits.prove(grant, address, now_s=self.clock_s()):
            self.traffic.note_claim(grant, address)

    def _content(self, grant: Grant, name: str) -> Content:
        """Find what a grant is for. The name that it is saved as is the catalogue's; the visitor's only picks one."""
        replica = self.store.replicas.get(grant.sha256)
        if replica is None or replica.size_bytes != grant.size_bytes:
            raise DetourError(grant, Refusal.GONE)
        entry = self.store.catalogue.wanted(grant.sha256, name=name)
        media_type = entry.media_type if entry is not None and entry.media_type else DEFAULT_MEDIA_TYPE
        path = entry.path if entry is not None else replica.path
        published_at_ns = entry.published_at_ns if entry is not None else 0
        return _content(self.objects, grant.sha256, replica.size_bytes, media_type, path, published_at_ns)

    async def _send(self, request: web.Request, due: Due) -> web.StreamResponse:
        asked = asked_for(request, due.content)
        sha256 = due.grant.sha256
        try:
            if asked.part.start == asked.part.stop:
                return (await send_file(request, asked, meter=_nothing_leaves)).response
            return await self._send_counted(request, due, asked)
        except ContentGoneError as error:
            log.error("replica.missing", sha256=sha256.hex(), problem=error.problem)  # noqa: TRY400 - no bug of ours
            await self.lost(sha256)
            raise DetourError(due.grant, Refusal.GONE) from None
        except NoDescriptorError:
            raise DetourError(due.grant, Refusal.FILES_EXHAUSTED) from None

    async def _send_counted(self, request: web.Request, due: Due, asked: Asked) -> web.StreamResponse:
        grant, address, content = due
        try:
            if self.external is not None and self._nginx_can_send(self.external, request):
                visit = await self.traffic.admit(grant, asked=asked.part, address=address)
                order = self.external.hand_over(request.headers[REQUEST_FIELD], content, visit)
                return web.Response(headers=order.fields)
            async with self.traffic.visiting(grant, asked=asked.part, address=address) as visit:
                sent = await send_file(request, asked, meter=visit.meter, pacing=self.traffic.pacing)
                visit.note(completed=sent.completed)
                return sent.response
        except RefusedError as error:
            raise DetourError(grant, error.refusal) from None

    def _nginx_can_send(self, external: External, request: web.Request) -> bool:
        """Tell whether a request came through our nginx, and nginx will not judge it anew.

        What nginx would judge by a tag or a date that it does not know (``If-Match``, ``If-Unmodified-Since``) the
        mirror sends itself.
        """
        name = request.headers.get(REQUEST_FIELD, "")
        return (
            name != ""
            and name not in external
            and believes(peer_of(request), self.proxies)
            and hdrs.IF_MATCH not in request.headers
            and hdrs.IF_UNMODIFIED_SINCE not in request.headers
        )

    def _detour(self, request: web.Request, detour: DetourError) -> web.Response:
        path = self.store.path_of(detour.grant.sha256, request.match_info["name"])
        log.info("visitor.detoured", grant_id=detour.grant.grant_id.hex(), reason=detour.refusal.name, path=path)
        if path is None:
            raise ApiError(
                "gone", detour.refusal.value, "follow the site's own link again", status=HTTPStatus.NOT_FOUND
            )
        avoid = "&".join(f"not={name}" for name in (*_former_detours(request), self.name))
        ticket = ticket_query(request.query.getall(TICKET, []))
        return web.Response(
            status=HTTPStatus.FOUND,
            headers={
                hdrs.LOCATION: f"{self.site_url}/{quote(path)}?{avoid}{ticket}",
                hdrs.CACHE_CONTROL: "no-store",
                "Referrer-Policy": "no-referrer",
            },
        )


def mirror_app(
    counter: Counter, *, checks: Callable[[], Iterable[Check]], status: Callable[[], dict[str, object]]
) -> web.Application:
    """Make the mirror's application."""

    async def show_status(request: web.Request) -> web.Response:
        require_loopback(request)
        return web.json_response(status(), headers={hdrs.CACHE_CONTROL: "no-store"})

    async def show_page(request: web.Request) -> web.Response:
        require_loopback(request)
        return web.Response(text=page_of(status()), content_type="text/html", headers=PAGE_HEADERS)

    app = new_app()
    app.router.add_get("/d/{token}/{name}", counter.serve)  # HEAD, too
    app.router.add_get("/-/api/v1/status", show_status)
    app.router.add_get("/-/status", show_page)
    add_health(app, checks)
    return app


@lru_cache(maxsize=FIELDS_REMEMBERED_MAX)
def _content(
    objects: Objects, sha256: Digest, size_bytes: int, media_type: str, path: FilePath, published_at_ns: int
) -> Content:
    return Content(
        path=objects.path(sha256),
        size_bytes=size_bytes,
        sha256=sha256,
        media_type=media_type,
        file_name=file_name(path),
        changed_s=changed_s(published_at_ns),
    )


def _nothing_here() -> ApiError:
    return ApiError("not_found", "there is nothing here", status=HTTPStatus.NOT_FOUND)


def _nothing_leaves(sent_bytes: int) -> None:
    assert sent_bytes == 0, "an answer without a body sent bytes"  # noqa: S101 - the two decisions would differ


def _former_detours(request: web.Request) -> list[MirrorName]:
    """Give the mirrors that sent this visitor back before us, so that the site counts on.

    ``origin`` is no hop, but must not be lost either: the master named itself because it cannot serve this visitor.
    """
    names = request.query.getall("not", [])
    found: list[MirrorName] = [ORIGIN] if ORIGIN in names else []
    for name in [name for name in names if name != ORIGIN][: DETOURS_MAX - 1]:
        with suppress(InvalidNameError):
            found.append(parse_mirror(name))
    return found
