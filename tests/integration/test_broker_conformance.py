"""What the port promises, shown on both adapters: the in-memory twin and a real RabbitMQ."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote, urlsplit

import aio_pika
import pamqp.encode
import pytest

from broker.accounts import mirror_user
from broker.config import BrokerConfig
from broker.discovery import newest_generation
from broker.memory import MemoryAdmin, MemoryBroker, MemorySite
from broker.port import (
    AccessRefusedError,
    Admin,
    After,
    Broker,
    Delivery,
    From,
    ManagementRefusedError,
    Message,
    Outcome,
    PositionLostError,
    PublishError,
    Start,
    TopologyError,
    UnroutableError,
)
from broker.provision import Provisioned, Site, provision_mirror, provision_site, remove_mirror
from broker.rabbitmq import RabbitAdmin, RabbitBroker
from broker.site import Vhost
from broker.topology import Exchange, Queue, log_stream, mirror_account, mirror_queue, mirror_topology
from events.names import ChannelName, MirrorName
from events.routing import FILES, FLEET, GRANTS, LOAD, Binding

ANA, BOB = MirrorName("ana"), MirrorName("bob")
ISO, DOCS = ChannelName("iso"), ChannelName("docs")
LOG = log_stream(1)
WAIT_S = 20.0  # far beyond what a healthy broker takes; a busy machine is slow, not wrong
PASSWORD = "pass"
NOT_UTF8 = "not UTF-8 on the wire"

_ids = itertools.count()


@dataclass(frozen=True)
class Stage:
    """One adapter's broker: ``open`` connects, as a mirror or, without a name, as the site."""

    admin: Admin
    open: Callable[[MirrorName | None], AbstractAsyncContextManager[Broker]]


@asynccontextmanager
async def memory_stage() -> AsyncGenerator[Stage]:
    site = MemorySite()

    def connect(mirror: MirrorName | None) -> MemoryBroker:
        return MemoryBroker(site, user=mirror_user(site.vhost, mirror)) if mirror else MemoryBroker(site)

    yield Stage(MemoryAdmin(site), connect)


@asynccontextmanager
async def rabbitmq_stage(vhost: Vhost) -> AsyncGenerator[Stage]:
    def connect(mirror: MirrorName | None) -> RabbitBroker:
        return RabbitBroker(BrokerConfig(url=mirror_url(vhost, mirror) if mirror else vhost.amqp_url))

    async with RabbitAdmin(BrokerConfig(url=vhost.amqp_url, management_url=vhost.management_url)) as admin:
        yield Stage(admin, connect)


def mirror_url(vhost: Vhost, mirror: MirrorName) -> str:
    scheme, _, rest = vhost.amqp_url.partition("://")
    return f"{scheme}://{quote(mirror_user(vhost.name, mirror), safe='')}:{PASSWORD}@{rest.rpartition('@')[2]}"


