"""The fast lane's part of the selector: plain visitors of public files, redirected without waiting (``edge.lane``).

Whatever is not decided by the path and the visitor's address alone is left to ``selection.answering.web``: a query, a
condition, an ``Accept`` that names another form, a trace that goes on, a file that is not for everybody, and all that
ends in anything but a redirect. Both send what ``Redirector.redirect`` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from edge.lane import LaneRequest
from edge.visitors import ForwardedForError, IPNetwork, Proxies
from events.errors import InvalidNameError
from events.names import FilePath
from events.schemas import AccessMode
from selection.answering.guests import Guests
from selection.answering.heads import Heads, Sheet
from selection.answering.redirector import NoAccessError, NobodyLeftError, Redirector
from selection.answering.requests import path_of
from selection.places.geo import Places
from selection.view.fleet import FleetView

SHEETS_KEPT: Final = 16_384  # of the files that are asked for most; some 20 MB

_FOUND: Final = b"HTTP/1.1 302 Found\r\n"
_QUERY: Final = b"?"
_ENCODED: Final = b"%"


class RedirectLane:
    """Answers plain visitors. Until ``is_ready`` none."""

    def __init__(
        self,
        redirector: Redirector,
        *,
        view: FleetView,
        heads: Heads,
        places: Places,
        proxies: Sequence[IPNetwork],
        is_ready: Callable[[], bool],
    ) -> None:
        self._redirector, self._view, self._heads, self._is_ready = redirector, view, heads, is_ready
        self._guests = Guests(places, Proxies(proxies))
        self._sheets: dict[bytes, Sheet] = {}
        self._catalogue = view.catalogue
        self._version = self._catalogue.version

    def __call__(self, request: LaneRequest) -> bytes | None:
        """Redirect a visitor, or leave him to aiohttp."""
        if not self._is_ready() or _is_altered(request.lower):
            return None
        sheet = self._sheet(request.target)
        if sheet is None:
            return None
        try:
            guest = self._guests.of(request)
            if guest is None:
                return None
            return _FOUND + self._redirector.redirect(sheet, guest, looks=request.is_head)
        except (ForwardedForError, NoAccessError, NobodyLeftError):
            return None

    def _sheet(self, target: bytes) -> Sheet | None:
        """Give the sheet of a file that is for everybody."""
        catalogue = self._view.catalogue
        if catalogue.version != self._version or catalogue is not self._catalogue:
            self._sheets.clear()
            self._catalogue, self._version = catalogue, catalogue.version
        return self._sheets.get(target) or self._new_sheet(target)

    def _new_sheet(self, target: bytes) -> Sheet | None:
        file = None if _QUERY in target else self._view.file(_path_of(target))
        if file is None or file.access.mode is not AccessMode.PUBLIC:
            return None
        if len(self._sheets) >= SHEETS_KEPT:
            self._sheets.clear()
        sheet = self._sheets[target] = self._heads.sheet(file)
        return sheet


def _is_altered(lower: bytes) -> bool:
    """Tell whether fields (``LaneRequest.lower``) may ask for anything but a redirect, or belong to a trace."""
    return b"\nif-" in lower or b"\ntraceparent:" in lower or b"metalink" in lower or b"application/json" in lower


def _path_of(target: bytes) -> FilePath:
    """Give the path that a target names; one that no file can have is given as the empty one, which none has."""
    if _ENCODED not in target:
        return FilePath(target[1:].decode("ascii"))
    try:
        return path_of(target.decode("ascii"))
    except InvalidNameError:
        return FilePath("")
