"""A master whose broker was lost and filled from an export goes on with all that its database tells."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.accounts import importer_user
from broker.config import BrokerConfig
from broker.memory import MemoryAdmin, MemorySite
from broker.port import Admin
from broker.provision import provision_site
from broker.rabbitmq import RabbitAdmin, RabbitBroker
from broker.rabbitmq.restorer import RabbitRestorer
from broker.site import BrokerSite, Vhost
from broker.topology import import_mark, importer_account, log_stream
from events.schemas import CatalogueRestated, FilePublished, LogOpened
from history.export.exporting import export_log
from history.export.importing import import_log
from history.sources.broker_log import BrokerLog
from master import app

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from conftest import Desk, Theatre

API = "/-/api/v1"


@pytest.fixture
def empty(broker_site: BrokerSite) -> Iterator[Vhost]:
    """A virtual host without anything in it."""
    name = f"test-{secrets.token_hex(6)}"
    yield broker_site.create_vhost(name)
    broker_site.delete_vhost(name)


def over(theatre: Theatre, vhost: Vhost) -> Theatre:
    broker = BrokerConfig(url=vhost.amqp_url, management_url=vhost.management_url)
    return replace(theatre, config=replace(theatre.config, broker=broker), open_broker=app.open_rabbitmq)


@asynccontextmanager
async def working(theatre: Theatre, generation: int) -> AsyncGenerator[Desk]:
    """Run a master that opens, or goes on with, this generation while the block is entered."""
    async with theatre.desk(generation=None) as desk:
        assert (await desk.done("GET", f"{API}/status"))["log_generation"] == generation
    async with theatre.desk(generation=generation) as desk:
        yield desk


def published(desk: Desk) -> set[str]:
    return {str(event.path) for event in desk.events(FilePublished)}


@pytest.mark.rabbitmq
@pytest.mark.timeout(300)
async def test_what_was_published_after_the_export_ended_is_said_in_a_generation_after_the_imported_one(
    memory_theatre: Theatre, vhost: Vhost, empty: Vhost, tmp_path: Path
) -> None:
    for name in ("before", "after"):
        (tmp_path / f"{name}.iso").write_bytes(name.encode())
    async with over(memory_theatre, vhost).desk() as desk:
        await desk.publish(tmp_path / "before.iso")
        await desk.until(lambda: published(desk) == {"before.iso"})
        source = BrokerLog(desk.broker, vhost=vhost.name, name=vhost.name, clock_s=time.time)
        await export_log(source, tmp_path / "export")
        await desk.publish(tmp_path / "after.iso")
        await desk.until(lambda: published(desk) == {"before.iso", "after.iso"})

    there = over(memory_theatre, empty)
    config = there.config.broker
    async with RabbitAdmin(config) as admin, RabbitBroker(config) as broker:
        async with RabbitRestorer(config) as restorer:
            done = await import_log(tmp_path / "export", admin=admin, broker=broker, restorer=restorer)
        assert done.generations == (1,)
        for _ in ("opens it", "goes on with it"):
            async with working(there, 2) as desk:
                await desk.until(lambda: bool(desk.events(CatalogueRestated)))
                assert published(desk) == {"before.iso", "after.iso"}
                assert len(desk.events(LogOpened)) == 1
            assert not await admin.exists(import_mark().name)


async def leave_import(admin: Admin) -> None:
    """Leave what an import leaves that was killed in its first generation."""
    await admin.ensure_queue(import_mark())
    await admin.ensure_account(importer_user(admin.vhost), secrets.token_urlsafe(), importer_account())
    await provision_site(admin, 3)


@pytest.mark.parametrize("remembers", [True, False], ids=["with its database", "with a new one"])
async def test_what_a_killed_import_left_is_put_away(memory_theatre: Theatre, *, remembers: bool) -> None:
    site = memory_theatre.site
    assert isinstance(site, MemorySite)
    if remembers:
        async with memory_theatre.desk():
            pass
    await leave_import(MemoryAdmin(site))
    async with working(memory_theatre, 4) as desk:
        await desk.until(lambda: bool(desk.events(CatalogueRestated)))
    assert importer_user(site.vhost) not in site.accounts
    assert import_mark().name not in site.queues
    assert not site.bindings[log_stream(3)], "nothing is said into two logs"
