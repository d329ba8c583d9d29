"""Bytes for mirrors, by digest."""

from __future__ import annotations

from aiohttp import web

from edge.files import Content, ContentGoneError, send_file
from edge.running import Running
from events.names import parse_digest
from master.downloads import Outgoing
from master.errors import UnusableFileError
from master.joining import Joining
from master.serving import Serving
from master.web.mirrors import asking


class OriginRoutes:
    """``/-/origin/<sha256>``."""

    def __init__(self, joining: Joining, serving: Serving, running: Running[Outgoing]) -> None:
        self._joining = joining
        self._serving = serving
        self._running = running

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Send a mirror what one of its channels holds."""
        mirror = await asking(request, self._joining)
        sha256 = parse_digest(request.match_info["sha256"])
        with self._running.entered(Outgoing(sha256=sha256)):
            content = await self._serving.for_mirror(mirror.name, sha256)
            try:
                return (await send_file(request, content, meter=_uncounted)).response
            except ContentGoneError as error:
                raise gone(content, error) from error


def _uncounted(_count: int) -> None:
    """Let bytes for mirrors pass: the mirrors tell what they hold."""


def gone(content: Content, error: ContentGoneError) -> UnusableFileError:
    """Tell that a published file is not what was published."""
    return UnusableFileError(
        "file_changed",
        f"{content.file_name} is not what was published: {error.problem}",
        hint="the site must publish it again",
    )
