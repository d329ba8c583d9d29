"""Publish: from files on the master's disk to facts in the outbox.

Hashing is done before the transaction, and the file is looked at once more inside it; so what is committed is what was
hashed. Killed at any point, a file is either published with its events or not at all; publishing it again goes on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias

import structlog
from msgspec import Struct

from events.errors import InvalidNameError
from events.names import ORIGIN_CHANNEL, ChannelName, FilePath, Tag
from events.pieces import piece_bytes_for
from events.schemas import PUBLIC, Access
from events.trace import TraceContext
from master import catalogue
from master.catalogue import Change, Standing, Wish
from master.errors import NotFoundError, UnusableFileError
from master.hashing import FileChangedError, Hashed, Source, hash_file, look
from master.media_types import guess_media_type
from master.sources import Found, Haul, Unusable, find, refusal
from master.store.store import Store, Transaction

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a person wants published, and how. ``under`` is the path or, of a tree, the folder in the catalogue."""

    source: str
    under: str | None = None
    tags: tuple[Tag, ...] = ()
    named_channels: tuple[ChannelName, ...] | None = None
    access: Access = PUBLIC
    media_type: str | None = None
    dry_run: bool = False


class Progress(Struct, frozen=True, kw_only=True, tag="progress", tag_field="type"):
    """A file is being hashed."""

    path: FilePath
    hashed_bytes: int
    total_bytes: int


class Published(Struct, frozen=True, kw_only=True, tag="published", tag_field="type"):
    """A file is in the catalogue, or was said anew. In a dry run: would be."""

    path: FilePath
    sha256: str
    size_bytes: int
    generation: int
    channels: list[ChannelName]


class Unchanged(Struct, frozen=True, kw_only=True, tag="unchanged", tag_field="type"):
    """A file stood in the catalogue just like that."""

    path: FilePath
    sha256: str
    size_bytes: int
    generation: int
    channels: list[ChannelName]


class Refused(Struct, frozen=True, kw_only=True, tag="refused", tag_field="type"):
    """A file was not published; the others go on."""

    path: str
    code: str
    message: str


class Done(Struct, frozen=True, kw_only=True, tag="done", tag_field="type"):
    """All is done. ``hidden`` counts the hidden files and folders that were left out."""

    published: int
    unchanged: int
    refused: int
    hidden: int


Verdict: TypeAlias = Published | Unchanged | Refused
Report: TypeAlias = Progress | Verdict | Done


@dataclass(frozen=True, slots=True)
class Plan:
    """An order that makes sense, and what was found for it."""

    order: Order
    haul: Haul


class _StoppedError(Exception):
    """Nobody waits for this hashing any more."""


class Publisher:
    """Publishes. ``wake`` is called after each commit that said something."""

    def __init__(self, store: Store, *, wake: Callable[[], None]) -> None:
        self._store = store
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
        """Publish what was planned, one transaction a file, and report. Leaving early stops after the current file."""
        counts = {Published: 0, Unchanged: 0, Refused: 0}
        for unusable in plan.haul.unusable:
            counts[Refused] += 1
            yield _refused(unusable)
        for found in plan.haul.found:
            async with aclosing(self._publish(found, plan.order, trace)) as reports:
                async for report in reports:
                    if not isinstance(report, Progress):
                        counts[type(report)] += 1
                    yield report
        yield Done(
            published=counts[Published],
            unchanged=counts[Unchanged],
            refused=counts[Refused],
            hidden=plan.haul.hidden,
        )

    async def _publish(
        self, found: Found, order: Order, trace: TraceContext
    ) -> AsyncGenerator[Progress | Verdict, None]:
        try:
            hashed = await self._known(found)
            if hashed is None:
                async with aclosing(_hashing(found)) as steps:
                    async for step in steps:
                        if isinstance(step, Progress):
                            yield step
                        else:
                            hashed = step
            assert hashed is not None  # noqa: S101 - hashing ends with its result or an exception
            yield await self._settle(found, hashed, order, trace)
        except (InvalidNameError, UnusableFileError) as error:
            log.info("file.refused", path=found.path, reason=str(error))
            yield _refused(refusal(found.path, error))

    async def _known(self, found: Found) -> Hashed | None:
        """Give the digest without reading the file, if it is surely the one that was hashed before."""
        now = await asyncio.to_thread(look, found.location)
        async with self._store.reading() as transaction:
            standing = await transaction.catalogue.standing(found.path)
            source = await transaction.catalogue.source(found.path)
        if standing.file is None or source is None or not source.settled():
            return None
        if (source.location, source.fingerprint) != (found.location, now):
            return None
        if standing.file.pieces.piece_bytes != piece_bytes_for(now.size_bytes):
            return None  # it was published when files were not cut into pieces, or cut otherwise
        return Hashed(standing.file.sha256, standing.file.pieces, source)

    async def _settle(self, found: Found, hashed: Hashed, order: Order, trace: TraceContext) -> Published | Unchanged:
        """Decide by looking; only what changes something waits for its turn to write."""
        wish = _wish(found.path, hashed, order)
        async with self._store.reading() as transaction:
            standing, change = await _decide(transaction, wish)
            source = await transaction.catalogue.source(found.path)
        if not order.dry_run and (change.standing != standing or source != hashed.source):
            change = await self._commit(hashed.source, wish, trace)
        return _verdict(change)

    async def _commit(self, source: Source, wish: Wish, trace: TraceContext) -> Change:
        async with self._store.changing(trace=trace) as transaction:
            if look(source.location) != source.fingerprint:
                raise FileChangedError(
                    source.location, when="right after it was hashed", hint="publish it when it is complete"
                )
            _, change = await _decide(transaction, wish)
            assert change.standing.file is not None  # noqa: S101 - it was just published
            await transaction.catalogue.put_file(change.standing.file, source)
            await transaction.journal.record(change.facts)
        if change.facts:
            self._wake()
            generation = change.standing.last_generation
            log.info("file.published", path=wish.path, generation=generation, trace_id=trace.trace_id)
        return change


async def _decide(transaction: Transaction, wish: Wish) -> tuple[Standing, Change]:
    standing = await transaction.catalogue.standing(wish.path)
    filters = await transaction.catalogue.filters()
    return standing, catalogue.publish(standing, wish, filters, now_ns=transaction.now_ns)


async def _hashing(found: Found) -> AsyncGenerator[Progress | Hashed, None]:
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
            return await asyncio.to_thread(hash_file, found.location, progress=progress)
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
        media_type=order.media_type or guess_media_type(path),
        tags=order.tags,
        access=order.access,
        named_channels=order.named_channels,
    )


def _verdict(change: Change) -> Published | Unchanged:
    file = change.standing.file
    assert file is not None  # noqa: S101 - only publishing ends here
    kind = Published if change.facts else Unchanged
    return kind(
        path=file.path,
        sha256=file.sha256.hex(),
        size_bytes=file.size_bytes,
        generation=file.generation,
        channels=sorted(change.standing.channels - {ORIGIN_CHANNEL}),
    )


def _refused(unusable: Unusable) -> Refused:
    return Refused(path=unusable.path, code=unusable.code, message=unusable.message)
