"""The archiver's composition root: all parts are made, joined and ended here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext

import structlog

from broker.port import Broker
from broker.rabbitmq import RabbitBroker
from edge.server import serve
from history.archive.archiver import Archiver
from history.archive.config import ArchiveConfig
from history.archive.store.database import Database, open_database
from history.archive.store.engine import database_name
from history.archive.upkeep import Upkeep
from history.archive.web import Desk

log = structlog.stdlib.get_logger()


async def run(config: ArchiveConfig, *, on_ready: Callable[[str], None]) -> None:
    """Archive until cancelled. Calls ``on_ready`` with the base URL once the log is found and read.

    Raises:
        ArchiveError: the database cannot be opened.
        AccessRefusedError: the broker does not let us in, or read the log (then in an exception group).
        OSError: the address cannot be listened on.
    """
    broker = RabbitBroker(config.broker)
    await run_on(broker, config, connection=broker, on_ready=on_ready)


async def run_on(
    broker: Broker,
    config: ArchiveConfig,
    *,
    connection: AbstractAsyncContextManager[object] | None = None,
    on_ready: Callable[[str], None],
) -> None:
    """Do the same on any adapter of the broker; entering ``connection`` connects it, None: it is connected."""
    async with open_database(config.store_url) as database:
        archiver, upkeep = _parts(broker, database, config)
        name = database_name(config.store_url)
        desk = Desk(broker, database, archiver, upkeep, name=name, clock_s=time.time)
        serving = serve(desk.app(), host=config.listen_host, port=config.listen_port)
        async with serving as base_url, asyncio.TaskGroup() as tasks:
            tasks.create_task(_archive(connection, archiver), name="archive")
            tasks.create_task(upkeep.run(), name="upkeep")
            await archiver.reading.wait()
            log.info("archive.ready", url=base_url, database=name)
            on_ready(base_url)


def _parts(broker: Broker, database: Database, config: ArchiveConfig) -> tuple[Archiver, Upkeep]:
    archiver = Archiver(broker, database, vhost=config.broker.vhost, clock_ns=time.time_ns)
    upkeep = Upkeep(database, archiver, config, clock_s=time.time)
    archiver.on_archived, archiver.on_gap = upkeep.note_news, upkeep.note_gap
    return archiver, upkeep


async def _archive(connection: AbstractAsyncContextManager[object] | None, archiver: Archiver) -> None:
    async with connection or nullcontext():
        await archiver.run()
