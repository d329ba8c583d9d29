"""The site's public address: redirects visitors, explains choices, shows the fleet."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from typing import Final

from aiohttp import hdrs, web

from edge.errors import ApiError
from edge.health import Check, add_health
from edge.server import new_app
from edge.tracing import trace_of
from edge.visitors import FORWARDED_FOR, ForwardedForError, IPNetwork, visitor_of
from events.errors import InvalidNameError
from events.grants import IPAddress, normalise
from events.names import FilePath, parse_path
from events.trace import TraceContext
from selection.access.networks import has_access
from selection.answering import answers
from selection.answering.announcer import Announcer
from selection.answering.redirector import NoAccessError, NobodyLeftError, Redirector, UnknownFileError
from selection.answering.requests import asked_not_of, path_of
from selection.following.follower import Follower
from selection.view.fleet import FleetView

_NO_STORE: Final = {hdrs.CACHE_CONTROL: "no-store"}
_REDIRECT_HEADERS: Final = {**_NO_STORE, "Referrer-Policy": "no-referrer"}
_JSON: Final = "application/json"
FILES_PAGE_MAX: Final = 1000  # some 300 KB of JSON
FILES_AT_ONCE: Final = 100  # written in a millisecond; then visitors get their turn
NOBODY_LEFT_RETRY_AFTER_S: Final = 30  # downloads end, mirrors report each few seconds
STARTING_RETRY_AFTER_S: Final = 5  # a log of a million entries is read in less than a minute, most in a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The selector over HTTP. ``site_url`` is the public one, where it is known."""

    redirector: Redirector
    view: FleetView
    follower: Follower
    announcer: Announcer
    proxies: tuple[IPNetwork, ...]
    hops_max: int
    site_url: str | None
    geoip: str

    def app(self) -> web.Application:
        """Make the application."""
        app = new_app()
        add_health(app, self.checks)
        app.router.add_get("/-/api/v1/where", self.where)
        app.router.add_get("/-/api/v1/files", self.files)
        app.router.add_get("/-/api/v1/mirrors", self.mirrors)
        app.router.add_get("/-/api/v1/status", self.status)
        app.router.add_get("/{path:.*}", self.redirect)
        return app

    async def redirect(self, request: web.Request) -> web.Response:
        """Send a visitor to the best mirror."""
        address = self._visitor(request)
        asked_not = asked_not_of(request.query.getall("not", []), hops_max=self.hops_max)
        if not self.follower.caught_up.is_set():
            return _refusal(request, _starting())
        try:
            path = path_of(request.rel_url.raw_path)
            location = self.redirector.redirect(path, address, asked_not, trace=_trace_of(request))
        except (InvalidNameError, UnknownFileError):
            return _refusal(request, _unknown())
        except NoAccessError:
            return _refusal(request, _no_access())
        except NobodyLeftError:
            return _refusal(request, _nobody_left())
        return web.Response(status=HTTPStatus.FOUND, headers={hdrs.LOCATION: location, **_REDIRECT_HEADERS})

    async def where(self, request: web.Request) -> web.Response:
        """Explain the choice as it would be now."""
        self._need_view()
        path = _wanted_path(request)
        address = self._wanted_address(request)
        asked_not = asked_not_of(request.query.getall("not", []), hops_max=self.hops_max)
        try:
            explained = self.redirector.explain(path, address, asked_not)
        except UnknownFileError:
            raise _unknown() from None
        return _json(answers.explanation(explained, names_networks=_is_local(request)))

    async def files(self, request: web.Request) -> web.Response:
        """Give a page of the files that the asker may download; who asks on this machine sees all."""
        self._need_view()
        address = None if _is_local(request) else self._visitor(request)
        limit, after = _wanted_limit(request), request.query.get("after", "")
        found: list[answers.Json] = []
        is_more = True
        while is_more and len(found) < limit:
            seen = list(islice(self.view.catalogue.after(after), FILES_AT_ONCE))
            allowed = [file for file in seen if address is None or has_access(file.access, address)]
            found += answers.files(allowed[: limit - len(found)], self.view)
            is_more = len(seen) == FILES_AT_ONCE
            after = seen[-1].path if seen else after
            await asyncio.sleep(0)  # visitors first
        return _json({"files": found, "next": found[-1]["path"] if found and len(found) == limit else None})

    async def mirrors(self, _request: web.Request) -> web.Response:
        """Give the fleet."""
        self._need_view()
        return _json(answers.mirrors(self.redirector.standing()))

    async def status(self, _request: web.Request) -> web.Response:
        """Give the view in numbers, and how it is kept."""
        return _json({"site_url": self.site_url, "geoip": self.geoip, **self._numbers(), **self.follower.status()})

    def checks(self) -> Iterable[Check]:
        """Tell what the selector needs and how that is. Once caught up it stays ready on the view that it has."""
        yield self.follower.log_check()
        yield self.follower.broker_check()
        problem, waiting, dropped = self.announcer.problem, self.announcer.waiting, self.announcer.dropped
        detail = problem or f"{waiting} waiting, {dropped} dropped so far"
        yield Check(name="notices", ok=not problem, detail=detail, vital=False)

    def _need_view(self) -> None:
        """Refuse to answer from a view that is not whole yet."""
        if not self.follower.caught_up.is_set():
            raise _starting()

    def _numbers(self) -> answers.Json:
        return {
            "files": len(self.view.catalogue),
            "mirrors": len(self.view.mirrors()),
            "notices": {"waiting": self.announcer.waiting, "dropped": self.announcer.dropped},
            "missing_events": self.view.missing_events(),
        }

    def _visitor(self, request: web.Request) -> IPAddress:
        try:
            return visitor_of(request, self.proxies)
        except ForwardedForError as error:
            raise ApiError("forwarded_for_invalid", str(error), "tell the operator of the proxy") from error

    def _wanted_address(self, request: web.Request) -> IPAddress:
        text = request.query.get("ip")
        if text is None:
            return self._visitor(request)
        try:
            return normalise(text)
        except ValueError:
            raise ApiError("address_invalid", f"{text!r} is no IP address", "write ?ip=203.0.113.9") from None


