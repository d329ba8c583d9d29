"""The endpoint by which the operator's commands reach the running mirror.

It listens on the loopback address alone, on a port of its own that no proxy in front of visitors leads to. Where it is,
and the token that it wants, stand in a file in the data folder that the operator alone can read.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final, TypeVar

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from msgspec import Meta, Struct

from edge.auth import require_bearer
from edge.errors import ApiError
from edge.server import new_app, serve
from mirror.fetching.origin import OriginError, OriginForgotUsError
from mirror.operating.operator import LeftError, Operator, UnfitSettingError
from mirror.operating.promises import Change
from mirror.serving.loopback import require_loopback
from mirror.state.database import StoreError

FILE_NAME: Final = "control.json"
BASE: Final = "/-/control/v1"
DRAIN_S: Final = 3600.0  # an hour: most downloads have ended, and whoever waits for a restart gets it on the same day
TOKEN_BYTES: Final = 32
JOIN_AGAIN: Final = "stop it, and join again with a new invitation into a new folder"
YEAR_S: Final = 366 * 24 * 3600  # a longer pause is a departure

_T = TypeVar("_T")


class _Pause(Struct, forbid_unknown_fields=True):
    for_s: Annotated[float, Meta(gt=0, le=YEAR_S)] | None = None


class _Drain(Struct, forbid_unknown_fields=True):
    within_s: Annotated[float, Meta(ge=0, le=YEAR_S)] = DRAIN_S


class _Routes:
    """The operator's requests; each is answered with the state after it."""

    def __init__(self, operator: Operator, status: Callable[[bool], dict[str, object]]) -> None:
        self._operator = operator
        self._status = status

    def add_to(self, app: web.Application) -> None:
        """Put them where they belong."""
        app.router.add_get(f"{BASE}/state", self.state)
        app.router.add_post(f"{BASE}/pause", self.pause)
        app.router.add_post(f"{BASE}/resume", self.resume)
        app.router.add_post(f"{BASE}/drain", self.drain)
        app.router.add_post(f"{BASE}/leave", self.leave)
        app.router.add_post(f"{BASE}/settings", self.set)

    async def state(self, request: web.Request) -> web.Response:
        """Show all of it; visitors' whole addresses only where that is asked for."""
        return self._answer(verbose=request.query.get("verbose") == "1")

    async def pause(self, request: web.Request) -> web.Response:
        """Take no new visitors."""
        await self._operator.pause((await _body(request, _Pause)).for_s)
        return self._answer()

    async def resume(self, _request: web.Request) -> web.Response:
        """Take new visitors."""
        await self._operator.resume()
        return self._answer()

    async def drain(self, request: web.Request) -> web.Response:
        """Come to a stop."""
        await self._operator.drain((await _body(request, _Drain)).within_s)
        return self._answer()

    async def leave(self, _request: web.Request) -> web.Response:
        """Leave the fleet."""
        await self._operator.leave()
        return self._answer()

    async def set(self, request: web.Request) -> web.Response:
        """Change limits."""
        await self._operator.set(await _body(request, Change))
        return self._answer()

    def _answer(self, *, verbose: bool = False) -> web.Response:
        return web.json_response(self._status(verbose), headers={hdrs.CACHE_CONTROL: "no-store"})


@asynccontextmanager
async def controlled(
    operator: Operator, folder: Path, *, status: Callable[[bool], dict[str, object]]
) -> AsyncGenerator[None]:
    """Take the operator's commands while the block is entered; ``status`` is told whether to show whole addresses."""
    token, path = secrets.token_urlsafe(TOKEN_BYTES), folder / FILE_NAME
    app = new_app()
    app.middlewares.append(_guard(token))
    _Routes(operator, status).add_to(app)
    async with serve(app, host="127.0.0.1", port=0) as url:
        _write_private(path, json.dumps({"url": url, "token": token}))
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _guard(token: str) -> Middleware:
    """Make the middleware that lets the operator pass, and says what went wrong behind it."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        require_loopback(request)
        require_bearer(request, token)
        try:
            return await handler(request)
        except UnfitSettingError as error:
            raise ApiError("setting_unfit", str(error)) from error
        except StoreError as error:
            raise ApiError(
                "store_failed",
                f"the mirror's database does not take it: {error}",
                status=HTTPStatus.SERVICE_UNAVAILABLE,
            ) from error
        except LeftError as error:
            raise _not_a_member(f"this mirror left the fleet already: {error.reason}") from error
        except OriginForgotUsError as error:
            raise _not_a_member("the site does not know this mirror any more") from error
        except OriginError as error:
            raise ApiError(
                "master_refused",
                f"the master did not do it: {error}",
                "try again later, or ask the site to remove this mirror",
                status=HTTPStatus.BAD_GATEWAY,
            ) from error

    return guard


def _not_a_member(message: str) -> ApiError:
    return ApiError("not_a_member", message, JOIN_AGAIN, status=HTTPStatus.GONE)


async def _body(request: web.Request, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(await request.read() or b"{}", type=kind)
    except msgspec.DecodeError as error:
        raise ApiError("body_invalid", str(error)) from error


def _write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read, whole or not at all."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)
    fresh.rename(path)
