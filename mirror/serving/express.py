"""What nginx asks most, answered at once: which file to send for a good token (``edge.lane``).

It decides by the very rules of ``mirror.serving.web``. Whatever is not simply sent (HEAD, a condition that does not
hold, a visitor to send back, a ledger to write before) is left to that, as if it had not been looked at here.
"""

from __future__ import annotations

import re
from typing import Final

from edge.errors import ApiError
from edge.files import NOTHING, Content, ContentGoneError, asked_under
from edge.ranges import Conditions, Part
from edge.simple import SimpleRequest
from edge.visitors import FORWARDED_FOR, ForwardedForError, Proxies
from events.grants import TOKEN_LENGTH
from mirror.serving.external import External
from mirror.serving.nginx import REQUEST_FIELD
from mirror.serving.traffic import RefusedError
from mirror.serving.transfers import Visit
from mirror.serving.web import Counter, DetourError, Due

# Names that are written as they are: whoever decodes the others decides which name is meant.
_TARGET: Final = re.compile(rb"/d/([A-Za-z0-9_-]{%d})/(?!\.{1,2}$)([A-Za-z0-9._~-]+)" % TOKEN_LENGTH)
_CONDITION: Final = re.compile(rb"\n(?:if-|range:)")
_NGINX_WOULD_JUDGE: Final = re.compile(rb"\n(?:if-match|if-unmodified-since):")
_FORWARDED_FOR: Final = FORWARDED_FOR.lower().encode("ascii")
_REQUEST_NAME: Final = REQUEST_FIELD.lower().encode("ascii")
_STATUS_LINE: Final = b"HTTP/1.1 200 OK\r\n"  # nginx makes its own of it


class Express:
    """The fast lane of one mirror behind nginx; an ``edge.lane.Answerer``."""

    def __init__(self, counter: Counter, external: External) -> None:
        self._counter = counter
        self._external = external
        self._proxies = Proxies(counter.proxies)

    def __call__(self, request: SimpleRequest) -> bytes | None:
        """Let nginx send; None where that is not all there is to it."""
        found = None if request.is_head else _TARGET.fullmatch(request.target)
        name = self._name_of(request)
        if found is None or not name:
            return None
        try:
            address = self._proxies.visitor(request.peer, request.values(_FORWARDED_FOR))
            due = self._counter.due(found[1].decode("ascii"), found[2].decode("ascii"), address)
            part = _part_of(request, due.content)
            visit = self._admitted(due, part) if part.stop > part.start else None
            return None if visit is None else _STATUS_LINE + self._external.hand_over(name, due.content, visit).written
        except (ApiError, DetourError, RefusedError, ContentGoneError, ForwardedForError):
            return None

    def _name_of(self, request: SimpleRequest) -> str:
        """Give nginx's name of a request; none, if it is not our nginx that asks, or for that again."""
        names = request.values(_REQUEST_NAME)
        is_one = len(names) == 1 and names[0] not in self._external and self._proxies.have(request.peer)
        return names[0] if is_one else ""

    def _admitted(self, due: Due, part: Part) -> Visit | None:
        try:
            return self._counter.traffic.admit_booked(due.grant, asked=part, address=due.address)
        except RefusedError:
            if not self._external.hear():
                raise
            return self._counter.traffic.admit_booked(due.grant, asked=part, address=due.address)


def _part_of(request: SimpleRequest, content: Content) -> Part:
    """Give what nginx is to send; nothing, where it would judge by a tag or date that it does not know."""
    if not request.has(_CONDITION):
        return Part(0, content.size_bytes)
    if request.has(_NGINX_WOULD_JUDGE):
        return NOTHING

    def field(name: bytes) -> str | None:
        values = request.values(name)
        return ", ".join(values) if values else None

    conditions = Conditions(
        if_none_match=field(b"if-none-match"),
        if_range=field(b"if-range"),
        range=field(b"range"),
        if_modified_since=field(b"if-modified-since"),
    )
    return asked_under(conditions, content, method="GET").part