def _trace_of(request: web.Request) -> TraceContext | None:
    """Give the trace that a visitor's download belongs to; None where he only looks."""
    return None if request.method == hdrs.METH_HEAD else trace_of(request)


def _is_local(request: web.Request) -> bool:
    """Tell whether somebody on this machine asks, and no proxy for somebody else: an administrator."""
    peer = request.remote or ""
    return FORWARDED_FOR not in request.headers and normalise(peer).is_loopback


def _wanted_limit(request: web.Request) -> int:
    text = request.query.get("limit", str(FILES_PAGE_MAX))
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(FILES_PAGE_MAX)) and int(text) > 0):
        raise ApiError("limit_invalid", f"{text!r} is no number of files", f"write 1 to {FILES_PAGE_MAX}")
    return min(int(text), FILES_PAGE_MAX)


def _wanted_path(request: web.Request) -> FilePath:
    try:
        return parse_path(request.query.get("path", "").removeprefix("/"))
    except InvalidNameError as error:
        raise ApiError("path_invalid", str(error), "write ?path=dir/name, as in the list of files") from error


def _unknown() -> ApiError:
    return ApiError("file_unknown", "there is no such file here", "see /-/api/v1/files", status=HTTPStatus.NOT_FOUND)


def _starting() -> ApiError:
    return ApiError(
        "starting",
        "this site is starting: come again in a few seconds",
        "/-/readyz tells what it waits for",
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        headers={hdrs.RETRY_AFTER: str(STARTING_RETRY_AFTER_S)},
    )


def _nobody_left() -> ApiError:
    return ApiError(
        "nobody_left",
        "no server can send this file just now: come again in a minute",
        "/-/api/v1/where?path=… tells why",
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        headers={hdrs.RETRY_AFTER: str(NOBODY_LEFT_RETRY_AFTER_S)},
    )


def _no_access() -> ApiError:
    return ApiError("no_access", "this file is not for your network", status=HTTPStatus.FORBIDDEN)


def _refusal(request: web.Request, error: ApiError) -> web.Response:
    """Answer a visitor: a sentence for a person, JSON for a program that asks for it."""
    if _JSON in request.headers.get(hdrs.ACCEPT, ""):
        raise error
    return web.Response(status=error.status, text=f"{error.message}\n", headers={**_NO_STORE, **error.headers})


def _json(body: answers.Json) -> web.Response:
    return web.json_response(body, headers=_NO_STORE)
