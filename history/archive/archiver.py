"""Follows the log into the archive: rows and place in one transaction, one generation after the other, for years.

A pass begins at the last entry that was archived, reads to the end that the stream had when the pass began, and then
follows what comes. So a pass proves that all up to its beginning is archived; where nothing comes for long, another
pass proves it again, since a reader that hears nothing may as well be deaf. A generation that has a newer one is read
to its end first. Where entries are missing that is recorded, told loudly, and gone on behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, NoReturn

import structlog

from broker.discovery import generations
from broker.port import AccessRefusedError, Broker, BrokerError, Delivery, DisconnectedError, TopologyError
from broker.topology import log_stream
from events.schemas.fields import NS_PER_S
from history.archive.gap import Gap, GapKind
from history.archive.row import Row, row_of
from history.archive.standing import Passage, RewrittenError, Standing
from history.archive.store.database import Database
from history.archive.store.engine import ArchiveError
from history.entry import Entry, entry_of
from master.store.store import uncut

AGAIN_AFTER_S: Final = 1.0  # a site is provisioned in about a second, a database server restarted in a few
LOOK_FOR_NEWER_EVERY_S: Final = 30.0  # it costs the broker some 60 ms
PROVE_AGAIN_AFTER_S: Final = 300.0  # without a word; a pass leaves one probe in the log
# The master unbinds the old generation's stream when it has proved the new one; until then both take what is said.
SETTLE_S: Final = 5.0
REFUSALS_MIN: Final = 30  # half a minute: a broker that comes up refuses streams that are sound a little later
COMMIT_MAX: Final = 2000  # rows: a tenth of a second of the database
TURN_EVERY: Final = 200  # rows that are made at once: two milliseconds
WAITING_MAX: Final = 20_000  # entries that wait for the database; past that they are read when it wants them

log = structlog.stdlib.get_logger()


class _OverflowError(Exception):
    """The database is slower than the log. Let it set the pace."""


class _NewerGenerationError(Exception):
    """There is a newer generation: read this one to its end, and go on with that."""


class _QuietError(Exception):
    """Nothing came for long. Prove that nothing is there."""


@dataclass(slots=True)
class _Inbox:
    """What came and is not archived yet."""

    entries: list[Entry] = field(default_factory=list[Entry])
    filled: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, entry: Entry) -> None:
        """Keep an entry for the database.

        Raises:
            _OverflowError: too many wait already.
        """
        if len(self.entries) >= WAITING_MAX:
            raise _OverflowError
        self.entries.append(entry)
        self.filled.set()

    def take(self) -> list[Entry]:
        """Give all that waits."""
        taken, self.entries = self.entries, []
        self.filled.clear()
        return taken


class Archiver:
    """Archives until cancelled.

    Attributes:
        reading: set once the log was found and is read.
        standing: the last entry that is archived.
        abreast_s: up to when (since 1970) all that was said is known to be archived; 0: not known.
        trouble: what keeps it from archiving now; empty while nothing does.
        on_archived: called after each commit.
        on_gap: called after a gap was recorded.
    """

    def __init__(
        self,
        broker: Broker,
        database: Database,
        *,
        vhost: str,
        clock_ns: Callable[[], int],
    ) -> None:
        self._broker = broker
        self._database = database
        self._vhost = vhost
        self._clock_ns = clock_ns
        self.on_archived: Callable[[], None] = lambda: None
        self.on_gap: Callable[[], None] = lambda: None
        self.reading = asyncio.Event()
        self.standing = Standing()
        self.abreast_s = 0.0
        self.trouble = "looking for the log"
        self._refusals = 0

    async def run(self) -> NoReturn:
        """Archive.

        Raises:
            AccessRefusedError: this user may not read the log.
        """
        while True:
            try:
                await self._pass()
            except AccessRefusedError:
                raise
            except (BrokerError, ArchiveError) as error:
                await self._complain(str(error))

    async def _pass(self) -> None:
        """Read a generation to its end, and follow what comes; go on with the next one where there is one."""
        self.standing = await self._database.standing()
        known = self.standing.generation or 1
        found = await generations(self._broker, known=known)
        if not found:
            raise TopologyError("there is no log: the master has not opened one yet")
        if self.standing.generation and found[0] > known:
            await self._refused("its stream is gone or broken", later=found)
            return
        try:
            await self._work_through(found[0], later=found[1:])
        except RewrittenError as error:
            await self._begin_again(found[0], str(error))
        except TopologyError as error:
            await self._refused(str(error), later=found[1:])

    async def _work_through(self, generation: int, *, later: Sequence[int]) -> None:
        await self._read(generation)
        self._refusals = 0
        if not later:
            await self._follow(generation)
            return
        await asyncio.sleep(SETTLE_S)
        await self._read(generation)
        await self._keep([], self.standing.in_generation(later[0]))
        log.info("archive.generation_ended", generation=generation, next=later[0])

    async def _read(self, generation: int) -> None:
        """Archive all that a generation's stream holds now."""
        stream, began_ns = log_stream(generation), self._clock_ns()
        span = await self._broker.span(stream)
        passage = await self._passage(generation)
        passage.check_end(span.end)
        self._found(generation)
        async with aclosing(self._broker.read(stream, start=passage.start, end=span.end)) as batches:
            async for batch in batches:
                await self._take(passage, [entry_of(each, generation=generation) for each in batch])
        self.abreast_s = began_ns / NS_PER_S

    async def _follow(self, generation: int) -> None:
        """Archive what comes, until there is a reason for another pass."""
        inbox, passage = _Inbox(), await self._passage(generation)

        def fold(delivery: Delivery) -> None:
            inbox.put(entry_of(delivery, generation=generation))

        try:
            await _first_to_end(
                self._broker.follow(log_stream(generation), fold, start=passage.start),
                self._drain(inbox, passage),
                self._look_for_newer(generation),
            )
        except _OverflowError:
            log.info("archive.slower_than_log", waiting=WAITING_MAX)
        except (_NewerGenerationError, _QuietError):
            pass

    async def _drain(self, inbox: _Inbox, passage: Passage) -> NoReturn:
        """Archive what came, as much at once as came meanwhile."""
        while True:
            try:
                async with asyncio.timeout(PROVE_AGAIN_AFTER_S):
                    await inbox.filled.wait()
            except TimeoutError:
                raise _QuietError from None
            came_ns = self._clock_ns()
            await self._take(passage, inbox.take())
            self.abreast_s = came_ns / NS_PER_S

    async def _look_for_newer(self, generation: int) -> NoReturn:
        while True:
            await asyncio.sleep(LOOK_FOR_NEWER_EVERY_S)
            try:
                found = await generations(self._broker, known=generation)
            except DisconnectedError:
                continue  # the follower waits for the connection, too
            if found and found[-1] > generation:
                raise _NewerGenerationError

    async def _passage(self, generation: int) -> Passage:
        standing = self.standing if self.standing.generation == generation else self.standing.in_generation(generation)
        return Passage(standing, highest=await self._database.highest(generation))

    async def _take(self, passage: Passage, entries: Sequence[Entry]) -> None:
        """Archive what is new among the next entries."""
        news, gap = passage.take(entries, now_ns=self._clock_ns())
        for start in range(0, len(news), COMMIT_MAX):
            await self._archive(passage, news[start : start + COMMIT_MAX], gap=gap if start == 0 else None)

    async def _archive(self, passage: Passage, entries: Sequence[Entry], *, gap: Gap | None) -> None:
        before, last = self.standing, entries[-1]
        if passage.may_know(entries[0]):
            entries = await uncut(self._database.unarchived(entries))
        number, log_time_ns = before.number, before.log_time_ns
        rows: list[Row] = []
        for entry in entries:
            number += 1
            row = row_of(entry, number=number, vhost=self._vhost, log_time_ns=log_time_ns, now_ns=self._clock_ns())
            log_time_ns = row.log_time_ns
            rows.append(row)
            if number % TURN_EVERY == 0:
                await asyncio.sleep(0)
        standing = Standing(number, last.generation, last.offset, last.message_id, log_time_ns)
        await self._keep(rows, standing, gap)
        self.on_archived()

    async def _begin_again(self, generation: int, found: str) -> None:
        """Read a generation from its first entry: it is not what was archived. What is archived already stays so."""
        await self._keep([], self.standing.in_generation(generation), self._gap(GapKind.REWRITTEN, found))

    async def _refused(self, reason: str, *, later: Sequence[int]) -> None:
        """Give the generation up that the archive stands in, of which more may have been said: but not at once.

        Raises:
            TopologyError: it was not refused often enough, or there is none to go on with.
        """
        self._refusals += 1
        if not later or self._refusals < REFUSALS_MIN:
            raise TopologyError(reason)
        await self._keep([], self.standing.in_generation(later[0]), self._gap(GapKind.LOST, reason))
        self._refusals = 0

    async def _keep(self, rows: Sequence[Row], standing: Standing, gap: Gap | None = None) -> None:
        """Write down rows and where the archive stands with them, and a gap before them."""
        if gap is not None:
            log.error("archive.gap", kind=gap.kind.value, reason=gap.sentence)
        await self._database.append(rows, standing=standing, before=self.standing, gap=gap)
        self.standing = standing
        if gap is not None:
            self.on_gap()

    def _gap(self, kind: GapKind, found: str) -> Gap:
        """Describe what may be missing behind where the archive stands."""
        return Gap(
            kind=kind,
            noticed_at_ns=self._clock_ns(),
            generation=self.standing.generation,
            after_offset=self.standing.offset,
            next_offset=None,
            detail=found,
        )

    def _found(self, generation: int) -> None:
        if self.trouble:
            log.info("archive.reading", generation=generation, offset=self.standing.offset, events=self.standing.number)
        self.trouble = ""
        self.reading.set()

    async def _complain(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.warning("archive.waiting", trouble=trouble)
        self.trouble = trouble
        await asyncio.sleep(AGAIN_AFTER_S)


async def _first_to_end(*works: Coroutine[object, object, None]) -> None:
    """Do several things that end by an exception alone; raise that of the first one.

    No task group: one that fails while it is cancelled tells of the failure alone before Python 3.13, and goes on.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task
    finally:
        for task in tasks:
            task.cancel()
        await uncut(asyncio.wait(tasks))
        for task in tasks:
            if not task.cancelled():
                task.exception()  # asked for, so that asyncio does not complain of it
