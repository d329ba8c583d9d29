"""The mirror on a real broker, under an account of its own."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import pytest

from broker.accounts import mirror_user
from broker.config import BrokerConfig
from broker.provision import provision_mirror, provision_site
from broker.rabbitmq import RabbitAdmin, RabbitBroker
from broker.topology import load_stream, log_stream, mirror_queue
from events.names import ChannelName, MirrorName
from events.schemas import (
    DownloadOutcome,
    FilePublished,
    InventoryAnnounced,
    LoadReported,
    MirrorWentOffline,
    ReplicaReady,
)

if TYPE_CHECKING:
    from conftest import Stage

    from broker.site import Vhost

ANA, ISO = MirrorName("ana"), ChannelName("iso")
PASSWORD = "made-up-password"


@pytest.fixture
async def rabbit_stage(stage: Stage, vhost: Vhost) -> AsyncIterator[tuple[Stage, RabbitAdmin]]:
    """The stage, with RabbitMQ instead of the broker in memory."""
    config = BrokerConfig(url=vhost.amqp_url, management_url=vhost.management_url)
    async with AsyncExitStack() as resources:
        admin = await resources.enter_async_context(RabbitAdmin(config))
        await provision_site(admin, 1)
        await provision_mirror(admin, ANA, (ISO,), password=PASSWORD)
        broker = await resources.enter_async_context(RabbitBroker(config))

        async def heal() -> bool:
            return (await provision_mirror(admin, ANA, (ISO,), password=PASSWORD)).name != "KEPT"

        stage.master.heal = heal
        stage.broker = broker
        parts = urlsplit(vhost.amqp_url)
        host = parts.netloc.rpartition("@")[2]
        own_url = urlunsplit(parts._replace(netloc=f"{mirror_user(vhost.name, ANA)}:{PASSWORD}@{host}"))
        stage.reconfigure(credentials=replace(stage.config.credentials, broker_url=own_url))
        readers = [
            asyncio.create_task(broker.follow(log_stream(1), stage.log.take)),
            asyncio.create_task(broker.follow(load_stream(1), stage.load.take)),
        ]
        yield stage, admin
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)


@pytest.mark.rabbitmq
async def test_publish_fetch_serve_and_stop_over_rabbitmq(
    rabbit_stage: tuple[Stage, RabbitAdmin], http: aiohttp.ClientSession
) -> None:
    stage, _ = rabbit_stage
    content = random.Random(1).randbytes(10_000_000)  # noqa: S311 - any bytes will do
    async with stage.running(on_rabbitmq=True):
        await stage.log.until(InventoryAnnounced)
        event = await stage.publish_ready("a/b.iso", content)
        await stage.load.until(LoadReported)
        async with http.get(stage.link(stage.grant(event))) as response:
            assert hashlib.sha256(await response.read()).digest() == event.sha256
        (finished,) = await stage.log.until_told(DownloadOutcome.FINISHED)
        assert finished.sent_bytes == 10_000_000
    await stage.log.until(MirrorWentOffline)


@pytest.mark.rabbitmq
async def test_many_files_that_were_published_while_the_mirror_was_away(
    rabbit_stage: tuple[Stage, RabbitAdmin],
) -> None:
    stage, _ = rabbit_stage
    async with stage.running(on_rabbitmq=True):
        await stage.log.until(InventoryAnnounced)
    events: list[FilePublished] = [await stage.publish(f"{n}", f"content {n}".encode()) for n in range(100)]
    async with stage.running(on_rabbitmq=True):
        ready = await stage.log.until(ReplicaReady, 100)
    assert {one.sha256 for one in ready} == {event.sha256 for event in events}
    assert len(stage.master.ranges) == 100, "each was fetched once, though event and snapshot told of it"


@pytest.mark.rabbitmq
async def test_a_lost_queue_is_healed_and_nothing_is_missed(rabbit_stage: tuple[Stage, RabbitAdmin]) -> None:
    stage, admin = rabbit_stage
    async with stage.running(on_rabbitmq=True):
        await stage.publish_ready("a", b"a")
    await admin.delete_queue(mirror_queue(ANA))
    await stage.publish("b", b"b")
    async with stage.running(on_rabbitmq=True):
        await stage.log.until(ReplicaReady, 2)
        await stage.publish_ready("c", b"c")
