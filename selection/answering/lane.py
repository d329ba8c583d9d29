"""The fast lane's part of the selector: plain visitors of public files, redirected without waiting (``edge.lane``).

Whatever is not decided by the path and the visitor's address alone is left to ``selection.answering.web``: a query, a
condition, an ``Accept`` that names another form, a trace that goes on, a file that is not for everybody, and all that
ends in anything but a redirect. Both send what ``Redirector.redirect`` gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from edge.lane import LaneRequest
from edge.visitors import ForwardedForError, IPNetwork, Proxies, came_by_https
from events.errors import InvalidNameError
from events.grants import IPAddress
from events.names import FilePath
from events.schemas import AccessMode
from selection.answering.redirector import NoAccessError, NobodyLeftError, Redirector
from selection.answering.requests import path_of
from selection.places.geo import Places
from selection.policy.visitor import Visitor
from selection.view.fleet import FleetView

_FOUND: Final = b"HTTP/1.1 302 Found\r\n"
_ALTERING: Final = re.compile(
    rb"\n(?:if-none-match:|if-modified-since:|traceparent:|accept:[^\r]*(?:application/json|metalink))"
)
_FORWARDED_FOR: Final = b"x-forwarded-for"
_FORWARDED_PROTO: Final = b"x-forwarded-proto"
_QUERY: Final = b"?"
_ENCODED: Final = b"%"


class RedirectLane:
    """Answers plain visitors. Until ``is_ready`` none."""

    def __init__(
        self,
        redirector: Redirector,
        *,
        view: FleetView,
        places: Places,
        proxies: Sequence[IPNetwork],
        is_ready: Callable[[], bool],
    ) -> None:
        self._redirector, self._view, self._places, self._proxies = redirector, view, places, Proxies(proxies)
        self._is_ready = is_ready

    def __call__(self, request: LaneRequest) -> bytes | None:
        """Redirect a visitor, or leave him to aiohttp."""
        target = request.target
        if _QUERY in target or request.has(_ALTERING) or not self._is_ready():
            return None
        file = self._view.file(_path_of(target))
        if file is None or file.access.mode is not AccessMode.PUBLIC:
            return None
        try:
            address, secure = self._visitor(request)
            visitor = Visitor(address, self._places.place_of(address), secure)
            redirect = self._redirector.redirect(file, visitor, looks=request.is_head)
        except (ForwardedForError, NoAccessError, NobodyLeftError):
            return None
        return _FOUND + redirect.fields

    def _visitor(self, request: LaneRequest) -> tuple[IPAddress, bool | None]:
        """Give the visitor's address, and True where he came by https."""
        forwarded_for, protos = request.values(_FORWARDED_FOR), request.values(_FORWARDED_PROTO)
        secure = protos and came_by_https(request.peer, forwarded_for, protos, self._proxies.networks)
        return self._proxies.visitor(request.peer, forwarded_for), True if secure else None


def _path_of(target: bytes) -> FilePath:
    """Give the path that a target names; one that no file can have is given as the empty one, which none has."""
    if _ENCODED not in target:
        return FilePath(target[1:].decode("ascii"))
    try:
        return path_of(target.decode("ascii"))
    except InvalidNameError:
        return FilePath("")
