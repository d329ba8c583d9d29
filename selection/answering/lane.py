"""The fast lane's part of the selector: plain visitors of public files, redirected without waiting (``edge.lane``).

Whatever is not decided by the path and the visitor's address alone is left to ``selection.answering.web``: a query, a
condition, an ``Accept`` that names another form, a trace that goes on, a file that is not for everybody, and all that
ends in anything but a redirect. Both send what ``Redirector.redirect`` gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from edge.simple import SimpleRequest
from edge.visitors import ForwardedForError, IPNetwork, Proxies
from selection.answering.guests import Guests
from selection.answering.heads import Heads
from selection.answering.redirector import NoAccessError, NobodyLeftError, Redirector
from selection.answering.sheets import Sheets
from selection.places.geo import Places
from selection.view.fleet import FleetView

_FOUND: Final = b"HTTP/1.1 302 Found\r\n"
# A condition, a trace, or an ``Accept`` that is to be looked at: tools take anything, and say so or nothing.
_ALTERING: Final = re.compile(rb"\n(?:if-|traceparent:|accept:(?![\t ]*\*/\*[\t ]*\r))")
_CERTAINLY_ALTERING: Final = re.compile(rb"\n(?:if-|traceparent:)")


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
        self._redirector, self._sheets, self._is_ready = redirector, Sheets(view, heads), is_ready
        self._guests = Guests(places, Proxies(proxies))

    def __call__(self, request: SimpleRequest) -> bytes | None:
        """Redirect a visitor, or leave him to aiohttp."""
        if not self._is_ready() or _is_altered(request.lower):
            return None
        sheet = self._sheets.of(request.target)
        if sheet is None:
            return None
        try:
            guest = self._guests.of(request)
            if guest is None:
                return None
            return _FOUND + self._redirector.redirect(sheet, guest, looks=request.is_head)
        except (ForwardedForError, NoAccessError, NobodyLeftError):
            return None


def _is_altered(lower: bytes) -> bool:
    """Tell whether fields (``SimpleRequest.lower``) may ask for anything but a redirect, or belong to a trace."""
    if _ALTERING.search(lower) is None:
        return False
    return b"metalink" in lower or b"application/json" in lower or _CERTAINLY_ALTERING.search(lower) is not None
