"""Publish: from files on the master's disk to facts in the outbox.

Hashing is done before the transaction, and the file is looked at once more inside it; so what is committed is what was
hashed. Killed at any point, a file is either published with its events or not at all; publishing it again goes on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from events.errors import InvalidNameError
from events.names import ORIGIN_CHANNEL, ChannelName, FilePath, Tag, unheld_path
from events.pieces import piece_bytes_for
from events.schemas import PUBLIC, Access
from events.trace import TraceContext
from master import holds
from master.catalogue import PublishedFile, Wish, generation_of
from master.checksums import Checksum
from master.errors import NotFoundError, UnusableFileError
from master.hashing import FileChangedError, Hashed, hash_file, look
from master.holding import Holding
from master.holds import Condition, HoldState, PathState, Turn
from master.media_types import guess_media_type
from master.reports import Done, Held, Progress, Published, Refused, Report, Unchanged, Verdict
from master.sources import Found, Haul, Unusable, find, refusal
from master.store.catalogue import Copy
from master.store.store import Store, Transaction

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a person wants published, and how. ``under`` is the path or, of a tree, the folder in the catalogue.

    What is to be ``hold`` is released by a person, or as soon as the ``condition`` is met.
    """

    source: str
    under: str | None = None
    tags: tuple[Tag, ...] = ()
    named_channels: tuple[ChannelName, ...] | None = None
    access: Access = PUBLIC
    media_type: str | None = None
    hold: bool = False
    condition: Condition | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """An order that makes sense, and what was found for it."""

    order: Order
    haul: Haul


@dataclass(frozen=True, slots=True)
class _Task:
    """One file of an order; ``hold`` is the number of the hold that it is for."""

    found: Found
    order: Order
    hold: int | None
    trace: TraceContext

    @property
    def path(self) -> FilePath:
        return self.found.path


@dataclass(frozen=True, slots=True)
class _Decided:
    """What becomes of a path."""

    before: PathState
    turn: Turn

    @property
    def changes(self) -> bool:
        return self.turn.after != self.before

    @property
    def is_held(self) -> bool:
        return self.turn.after.held.file is not None

    @property
    def file(self) -> PublishedFile:
        """What was wanted: the held file, else the one that stands."""
        after = self.turn.after
        file = after.held.file or after.standing.file
        assert file is not None  # noqa: S101 - only publishing ends here
        return file

    @property
    def channels(self) -> frozenset[ChannelName]:
        after = self.turn.after
        return after.held.channels if self.is_held else after.standing.channels

    @property
    def generation(self) -> int:
        """Which generation of the path it is, or will be when it is released."""
        return generation_of(self.turn.after.standing, self.file.sha256)

    @property
    def drops(self) -> FilePath | None:
        """Where something was held that is held no more."""
        before = self.before.held.file
        return None if before is None or self.is_held else before.path


class _StoppedError(Exception):
    """Nobody waits for this hashing any more."""


