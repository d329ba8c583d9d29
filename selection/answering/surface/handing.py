"""Hands out the view as it is now: a fresh snapshot, for whoever wants to hold it against what the log makes.

It names all that is published and all that mirrors hold, so it is for administrators alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from aiohttp import web

from edge.errors import ApiError
from edge.localness import is_local
from selection.answering.surface.replying import NO_STORE
from selection.following.child import ChildError
from selection.following.snapshot import Mark
from selection.following.snapshots import Restored, Snapshots

SNAPSHOT_TYPE: Final = "application/octet-stream"
CHUNK_BYTES: Final = 1 << 20  # read and handed on in a millisecond


@dataclass(frozen=True, slots=True, kw_only=True)
class Handing:
    """Gives what is ``known``; ``mark`` tells how far the log is read into it."""

    snapshots: Snapshots
    known: Restored
    mark: Callable[[], Mark | None]

    async def give(self, request: web.Request) -> web.StreamResponse:
        """Answer with a snapshot of this moment."""
        if not is_local(request):
            raise ApiError(
                "not_local",
                "snapshots are for who asks on the selector's own machine",
                "go there, or through ssh -L",
                status=HTTPStatus.FORBIDDEN,
            )
        try:
            async with self.snapshots.fresh(self.known, self.mark) as path:
                return await _sent(path, request)
        except ChildError as error:
            raise ApiError("no_snapshot", str(error), "see /-/readyz", status=HTTPStatus.SERVICE_UNAVAILABLE) from error


async def _sent(path: Path, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={**NO_STORE, "Content-Type": SNAPSHOT_TYPE})
    with path.open("rb") as file:
        response.content_length = os.fstat(file.fileno()).st_size
        await response.prepare(request)
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            await response.write(chunk)
    await response.write_eof()
    return response
