"""Stages for the history: a log in memory, with sources that write to it as the real ones do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from broker.memory import MemoryAdmin, MemoryBroker, MemorySite
from broker.memory_queues import MemoryStream
from broker.port import Message
from broker.provision import provision_site
from broker.topology import log_stream
from events.codec import encode
from events.envelope import Envelope
from events.routing import address_of
from events.schemas import Event, LogOpened, tag_of
from events.schemas.fields import NS_PER_S
from history.archive.archiver import Archiver
from history.archive.source import ArchiveSource
from history.archive.store.database import Database, open_database
from history.entry import Entry, entry_of

DEADLINE_S = 60.0
BEGAN_NS = 1_700_000_000 * NS_PER_S


@dataclass
class Scribe:
    """A log in memory, and all who write to it. ``now_ns`` is everybody's clock."""

    site: MemorySite = field(default_factory=MemorySite)
    now_ns: int = BEGAN_NS
    generation: int = 0
    numbers: dict[str, int] = field(default_factory=dict[str, int])

    async def open_log(self, generation: int = 1) -> None:
        await provision_site(MemoryAdmin(self.site), generation)
        self.generation = generation
        await self.say(LogOpened(generation=generation))

    def stream(self, generation: int = 1) -> MemoryStream:
        return self.site.stream(log_stream(generation))

    def entries(self, generation: int = 1) -> Sequence[Entry]:
        """Give what a generation's stream holds."""
        return [entry_of(each, generation=generation) for each in self.stream(generation).after(0, limit=100_000)]

    def enveloped(self, event: Event) -> Envelope:
        source = address_of(event).source
        self.numbers[source] = self.numbers.get(source, 0) + 1
        return Envelope(
            source=source, epoch=1, sequence=self.numbers[source], time_ns=self.now_ns, traceparent="", event=event
        )

    async def say(self, *events: Event) -> None:
        for event in events:
            await self.publish(self.enveloped(event))

    async def publish(self, envelope: Envelope) -> None:
        address = address_of(envelope.event)
        await self.put(address.exchange, address.routing_key, envelope.id, tag_of(envelope.event), encode(envelope))

    async def put(self, exchange: str, key: str, message_id: str, kind: str, body: bytes) -> None:
        message = Message(exchange=exchange, routing_key=key, message_id=message_id, type=kind, body=body)
        async with MemoryBroker(self.site) as broker:
            await broker.publish(message)

    async def fill(self, count: int) -> None:
        """Say so many events that say little."""
        await self.say(*(LogOpened(generation=1) for _ in range(count)))


@dataclass
class Desk:
    """An archive, the log that it is made from, and archivers."""

    scribe: Scribe
    database: Database

    @asynccontextmanager
    async def archiving(self) -> AsyncGenerator[Archiver]:
        """Archive while the block is entered."""
        async with MemoryBroker(self.scribe.site) as broker:
            vhost = self.scribe.site.vhost
            archiver = Archiver(broker, self.database, vhost=vhost, clock_ns=lambda: self.scribe.now_ns)
            task = asyncio.create_task(archiver.run())
            try:
                yield archiver
            finally:
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    task.result()

    async def archive_all(self) -> None:
        """Archive what the log has now."""
        async with self.archiving() as archiver:
            last = self.scribe.entries(self.scribe.generation)[-1]
            await self.until(lambda: archiver.standing.message_id == last.message_id)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something, as long as a loaded machine may take."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline_s, "it did not come true"
            await asyncio.sleep(0.01)

    async def until_told(self, ask: Callable[[], Awaitable[bool]]) -> None:
        """Ask until the answer is yes."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not await ask():
            assert time.monotonic() < deadline_s, "it did not come true"
            await asyncio.sleep(0.01)

    @property
    def source(self) -> ArchiveSource:
        return ArchiveSource(self.database, vhost=self.scribe.site.vhost, name="the archive")

    async def archived(self) -> Sequence[Entry]:
        """Give all entries of the archive."""
        async with aclosing(self.source.batches()) as batches:
            return [entry async for batch in batches for entry in batch]


@pytest.fixture
async def desk(database_url: str) -> AsyncGenerator[Desk]:
    async with open_database(database_url) as database:
        yield Desk(Scribe(), database)
