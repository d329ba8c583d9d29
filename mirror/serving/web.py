"""What a mirror answers over HTTP: files for tokens, its state for the operator.

Whatever cannot be served for a good token is a redirect back to the site, which finds another place; its target is made
of the configured address and our own tables, never of what the visitor sent. Tokens reach no log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import structlog
from aiohttp import hdrs, web

from edge.errors import ApiError
from edge.files import Asked, Content, ContentGoneError, asked_for, send_file
from edge.health import Check, add_health
from edge.server import new_app
from edge.shortage import NoDescriptorError
from edge.visitors import ForwardedForError, IPNetwork, visitor_of
from events.errors import (
    ExpiredGrantError,
    ForeignGrantError,
    InvalidNameError,
    MalformedGrantError,
)
from events.grants import Grant, IPAddress, read
from events.names import ORIGIN, Digest, MirrorName, file_name, parse_mirror
from mirror.content.objects import Objects
from mirror.serving.external import External
from mirror.serving.loopback import require_loopback
from mirror.serving.page import PAGE_HEADERS, page_of
from mirror.serving.slots import Refusal
from mirror.serving.traffic import RefusedError, Traffic
from mirror.serving.transfers import Visit
from mirror.state.store import Store

DETOURS_MAX: Final = 3  # then the master serves
DEFAULT_MEDIA_TYPE: Final = "application/octet-stream"

log = structlog.stdlib.get_logger()


class _DetourError(Exception):
    """A good token that cannot be served here. Send the visitor back to the site."""

    def __init__(self, grant: Grant, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.grant, self.refusal = grant, refusal


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
        grant, address = self._proved(request)
        try:
            self._check(grant, address)
            content = self._content(grant, request.match_info["name"])
            return await self._send(request, grant, address, content)
        except _DetourError as detour:
            return self._detour(request, detour)

    def _proved(self, request: web.Request) -> tuple[Grant, IPAddress]:
        try:
            address = visitor_of(request, self.proxies)
            grant = read(request.match_info["token"], mirror=self.name, keys=self.grant_keys())
        except MalformedGrantError:
            raise _nothing_here() from None
        except ForwardedForError as error:
            raise ApiError("forwarded_for", "a proxy in front of this mirror gave no address") from error
        if grant.peer:  # for pieces between mirrors
            raise _nothing_here()
        return grant, address

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
            raise _DetourError(grant, Refusal.EXPIRED) from None
        if self.left() is not None:
            raise _DetourError(grant, Refusal.LEFT)

    def _check_address_and_time(self, grant: Grant, address: IPAddress) -> None:
        """Check the grant; a visitor who is the first of the other address family claims it."""
        if self.traffic.slots.visits.prove(grant, address, now_s=self.clock_s()):
            self.traffic.note_claim(grant, address)

    def _content(self, grant: Grant, name: str) -> Content:
        """Find what a grant is for. The name that it is saved as is the catalogue's; the visitor's only picks one."""
        replica = self.store.replicas.get(grant.sha256)
        if replica is None or replica.size_bytes != grant.size_bytes:
            raise _DetourError(grant, Refusal.GONE)
        entry = self.store.catalogue.wanted(grant.sha256, name=name)
        return Content(
            path=self.objects.path(grant.sha256),
            size_bytes=replica.size_bytes,
            sha256=grant.sha256,
            media_type=entry.media_type if entry is not None and entry.media_type else DEFAULT_MEDIA_TYPE,
            file_name=file_name(entry.path if entry is not None else replica.path),
        )

    async def _send(
        self, request: web.Request, grant: Grant, address: IPAddress, content: Content
    ) -> web.StreamResponse:
        asked = asked_for(request, content)
        try:
            if asked.part.start == asked.part.stop:
                return (await send_file(request, asked, meter=_nothing_leaves)).response
            return await self._send_counted(request, grant, address, asked)
        except ContentGoneError as error:
            log.error("replica.missing", sha256=grant.sha256.hex(), problem=error.problem)  # noqa: TRY400 - no bug of ours
            await self.lost(grant.sha256)
            raise _DetourError(grant, Refusal.GONE) from None
        except NoDescriptorError:
            raise _DetourError(grant, Refusal.FILES_EXHAUSTED) from None

    async def _send_counted(
        self, request: web.Request, grant: Grant, address: IPAddress, asked: Asked
    ) -> web.StreamResponse:
        try:
            if self.external is not None and self.external.takes(request):
                visit = await self.traffic.admit(grant, asked=asked.part, address=address)
                return _handed_over(self.external, request, asked.content, visit)
            async with self.traffic.visiting(grant, asked=asked.part, address=address) as visit:
                sent = await send_file(request, asked, meter=visit.meter, pacing=self.traffic.pacing)
                visit.note(sent)
                return sent.response
        except RefusedError as error:
            raise _DetourError(grant, error.refusal) from None

    def _detour(self, request: web.Request, detour: _DetourError) -> web.Response:
        path = self.store.path_of(detour.grant.sha256, request.match_info["name"])
        log.info("visitor.detoured", grant_id=detour.grant.grant_id.hex(), reason=detour.refusal.name, path=path)
        if path is None:
            raise ApiError(
                "gone", detour.refusal.value, "follow the site's own link again", status=HTTPStatus.NOT_FOUND
            )
        avoid = "&".join(f"not={name}" for name in (*_former_detours(request), self.name))
        return web.Response(
            status=HTTPStatus.FOUND,
            headers={
                hdrs.LOCATION: f"{self.site_url}/{quote(path)}?{avoid}",
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


def _handed_over(external: External, request: web.Request, content: Content, visit: Visit) -> web.Response:
    """Let nginx send; it ends the visit, unless there is nothing to be sent."""
    try:
        return external.hand_over(request, content, visit)
    except ContentGoneError:
        visit.end()
        raise


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
