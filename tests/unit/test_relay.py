"""The outbox relay: what is confirmed is forgotten, what failed stays, nothing behind it waits."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from broker import relay as relay_module
from broker.memory import MemoryAdmin, MemoryBroker, MemorySite
from broker.port import AccessRefusedError, DisconnectedError, Message, PublishError
from broker.relay import BATCH_MAX, OutboxError, Pending, Relay, message_of
from broker.topology import Exchange, Queue, log_stream, site_topology
from events.codec import decode
from events.envelope import MASTER_SOURCE, Envelope
from events.routing import Binding
from events.schemas import LogOpened


def message(number: int, *, routing_key: str = "file.iso.published") -> Message:
    return Message(exchange="files", routing_key=routing_key, message_id=str(number), type="t", body=b"")


class ListOutbox:
    def __init__(self, messages: Sequence[Message]) -> None:
        self.rows = [Pending(position, message) for position, message in enumerate(messages)]

    async def pending(self, limit: int) -> Sequence[Pending]:
        return tuple(self.rows[:limit])

    async def forget(self, positions: Sequence[int]) -> None:
        self.rows = [row for row in self.rows if row.position not in positions]

    @property
    def ids(self) -> list[str]:
        return [row.message.message_id for row in self.rows]


def sound(message: Message) -> None:
    """No fault."""


class FaultyBroker(MemoryBroker):
    """Fails while ``fault`` gives an error for a message."""

    def __init__(self, site: MemorySite, fault: Callable[[Message], Exception | None] = sound) -> None:
        super().__init__(site)
        self.fault = fault

    async def publish(self, message: Message) -> None:
        if (error := self.fault(message)) is not None:
            raise error
        await super().publish(message)


@pytest.fixture
async def site() -> MemorySite:
    site = MemorySite()
    admin = MemoryAdmin(site)
    for exchange in site_topology(1).exchanges:
        await admin.ensure_exchange(exchange)
    for queue in site_topology(1).queues:
        await admin.ensure_queue(queue)
    return site


def logged_ids(site: MemorySite) -> list[str]:
    stream = site.stream(log_stream(1))
    return [entry.message_id for entry in stream.after(0, limit=stream.length)]


async def test_everything_pending_is_published_in_order_and_forgotten(site: MemorySite) -> None:
    outbox = ListOutbox([message(number) for number in range(2 * BATCH_MAX + 1)])
    published = await Relay(outbox, MemoryBroker(site)).drain()
    assert published == 2 * BATCH_MAX + 1
    assert outbox.ids == []
    assert logged_ids(site) == [str(number) for number in range(2 * BATCH_MAX + 1)]


async def test_what_failed_stays_and_what_was_confirmed_is_forgotten(site: MemorySite) -> None:
    outbox = ListOutbox([message(number) for number in range(3)])
    broker = FaultyBroker(site, lambda it: DisconnectedError("lost") if it.message_id == "1" else None)
    with pytest.raises(DisconnectedError):
        await Relay(outbox, broker).drain()
    assert outbox.ids == ["1"]
    broker.fault = sound
    assert await Relay(outbox, broker).drain() == 1
    assert outbox.ids == []


async def test_a_refused_row_does_not_hold_up_a_backlog_behind_it(site: MemorySite) -> None:
    outbox = ListOutbox([message(number) for number in range(3 * BATCH_MAX)])
    broker = FaultyBroker(site, lambda it: AccessRefusedError("no") if it.message_id == "0" else None)
    with pytest.raises(AccessRefusedError):
        await Relay(outbox, broker).drain()
    assert outbox.ids == ["0"]


@pytest.mark.parametrize("error", [PublishError("lost"), AccessRefusedError("no")], ids=["publish error", "refused"])
async def test_a_running_relay_survives_a_failure_and_tries_again(
    site: MemorySite, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "RETRY_AFTER_S", 0.01)
    outbox = ListOutbox([message(1)])
    broker = FaultyBroker(site, lambda _: error)
    relay = Relay(outbox, broker)
    seen = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(relay.run())
        following = tasks.create_task(MemoryBroker(site).follow(log_stream(1), lambda _: seen.set()))
        async with asyncio.timeout(5):
            while relay.problem != str(error):  # noqa: ASYNC110 - the relay tells nobody when it fails
                await asyncio.sleep(0)
        broker.fault = sound
        await seen.wait()
        running.cancel()
        following.cancel()


async def test_a_running_relay_survives_a_store_that_fails(site: MemorySite, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(ListOutbox):
        failures = 2

        async def pending(self, limit: int) -> Sequence[Pending]:
            if self.failures:
                self.failures -= 1
                raise OutboxError("the disk is full")
            return await super().pending(limit)

    monkeypatch.setattr(relay_module, "RETRY_AFTER_S", 0.01)
    seen = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(Relay(Failing([message(1)]), MemoryBroker(site)).run())
        following = tasks.create_task(MemoryBroker(site).follow(log_stream(1), lambda _: seen.set()))
        async with asyncio.timeout(5):
            await seen.wait()
        running.cancel()
        following.cancel()


async def test_waking_the_relay_publishes_what_was_committed_meanwhile(site: MemorySite) -> None:
    outbox = ListOutbox([])
    relay = Relay(outbox, MemoryBroker(site))
    seen = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(relay.run())
        following = tasks.create_task(MemoryBroker(site).follow(log_stream(1), lambda _: seen.set()))
        await asyncio.sleep(0)  # the relay finds nothing and waits
        outbox.rows.append(Pending(0, message(7)))
        relay.wake()
        await seen.wait()
        running.cancel()
        following.cancel()
    assert logged_ids(site) == ["7"]


async def test_a_relay_that_works_reports_no_problem(site: MemorySite) -> None:
    relay = Relay(ListOutbox([message(1)]), MemoryBroker(site))
    await relay.drain()
    assert relay.problem == ""


async def test_an_envelope_becomes_a_message_at_its_own_address_with_its_id_and_trace() -> None:
    envelope = Envelope(
        source=MASTER_SOURCE, epoch=1, sequence=2, time_ns=3, traceparent="00-aa-bb-01", event=LogOpened(generation=1)
    )
    written = message_of(envelope)
    assert (written.exchange, written.routing_key) == ("files", "log.opened")
    assert (written.message_id, written.type) == ("master:1:2", "log.opened/1")
    assert written.headers == {"traceparent": "00-aa-bb-01"}
    assert decode(written.body) == envelope


async def test_one_unroutable_row_does_not_stop_the_others(site: MemorySite) -> None:
    await MemoryAdmin(site).ensure_exchange(Exchange(name="lonely"))
    await MemoryAdmin(site).ensure_queue(Queue(name="q", arguments={}, bindings=(Binding("files", "only.this"),)))
    outbox = ListOutbox([Message(exchange="lonely", routing_key="x", message_id="a", type="t", body=b""), message(2)])
    with pytest.raises(PublishError):
        await Relay(outbox, MemoryBroker(site)).drain()
    assert outbox.ids == ["a"]