class Publisher:
    """Publishes, and makes these ``checksums``. ``wake`` is called after each commit that said something."""

    def __init__(
        self, store: Store, holding: Holding, *, checksums: Collection[Checksum], wake: Callable[[], None]
    ) -> None:
        self._store = store
        self._holding = holding
        self._checksums = frozenset(checksums)
        self._wake = wake

    async def plan(self, order: Order) -> Plan:
        """Check an order and find its files.

        Raises:
            NotFoundError: a channel or the source is not there.
            InvalidRequestError: the source cannot be meant.
        """
        async with self._store.reading() as transaction:
            known = await transaction.catalogue.filters()
        if unknown := [channel for channel in order.named_channels or () if channel not in known]:
            raise NotFoundError(
                "channel_unknown", f"no channel {', '.join(unknown)}", hint="define it first: distributary channel set"
            )
        return Plan(order, await asyncio.to_thread(find, order.source, under=order.under))

    async def carry_out(self, plan: Plan, *, trace: TraceContext) -> AsyncGenerator[Report, None]:
        """Publish what was planned, one transaction a file, and report. Leaving early stops after the current file.

        What is held is released by its condition only when all of it is held: after leaving early, never.
        """
        counts = {Published: 0, Held: 0, Unchanged: 0, Refused: 0}
        hold = await self._holding.begin(plan.order.condition) if plan.order.hold and not plan.order.dry_run else None
        for unusable in plan.haul.unusable:
            counts[Refused] += 1
            yield _refused(unusable)
        for found in plan.haul.found:
            async with aclosing(self._publish(_Task(found, plan.order, hold, trace))) as reports:
                async for report in reports:
                    if not isinstance(report, Progress):
                        counts[type(report)] += 1
                    yield report
        yield Done(
            published=counts[Published],
            held=counts[Held],
            unchanged=counts[Unchanged],
            refused=counts[Refused],
            hidden=plan.haul.hidden,
            hold=None if hold is None else await self._holding.seal(hold),
        )

    async def _publish(self, task: _Task) -> AsyncGenerator[Progress | Verdict, None]:
        try:
            hashed = await self._known(task)
            if hashed is None:
                async with aclosing(_hashing(task.found, self._checksums)) as steps:
                    async for step in steps:
                        if isinstance(step, Progress):
                            yield step
                        else:
                            hashed = step
            assert hashed is not None  # noqa: S101 - hashing ends with its result or an exception
            yield await self._settle(task, hashed)
        except (InvalidNameError, UnusableFileError) as error:
            log.info("file.refused", path=task.path, reason=str(error))
            yield _refused(refusal(task.path, error))

    async def _known(self, task: _Task) -> Hashed | None:
        """Give the digests without reading the file, if it is surely one that was hashed before."""
        now = await asyncio.to_thread(look, task.found.location)
        async with self._store.reading() as transaction:
            state = await transaction.catalogue.state(task.path)
            for standing in (state.standing, state.held):
                if (file := standing.file) is None or (source := await transaction.catalogue.source(file.path)) is None:
                    continue
                is_it = (source.location, source.fingerprint) == (task.found.location, now) and source.settled()
                if is_it and self._is_whole(file):
                    return Hashed(file.sha256, file.pieces, file.checksums, source)
        return None

    def _is_whole(self, file: PublishedFile) -> bool:
        """Tell whether all is known that is made of a file today: cutting and checksums may have been others."""
        return file.pieces.piece_bytes == piece_bytes_for(file.size_bytes) and file.checksums.made == self._checksums

    async def _settle(self, task: _Task, hashed: Hashed) -> Verdict:
        """Decide by looking; only what changes something waits for its turn to write."""
        async with self._store.reading() as transaction:
            decided = await _decide(transaction, task, hashed)
            source = await transaction.catalogue.source(decided.file.path)
        if not task.order.dry_run and (decided.changes or source != hashed.source or decided.is_held):
            decided = await self._commit(task, hashed)
        return _verdict(decided)

    async def _commit(self, task: _Task, hashed: Hashed) -> _Decided:
        source = hashed.source
        async with self._store.changing(trace=task.trace) as transaction:
            if look(source.location) != source.fingerprint:
                raise FileChangedError(
                    source.location, when="right after it was hashed", hint="publish it when it is complete"
                )
            decided = await _decide(transaction, task, hashed)
            await transaction.catalogue.put_files([Copy(decided.file, source)])
            if decided.drops:
                await transaction.catalogue.forget_files([decided.drops])
                await transaction.holds.drop([decided.drops], HoldState.ENDED)
            if decided.is_held and task.hold is not None:
                await transaction.holds.add(decided.file.path, task.hold)
            await transaction.journal.record(decided.turn.facts)
        if decided.turn.facts:
            self._wake()
            event = "file.held" if decided.is_held else "file.published"
            log.info(event, path=task.path, generation=decided.generation, trace_id=task.trace.trace_id)
        return decided


async def _decide(transaction: Transaction, task: _Task, hashed: Hashed) -> _Decided:
    state = await transaction.catalogue.state(task.path)
    filters = await transaction.catalogue.filters()
    decide = holds.hold if task.order.hold else holds.publish
    turn = decide(state, _wish(task.path, hashed, task.order), filters, now_ns=transaction.now_ns)
    return _Decided(state, turn)


async def _hashing(found: Found, checksums: Collection[Checksum]) -> AsyncGenerator[Progress | Hashed, None]:
    """Hash in a thread, telling how far it is. Leaving early ends the thread before this ends."""
    loop = asyncio.get_running_loop()
    steps: asyncio.Queue[Progress | None] = asyncio.Queue()
    stopped = threading.Event()

    def progress(hashed_bytes: int, total_bytes: int) -> None:
        if stopped.is_set():
            raise _StoppedError
        step = Progress(path=found.path, hashed_bytes=hashed_bytes, total_bytes=total_bytes)
        loop.call_soon_threadsafe(steps.put_nowait, step)

    async def hashing() -> Hashed:
        try:
            return await asyncio.to_thread(hash_file, found.location, progress=progress, checksums=checksums)
        finally:
            steps.put_nowait(None)

    task = asyncio.create_task(hashing(), name="hash")
    try:
        while step := await steps.get():
            yield step
        yield await task
    finally:
        stopped.set()
        await asyncio.wait([task])


def _wish(path: FilePath, hashed: Hashed, order: Order) -> Wish:
    return Wish(
        path=path,
        size_bytes=hashed.source.fingerprint.size_bytes,
        sha256=hashed.sha256,
        pieces=hashed.pieces,
        checksums=hashed.checksums,
        media_type=order.media_type or guess_media_type(path),
        tags=order.tags,
        access=order.access,
        named_channels=order.named_channels,
    )


def _verdict(decided: _Decided) -> Published | Held | Unchanged:
    file = decided.file
    said = Published if decided.turn.standing.facts else Unchanged
    kind = Held if decided.is_held else said
    return kind(
        path=unheld_path(file.path),
        sha256=file.sha256.hex(),
        size_bytes=file.size_bytes,
        generation=decided.generation,
        channels=sorted(decided.channels - {ORIGIN_CHANNEL}),
    )


def _refused(unusable: Unusable) -> Refused:
    return Refused(path=unusable.path, code=unusable.code, message=unusable.message)
