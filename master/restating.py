"""Say the whole catalogue again: into each new log, and before the log's retention cuts off what was said last.

That is when a quarter of what the log keeps, by age or by size, came since: three restatements may fail before readers
miss one.

All of it is one transaction, so it is one moment of the catalogue: ``log.opened`` where the log is new, then all that
holds, then ``catalogue.restated``. What was said before and did not come again no longer holds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import structlog

from broker.retention import Retention
from events.names import ORIGIN_CHANNEL
from events.schemas import CatalogueRestated, Event, LogOpened, SubscriptionGranted
from events.schemas.fields import NS_PER_S
from master.mirrors import FIRST_KEY, Mirror
from master.store.store import Store, Transaction, uncut

QUARTERS: Final = 4
LOOK_EVERY_S: Final = 3600.0  # the wall clock decides, which a machine that slept has moved


log = structlog.stdlib.get_logger()


class Restating:
    """Restates the catalogue whenever it is due in a log that keeps so much."""

    def __init__(self, store: Store, retention: Retention) -> None:
        self._store = store
        self._retention = retention
        self._grown = asyncio.Event()

    def note_grown(self, bytes_since_restated: int) -> None:
        """Take note how much came into the log since the catalogue was said."""
        if self._is_much(bytes_since_restated):
            self._grown.set()

    async def run(self, *, wake: Callable[[], None]) -> None:
        """Look again and again, until cancelled; ``wake`` is called after each commit.

        Raises:
            StoreError: the database cannot be used now; run it again later.
        """
        while True:
            self._grown.clear()
            if await uncut(self.restate_if_due()):
                wake()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._grown.wait(), LOOK_EVERY_S)

    async def restate_if_due(self) -> bool:
        """Restate in the log that is open, if much time or much of the log has passed since; tell whether it has."""
        async with self._store.reading() as transaction:
            if not await self._is_due(transaction):
                return False
        async with self._store.changing() as transaction:
            generation = await transaction.log_generation()
            await restate(transaction, generation)
        log.info("catalogue.restated", generation=generation)
        return True

    async def _is_due(self, transaction: Transaction) -> bool:
        age_s = (transaction.now_ns - await transaction.restated_at_ns()) / NS_PER_S
        return age_s * QUARTERS >= self._retention.age_s or self._is_much(await transaction.bytes_since_restated())

    def _is_much(self, size_bytes: int) -> bool:
        return size_bytes * QUARTERS >= self._retention.size_bytes


async def open_log(transaction: Transaction, generation: int) -> None:
    """Begin a generation of the log with all that holds."""
    since = await transaction.journal.next_sequence()
    await transaction.set_log_generation(generation)
    await transaction.journal.say([LogOpened(generation=generation)])
    await restate(transaction, generation, since=since)


async def restate(transaction: Transaction, generation: int, *, since: int | None = None) -> None:
    """Say all that holds, and that this was all. ``since`` is the first number of it; None: the next one.

    It carries no trace: it is said because the log wants it, and not because somebody just did it.
    """
    began = since or await transaction.journal.next_sequence()
    async for events in _all_that_holds(transaction):
        await transaction.journal.say(events)
    await transaction.journal.say([CatalogueRestated(generation=generation, since=began)])
    await transaction.set_restated_at_ns(transaction.now_ns)
    await transaction.set_bytes_since_restated(0)


async def say_again_to(transaction: Transaction, mirrors: Sequence[Mirror]) -> None:
    """Say what mirrors' lost queues may have held and no snapshot of a channel tells: their keys, and revocations."""
    rotated = [mirror.rotation() for mirror in mirrors if mirror.keys != FIRST_KEY]
    await transaction.journal.say([*rotated, *await transaction.revocations.holding()])


async def _all_that_holds(transaction: Transaction) -> AsyncIterator[Sequence[Event]]:
    """Give it in portions: channels, fleet, revocations, and what is in each channel under its own numbers."""
    channels = await transaction.catalogue.channels()
    yield [channel.definition() for channel in channels]
    for mirror in await transaction.fleet.mirrors():
        followed = await transaction.fleet.subscriptions(mirror.name)
        yield [
            *mirror.introduction(),
            *(SubscriptionGranted(mirror=mirror.name, channel=channel) for channel in followed),
        ]
    yield await transaction.revocations.holding()
    for name in (ORIGIN_CHANNEL, *(channel.name for channel in channels)):
        yield await transaction.catalogue.facts(name)
