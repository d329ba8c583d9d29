"""The site's public address: sends visitors to mirrors, and tells of files, folders and the fleet."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from aiohttp import hdrs, web
from multidict import CIMultiDict

from edge.errors import ApiError
from edge.health import Check, add_health
from edge.server import new_app
from edge.tracing import traceparent_of
from edge.visitors import IPNetwork
from events.errors import InvalidNameError
from events.names import FilePath
from selection.access.gatekeeper import Gatekeeper
from selection.access.verdicts import Outcome
from selection.answering import answers
from selection.answering.announcer import Announcer
from selection.answering.heads import pairs
from selection.answering.redirector import NoAccessError, NobodyLeftError, Office, Redirector
from selection.answering.requests import path_of
from selection.answering.surface.api import Api, unknown
from selection.answering.surface.asking import Asked, Reception
from selection.answering.surface.figures import served_by
from selection.answering.surface.folders import Glance, list_folder
from selection.answering.surface.handing import Handing
from selection.answering.surface.pages import fleet_page, folder_page
from selection.answering.surface.replying import (
    NO_STORE,
    json_reply,
    not_modified,
    page_reply,
    refusal,
    turned_away,
)
from selection.answering.surface.shortfalls import Shortfalls
from selection.answering.surface.telling import Teller
from selection.answering.surface.turns import Turns
from selection.answering.surface.wishes import JSON, Form, accepts, split_suffix, wish_of
from selection.answering.surface.words import moment
from selection.answering.visit import guest_of
from selection.following.follower import Follower
from selection.following.snapshots import Restored, Snapshots
from selection.places.files import PlaceFiles
from selection.view.file import PublishedFile
from selection.view.fleet import FleetView
from selection.view.statistics import Statistics

NOBODY_LEFT_RETRY_AFTER_S: Final = 30  # downloads end, mirrors report each few seconds
LONG_FOLDER: Final = 100  # written in some milliseconds; the longest page takes twenty
STARTING_RETRY_AFTER_S: Final = 5  # a log of a million entries is read in less than a minute, most in a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The selector over HTTP. ``site_url`` is the public one, where it is known."""

    office: Office
    redirector: Redirector
    gatekeeper: Gatekeeper
    follower: Follower
    announcer: Announcer
    statistics: Statistics
    snapshots: Snapshots
    proxies: tuple[IPNetwork, ...]
    hops_max: int
    site_url: str | None
    places: PlaceFiles
    shortfalls: Shortfalls = field(init=False)
    turns: Turns = field(init=False, default_factory=Turns)

    def __post_init__(self) -> None:
        """Begin to count what mirrors lack when somebody asks."""
        object.__setattr__(self, "shortfalls", Shortfalls(self.view))

    def app(self) -> web.Application:
        """Make the application."""
        app = new_app()
        add_health(app, self.checks)
        api = Api(
            redirector=self.redirector,
            gatekeeper=self.gatekeeper,
            view=self.view,
            reception=self.reception,
            statistics=self.statistics,
            shortfalls=self.shortfalls,
            turns=self.turns,
            today=self.teller.today,
            need_view=self.need_view,
            handing=Handing(snapshots=self.snapshots, known=self.known, mark=self.follower.mark),
            status=self.status,
        )
        api.add_to(app)
        app.router.add_get("/{path:.*}", self.visit)
        return app

    @property
    def view(self) -> FleetView:
        """Give what is known of the fleet."""
        return self.office.view

    @property
    def known(self) -> Restored:
        """Give what a snapshot is made of."""
        return Restored(self.view, self.statistics, None)

    @property
    def reception(self) -> Reception:
        """Give who reads requests."""
        return Reception(proxies=self.proxies, places=self.office.places, hops_max=self.hops_max)

    @property
    def teller(self) -> Teller:
        """Give who tells of files."""
        return Teller(office=self.office, statistics=self.statistics, site_url=self.site_url)

    async def visit(self, request: web.Request) -> web.Response:
        """Answer a visitor."""
        try:
            self.need_view()
            return await self._answer(request)
        except ApiError as error:
            return refusal(request, error)

    async def _answer(self, request: web.Request) -> web.Response:
        if "mirrorstats" in request.query:
            return await self._fleet(request)
        asked = self.reception.asked(request)
        path = _wanted(request)
        if path is None or path.endswith("/"):
            return await self._folder(request, asked, path or "")
        file, suffix = self._found(FilePath(path))
        if file is None:
            return await self._no_file(request, asked, path)
        verdict = await self.gatekeeper.admits(file, asked.asker)
        wish = wish_of(request.query, request.headers.get(hdrs.ACCEPT, ""), suffix)
        if not verdict.admitted:
            is_decision = verdict.outcome is Outcome.OTHER_NETWORK and wish.form is Form.REDIRECT
            if is_decision and request.method != hdrs.METH_HEAD:
                self.redirector.refused(file, asked.visitor, asked.asked_not)
            return turned_away(request, verdict)
        asked = replace(asked, ticket=verdict.ticket)
        if wish.form is Form.REDIRECT:
            return self._redirect(request, file, asked)
        # The list of mirrors has a reason for each that is not in it.
        turn = self.turns.turn_of(request) if wish.form is Form.MIRRORLIST else nullcontext()
        async with turn:
            return self.teller.tell(request, file, asked, wish)

    def _found(self, path: FilePath) -> tuple[PublishedFile | None, Form | None]:
        """Find what is published under a path or else, in the form that its suffix names, under the rest of it."""
        if file := self.view.file(path):
            return file, None
        if (split := split_suffix(path)) and (file := self.view.file(FilePath(split[0]))):
            return file, split[1]
        return None, None

    def _redirect(self, request: web.Request, file: PublishedFile, asked: Asked) -> web.Response:
        """Send a visitor to the best mirror, unless he has the file."""
        modified_at = moment(file.published_at_ns)
        if fresh := not_modified(request, etag=file.sha256.hex(), modified_at=modified_at):
            return fresh
        try:
            fields = self.redirector.redirect(
                self.office.heads.sheet(file, asked.ticket_query),
                guest_of(asked.visitor),
                asked.asked_not,
                looks=request.method == hdrs.METH_HEAD,
                traceparent=traceparent_of(request),
                query=asked.ticket_query,
            )
        except NoAccessError:
            raise ApiError("no_access", "this file is not for you", status=HTTPStatus.FORBIDDEN) from None
        except NobodyLeftError:
            raise _nobody_left() from None
        return web.Response(status=HTTPStatus.FOUND, headers=CIMultiDict(pairs(fields)))

    async def _no_file(self, request: web.Request, asked: Asked, path: str) -> web.Response:
        """Send who forgot the slash of a folder there."""
        if not await Glance(self.view, asked.visitor.address).shows(f"{path}/"):
            raise unknown()
        query = request.rel_url.raw_query_string
        location = f"/{quote(path)}/{'?' if query else ''}{query}"
        return web.Response(status=HTTPStatus.FOUND, headers={**NO_STORE, hdrs.LOCATION: location})

    async def _folder(self, request: web.Request, asked: Asked, folder: str) -> web.Response:
        """List a folder."""
        after = request.query.get("after", "")
        told = await list_folder(self.view, folder, asked.visitor.address, after=after)
        if not (told.folders or told.files or told.next or after) and folder:
            raise unknown()
        if accepts(request.headers.get(hdrs.ACCEPT, ""), JSON):
            return json_reply(told, request)
        is_long = len(told.folders) + len(told.files) > LONG_FOLDER
        async with self.turns.turn_of(request) if is_long else nullcontext():
            return page_reply(folder_page(told))

    async def _fleet(self, request: web.Request) -> web.Response:
        """Tell of the fleet."""
        shortfalls = await self.shortfalls.now()
        async with self.turns.turn_of(request):
            told = answers.mirrors(self.redirector.standing(), shortfalls)
            if accepts(request.headers.get(hdrs.ACCEPT, ""), JSON):
                return json_reply(told, request)
            return page_reply(fleet_page(told.mirrors, served_by(self.statistics, today=self.teller.today())))

    def status(self) -> dict[str, object]:
        """Give the view in numbers, and how it is kept."""
        numbers = {
            "files": len(self.view.catalogue),
            "mirrors": len(self.view.mirrors()),
            "notices": {"waiting": self.announcer.waiting, "dropped": self.announcer.dropped},
            "decisions": {"unrecorded": self.office.recorder.dropped},
            "missing_events": self.view.missing_events(),
        }
        return {
            "site_url": self.site_url,
            "geoip": self.places.places.database,
            **numbers,
            **self.follower.status(),
            "snapshot": self.snapshots.status(),
        }

    def checks(self) -> Iterable[Check]:
        """Tell what the selector needs and how that is. Once caught up it stays ready on the view that it has."""
        yield self.follower.log_check()
        yield self.follower.broker_check()
        yield self.snapshots.check()
        problem, waiting, dropped = self.announcer.problem, self.announcer.waiting, self.announcer.dropped
        detail = problem or f"{waiting} waiting, {dropped} dropped so far"
        yield Check(name="notices", ok=not problem, detail=detail, vital=False)
        yield from self.places.checks()

    def need_view(self) -> None:
        """Refuse to answer from a view that is not whole yet."""
        if not self.follower.caught_up.is_set():
            raise _starting()


def _wanted(request: web.Request) -> str | None:
    """Read the path that is asked for; one of a folder ends with a slash, and None is the top.

    Raises:
        ApiError: nothing can have this path.
    """
    raw_path = request.rel_url.raw_path
    if raw_path in {"", "/"}:
        return None
    is_folder = raw_path.endswith("/")
    try:
        path = path_of(raw_path.removesuffix("/"))
    except InvalidNameError:
        raise unknown() from None
    return f"{path}/" if is_folder else path


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
