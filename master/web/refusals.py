"""What the master refuses, as HTTP answers it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from edge.errors import ApiError, Handler
from events.errors import InvalidNameError, UnspeakableEventError
from master.errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UnusableFileError,
)

_STATUS: Final[dict[type[RefusedError], HTTPStatus]] = {
    InvalidRequestError: HTTPStatus.BAD_REQUEST,
    ForbiddenError: HTTPStatus.FORBIDDEN,
    NotFoundError: HTTPStatus.NOT_FOUND,
    ConflictError: HTTPStatus.CONFLICT,
    UnusableFileError: HTTPStatus.CONFLICT,
    GoneError: HTTPStatus.GONE,
    UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
}


@web.middleware
async def refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what a service refused with its code, message and hint."""
    try:
        return await handler(request)
    except RefusedError as error:
        raise ApiError(error.code, error.message, error.hint, status=status_of(error)) from error
    except InvalidNameError as error:
        raise ApiError(f"{error.kind.replace(' ', '_')}_invalid", str(error)) from error
    except (msgspec.DecodeError, UnspeakableEventError) as error:
        raise ApiError("body_invalid", str(error), "docs/http-api.md shows what belongs there") from error


def status_of(error: RefusedError) -> HTTPStatus:
    """Give the status that fits a refusal: that of the nearest family."""
    return next(_STATUS[family] for family in type(error).__mro__ if family in _STATUS)
