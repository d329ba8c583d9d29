"""Errors as the HTTP interfaces answer them: ``{"error": {"code", "message", "hint"}}``; ``code`` is stable."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, TypeAlias

import structlog
from aiohttp import web

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_ERROR_ID_BYTES: Final = 6  # enough to find one line in a log
_CLIENT_ERRORS_FROM: Final = 400
_HEADERS_KEPT: Final = ("Allow",)  # RFC 9110 §15.5.6 wants it with a 405

log = structlog.stdlib.get_logger()


class ApiError(Exception):
    """What the asker did wrong, or what cannot be done for him. Raise it in a handler; the middleware answers it."""

    def __init__(
        self,
        code: str,
        message: str,
        hint: str = "",
        status: int = HTTPStatus.BAD_REQUEST,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.hint, self.status = code, message, hint, int(status)
        self.headers: Mapping[str, str] = headers or {}


def error_response(error: ApiError) -> web.Response:
    """Write an error as the answer to a request."""
    body = {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
    return web.json_response(body, status=error.status, headers={"Cache-Control": "no-store", **error.headers})


@web.middleware
async def json_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error as JSON. What nobody expected is a 500 with an id, under which the log has the traceback."""
    try:
        return await handler(request)
    except ApiError as error:
        return error_response(error)
    except web.HTTPException as error:
        if error.status < _CLIENT_ERRORS_FROM:
            raise
        return error_response(_translated(error))
    except ConnectionError as error:
        if request.transport is None or request.transport.is_closing():
            raise  # the client left; aiohttp ends the connection quietly
        return _unexpected(request, error)
    except Exception as error:  # noqa: BLE001 - the last stop before the client
        return _unexpected(request, error)


def _translated(error: web.HTTPException) -> ApiError:
    """Turn what aiohttp itself raises (no such route, wrong method, body too large) into our form."""
    status = HTTPStatus(error.status)
    kept = {name: error.headers[name] for name in _HEADERS_KEPT if name in error.headers}
    return ApiError(status.name.lower(), status.description or status.phrase, status=status, headers=kept)


def _unexpected(request: web.Request, error: Exception) -> web.Response:
    error_id = secrets.token_hex(_ERROR_ID_BYTES)
    # The route and not the path: paths carry tokens.
    log.error("http.failed", error_id=error_id, method=request.method, route=route_of(request), exc_info=error)
    if request.writer.output_size > 0:
        raise ConnectionResetError(
            "the answer has begun; only a broken connection can tell that it is wrong"
        ) from error
    return error_response(
        ApiError(
            "internal",
            f"something went wrong here (error {error_id})",
            "tell the operator this number; the log has the details under it",
            status=HTTPStatus.INTERNAL_SERVER_ERROR,
        )
    )


def route_of(request: web.Request) -> str:
    """Name the route that a request took, such as ``/d/{token}/{name}``; it says nothing of tokens and visitors."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "none"
