"""What happens to publishers, consumers and followers when the broker dies, blocks, or ruins a queue."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from broker.config import BrokerConfig
from broker.node import PrivateNode
from broker.port import BrokerError, Delivery, Message, Outcome, PublishTimeoutError, TopologyError, UnroutableError
from broker.provision import LogBrokenError, Provisioned, provision_mirror, provision_site
from broker.rabbitmq import RabbitAdmin, RabbitBroker
from broker.relay import Pending, Relay
from broker.topology import log_stream, mirror_queue
from events.names import ChannelName, MirrorName
from events.routing import FILES, FLEET, LOAD, Binding

pytestmark = [pytest.mark.rabbitmq, pytest.mark.faults, pytest.mark.timeout(300)]

ANA, ISO = MirrorName("ana"), ChannelName("iso")
LOG = log_stream(1)
WAIT_S = 120.0  # a node boots in 10 to 20 s, and in a minute on a busy machine
KILLS = 3
MESSAGES_A_KILL = 200
PAST_THE_LOG = 20
KILL_STREAM_LEADERS = """
[exit(amqqueue:get_pid(Queue), kill) || Queue <- rabbit_amqqueue:list(),
                                        amqqueue:get_type(Queue) =:= rabbit_stream_queue].
"""


def message(number: int) -> Message:
    return Message(exchange=FILES, routing_key="file.iso.published", message_id=str(number), type="t", body=b"body")


class ListOutbox:
    """An outbox that a test can wait for."""

    def __init__(self) -> None:
        self.rows: dict[int, Message] = {}
        self.changed = asyncio.Event()

    def add(self, number: int) -> None:
        self.rows[number] = message(number)

    async def pending(self, limit: int) -> Sequence[Pending]:
        return [Pending(position, row) for position, row in list(self.rows.items())[:limit]]

    async def forget(self, positions: Sequence[int]) -> None:
        for position in positions:
            del self.rows[position]
        self.changed.set()


async def until(holds: Callable[[], bool], *, within_s: float = WAIT_S) -> None:
    """Wait until a condition holds; fail when it does not in time."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - what is waited for comes from several sources
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(*jobs: Coroutine[None, None, None]) -> AsyncGenerator[None]:
    """Let jobs work while the block is entered; what one raises ends the block and fails the test."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(job) for job in jobs]
        yield
        for task in tasks:
            task.cancel()


def config_of(node: PrivateNode, *, publish_timeout_s: float = 5.0) -> BrokerConfig:
    return BrokerConfig(url=node.amqp_url, management_url=node.management_url, publish_timeout_s=publish_timeout_s)


async def kill_and_start(node: PrivateNode) -> None:
    await asyncio.to_thread(node.kill)
    await asyncio.to_thread(node.start)


async def stop_and_start(node: PrivateNode) -> None:
    """Have what was declared written to the disk: RabbitMQ 3.10 ruins what is killed right after its declaration."""
    await asyncio.to_thread(node.stop)
    await asyncio.to_thread(node.start)


async def provision(node: PrivateNode) -> Provisioned:
    async with RabbitAdmin(config_of(node)) as admin:
        await provision_site(admin, 1)
        return await provision_mirror(admin, ANA, (ISO,))


async def test_nothing_confirmed_is_lost_when_the_broker_is_killed_under_a_storm(private_node: PrivateNode) -> None:
    await provision(private_node)
    await stop_and_start(private_node)
    outbox, consumed, logged, offsets = ListOutbox(), set[str](), list[str](), list[int]()
    reconnections = 0

    async def handle(delivery: Delivery) -> Outcome:
        consumed.add(delivery.message_id)
        return Outcome.ACK

    def fold(delivery: Delivery) -> None:
        logged.append(delivery.message_id)
        assert delivery.offset is not None
        offsets.append(delivery.offset)

    def count() -> None:
        nonlocal reconnections
        reconnections += 1

    async with RabbitBroker(config_of(private_node)) as broker, broker.on_connected(count):
        relay = Relay(outbox, broker)
        async with running(
            relay.run(),
            broker.consume(mirror_queue(ANA), handle),
            broker.follow(LOG, fold),
        ):
            sent = 0
            for kill in range(KILLS):
                goal = (kill + 1) * MESSAGES_A_KILL
                killing = asyncio.create_task(kill_after(private_node, random.uniform(0.05, 0.4)))  # noqa: S311
                while sent < goal:
                    outbox.add(sent)
                    sent += 1
                    relay.wake()
                    await asyncio.sleep(0.005)
                await killing
                await until(lambda: broker.health.connected)
            await until(lambda: not outbox.rows)
            everything = {str(number) for number in range(sent)}
            await until(lambda: consumed >= everything and set(logged) >= everything)
    assert consumed == everything
    assert set(logged) == everything
    assert offsets == sorted(set(offsets)), "the follower saw an offset twice, or out of order"
    assert reconnections >= KILLS


async def kill_after(node: PrivateNode, wait_s: float) -> None:
    await asyncio.sleep(wait_s)
    await kill_and_start(node)


async def test_nothing_confirmed_is_lost_when_the_log_gets_another_leader(private_node: PrivateNode) -> None:
    await provision(private_node)
    outbox, logged = ListOutbox(), list[str]()
    async with RabbitBroker(config_of(private_node)) as mirror, RabbitBroker(config_of(private_node)) as reader:
        relay = Relay(outbox, mirror)
        async with running(relay.run(), reader.follow(LOG, lambda delivery: logged.append(delivery.message_id))):
            await publish_past_the_log(private_node, mirror)
            sent = 0
            for _ in range(KILLS):
                killing = asyncio.create_task(asyncio.to_thread(private_node.ctl, "eval", KILL_STREAM_LEADERS))
                goal = sent + MESSAGES_A_KILL
                while sent < goal or not killing.done():
                    outbox.rows[sent] = spoken(FLEET, str(sent))
                    sent += 1
                    relay.wake()
                    await asyncio.sleep(0.005)
                await killing
                await until(lambda: not outbox.rows)
            await reader.publish(spoken(FLEET, "end"))
            await until(lambda: "end" in logged)
    assert {str(number) for number in range(sent)} - set(logged) == set()


async def publish_past_the_log(node: PrivateNode, mirror: RabbitBroker) -> None:
    """Publish what goes elsewhere and what comes back: RabbitMQ counts it with what goes into the log."""
    for number in range(PAST_THE_LOG):
        await mirror.publish(spoken(LOAD, f"load-{number}"))
    async with RabbitAdmin(config_of(node)) as admin:
        await admin.unbind(LOG, Binding(FLEET, "#"))
        for number in range(PAST_THE_LOG):
            with pytest.raises(UnroutableError):
                await mirror.publish(spoken(FLEET, f"returned-{number}"))
        await provision_site(admin, 1)


def spoken(exchange: str, name: str) -> Message:
    return Message(exchange=exchange, routing_key=f"mirror.ana.{exchange}", message_id=name, type="t", body=b"body")


async def test_a_publish_gives_up_in_time_while_the_broker_is_away_and_works_when_it_is_back(
    private_node: PrivateNode,
) -> None:
    await provision(private_node)
    async with RabbitBroker(config_of(private_node, publish_timeout_s=1.0)) as broker:
        await broker.publish(message(1))
        await asyncio.to_thread(private_node.kill)
        started_s = asyncio.get_running_loop().time()
        with pytest.raises(BrokerError):
            await broker.publish(message(2))
        with pytest.raises(BrokerError):
            await broker.publish(message(3))
        assert asyncio.get_running_loop().time() - started_s < 5.0
        assert not broker.health.connected
        assert broker.health.last_error
        await asyncio.to_thread(private_node.start)
        await until(lambda: broker.health.connected)
        assert broker.health.reconnects == 1


async def test_a_blocked_broker_times_publishes_out_and_takes_them_again_afterwards(
    private_node: PrivateNode,
) -> None:
    await provision(private_node)
    seen: list[str] = []
    broker = RabbitBroker(config_of(private_node, publish_timeout_s=1.0))
    async with broker, running(broker.follow(LOG, lambda delivery: seen.append(delivery.message_id))):
        await set_memory_limit(private_node, "absolute", "1")
        # The broker blocks who publishes, and tells him a moment later.
        with suppress(PublishTimeoutError):
            await broker.publish(message(0))
        await until(lambda: broker.health.blocked)
        with pytest.raises(PublishTimeoutError, match="alarm"):
            await broker.publish(message(1))
        assert broker.health.connected
        await set_memory_limit(private_node, "0.4")
        await until(lambda: not broker.health.blocked)
        await broker.publish(message(2))
        await until(lambda: "2" in seen)
    assert "1" not in seen, "what was refused while blocked was written nevertheless"


async def set_memory_limit(node: PrivateNode, *limit: str) -> None:
    await asyncio.to_thread(node.ctl, "set_vm_memory_high_watermark", *limit)


async def test_what_a_kill_right_after_its_declaration_ruined_is_found_and_healed(private_node: PrivateNode) -> None:
    await provision(private_node)
    await kill_and_start(private_node)
    async with RabbitAdmin(config_of(private_node)) as admin, RabbitBroker(config_of(private_node)) as broker:
        generation = await sound_generation(admin)
        found = await provision_mirror(admin, ANA, (ISO,))
        # RabbitMQ 3.10 ruins both; a version that does not has both still.
        assert (generation, found) in {(2, Provisioned.HEALED), (1, Provisioned.KEPT)}
        assert await provision_mirror(admin, ANA, (ISO,)) is Provisioned.KEPT
        arrived = asyncio.Event()

        async def handle(delivery: Delivery) -> Outcome:
            if delivery.message_id == "1":
                arrived.set()
            return Outcome.ACK

        logged: list[str] = []
        async with running(
            broker.consume(mirror_queue(ANA), handle),
            broker.follow(log_stream(generation), lambda it: logged.append(it.message_id)),
        ):
            await broker.publish(message(1))
            await until(arrived.is_set)
            await until(lambda: "1" in logged)


async def sound_generation(admin: RabbitAdmin) -> int:
    """Provision the log as the master does: a ruined generation calls for the next one."""
    try:
        return (await provision_site(admin, 1, opened=True)).generation
    except LogBrokenError as error:
        return (await provision_site(admin, error.next_generation)).generation


async def test_a_log_that_is_deleted_under_its_reader_ends_the_reading(private_node: PrivateNode) -> None:
    await provision(private_node)
    async with RabbitAdmin(config_of(private_node)) as admin, RabbitBroker(config_of(private_node)) as broker:
        await broker.publish(message(1))
        begun = asyncio.Event()
        following = asyncio.create_task(broker.follow(LOG, lambda _: begun.set()))
        async with asyncio.timeout(WAIT_S):
            await begun.wait()
            await admin.delete_queue(LOG)
            with pytest.raises(TopologyError):
                await following
