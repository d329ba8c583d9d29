"""The log as it is read from the broker: the in-memory twin's and a real RabbitMQ's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import pytest

from broker.config import BrokerConfig
from broker.memory import MemoryAdmin, MemoryBroker, MemorySite
from broker.memory_queues import MemoryStream
from broker.port import Admin, Broker, Message
from broker.provision import provision_site, retire_generation
from broker.rabbitmq import RabbitAdmin, RabbitBroker
from broker.site import Vhost
from broker.topology import log_stream
from events.routing import FILES
from history.entry import Entry, Position
from history.sources import broker_log
from history.sources.broker_log import BrokerLog
from history.sources.port import Dated, Source, SourceError

WAIT_S = 60.0


@dataclass(frozen=True)
class Stage:
    """A broker with what provisions it."""

    admin: Admin
    broker: Broker

    @property
    def log(self) -> BrokerLog:
        return BrokerLog(self.broker, vhost="site", name="amqp://somewhere", clock_s=time.time)

    async def publish(self, *names: str) -> None:
        for name in names:
            await self.broker.publish(
                Message(exchange=FILES, routing_key="file.iso.published", message_id=name, type="a/1", body=b"body")
            )


@asynccontextmanager
async def on_rabbitmq(vhost: Vhost) -> AsyncGenerator[Stage]:
    config = BrokerConfig(url=vhost.amqp_url, management_url=vhost.management_url)
    async with RabbitAdmin(config) as admin, RabbitBroker(config) as broker:
        yield Stage(admin, broker)


@asynccontextmanager
async def in_memory(site: MemorySite) -> AsyncGenerator[Stage]:
    async with MemoryBroker(site) as broker:
        yield Stage(MemoryAdmin(site), broker)


@pytest.fixture(params=["memory", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
async def stage(request: pytest.FixtureRequest) -> AsyncGenerator[Stage]:
    opening = in_memory(MemorySite()) if request.param == "memory" else on_rabbitmq(request.getfixturevalue("vhost"))
    async with opening as stage:
        yield stage


async def entries_of(source: Source, *, after: Position | None = None) -> list[Entry]:
    async with asyncio.timeout(WAIT_S), aclosing(source.batches(after=after)) as batches:
        return [entry async for batch in batches for entry in batch]


async def ids_of(source: Source, *, after: Position | None = None) -> list[str]:
    return [entry.message_id for entry in await entries_of(source, after=after)]


async def open_generation(admin: Admin, generation: int) -> None:
    await provision_site(admin, generation)
    for before in range(1, generation):
        await retire_generation(admin, before)


async def test_all_generations_are_read_in_order_up_to_the_end(stage: Stage) -> None:
    await open_generation(stage.admin, 2)
    await stage.publish("one", "two")
    await open_generation(stage.admin, 3)
    await open_generation(stage.admin, 5)
    await stage.publish("three")
    entries = await entries_of(stage.log)
    assert [(entry.generation, entry.message_id) for entry in entries] == [(2, "one"), (2, "two"), (5, "three")]
    assert await ids_of(stage.log, after=entries[0].position) == ["two", "three"]
    assert await ids_of(stage.log, after=Position(4, 1000)) == ["three"]


async def test_an_entry_is_what_was_published(stage: Stage) -> None:
    await provision_site(stage.admin, 1)
    await stage.publish("one")
    (entry,) = await entries_of(stage.log)
    assert (entry.exchange, entry.routing_key) == (FILES, "file.iso.published")
    assert (entry.message_id, entry.type, entry.body) == ("one", "a/1", b"body")
    assert entry.user_id


async def test_reading_goes_on_behind_a_place(stage: Stage) -> None:
    await provision_site(stage.admin, 1)
    names = [f"entry {number}" for number in range(50)]
    await stage.publish(*names)
    entries = await entries_of(stage.log)
    assert [entry.message_id for entry in entries] == names
    assert await ids_of(stage.log, after=entries[30].position) == names[31:]
    assert await ids_of(stage.log, after=entries[-1].position) == []
    assert await ids_of(stage.log, after=Position(2, -1)) == []


async def test_the_extent_spans_the_entries(stage: Stage) -> None:
    await provision_site(stage.admin, 1)
    assert (await stage.log.extent()).first is None
    await stage.publish("one", "two", "three")
    entries = await entries_of(stage.log)
    extent = await stage.log.extent()
    assert extent.first == entries[0].position
    assert extent.last is not None
    assert extent.last >= entries[-1].position


async def test_a_time_is_found_in_the_log(stage: Stage) -> None:
    await provision_site(stage.admin, 1)
    await stage.publish("one")
    log = stage.log
    assert isinstance(log, Dated)
    assert await ids_of(log, after=await log.place_before(time.time() - 3600)) == ["one"]
    assert await ids_of(log, after=await log.place_before(time.time() + 3600)) == ["one"]  # within the slack


async def test_a_site_without_a_log_is_an_error_that_says_so(stage: Stage) -> None:
    with pytest.raises(SourceError, match="no log in amqp://somewhere"):
        await stage.log.extent()
    with pytest.raises(SourceError, match="no log"):
        await entries_of(stage.log)


async def test_what_was_cut_off_is_passed_over() -> None:
    site = MemorySite()
    async with in_memory(site) as stage:
        await provision_site(stage.admin, 1)
        await stage.publish("one", "two", "three")
        first = (await entries_of(stage.log))[0]
        stream = site.queues[log_stream(1)]
        assert isinstance(stream, MemoryStream)
        stream.cut(2)
        assert await ids_of(stage.log, after=first.position) == ["three"]
        assert (await stage.log.extent()).first == (await entries_of(stage.log))[0].position


async def test_a_time_is_looked_for_in_the_newest_generation_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = asyncio.get_running_loop().time()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now_s)
    async with in_memory(MemorySite()) as stage:
        log = BrokerLog(stage.broker, vhost="site", name="memory", clock_s=lambda: now_s)
        for generation, names in ((1, ("one", "two")), (2, ("three", "four"))):
            await open_generation(stage.admin, generation)
            for name in names:
                await stage.publish(name)
                now_s += 1000
        for ago_s, found in ((1000, ["four"]), (2000, ["three", "four"]), (3000, ["two", "three", "four"])):
            assert await ids_of(log, after=await log.place_before(now_s - ago_s)) == found
        assert await log.place_before(now_s - 9000) is None


async def test_a_broker_that_gives_nothing_is_an_error_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_log, "PATIENCE_S", 0.05)
    site = MemorySite()
    async with in_memory(site) as stage:
        await provision_site(stage.admin, 1)
        await stage.publish("one")
        with site.outage(), pytest.raises(SourceError, match="gave nothing"):
            await entries_of(stage.log)
