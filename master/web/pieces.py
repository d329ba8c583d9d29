"""``POST /-/api/v1/mirrors/self/pieces``: what a mirror may fetch next, and from whom."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Final, Literal

from aiohttp import web
from msgspec import Meta, Struct

from edge.errors import ApiError
from edge.visitors import ForwardedForError, IPNetwork, visitor_of
from events.grants import IPAddress
from events.names import parse_digest
from events.pieces import PIECES_MAX
from events.schemas import SourceFault
from master.joining import Joining
from master.seeding import Answer, Question, Seeding, Settled
from master.tracker.bits import read_bitmap
from master.tracker.leases import LEASE_ID_BYTES
from master.web.bodies import answer, read_body
from master.web.mirrors import asking

WANT_MAX: Final = 16  # pieces at once; mirrors ask for four
WAIT_S_MAX: Final = 20.0  # below what proxies give an answer that has not begun
SESSION_LENGTH_MAX: Final = 64  # mirrors draw 32 digits
RESULTS_MAX: Final = 100  # a mirror that could not ask for a while tells the last ones


class ResultBody(Struct, frozen=True, kw_only=True):
    """What became of a lease."""

    lease: Annotated[str, Meta(pattern=rf"^[0-9a-f]{{{2 * LEASE_ID_BYTES}}}$(?!\n)")]
    outcome: Literal["done", "failed"]
    fault: str = ""

    def settled(self) -> Settled:
        """Give it as the tracker wants it. What a newer mirror calls its fault is some fault."""
        fault = None if self.outcome == "done" else SourceFault(self.fault or SourceFault.OTHER)
        return Settled(lease_id=bytes.fromhex(self.lease), fault=fault)


class PiecesBody(Struct, frozen=True, kw_only=True):
    """What a mirror has of a content and how much it wants. What a newer mirror says besides is ignored."""

    sha256: str
    have: Annotated[str, Meta(max_length=-(-PIECES_MAX // 8) * 4 // 3 + 4)] = ""
    want_max: Annotated[int, Meta(ge=0, le=WANT_MAX)] = 1
    wait_s: Annotated[float, Meta(ge=0, le=WAIT_S_MAX)] = 0.0
    session: Annotated[str, Meta(max_length=SESSION_LENGTH_MAX)] = ""
    results: Annotated[list[ResultBody], Meta(max_length=RESULTS_MAX)] = []


class PiecesRoutes:
    """``/-/api/v1/mirrors/self/pieces``."""

    def __init__(self, joining: Joining, seeding: Seeding, *, proxies: Sequence[IPNetwork]) -> None:
        self._joining = joining
        self._seeding = seeding
        self._proxies = proxies

    async def ask(self, request: web.Request) -> web.Response:
        """Lease pieces; the answer may take as long as the asker is willing to wait."""
        mirror = await asking(request, self._joining)
        body = await read_body(request, PiecesBody)
        question = Question(
            mirror=mirror.name,
            address=self._address(request),
            sha256=parse_digest(body.sha256),
            have=_bitmap(body.have),
            want_max=body.want_max,
            wait_s=body.wait_s,
            session=body.session,
            results=tuple(result.settled() for result in body.results),
            is_gone=lambda: request.transport is None or request.transport.is_closing(),
        )
        return answer(_answer_json(await self._seeding.ask(question)))

    def _address(self, request: web.Request) -> IPAddress:
        try:
            return visitor_of(request, self._proxies)
        except ForwardedForError as error:
            raise ApiError("forwarded_for_invalid", str(error), "tell the operator of the proxy") from error


def _bitmap(text: str) -> int:
    try:
        return read_bitmap(binascii.a2b_base64(text, strict_mode=True))
    except binascii.Error as error:
        raise ApiError(
            "bitmap_invalid", f"have is no base64: {error}", "docs/http-api.md shows it", status=HTTPStatus.BAD_REQUEST
        ) from error


def _answer_json(found: Answer) -> dict[str, object]:
    return {
        "leases": [
            {
                "lease": lease.lease_id.hex(),
                "piece": lease.piece,
                "source": lease.source,
                "url": lease.url,
                "token": lease.token,
                "expires_in_s": round(lease.expires_in_s, 1),
            }
            for lease in found.leases
        ],
        "retry_after_s": round(found.retry_after_s, 3),
    }
