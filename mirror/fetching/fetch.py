"""One content into the store: piece by piece from many sources, or in one go, each piece verified, then the whole.

A small content comes straight from the master. Where the master cannot send it, and for all that is larger, the master
says who has which piece (``tracker``). Only what was verified counts, so it does not matter who sent it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from random import Random
from typing import Final

from events.names import ORIGIN
from events.pieces import SEEDED_FROM_BYTES
from events.trace import TraceContext
from mirror.config import FetchLimits
from mirror.content.objects import Objects
from mirror.content.parts import Part, PartsOnOffer
from mirror.content.piecemap import PieceLayout
from mirror.fetching.blame import SourceFaultError
from mirror.fetching.gather import Gathering
from mirror.fetching.landing import Lander, finished
from mirror.fetching.sources import Neighbourhood, Sources
from mirror.fetching.tracker import Tracker
from mirror.state.plan import Entry

SESSION_BYTES: Final = 16  # no two processes ever draw the same


class Fetcher:
    """Fetches contents into one store. ``offered`` are the parts that it is at work on."""

    def __init__(
        self,
        around: Neighbourhood,
        objects: Objects,
        executor: Executor,
        limits: FetchLimits,
        rng: Random,
    ) -> None:
        self.offered: Final = PartsOnOffer()
        self._around = around
        self._tracker = Tracker(around.origin, session=secrets.token_hex(SESSION_BYTES))
        self._objects = objects
        self._executor = executor
        self._limits = limits
        self._rng = rng

    @asynccontextmanager
    async def fetched(self, entry: Entry, *, trace: TraceContext | None = None) -> AsyncGenerator[None]:
        """Get a content, verify it, and put it in its place in the store. Not announced yet, and not in any table.

        While the block is entered, other mirrors are still given its pieces: the caller writes its row down in it, and
        nobody finds nothing in between.

        Raises:
            SourcesBadError: all sources that are to be had failed; it names them. What was verified is kept.
            OriginError: the master does not say who has it. What was verified is kept.
            DigestMismatchError: the pieces are right and the whole is not. It is deleted.
            DiskFullError, DiskFailedError: there is no room, or the disk is broken.
        """
        async with self._opened(PieceLayout.of(entry)) as part:
            with self.offered.offering(part):
                await self._complete(part, trace)
                await finished(asyncio.get_running_loop().run_in_executor(self._executor, part.commit))
                yield

    @asynccontextmanager
    async def _opened(self, layout: PieceLayout) -> AsyncGenerator[Part]:
        opening = asyncio.get_running_loop().run_in_executor(self._executor, Part, self._objects, layout)
        try:
            part = await finished(opening)
        except asyncio.CancelledError:
            if opening.exception() is None:
                opening.result().close()
            raise
        try:
            yield part
        finally:
            part.close()

    async def _complete(self, part: Part, trace: TraceContext | None) -> None:
        if part.pieces.complete:
            return
        lander = Lander(part, self._executor, self._limits)
        sources = Sources(self._around, part.layout.sha256, trace)
        small = part.layout.size_bytes < SEEDED_FROM_BYTES and part.layout.count == 1
        if small and await _straight(lander, sources):
            return
        gathering = Gathering(part, lander, self._tracker, sources, limits=self._limits, rng=self._rng)
        await gathering.run(patiently=not small)


async def _straight(lander: Lander, sources: Sources) -> bool:
    """Get a content in one go from the master; False where it cannot send it."""
    if sources.avoided(ORIGIN) is not None:
        return False
    try:
        await lander.land_whole(sources.origin())
    except SourceFaultError as error:
        await sources.note(ORIGIN, error)
        sources.exclude(ORIGIN)
        return False
    sources.praise(ORIGIN)
    return True
