"""The archiver as a process over a real RabbitMQ: killed at random moments, as is the broker, it doubles nothing."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from broker.config import BrokerConfig
from broker.node import PrivateNode
from broker.port import Broker, Message, PublishError
from broker.provision import provision_site
from broker.rabbitmq import RabbitAdmin, RabbitBroker
from broker.topology import log_stream
from distributary.client import Api
from distributary.fleet.process import RoleCommand, RoleProcess
from distributary.site_folder import SitePlan, write_site
from events.codec import encode
from events.envelope import MASTER_SOURCE, Envelope
from events.routing import FILES
from events.schemas import LogOpened
from history.archive.config import DATABASE_NAME
from history.archive.source import open_archive
from history.entry import Entry, entry_of

if TYPE_CHECKING:
    from broker.site import Vhost

pytestmark = [pytest.mark.rabbitmq, pytest.mark.processes]

DEADLINE_S = 400.0  # some thirty seconds are usual; the broker alone has taken a minute to boot on a loaded machine
ROUNDS = 6
AT_ONCE = 200
LIVES_S = 3.0  # a start takes about one second of it: some are killed while they start, some while they archive


@asynccontextmanager
async def connected(amqp_url: str, management_url: str) -> AsyncGenerator[tuple[RabbitAdmin, RabbitBroker]]:
    config = BrokerConfig(url=amqp_url, management_url=management_url)
    async with asyncio.timeout(DEADLINE_S), RabbitAdmin(config) as admin, RabbitBroker(config) as broker:
        yield admin, broker


def archiver_in(folder: Path, amqp_url: str, management_url: str) -> RoleProcess:
    plan = SitePlan(broker_url=amqp_url, management_url=management_url, archive_listen="127.0.0.1:0")
    write_site(folder, plan)
    command = RoleCommand(
        name="archiver", role="archiver", config=folder / "distributary.toml", log_file=folder / "archiver.log"
    )
    return RoleProcess(command)


async def publish(broker: Broker, first: int, count: int) -> None:
    """Publish events, each until the broker has it."""

    async def one(number: int) -> None:
        envelope = Envelope(
            source=MASTER_SOURCE, epoch=1, sequence=number, time_ns=0, traceparent="", event=LogOpened(generation=1)
        )
        message = Message(
            exchange=FILES,
            routing_key="log.opened",
            message_id=envelope.id,
            type="log.opened/1",
            body=encode(envelope),
        )
        while True:
            try:
                return await broker.publish(message)
            except PublishError:
                await asyncio.sleep(0.2)

    await asyncio.gather(*(one(number) for number in range(first, first + count)))


async def in_the_log(broker: Broker) -> Sequence[Entry]:
    span = await broker.span(log_stream(1))
    async with aclosing(broker.read(log_stream(1), end=span.end)) as batches:
        return [entry_of(delivery, generation=1) async for batch in batches for delivery in batch]


async def archived(folder: Path, vhost: str) -> Sequence[Entry]:
    url = f"sqlite:///{folder / 'archive' / DATABASE_NAME}"
    async with open_archive(url, vhost=vhost) as source, aclosing(source.batches()) as batches:
        return [entry async for batch in batches for entry in batch]


async def until_archived(archiver: RoleProcess, count: int) -> None:
    api = Api(archiver.url, role="archiver")
    async with asyncio.timeout(DEADLINE_S):
        while True:
            answer = await asyncio.to_thread(api.get, "/-/api/v1/status")
            if answer["events"] == count:
                return
            await asyncio.sleep(0.1)


async def test_an_archiver_tells_that_it_is_ready_and_how_it_fares(vhost: Vhost, tmp_path: Path) -> None:
    archiver = archiver_in(tmp_path, vhost.amqp_url, vhost.management_url)
    async with connected(vhost.amqp_url, vhost.management_url) as (admin, broker):
        await provision_site(admin, 1)
        await publish(broker, 1, 50)
        archiver.start()
        try:
            await asyncio.to_thread(archiver.wait_ready)
            await until_archived(archiver, 50)
            readiness = await asyncio.to_thread(Api(archiver.url, role="archiver").readiness)
            assert (readiness["ready"], readiness["degraded"]) == (True, False), readiness
        finally:
            await asyncio.to_thread(archiver.stop)
        assert await archived(tmp_path, vhost.name) == await in_the_log(broker)
    assert ((tmp_path / "archive" / DATABASE_NAME).stat().st_mode & 0o777) == 0o600


@pytest.fixture
def rng(record_property: Callable[[str, object], None]) -> random.Random:
    """Chance that can be had again: the seed is in the report, and in the environment it may be set."""
    seed = int(os.environ.get("DISTRIBUTARY_FAULT_SEED", "0")) or secrets.randbits(32)
    record_property("DISTRIBUTARY_FAULT_SEED", seed)
    print(f"DISTRIBUTARY_FAULT_SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    return random.Random(seed)  # noqa: S311 - chance, not secrets


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_kills_of_archiver_and_broker_leave_neither_gap_nor_double(
    private_node: PrivateNode, tmp_path: Path, rng: random.Random
) -> None:
    archiver = archiver_in(tmp_path, private_node.amqp_url, private_node.management_url)
    async with connected(private_node.amqp_url, private_node.management_url) as (admin, broker):
        await provision_site(admin, 1)
        for number in range(ROUNDS):
            archiver.start()
            publishing = asyncio.create_task(publish(broker, 1 + number * AT_ONCE, AT_ONCE))
            await asyncio.sleep(rng.uniform(0.0, LIVES_S))
            if number == ROUNDS // 2:
                await asyncio.to_thread(private_node.kill)
                await asyncio.to_thread(private_node.start)
            await asyncio.to_thread(archiver.kill)
            await publishing
        log = await in_the_log(broker)
        assert {entry.message_id for entry in log} == {f"master:1:{n + 1}" for n in range(ROUNDS * AT_ONCE)}
        archiver.start()
        try:
            await asyncio.to_thread(archiver.wait_ready)
            await until_archived(archiver, len(log))
        finally:
            await asyncio.to_thread(archiver.stop)
    assert await archived(tmp_path, "/") == log
