"""Administration: grants that are taken back."""

from __future__ import annotations

from ipaddress import ip_network

from aiohttp import web

from edge.tracing import trace_of
from events.grants import GRANT_ID_BYTES
from events.names import ORIGIN, MirrorName, parse_mirror, parse_path
from events.schemas import GrantsRevoked
from master.errors import InvalidRequestError
from master.revoking import Order, Revoking
from master.web.bodies import RevokeBody, answer, read_body


class RevocationRoutes:
    """``/-/api/v1/revocations``."""

    def __init__(self, revoking: Revoking) -> None:
        self._revoking = revoking

    async def list(self, _request: web.Request) -> web.Response:
        """List the revocations that hold."""
        return answer({"revocations": [_json(revoked) for revoked in await self._revoking.holding()]})

    async def revoke(self, request: web.Request) -> web.Response:
        """Take grants back."""
        order = _order(await read_body(request, RevokeBody))
        revoked, cut = await self._revoking.revoke(order, trace=trace_of(request))
        return answer({"revocation": _json(revoked), "cut": cut})


def _order(body: RevokeBody) -> Order:
    return Order(
        path=None if body.path is None else parse_path(body.path),
        mirror=None if body.mirror is None else _mirror(body.mirror),
        grant_id=None if body.grant_id is None else _grant_id(body.grant_id),
        network=None if body.network is None else _network(body.network),
        reason=body.reason,
    )


def _mirror(text: str) -> MirrorName:
    return ORIGIN if text == ORIGIN else parse_mirror(text)


def _grant_id(text: str) -> bytes:
    try:
        grant_id = bytes.fromhex(text)
    except ValueError:
        grant_id = b""
    if len(grant_id) != GRANT_ID_BYTES:
        raise InvalidRequestError("grant_invalid", f"{text!r} is no grant's id", hint="32 hexadecimal digits")
    return grant_id


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise InvalidRequestError("network_invalid", str(error), hint="write it like 192.0.2.0/24") from error


def _json(revoked: GrantsRevoked) -> dict[str, object]:
    return {
        "revocation": revoked.revocation,
        "mirror": revoked.mirror,
        "grant_id": None if revoked.grant_id is None else revoked.grant_id.hex(),
        "sha256": None if revoked.sha256 is None else revoked.sha256.hex(),
        "network": revoked.network,
        "reason": revoked.reason,
        "start_by_s_max": revoked.start_by_s_max,
        "until_s": revoked.until_s,
    }
