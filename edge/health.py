"""``/-/livez`` and ``/-/readyz``: does the loop turn, and can the role do its work.

A check reads state that the role keeps anyway; a probe must not cause work of its own.

Strangers are told what works and what does not. Why, which may name the broker, its users and files of this machine, is
for the operator on it alone, and for whoever proves that he may know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeAlias

from aiohttp import web

from edge.localness import is_local

LIVE_PATH = "/-/livez"
READY_PATH = "/-/readyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that a role needs. Without a ``vital`` one it is not ready; without another it is degraded."""

    name: str
    ok: bool
    detail: str = ""
    vital: bool = True


Checks: TypeAlias = Callable[[], Iterable[Check]]
MayKnow: TypeAlias = Callable[[web.Request], bool]


def report(checks: Iterable[Check], *, with_reasons: bool) -> tuple[HTTPStatus, dict[str, object]]:
    """Give the status and the body of ``/-/readyz``."""
    found = tuple(checks)
    ready = all(check.ok for check in found if check.vital)
    degraded = not all(check.ok for check in found)
    listed = [
        {"name": check.name, "ok": check.ok, **({"detail": check.detail} if with_reasons else {})} for check in found
    ]
    status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    return status, {"ready": ready, "degraded": degraded, "checks": listed}


def add_health(app: web.Application, checks: Checks, *, may_know: MayKnow = is_local) -> None:
    """Let an application answer both probes; ``checks`` is asked at each ``/-/readyz``.

    ``may_know`` tells who is told the reasons, too.
    """

    async def live(_request: web.Request) -> web.Response:
        return web.json_response({"live": True}, headers=_NO_STORE)

    async def ready(request: web.Request) -> web.Response:
        status, body = report(checks(), with_reasons=may_know(request))
        return web.json_response(body, status=status, headers=_NO_STORE)

    app.router.add_get(LIVE_PATH, live)
    app.router.add_get(READY_PATH, ready)


_NO_STORE = {"Cache-Control": "no-store"}