@pytest.fixture(params=["memory", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
async def stage(request: pytest.FixtureRequest) -> AsyncGenerator[Stage]:
    """A provisioned site with the mirrors ana (channel iso) and bob (channel docs)."""
    opening = memory_stage() if request.param == "memory" else rabbitmq_stage(request.getfixturevalue("vhost"))
    async with opening as stage:
        await provision_site(stage.admin, 1)
        await provision_mirror(stage.admin, ANA, (ISO,), password=PASSWORD)
        await provision_mirror(stage.admin, BOB, (DOCS,), password=PASSWORD)
        yield stage


@pytest.fixture
async def broker(stage: Stage) -> AsyncGenerator[Broker]:
    async with stage.open(None) as broker:
        yield broker


class Inbox:
    """Notes what arrives, as a handler or as a fold, and lets a test wait for it."""

    def __init__(self, *verdicts: Outcome | Exception) -> None:
        self.deliveries: list[Delivery] = []
        self._verdicts = list(verdicts)
        self._changed = asyncio.Event()

    def fold(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self._changed.set()

    async def handle(self, delivery: Delivery) -> Outcome:
        self.fold(delivery)
        verdict = self._verdicts.pop(0) if self._verdicts else Outcome.ACK
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    @property
    def ids(self) -> list[str]:
        return [delivery.message_id for delivery in self.deliveries]

    async def has(self, count: int) -> list[str]:
        async with asyncio.timeout(WAIT_S):
            while len(self.deliveries) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.ids


def message(routing_key: str = "file.iso.published", *, exchange: str = FILES, body: bytes = b"body") -> Message:
    return Message(exchange=exchange, routing_key=routing_key, message_id=f"m{next(_ids)}", type="t/1", body=body)


async def published(broker: Broker, *messages: Message) -> list[str]:
    for one in messages:
        await broker.publish(one)
    return [one.message_id for one in messages]


@asynccontextmanager
async def running(*tasks: asyncio.Task[None]) -> AsyncGenerator[None]:
    """Let consumers and followers work while the block is entered; what one raises fails the test."""
    try:
        yield
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def consuming(broker: Broker, inbox: Inbox, *, queue: str = mirror_queue(ANA)) -> asyncio.Task[None]:
    return asyncio.create_task(broker.consume(queue, inbox.handle))


def following(broker: Broker, inbox: Inbox, *, start: Start = From.FIRST) -> asyncio.Task[None]:
    return asyncio.create_task(broker.follow(LOG, inbox.fold, start=start))


# Publishing


async def test_a_confirmed_message_is_in_the_log(broker: Broker) -> None:
    sent = await published(
        broker, message(), message("mirror.ana.offline", exchange=FLEET), message("x.y", exchange=GRANTS)
    )
    inbox = Inbox()
    async with running(following(broker, inbox)):
        assert await inbox.has(3) == sent


async def test_everything_that_was_written_arrives(broker: Broker) -> None:
    sent = Message(
        exchange=FILES,
        routing_key="file.iso.published",
        message_id="master:1:1",
        type="file.published/1",
        body=b"\x00\xff",
        headers={"traceparent": "00-aa-bb-01"},
    )
    await broker.publish(sent)
    inbox = Inbox()
    async with running(consuming(broker, inbox)):
        await inbox.has(1)
    arrived = inbox.deliveries[0]
    assert (arrived.exchange, arrived.routing_key, arrived.message_id) == (FILES, sent.routing_key, sent.message_id)
    assert (arrived.type, arrived.body, arrived.headers) == (sent.type, sent.body, sent.headers)
    assert arrived.user_id != ""
    assert not arrived.redelivered


async def test_a_message_that_nobody_takes_is_an_error(stage: Stage, broker: Broker) -> None:
    await stage.admin.ensure_exchange(Exchange(name="lonely"))
    with pytest.raises(UnroutableError):
        await broker.publish(message(exchange="lonely"))


async def test_a_missing_exchange_is_an_error_and_hurts_no_other_publish(broker: Broker) -> None:
    messages = [message(exchange="missing") if number == 10 else message() for number in range(50)]
    results = await asyncio.gather(*(broker.publish(one) for one in messages), return_exceptions=True)
    assert [type(result) for result in results if result is not None] == [UnroutableError]


async def test_many_messages_at_once_all_arrive(broker: Broker) -> None:
    messages = [message() for _ in range(300)]
    inbox = Inbox()
    async with running(consuming(broker, inbox)):
        await asyncio.gather(*(broker.publish(one) for one in messages))
        assert set(await inbox.has(300)) == {one.message_id for one in messages}


# Routing


async def test_a_queue_takes_what_its_bindings_match_and_nothing_else(broker: Broker) -> None:
    sent = await published(
        broker,
        message("file.docs.published"),
        message("file.iso.published"),
        message("grant.bob.granted", exchange=GRANTS),
        message("grant.ana.granted", exchange=GRANTS),
    )
    inbox = Inbox()
    async with running(consuming(broker, inbox)):
        assert set(await inbox.has(2)) == {sent[1], sent[3]}


async def test_every_bound_queue_gets_its_own_copy(stage: Stage, broker: Broker) -> None:
    await provision_mirror(stage.admin, BOB, (ISO,), previous_channels=(DOCS,))
    sent = await published(broker, message())
    for_ana, for_bob = Inbox(), Inbox()
    async with running(consuming(broker, for_ana), consuming(broker, for_bob, queue=mirror_queue(BOB))):
        assert await for_ana.has(1) == await for_bob.has(1) == sent


async def test_a_channel_no_longer_followed_no_longer_arrives(stage: Stage, broker: Broker) -> None:
    await provision_mirror(stage.admin, ANA, (DOCS,), previous_channels=(ISO,))
    sent = await published(broker, message("file.iso.published"), message("file.docs.published"))
    inbox = Inbox()
    async with running(consuming(broker, inbox)):
        assert await inbox.has(1) == sent[1:]


# Consuming


@pytest.mark.parametrize("verdict", [Outcome.RETRY, RuntimeError("made up")], ids=["retry", "the handler raises"])
async def test_a_message_that_was_not_handled_comes_again(broker: Broker, verdict: Outcome | Exception) -> None:
    sent = await published(broker, message())
    inbox = Inbox(verdict)
    async with running(consuming(broker, inbox)):
        assert await inbox.has(2) == sent * 2
    assert [delivery.redelivered for delivery in inbox.deliveries] == [False, True]


@pytest.mark.parametrize("verdict", [Outcome.ACK, Outcome.DISCARD])
async def test_a_settled_message_does_not_come_again(broker: Broker, verdict: Outcome) -> None:
    settled = await published(broker, message())
    first, second = Inbox(verdict), Inbox()
    async with running(consuming(broker, first)):
        await first.has(1)
        await published(broker, message())
        await first.has(2)  # a round trip later the first one is settled
    last = await published(broker, message())
    async with running(consuming(broker, second)):
        await second.has(1)
        while last[0] not in second.ids:
            await second.has(len(second.ids) + 1)
    assert settled[0] not in second.ids


async def test_a_failing_message_does_not_hold_up_the_others(broker: Broker) -> None:
    sent = await published(broker, message(), message(), message())
    inbox = Inbox(Outcome.RETRY)
    async with running(consuming(broker, inbox)):
        arrived = await inbox.has(4)
    assert arrived[:3] == sent
    assert arrived[3] == sent[0]


async def test_no_more_than_the_prefetch_is_handled_at_once(broker: Broker) -> None:
    await published(broker, *(message() for _ in range(6)))
    at_work, most, go_on, full = 0, 0, asyncio.Event(), asyncio.Event()
    inbox = Inbox()

    async def handle(delivery: Delivery) -> Outcome:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        if at_work == 2:
            full.set()
        await go_on.wait()
        at_work -= 1
        return await inbox.handle(delivery)

    consumer = asyncio.create_task(broker.consume(mirror_queue(ANA), handle, prefetch=2))
    async with running(consumer), asyncio.timeout(WAIT_S):
        await full.wait()
        go_on.set()
        await inbox.has(6)
    assert most == 2


async def test_a_message_in_the_hands_of_a_stopped_consumer_goes_to_the_next(broker: Broker) -> None:
    sent = await published(broker, message())
    begun = asyncio.Event()

    async def hold(_: Delivery) -> Outcome:
        begun.set()
        await asyncio.Event().wait()
        return Outcome.ACK

    async with running(asyncio.create_task(broker.consume(mirror_queue(ANA), hold))), asyncio.timeout(WAIT_S):
        await begun.wait()
    inbox = Inbox()
    async with running(consuming(broker, inbox)):
        assert await inbox.has(1) == sent


async def test_a_mirrors_queue_serves_one_consumer_and_after_it_the_next(stage: Stage, broker: Broker) -> None:
    first, second = Inbox(), Inbox()
    active = consuming(broker, first)
    async with stage.open(None) as other, running(active):
        await published(broker, message())
        await first.has(1)
        async with running(consuming(other, second)):
            sent = await published(broker, *(message() for _ in range(20)))
            assert (await first.has(21))[1:] == sent
            assert second.ids == []
            active.cancel()
            sent = await published(broker, message())
            while sent[0] not in second.ids:
                await second.has(len(second.ids) + 1)


async def test_consuming_begins_when_the_queue_appears_and_goes_on_when_it_returns(
    stage: Stage, broker: Broker
) -> None:
    await stage.admin.delete_queue(mirror_queue(ANA))
    inbox = Inbox()
    async with running(consuming(broker, inbox)):
        for count in (1, 2):
            assert await provision_mirror(stage.admin, ANA, (ISO,)) is Provisioned.NEW
            await published(broker, message())
            await inbox.has(count)
            await stage.admin.delete_queue(mirror_queue(ANA))


# Following


async def test_a_log_is_read_from_its_beginning_in_order(broker: Broker) -> None:
    sent = await published(broker, *(message() for _ in range(30)))
    inbox = Inbox()
    async with running(following(broker, inbox)):
        assert await inbox.has(30) == sent
    offsets = [delivery.offset for delivery in inbox.deliveries]
    assert all(offset is not None for offset in offsets)
    assert offsets == sorted(set(offsets), key=lambda offset: offset or 0)


async def test_a_log_is_read_on_from_an_offset_inclusive(broker: Broker) -> None:
    sent = await published(broker, *(message() for _ in range(30)))
    first, second = Inbox(), Inbox()
    async with running(following(broker, first)):
        await first.has(30)
    offset = first.deliveries[20].offset
    assert offset is not None
    async with running(following(broker, second, start=offset)):
        assert await second.has(10) == sent[20:]


async def test_a_log_is_read_on_after_an_entry_that_still_stands_there(broker: Broker) -> None:
    sent = await published(broker, *(message() for _ in range(30)))
    first, second = Inbox(), Inbox()
    async with running(following(broker, first)):
        await first.has(30)
    last = first.deliveries[20]
    assert last.offset is not None
    async with running(following(broker, second, start=After(last.offset, last.message_id))):
        assert await second.has(9) == sent[21:]
        sent = [*sent, *await published(broker, message())]
        assert await second.has(10) == sent[21:]


async def test_a_log_that_holds_something_else_where_a_reader_was_is_not_read_on(broker: Broker) -> None:
    await published(broker, *(message() for _ in range(3)))
    first = Inbox()
    async with running(following(broker, first)):
        await first.has(3)
    offset = first.deliveries[1].offset
    assert offset is not None
    with pytest.raises(PositionLostError):
        await broker.follow(LOG, Inbox().fold, start=After(offset, "another message"))


async def test_a_log_that_ends_before_the_place_where_a_reader_was_is_not_read_on(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.rabbitmq.follower.PROOF_TIMEOUT_S", 2.0)
    await published(broker, message())
    with pytest.raises(PositionLostError):
        await broker.follow(LOG, Inbox().fold, start=After(1000, "a message that was lost"))


async def test_a_log_can_be_read_from_now_on(broker: Broker) -> None:
    await published(broker, message())
    inbox = Inbox()
    async with running(following(broker, inbox, start=From.NEXT)):
        sent: Sequence[str] = []
        async with asyncio.timeout(WAIT_S):
            while not inbox.ids:  # the reader attaches at a moment of its own
                sent = [*sent, *await published(broker, message())]
        assert inbox.ids[0] in sent
        missed = sent.index(inbox.ids[0])
        assert await inbox.has(len(sent) - missed) == sent[missed:]


async def test_a_log_can_be_read_from_a_while_ago(broker: Broker) -> None:
    sent = await published(broker, message(), message())
    inbox = Inbox()
    async with running(following(broker, inbox, start=timedelta(hours=1))):
        assert await inbox.has(2) == sent


async def test_two_readers_of_a_log_read_the_same(stage: Stage, broker: Broker) -> None:
    sent = await published(broker, message(), message())
    one, other = Inbox(), Inbox()
    async with stage.open(None) as second, running(following(broker, one), following(second, other)):
        assert await one.has(2) == await other.has(2) == sent


async def read_all(broker: Broker, *, start: Start = From.FIRST, end: int | None = None) -> list[Delivery]:
    end = (await broker.span(LOG)).end if end is None else end
    async with asyncio.timeout(WAIT_S), aclosing(broker.read(LOG, start=start, end=end)) as batches:
        return [delivery async for batch in batches for delivery in batch]


async def test_a_log_that_stands_still_is_read_to_its_end_and_no_further(broker: Broker) -> None:
    sent = await published(broker, *(message() for _ in range(150)))
    end = (await broker.span(LOG)).end
    await published(broker, message())
    read = await read_all(broker, end=end)
    assert [delivery.message_id for delivery in read] == sent
    assert read[0].offset == (await broker.span(LOG)).first
    assert [delivery.message_id for delivery in await read_all(broker)][:-1] == sent


async def test_a_log_without_entries_is_read_to_its_end(broker: Broker) -> None:
    span = await broker.span(LOG)
    assert span.first is None
    assert await read_all(broker, end=span.end) == []


async def test_a_log_is_read_to_its_end_from_an_offset_inclusive(broker: Broker) -> None:
    sent = await published(broker, *(message() for _ in range(30)))
    read = await read_all(broker)
    offsets = [delivery.offset or 0 for delivery in read]
    on = [delivery.message_id for delivery in await read_all(broker, start=offsets[20])]
    assert on == sent[20:]
    assert await read_all(broker, start=offsets[-1] + 1) == []
    assert await read_all(broker, start=offsets[-1] + 1000) == []


async def test_a_log_is_read_to_its_end_after_an_entry_that_still_stands_there(broker: Broker) -> None:
    sent = await published(broker, *(message() for _ in range(30)))
    read = await read_all(broker)
    on = await read_all(broker, start=After(read[20].offset or 0, read[20].message_id))
    assert [delivery.message_id for delivery in on] == sent[21:]
    with pytest.raises(PositionLostError):
        await read_all(broker, start=After(read[20].offset or 0, "another message"))


async def test_reading_that_is_left_early_holds_up_no_other(broker: Broker) -> None:
    sent = await published(broker, *(message() for _ in range(300)))
    async with aclosing(broker.read(LOG, end=(await broker.span(LOG)).end)) as batches:
        first = await anext(batches)
    assert [delivery.message_id for delivery in first] == sent[: len(first)]
    assert len(await read_all(broker)) == 300


async def test_a_missing_log_cannot_be_read_to_its_end(broker: Broker) -> None:
    with pytest.raises(TopologyError):
        await broker.span(log_stream(7))
    with pytest.raises(TopologyError):
        await anext(broker.read(log_stream(7), end=1))


async def test_a_missing_log_is_an_error(broker: Broker) -> None:
    with pytest.raises(TopologyError):
        await broker.follow(log_stream(7), Inbox().fold)


async def test_a_fold_that_raises_ends_the_reading_with_its_error(broker: Broker) -> None:
    def fold(delivery: Delivery) -> None:
        raise ZeroDivisionError(delivery.message_id)

    await published(broker, message())
    with pytest.raises(ZeroDivisionError):
        await broker.follow(LOG, fold)


# Provisioning


async def test_provisioning_twice_changes_nothing_and_leaves_no_trace(stage: Stage, broker: Broker) -> None:
    assert await provision_site(stage.admin, 1, opened=True) == Site(generation=1, is_new=False, is_limited=True)
    assert await provision_mirror(stage.admin, ANA, (ISO,), password=PASSWORD) is Provisioned.KEPT
    sent = await published(broker, message())
    logged, inbox = Inbox(), Inbox()
    async with running(following(broker, logged), consuming(broker, inbox)):
        assert await logged.has(1) == sent
        assert await inbox.has(1) == sent


async def test_anybody_may_ask_what_is_there(stage: Stage) -> None:
    async with stage.open(ANA) as mirror:
        assert await mirror.exists(LOG)
        assert not await mirror.exists(log_stream(2))
        assert await newest_generation(mirror) == 1


async def test_a_queue_with_other_arguments_is_reported(stage: Stage) -> None:
    queue = mirror_topology(ANA, (ISO,))
    changed = Queue(name=queue.name, arguments={**queue.arguments, "x-max-length": 5}, bindings=queue.bindings)
    with pytest.raises(TopologyError):
        await stage.admin.ensure_queue(changed)


async def test_taking_away_what_is_not_there_is_no_error(stage: Stage) -> None:
    await stage.admin.delete_queue("mirror.nobody")
    await stage.admin.unbind("mirror.nobody", Binding(FILES, "x"))
    await stage.admin.unbind(mirror_queue(ANA), Binding(FILES, "never.bound"))
    await stage.admin.remove_account("nobody")


async def test_a_missing_queue_cannot_be_proved(stage: Stage) -> None:
    with pytest.raises(TopologyError):
        await stage.admin.prove("mirror.nobody")
    with pytest.raises(TopologyError):
        await stage.admin.prove(log_stream(9))


# Permissions


async def test_a_mirror_writes_under_its_own_name_and_reads_its_own_queue(stage: Stage, broker: Broker) -> None:
    inbox, logged = Inbox(), Inbox()
    async with stage.open(ANA) as mirror, running(consuming(mirror, inbox), following(broker, logged)):
        assert await published(broker, message()) == await inbox.has(1)
        await published(mirror, message("mirror.ana.ready", exchange=FLEET), message("mirror.ana.load", exchange=LOAD))
        await logged.has(2)
    assert logged.deliveries[1].user_id == mirror_user(stage.admin.vhost, ANA)


@pytest.mark.parametrize(
    ("exchange", "routing_key"),
    [
        pytest.param(FLEET, "mirror.bob.ready", id="under another's name"),
        pytest.param(FLEET, "mirror.ana2.ready", id="under a name that begins like its own"),
        pytest.param(FLEET, "mirror.ana", id="under its bare name"),
        pytest.param(LOAD, "mirror.bob.load", id="another's telemetry"),
        pytest.param(FILES, "file.iso.published", id="as the master"),
        pytest.param(GRANTS, "grant.ana.granted", id="as a selector"),
    ],
)
async def test_a_mirror_may_not_write_elsewhere(stage: Stage, exchange: str, routing_key: str) -> None:
    async with stage.open(ANA) as mirror:
        with pytest.raises(AccessRefusedError):
            await mirror.publish(message(routing_key, exchange=exchange))
        await mirror.publish(message("mirror.ana.ready", exchange=FLEET))


async def test_one_refused_publish_hurts_none_of_those_in_flight_beside_it(stage: Stage) -> None:
    keys = ["mirror.bob.ready" if number % 50 == 7 else "mirror.ana.ready" for number in range(150)]
    async with stage.open(ANA) as mirror:
        results = await asyncio.gather(
            *(mirror.publish(message(key, exchange=FLEET)) for key in keys), return_exceptions=True
        )
    refused = [index for index, result in enumerate(results) if isinstance(result, AccessRefusedError)]
    assert refused == [7, 57, 107]
    assert sum(result is None for result in results) == 147


async def test_a_mirror_may_not_read_anothers_queue_nor_the_log(stage: Stage) -> None:
    async with stage.open(ANA) as mirror:
        with pytest.raises(AccessRefusedError):
            await mirror.consume(mirror_queue(BOB), Inbox().handle)
        with pytest.raises(AccessRefusedError):
            await mirror.follow(LOG, Inbox().fold)


async def test_a_mirror_that_was_removed_can_do_nothing_more(stage: Stage) -> None:
    await remove_mirror(stage.admin, ANA)
    assert not await stage.admin.exists(mirror_queue(ANA))


@pytest.mark.rabbitmq
async def test_rabbitmq_refuses_a_wrong_password_at_once(vhost: Vhost) -> None:
    async with rabbitmq_stage(vhost) as stage:
        await provision_site(stage.admin, 1)
        await provision_mirror(stage.admin, ANA, (ISO,), password="another")
        with pytest.raises(AccessRefusedError):
            async with stage.open(ANA):
                pass


@pytest.mark.rabbitmq
async def test_management_api_refuses_a_wrong_password_as_itself(vhost: Vhost) -> None:
    wrong = urlsplit(vhost.management_url)
    url = wrong._replace(netloc=f"guest:wrong@{wrong.hostname}:{wrong.port}").geturl()
    async with RabbitAdmin(BrokerConfig(url=vhost.amqp_url, management_url=url)) as admin:
        with pytest.raises(ManagementRefusedError):
            await admin.remove_account("nobody")


@pytest.mark.rabbitmq
async def test_rabbitmq_refuses_a_mirror_all_that_changes_the_topology(vhost: Vhost) -> None:
    async with rabbitmq_stage(vhost) as stage:
        await provision_site(stage.admin, 1)
        await provision_mirror(stage.admin, ANA, (ISO,), password=PASSWORD)
        async with RabbitAdmin(BrokerConfig(url=mirror_url(vhost, ANA))) as mirror:
            with pytest.raises(AccessRefusedError):
                await mirror.ensure_exchange(Exchange(name="mine"))
            with pytest.raises(AccessRefusedError):
                await mirror.ensure_queue(Queue(name="mine", arguments={}, bindings=()))
            with pytest.raises(AccessRefusedError):
                await mirror.ensure_queue(mirror_topology(ANA, (ISO, DOCS)))
            with pytest.raises(AccessRefusedError):
                await mirror.delete_queue(mirror_queue(ANA))
            with pytest.raises(AccessRefusedError):
                await mirror.ensure_account("me", PASSWORD, mirror_account(ANA))


@pytest.mark.rabbitmq
async def test_rabbitmq_refuses_a_message_under_another_users_name(vhost: Vhost) -> None:
    async with rabbitmq_stage(vhost) as stage:
        await provision_site(stage.admin, 1)
        await provision_mirror(stage.admin, ANA, (ISO,), password=PASSWORD)
        async with await aio_pika.connect(mirror_url(vhost, ANA)) as connection:
            amqp_channel = await connection.channel()
            fleet = await amqp_channel.get_exchange(FLEET, ensure=False)
            with pytest.raises(aio_pika.exceptions.ChannelPreconditionFailed):
                await fleet.publish(aio_pika.Message(b"", user_id=mirror_user(vhost.name, BOB)), "mirror.ana.ready")


@pytest.mark.rabbitmq
async def test_an_entry_that_aio_pika_cannot_decode_stops_no_reader_of_the_log(
    vhost: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = Inbox()
    async with rabbitmq_stage(vhost) as stage, stage.open(None) as broker:
        await provision_site(stage.admin, 1)
        before = await published(broker, message(), message())
        await write_what_is_not_utf8(vhost, monkeypatch)
        async with running(following(broker, inbox)):
            assert await inbox.has(2) == before
            async with asyncio.timeout(WAIT_S):
                while len(inbox.ids) < 3:  # a publish beside the reader fails while the connection is ended
                    with suppress(PublishError):
                        await published(broker, message())
        assert len(inbox.ids) == len(set(inbox.ids))
        assert [delivery.message_id for delivery in await read_all(broker)][: len(inbox.ids)] == inbox.ids


async def write_what_is_not_utf8(vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await aio_pika.connect(vhost.amqp_url) as connection:
        amqp_channel = await connection.channel()
        exchange = await amqp_channel.get_exchange(FILES, ensure=False)
        with monkeypatch.context() as patched:
            patched.setitem(pamqp.encode.METHODS, "shortstr", short_string_or_worse)
            await exchange.publish(aio_pika.Message(b"", correlation_id=NOT_UTF8), "file.iso.published")


def short_string_or_worse(value: str) -> bytes:
    return b"\x02\xff\xfe" if value == NOT_UTF8 else pamqp.encode.short_string(value)


@pytest.mark.rabbitmq
async def test_rabbitmq_closes_a_removed_mirrors_connection_at_once(vhost: Vhost) -> None:
    async with rabbitmq_stage(vhost) as stage:
        await provision_site(stage.admin, 1)
        await provision_mirror(stage.admin, ANA, (ISO,), password=PASSWORD)
        async with stage.open(ANA) as mirror:
            await remove_mirror(stage.admin, ANA)
            async with asyncio.timeout(WAIT_S):
                while mirror.health.connected:  # noqa: ASYNC110 - a connection's health has no event
                    await asyncio.sleep(0.05)
