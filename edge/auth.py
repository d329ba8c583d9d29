"""Who may ask: bearer tokens (RFC 6750), compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from http import HTTPStatus

from aiohttp import hdrs, web

from edge.errors import ApiError

_SCHEME = "bearer"


def bearer_of(request: web.Request) -> str:
    """Give the token that a request carries.

    Raises:
        ApiError: 401, there is none.
    """
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    token = token.strip()
    if scheme.lower() != _SCHEME or not token:
        raise ApiError(
            "token_missing",
            "this needs a token",
            "send it as 'Authorization: Bearer <token>'",
            status=HTTPStatus.UNAUTHORIZED,
            headers={hdrs.WWW_AUTHENTICATE: 'Bearer realm="distributary"'},
        )
    return token


def require_bearer(request: web.Request, expected: str) -> None:
    """Let a request pass that carries this token.

    Raises:
        ApiError: 401 without a token, 403 with another one.
    """
    if not same_token(bearer_of(request), expected):
        raise ApiError(
            "token_wrong", "this token gives no leave here", "look for the right one", status=HTTPStatus.FORBIDDEN
        )


def bears(request: web.Request, expected: str) -> bool:
    """Tell whether a request carries this token."""
    try:
        return same_token(bearer_of(request), expected)
    except ApiError:
        return False


def same_token(found: str, expected: str) -> bool:
    """Compare two tokens, in a time that tells nothing about either. Empty ones never match."""
    equal = hmac.compare_digest(_digest(found), _digest(expected))
    return equal and bool(expected)


def _digest(token: str) -> bytes:
    # aiohttp keeps bytes that are no UTF-8 as surrogates.
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
