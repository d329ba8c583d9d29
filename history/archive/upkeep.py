"""What is to be done beside archiving: projections kept current, old addresses cut, the lag watched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NoReturn

import structlog

from events.schemas.fields import NS_PER_S
from history.archive.archiver import Archiver
from history.archive.config import ArchiveConfig
from history.archive.gap import Gap
from history.archive.lag import Lag, LagFigures, LagLevel, growth, judge
from history.archive.store.addresses import cut_old
from history.archive.store.database import Database
from history.archive.store.engine import ArchiveError
from history.archive.store.projecting import Projection, step

AGAIN_AFTER_S: Final = 10.0  # a database that failed
CUT_EVERY_S: Final = 3600.0  # addresses are kept for days
WATCH_EVERY_S: Final = 60.0  # a stream keeps what it has for hours at the least
START_GRACE_S: Final = 60.0  # until the first proof; a long backlog is told of after that
TELL_AGAIN_AFTER_S: Final = 3600.0
DAY_S: Final = 24 * 3600

log = structlog.stdlib.get_logger()


class Upkeep:
    """Does it all until cancelled. ``lag`` and ``gaps`` are as they were at the last look; None before the first."""

    def __init__(
        self, database: Database, archiver: Archiver, config: ArchiveConfig, *, clock_s: Callable[[], float]
    ) -> None:
        self._database = database
        self._archiver = archiver
        self._config = config
        self._clock_s = clock_s
        self._news = {projection: asyncio.Event() for projection in Projection}
        self._began_s = clock_s()
        self._look = asyncio.Event()
        self._told_at_s = float("-inf")
        self._bytes_per_s = 0.0
        self.lag: Lag | None = None
        self.gaps: tuple[Gap, ...] = ()

    def note_news(self) -> None:
        """Note that more was archived."""
        for news in self._news.values():
            news.set()

    def note_gap(self) -> None:
        """Note that a gap was recorded."""
        self._look.set()

    async def run(self) -> None:
        """Do it."""
        async with asyncio.TaskGroup() as tasks:
            for projection in Projection:
                tasks.create_task(self._insist(lambda each=projection: self._project(each)), name=projection.value)
            tasks.create_task(self._insist(self._cut), name="cut-addresses")
            tasks.create_task(self._insist(self._watch), name="watch-lag")

    def judge_now(self) -> Lag:
        """Decide how the archiver stands now.

        Before its first proof the last entry's time tells how far it is, though on a quiet site that may be old.
        """
        now_s, known_s = self._clock_s(), max(self._archiver.abreast_s, self._archiver.standing.log_time_ns / NS_PER_S)
        is_starting = not self._archiver.abreast_s and now_s - self._began_s < START_GRACE_S
        behind_s = 0.0 if is_starting or not known_s else max(0.0, now_s - known_s)
        return judge(LagFigures(behind_s=behind_s, kept=self._config.log, bytes_per_s=self._bytes_per_s))

    async def _project(self, projection: Projection) -> NoReturn:
        while True:
            self._news[projection].clear()
            place = await step(self._database, projection)
            if place.number >= place.events:
                await self._news[projection].wait()

    async def _cut(self) -> NoReturn:
        while True:
            before_s = self._clock_s() - self._config.addresses_days * DAY_S
            cut = await cut_old(self._database, self._config.addresses, before_ns=int(before_s * NS_PER_S))
            if cut.changed:
                log.info("archive.addresses_cut", events=cut.changed, up_to=cut.number)
            if cut.is_done:
                await self._database.empty_journal()
            await asyncio.sleep(CUT_EVERY_S if cut.is_done else 0)

    async def _watch(self) -> NoReturn:
        while True:
            self.gaps = tuple(await self._database.gaps())
            self._bytes_per_s = growth(await self._database.latest_days(), now_s=self._clock_s())
            self._tell(self.judge_now())
            self._look.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_EVERY_S):
                    await self._look.wait()

    def _tell(self, lag: Lag) -> None:
        """Say it loudly when the level changes, and again from time to time while it is not fine."""
        before, self.lag = self.lag.level if self.lag else LagLevel.FINE, lag
        now_s = self._clock_s()
        if lag.level is before and (lag.level is LagLevel.FINE or now_s - self._told_at_s < TELL_AGAIN_AFTER_S):
            return
        self._told_at_s = now_s
        said = {"behind_s": round(lag.figures.behind_s), "kept_s": round(lag.kept_s), "level": lag.level.value}
        match lag.level:
            case LagLevel.FINE:
                log.info("archive.lag_over", **said)
            case LagLevel.NEAR:
                log.warning("archive.lag_near_retention", **said)
            case LagLevel.CRITICAL:
                log.critical("archive.lag_near_retention", **said)

    async def _insist(self, work: Callable[[], Awaitable[NoReturn]]) -> NoReturn:
        """Do some work, and again after the database failed."""
        while True:
            try:
                await work()
            except ArchiveError as error:
                log.warning("archive.upkeep_waiting", error=str(error), retry_after_s=AGAIN_AFTER_S)
                await asyncio.sleep(AGAIN_AFTER_S)
