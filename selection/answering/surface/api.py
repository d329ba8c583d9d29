"""The JSON API: choices, files, mirrors, and how the selector itself fares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from http import HTTPStatus
from typing import Final

from aiohttp import web

from edge.errors import ApiError
from edge.localness import is_local
from events.errors import InvalidNameError
from events.grants import IPAddress, normalise
from events.names import FilePath, parse_path
from selection.access.gatekeeper import Gatekeeper
from selection.access.networks import is_listed
from selection.answering import answers
from selection.answering.redirector import Redirector, UnknownFileError
from selection.answering.requests import asked_not_of
from selection.answering.surface.asking import Reception
from selection.answering.surface.figures import history_of, largest_of
from selection.answering.surface.filelist import FILES_PAGE_MAX, list_files
from selection.answering.surface.handing import Handing
from selection.answering.surface.openapi import DOCUMENT
from selection.answering.surface.replying import json_reply, turned_away
from selection.answering.surface.schemas import Subject
from selection.answering.surface.shortfalls import Shortfalls
from selection.answering.surface.turns import Turns, in_steps
from selection.view.fleet import FleetView
from selection.view.statistics import Statistics
from selection.view.tallies import date_of

PREFIX: Final = "/-/api/v1"
DAYS_MAX: Final = 31  # ten thousand files a day are added up in a tenth of a second, in steps

TOLD_TO_STRANGERS: Final = ("site_url", "files", "mirrors")
"""What anybody may know of how the selector is. The rest names the broker, files of this machine and their troubles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """The API. ``need_view`` raises while the view is not whole yet; ``status`` gives the selector in figures."""

    redirector: Redirector
    gatekeeper: Gatekeeper
    view: FleetView
    reception: Reception
    statistics: Statistics
    shortfalls: Shortfalls
    turns: Turns
    today: Callable[[], int]
    need_view: Callable[[], None]
    handing: Handing
    status: Callable[[], dict[str, object]]

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get(f"{PREFIX}/where", self._where)
        app.router.add_get(f"{PREFIX}/files", self._files)
        app.router.add_get(f"{PREFIX}/mirrors", self._mirrors)
        app.router.add_get(f"{PREFIX}/statistics", self._statistics)
        app.router.add_get(f"{PREFIX}/status", self._status)
        app.router.add_get(f"{PREFIX}/snapshot", self.handing.give)
        app.router.add_get(f"{PREFIX}/openapi.json", self._openapi)

    async def _where(self, request: web.Request) -> web.Response:
        """Explain the choice as it would be now, to whoever may have the file himself, and on this machine to all."""
        self.need_view()
        path, address = _wanted_path(request), self._wanted_address(request)
        file = self.view.file(path)
        if file is not None and not is_local(request):
            verdict = await self.gatekeeper.admits(file, self.reception.asked(request).asker)
            if not verdict.admitted:
                return turned_away(request, verdict)
        asked_not = asked_not_of(request.query.getall("not", []), hops_max=self.reception.hops_max)
        async with self.turns.turn_of(request):
            try:
                explained = self.redirector.explain(path, address, asked_not)
            except UnknownFileError:
                raise unknown() from None
            return json_reply(answers.explanation(explained, names_networks=is_local(request)), request)

    async def _files(self, request: web.Request) -> web.Response:
        """Give a page of the files that are nobody's secret from the asker; who asks on this machine sees all."""
        self.need_view()
        address = None if is_local(request) else self.reception.address(request)
        limit, after = _wanted_limit(request), request.query.get("after", "")
        async with self.turns.turn_of(request):
            return json_reply(await list_files(self.view, after, address, limit=limit), request)

    async def _mirrors(self, request: web.Request) -> web.Response:
        """Give the fleet."""
        self.need_view()
        shortfalls = await self.shortfalls.now()
        async with self.turns.turn_of(request):
            return json_reply(answers.mirrors(self.redirector.standing(), shortfalls), request)

    async def _statistics(self, request: web.Request) -> web.Response:
        """Give the downloads by one key, or the keys with the most of them."""
        self.need_view()
        subject, today = _wanted_subject(request), self.today()
        may_tell = self._may_tell(request) if subject is Subject.FILE else _tells_all
        key = request.query.get("key", "" if subject is Subject.SITE else None)
        if key is None:
            first, last = _wanted_days(request, today)
            limit = _wanted_limit(request)
            async with self.turns.turn_of(request):
                work = largest_of(self.statistics, subject, first, last, limit=limit, may_tell=may_tell)
                return json_reply(await in_steps(work), request)
        if not may_tell(key):
            raise unknown()
        return json_reply(history_of(self.statistics, subject, key, today=today), request)

    def _may_tell(self, request: web.Request) -> Callable[[str], bool]:
        """Give whether a file's figures are for who asks: those of a file that is listed to him."""
        if is_local(request):
            return _tells_all
        address = self.reception.address(request)

        def may_tell(path: str) -> bool:
            file = self.view.file(FilePath(path))
            return file is not None and is_listed(file.access, address)

        return may_tell

    async def _status(self, request: web.Request) -> web.Response:
        """Give the view in numbers, and to the operator how it is kept."""
        told = self.status()
        return json_reply(told if is_local(request) else {name: told[name] for name in TOLD_TO_STRANGERS}, request)

    async def _openapi(self, request: web.Request) -> web.Response:
        """Give the description of all this."""
        return json_reply(DOCUMENT, request)

    def _wanted_address(self, request: web.Request) -> IPAddress:
        text = request.query.get("ip")
        if text is None:
            return self.reception.address(request)
        try:
            return normalise(text)
        except ValueError:
            raise ApiError("address_invalid", f"{text!r} is no IP address", "write ?ip=203.0.113.9") from None


def unknown() -> ApiError:
    """Say that there is no such file."""
    return ApiError("file_unknown", "there is no such file here", "see /-/api/v1/files", status=HTTPStatus.NOT_FOUND)


def _tells_all(_key: str) -> bool:
    return True


def _wanted_subject(request: web.Request) -> Subject:
    text = request.query.get("by", Subject.SITE.value)
    try:
        return Subject(text)
    except ValueError:
        told = ", ".join(subject.value for subject in Subject)
        raise ApiError("subject_invalid", f"downloads are not counted by {text!r}", f"write one of {told}") from None


def _wanted_days(request: web.Request, today: int) -> tuple[date, date]:
    """Read the first and the last day; by default the last is today, and the first the same."""
    last = _wanted_day(request, "to", date_of(today))
    first = _wanted_day(request, "from", last)
    if not 0 <= (last - first).days < DAYS_MAX:
        raise ApiError("days_invalid", f"{first} to {last} is no span of days", f"ask for 1 to {DAYS_MAX} days")
    return first, last


def _wanted_day(request: web.Request, name: str, default: date) -> date:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ApiError("days_invalid", f"{text!r} is no day", f"write ?{name}=2026-11-22") from None


def _wanted_limit(request: web.Request) -> int:
    text = request.query.get("limit", str(FILES_PAGE_MAX))
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(FILES_PAGE_MAX)) and int(text) > 0):
        raise ApiError("limit_invalid", f"{text!r} is no number of entries", f"write 1 to {FILES_PAGE_MAX}")
    return min(int(text), FILES_PAGE_MAX)


def _wanted_path(request: web.Request) -> FilePath:
    try:
        return parse_path(request.query.get("path", "").removeprefix("/"))
    except InvalidNameError as error:
        raise ApiError("path_invalid", str(error), "write ?path=dir/name, as in the list of files") from error
