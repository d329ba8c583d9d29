"""The log as it grows: read on over generations and outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

from broker.discovery import Directory, newest_generation
from broker.memory import MemoryAdmin, MemoryBroker, MemorySite
from broker.port import Message
from broker.provision import provision_site, retire_generation
from events.routing import FILES
from history.entry import Entry, Position
from history.sources import live
from history.sources.broker_log import BrokerLog
from history.sources.live import LiveLog

WAIT_S = 60.0


class Onlooker:
    """A live log, what it gave, and what it complained of."""

    def __init__(self) -> None:
        self.site = MemorySite()
        self.broker = MemoryBroker(self.site)
        self.entries: list[Entry] = []
        self.complaints: list[str] = []
        log = BrokerLog(self.broker, vhost="memory", name="memory", clock_s=lambda: 0.0)
        self.log = LiveLog(self.broker, log, take=self.entries.append, complain=self.complaints.append)

    @property
    def ids(self) -> list[str]:
        return [entry.message_id for entry in self.entries]

    async def open_generation(self, generation: int) -> None:
        await provision_site(MemoryAdmin(self.site), generation)
        for before in range(1, generation):
            await retire_generation(MemoryAdmin(self.site), before)

    async def publish(self, *names: str) -> None:
        for name in names:
            await self.broker.publish(
                Message(exchange=FILES, routing_key="file.iso.published", message_id=name, type="a/1", body=b"")
            )

    @asynccontextmanager
    async def looking(self, *, after: Position | None = None) -> AsyncGenerator[None]:
        task = asyncio.create_task(self.log.run(after=after))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Be impatient, and note each look for a newer generation."""
    noted: list[int] = []

    async def look(directory: Directory, *, known: int = 1) -> int | None:
        noted.append(known)
        return await newest_generation(directory, known=known)

    monkeypatch.setattr(live, "newest_generation", look)
    monkeypatch.setattr(live, "AGAIN_AFTER_S", 0.001)
    monkeypatch.setattr(live, "LOOK_FOR_NEWER_EVERY_S", 0.001)
    return noted


async def test_a_log_is_followed_from_behind_a_place() -> None:
    onlooker = Onlooker()
    await onlooker.open_generation(1)
    await onlooker.publish("one", "two")
    async with onlooker.looking(after=Position(1, 0)):
        await onlooker.until(lambda: onlooker.ids == ["two"])
        await onlooker.publish("three")
        await onlooker.until(lambda: onlooker.ids == ["two", "three"])
    assert onlooker.complaints == []


async def test_a_log_is_followed_from_now_on_into_newer_generations() -> None:
    onlooker = Onlooker()
    await onlooker.open_generation(1)
    await onlooker.publish("before")
    async with onlooker.looking():
        sent = 0
        while not onlooker.ids:  # it attaches at a moment of its own
            await onlooker.publish(f"first {sent}")
            sent += 1
            await asyncio.sleep(0.001)
        await onlooker.open_generation(2)
        await onlooker.publish("second")
        await onlooker.until(lambda: "second" in onlooker.ids)
        await onlooker.open_generation(3)
        await onlooker.open_generation(4)
        await onlooker.publish("fourth")
        await onlooker.until(lambda: "fourth" in onlooker.ids)
    assert "before" not in onlooker.ids
    assert len(onlooker.ids) == len(set(onlooker.ids))
    positions = [entry.position for entry in onlooker.entries]
    assert positions == sorted(positions)


async def test_nothing_of_a_generation_is_missed_that_follows_one_in_which_nothing_was_said(looks: list[int]) -> None:
    onlooker = Onlooker()
    await onlooker.open_generation(1)
    async with onlooker.looking():
        await onlooker.until(lambda: len(looks) > 2)  # it follows the first
        await onlooker.open_generation(2)
        await onlooker.publish("one", "two")
        await onlooker.until(lambda: onlooker.ids[-1:] == ["two"])
    assert onlooker.ids == ["one", "two"]


async def test_a_log_is_waited_for_and_said_to_be_missing_once(looks: list[int]) -> None:
    onlooker = Onlooker()
    async with onlooker.looking():
        await onlooker.until(lambda: len(looks) > 3)
        assert len(onlooker.complaints) == 1
        assert "no log" in onlooker.complaints[0]
        await onlooker.open_generation(1)
        await onlooker.until(lambda: len(looks) > 10)
    assert len(onlooker.complaints) == 1


async def test_following_goes_on_when_the_broker_is_back() -> None:
    onlooker = Onlooker()
    await onlooker.open_generation(1)
    await onlooker.publish("one")
    async with onlooker.looking(after=Position(1, -1)):
        await onlooker.until(lambda: onlooker.ids == ["one"])
        with onlooker.site.outage():
            await asyncio.sleep(0)
        await onlooker.publish("two")
        await onlooker.until(lambda: onlooker.ids == ["one", "two"])


async def test_what_the_taker_raises_ends_it() -> None:
    onlooker = Onlooker()
    await onlooker.open_generation(1)
    await onlooker.publish("one")

    def refuse(entry: Entry) -> None:
        raise ZeroDivisionError(entry.message_id)

    broker = onlooker.broker
    log = BrokerLog(broker, vhost="memory", name="memory", clock_s=lambda: 0.0)
    with pytest.raises(ZeroDivisionError):
        await LiveLog(broker, log, take=refuse, complain=print).run(after=Position(1, -1))
