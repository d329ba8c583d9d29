"""What a mirror answers other mirrors: verified pieces, of what it holds and of what it is still fetching.

``GET /-/peer/<sha256>`` with a token that the master minted for this mirror, bound to the asking one's address. One
piece a request, or its end where a fetch broke off, and never a byte that was not verified. A visitor's token opens
nothing here, nor a peer's anything else. Slots, quota and rate are those that the operator gives to other mirrors.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Container, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import hdrs, web

from edge.auth import bearer_of
from edge.errors import ApiError
from edge.files import etag_of
from edge.ranges import Part as Bytes
from edge.sending import Body
from edge.visitors import ForwardedForError, IPNetwork, visitor_of
from events.errors import (
    ExpiredGrantError,
    ForeignGrantError,
    InvalidNameError,
    MalformedGrantError,
)
from events.grants import Claim, Grant, IPAddress, check_or_claim, read
from events.names import Digest, MirrorName, parse_digest
from mirror.content.objects import Objects
from mirror.content.parts import PartsOnOffer
from mirror.content.piecemap import PieceLayout
from mirror.serving.traffic import PeerRefusedError, Traffic
from mirror.state.store import Store

PATH: Final = "/-/peer/{sha256}"
BUSY_RETRY_AFTER_S: Final = 5  # a piece takes seconds on a good line
GUESTS_MAX: Final = 10_000  # leases live for a minute; some 3 MB

_RANGE = re.compile(r"bytes=(\d{1,19})-(\d{1,19})", re.ASCII)

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class _Found:
    """A content of which pieces can be had."""

    descriptor: int
    layout: PieceLayout
    pieces: Container[int]


class _Guests:
    """Which grants were used, and what the other address family claimed of them."""

    def __init__(self) -> None:
        self._claims: OrderedDict[bytes, Claim | None] = OrderedDict()

    def prove(self, grant: Grant, *, address: IPAddress, now_s: float) -> None:
        """Check that a grant holds for this address now, and take note of its use.

        Raises:
            ForeignGrantError, ExpiredGrantError: it does not.
        """
        claimed, started = self._claims.get(grant.grant_id), grant.grant_id in self._claims
        claim = check_or_claim(grant, address=address, now_s=now_s, started=started, claimed=claimed)
        self._claims[grant.grant_id] = claim
        if len(self._claims) > GUESTS_MAX:
            self._claims.popitem(last=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peering:
    """Where other mirrors ask for pieces. ``offers`` tells whether the operator lets them."""

    mirror: MirrorName
    offers: Callable[[], bool]
    grant_keys: Callable[[], Mapping[int, bytes]]
    proxies: tuple[IPNetwork, ...]
    store: Store
    objects: Objects
    on_the_way: PartsOnOffer
    traffic: Traffic
    clock_s: Callable[[], float]
    _guests: _Guests = field(default_factory=_Guests, init=False)

    def add_to(self, app: web.Application) -> None:
        """Answer other mirrors in this application."""
        app.router.add_get(PATH, self.serve, allow_head=False)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer ``/-/peer/<sha256>``."""
        sha256 = self._named(request)
        grant, address = self._proved(request, sha256)
        with self._opened(sha256) as found:
            return await self._send(request, grant, address, found)

    def _named(self, request: web.Request) -> Digest:
        if self.offers():
            try:
                return parse_digest(request.match_info["sha256"])
            except InvalidNameError:
                pass
        raise _not_here()

    def _proved(self, request: web.Request, sha256: Digest) -> tuple[Grant, IPAddress]:
        token = bearer_of(request)
        try:
            address = visitor_of(request, self.proxies)
            grant = read(token, mirror=self.mirror, keys=self.grant_keys())
            if not grant.peer or grant.sha256 != sha256:
                raise MalformedGrantError("no leave to fetch pieces of this content")  # noqa: TRY301 - as if it were none
            self._guests.prove(grant, address=address, now_s=self.clock_s())
        except ForwardedForError as error:
            raise ApiError("forwarded_for", "a proxy in front of this mirror gave no address") from error
        except (MalformedGrantError, ForeignGrantError, ExpiredGrantError) as error:
            raise ApiError(
                "token_wrong", str(error), "ask the master for a new lease", status=HTTPStatus.FORBIDDEN
            ) from None
        return grant, address

    @contextmanager
    def _opened(self, sha256: Digest) -> Generator[_Found]:
        """Find a content that is held or on its way, and wanted still."""
        entry = self.store.catalogue.wanted(sha256)
        part = self.on_the_way.get(sha256)
        if entry is None:
            raise _not_here()
        if sha256 in self.store.replicas:
            layout = PieceLayout.of(entry)
            found = _Found(self._held(layout), layout, range(layout.count))
        elif part is not None:
            found = _Found(part.duplicate(), part.layout, part.pieces)
        else:
            raise _not_here()
        try:
            yield found
        finally:
            os.close(found.descriptor)

    def _held(self, layout: PieceLayout) -> int:
        try:
            descriptor = os.open(self.objects.path(layout.sha256), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            raise _not_here() from None  # the scrub and the next visitor find out what became of it
        if os.fstat(descriptor).st_size == layout.size_bytes:
            return descriptor
        os.close(descriptor)
        raise _not_here()

    async def _send(self, request: web.Request, grant: Grant, address: IPAddress, found: _Found) -> web.StreamResponse:
        asked = _asked(request, found)
        response = _head(asked, found.layout)
        try:
            async with self.traffic.serving_peer(grant, asked=asked, address=address) as transfer:
                try:
                    await response.prepare(request)
                except ConnectionError:
                    response.force_close()
                else:
                    body = Body(found.descriptor, asked, transfer.meter, self.traffic.peer_pacing)
                    await body.send(request, response)
        except PeerRefusedError as error:
            raise ApiError(
                "peer_busy",
                str(error),
                "ask again later, or somebody else",
                status=HTTPStatus.TOO_MANY_REQUESTS,
                headers={hdrs.RETRY_AFTER: str(BUSY_RETRY_AFTER_S)},
            ) from None
        return response


def _asked(request: web.Request, found: _Found) -> Bytes:
    """Give the bytes that a request asks for: of one verified piece."""
    if asked := _RANGE.fullmatch(request.headers.get(hdrs.RANGE, "")):
        start, stop = int(asked[1]), int(asked[2]) + 1
        piece = found.layout.piece_of(start, stop)
        if piece is not None and piece in found.pieces:
            return Bytes(start, stop)
    raise ApiError(
        "not_a_piece",
        "no verified piece is there",
        "ask for one whole piece, or for its end",
        status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        headers={hdrs.CONTENT_RANGE: f"bytes */{found.layout.size_bytes}"},
    )


def _head(asked: Bytes, layout: PieceLayout) -> web.StreamResponse:
    response = web.StreamResponse(status=HTTPStatus.PARTIAL_CONTENT)
    response.content_length = asked.stop - asked.start
    response.content_type = "application/octet-stream"
    response.headers[hdrs.CONTENT_RANGE] = f"bytes {asked.start}-{asked.stop - 1}/{layout.size_bytes}"
    response.headers[hdrs.ETAG] = etag_of(layout.sha256)
    response.headers[hdrs.CACHE_CONTROL] = "no-store"  # a piece is personal to a lease, and fetched once
    return response


def _not_here() -> ApiError:
    return ApiError("not_found", "it is not here", "ask the master for another source", status=HTTPStatus.NOT_FOUND)
