"""Bytes from one source into one piece of a part, verified before they count.

While one batch of about a megabyte is being written and hashed in a thread, the next one is read. A source that breaks
off is asked to go on where it did, inside the piece; nobody else is, so that wrong bytes are the fault of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import aclosing
from typing import Final, TypeVar

from events.pieces import Span
from events.schemas import SourceFault
from mirror.config import FetchLimits
from mirror.content.parts import Landing, Part
from mirror.fetching.blame import SourceFaultError
from mirror.fetching.source import Source, receive

RESUMES_MAX: Final = 100  # of one piece, each with some progress; a line that is this bad is worth another one

_RESUMABLE: Final = frozenset({SourceFault.BROKEN_OFF, SourceFault.UNREACHABLE})
_GOES_NOT_ON: Final = frozenset({SourceFault.REFUSED, SourceFault.WRONG_RANGE})

_T = TypeVar("_T")


class Lander:
    """Lands pieces of one part, in threads of an executor."""

    def __init__(self, part: Part, executor: Executor, limits: FetchLimits) -> None:
        self._part = part
        self._executor = executor
        self._limits = limits

    async def land_whole(self, source: Source) -> None:
        """Get a content of one piece in one go, without a range.

        Raises:
            SourceFaultError: the source did not send it.
            DiskFullError: there is no room.
        """
        landing = self._part.land(0)
        await self._receive(landing, source, None)
        await self._finish(landing, source)

    async def land(self, piece: int, source: Source) -> None:
        """Get a piece, going on as long as each answer brings something.

        Raises:
            SourceFaultError: the source did not send it.
            DiskFullError: there is no room.
        """
        landing = self._part.land(piece)
        may_restart = True
        for _ in range(RESUMES_MAX):
            before_bytes = landing.have_bytes
            try:
                await self._receive(landing, source, Span(landing.position, landing.span.stop))
            except SourceFaultError as error:
                if before_bytes and may_restart and error.fault.fault in _GOES_NOT_ON:
                    landing.restart()
                    may_restart = False  # or a source could send the same bytes again and again
                elif error.fault.fault not in _RESUMABLE or landing.have_bytes <= before_bytes:
                    raise
            else:
                return await self._finish(landing, source)
        raise SourceFaultError(SourceFault.BROKEN_OFF, f"piece {piece}: broke off {RESUMES_MAX} times")

    async def _receive(self, landing: Landing, source: Source, span: Span | None) -> None:
        size_bytes = self._part.layout.size_bytes
        async with aclosing(receive(source, span, size_bytes=size_bytes, limits=self._limits)) as batches:
            await self._write(landing, batches)

    async def _write(self, landing: Landing, batches: AsyncIterator[list[bytes]]) -> None:
        loop = asyncio.get_running_loop()
        writing: asyncio.Future[None] | None = None
        try:
            async for batch in batches:
                if writing is not None:
                    await finished(writing)
                writing = loop.run_in_executor(self._executor, landing.append, batch)
        finally:
            if writing is not None:
                await finished(writing)

    async def _finish(self, landing: Landing, source: Source) -> None:
        right = await finished(asyncio.get_running_loop().run_in_executor(self._executor, landing.finish))
        if not right:
            raise SourceFaultError(
                SourceFault.WRONG_BYTES, f"piece {landing.piece} is not what was published", piece=landing.piece
            )
        self._part.came_from[source.name] += 1


async def finished(working: asyncio.Future[_T]) -> _T:
    """Wait for a thread even when cancelled, however often: it uses a descriptor that is closed after this."""
    cancelled: asyncio.CancelledError | None = None
    while not working.done():
        try:
            await asyncio.wait([working])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return working.result()
    working.exception()  # seen, and of no use to one who was cancelled
    raise cancelled
