"""The fast lane's part of the selector: plain visitors of public files, redirected without waiting (``edge.lane``).

Whatever is not decided by the path and the visitor's address alone is left to ``selection.answering.web``: a query, a
condition, an ``Accept`` that names another form, a trace that goes on, a file that is not for everybody, and all that
ends in anything but a redirect. Both send what ``Redirector.redirect`` gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
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

SHEETS_KEPT: Final = 2048  # of the files that are asked for most; 2 MB, so that they stay in a cache near by

_FOUND: Final = b"HTTP/1.1 302 Found\r\n"
_QUERY: Final = b"?"
_ENCODED: Final = b"%"
# A condition, a trace, or an ``Accept`` that is to be looked at: tools take anything, and say so or nothing.
_ALTERING: Final = re.compile(rb"\n(?:if-|traceparent:|accept:(?![\t ]*\*/\*[\t ]*\r))")
_CERTAINLY_ALTERING: Final = re.compile(rb"\n(?:if-|traceparent:)")


class _NotHereError(LookupError):
    """No file of which anybody may know, and may have, is asked for. Leave the request to aiohttp."""


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
        self._forget_sheets()

    def __call__(self, request: LaneRequest) -> bytes | None:
        """Redirect a visitor, or leave him to aiohttp."""
        if not self._is_ready() or _is_altered(request.lower):
            return None
        catalogue = self._view.catalogue
        if catalogue.version != self._version or catalogue is not self._catalogue:
            self._forget_sheets()
        try:
            sheet, guest = self._sheet(request.target), self._guests.of(request)
            if guest is None:
                return None
            return _FOUND + self._redirector.redirect(sheet, guest, looks=request.is_head)
        except (_NotHereError, ForwardedForError, NoAccessError, NobodyLeftError):
            return None

    def _forget_sheets(self) -> None:
        """Begin anew: what is published is another."""
        self._catalogue = self._view.catalogue
        self._version = self._catalogue.version
        self._sheet = lru_cache(maxsize=SHEETS_KEPT)(self._write_sheet)

    def _write_sheet(self, target: bytes) -> Sheet:
        """Give the sheet of a file that is for everybody.

        Raises:
            _NotHereError: none such is asked for.
        """
        file = None if _QUERY in target else self._catalogue.file(_path_of(target))
        if file is None or file.access.mode is not AccessMode.PUBLIC:
            raise _NotHereError(target)
        return self._heads.sheet(file)


def _is_altered(lower: bytes) -> bool:
    """Tell whether fields (``LaneRequest.lower``) may ask for anything but a redirect, or belong to a trace."""
    if _ALTERING.search(lower) is None:
        return False
    return b"metalink" in lower or b"application/json" in lower or _CERTAINLY_ALTERING.search(lower) is not None


def _path_of(target: bytes) -> FilePath:
    """Give the path that a target names; one that no file can have is given as the empty one, which none has."""
    if _ENCODED not in target:
        return FilePath(target[1:].decode("ascii"))
    try:
        return path_of(target.decode("ascii"))
    except InvalidNameError:
        return FilePath("")
