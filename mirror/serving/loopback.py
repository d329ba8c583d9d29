"""What is for the operator alone: asked on the machine itself, through no proxy."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from edge.errors import ApiError
from edge.visitors import FORWARDED_FOR
from events.grants import normalise

_PROXYS: Final = (FORWARDED_FOR, hdrs.FORWARDED, hdrs.VIA, "X-Real-IP")


def require_loopback(request: web.Request) -> None:
    """Refuse all but the operator on this machine; a proxy on it speaks for somebody else.

    The name that was asked for has to be this machine's, too: a page elsewhere may let its own name point here.

    Raises:
        ApiError: 403, it is somebody else.
    """
    is_proxied = any(name in request.headers for name in _PROXYS)
    if is_proxied or not _is_loopback(request.remote or "") or not _is_own_name(request):
        raise ApiError(
            "loopback_only", "this is for the operator", "ask on the machine itself", status=HTTPStatus.FORBIDDEN
        )


def _is_own_name(request: web.Request) -> bool:
    host = request.url.host or ""
    return host == "localhost" or _is_loopback(host)


def _is_loopback(address: str) -> bool:
    try:
        return normalise(address).is_loopback
    except ValueError:
        return False
