"""Whatever database and broker do, the master goes on and puts everything right once they work again."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from broker import provision
from broker.config import BrokerConfig
from broker.memory import MemoryAdmin, MemoryBroker, MemorySite
from broker.port import AccessRefusedError, Admin, Broker, DisconnectedError, TopologyError
from broker.topology import Queue, log_stream, mirror_queue
from events.names import MirrorName
from events.schemas import FilePublished, MirrorLeft
from master import connection
from master.store.engine import open_engine
from master.store.store import open_store

if TYPE_CHECKING:
    from conftest import Desk, Theatre

API = "/-/api/v1"


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "RETRY_AFTER_S", 0.01)
    monkeypatch.setattr(provision, "REFUSAL_PAUSE_S", 0.01)


class TroubledAdmin(MemoryAdmin):
    """Fails as ``fault`` says, which is asked with each queue that is declared or deleted."""

    def __init__(self, site: MemorySite, fault: Callable[[str], Exception | None]) -> None:
        super().__init__(site)
        self.fault = fault
        self.deleted = list[str]()

    async def ensure_queue(self, queue: Queue) -> bool:
        if (error := self.fault(queue.name)) is not None:
            raise error
        return await super().ensure_queue(queue)

    async def delete_queue(self, queue: str) -> None:
        self.deleted.append(queue)
        if (error := self.fault(queue)) is not None:
            raise error
        await super().delete_queue(queue)


def sound(_queue: str) -> None:
    """No fault."""


def refuse(_queue: str) -> Exception:
    return AccessRefusedError("not now")


def troubled(theatre: Theatre) -> tuple[Theatre, TroubledAdmin]:
    """A theatre whose provisioning can be made to fail."""
    site = theatre.site
    assert site is not None
    admin = TroubledAdmin(site, sound)

    @asynccontextmanager
    async def open_broker(_config: BrokerConfig) -> AsyncGenerator[tuple[Broker, Admin]]:
        async with MemoryBroker(site) as broker:
            yield broker, admin

    return replace(theatre, open_broker=open_broker), admin


def outage(theatre: Theatre) -> None:
    """Lose the connection and let it come back."""
    assert theatre.site is not None
    with theatre.site.outage():
        pass


async def until_provisioned(desk: Desk, *, is_so: bool) -> str:
    """Wait until the status says so; give its detail."""
    async with asyncio.timeout(30):
        while True:
            broker = (await desk.done("GET", f"{API}/status"))["broker"]
            if broker["provisioned"] is is_so:
                return broker["detail"]


async def test_a_refusal_after_the_first_provisioning_is_shown_and_tried_again(
    memory_theatre: Theatre, tmp_path: Path
) -> None:
    theatre, admin = troubled(memory_theatre)
    (tmp_path / "a.iso").write_bytes(b"A")
    async with theatre.desk() as desk:
        admin.fault = refuse
        outage(theatre)
        assert await until_provisioned(desk, is_so=False)
        await desk.publish(tmp_path / "a.iso")
        admin.fault = sound
        await desk.until(lambda: bool(desk.events(FilePublished)))
        await until_provisioned(desk, is_so=True)


async def test_a_refusal_at_the_very_beginning_is_final(memory_theatre: Theatre) -> None:
    theatre, admin = troubled(memory_theatre)
    admin.fault = refuse
    with pytest.raises(AccessRefusedError):
        async with theatre.desk():
            pass


async def test_a_log_that_is_refused_is_left_to_its_readers_and_a_new_one_opened(memory_theatre: Theatre) -> None:
    theatre, admin = troubled(memory_theatre)
    async with theatre.desk():
        pass

    def lose(queue: str) -> Exception | None:
        return TopologyError("inaccessible") if queue == log_stream(1) else None

    admin.fault = lose
    async with theatre.desk(generation=2) as desk:
        assert (await desk.done("GET", f"{API}/status"))["log_generation"] == 2
        assert await desk.broker.exists(log_stream(1))
    assert log_stream(1) not in admin.deleted


async def test_a_mirror_that_left_is_cleared_away_once_while_the_relay_works(memory_theatre: Theatre) -> None:
    theatre, admin = troubled(memory_theatre)
    queue = mirror_queue(MirrorName("ana"))

    def away(name: str) -> Exception | None:
        return DisconnectedError("away") if name == queue else None

    async with theatre.desk() as desk:
        await desk.join("ana")
        admin.fault = away
        await desk.done("DELETE", f"{API}/mirrors/ana")
        await desk.until(lambda: bool(desk.events(MirrorLeft)))
        outage(theatre)
        await until_provisioned(desk, is_so=True)
        assert await desk.broker.exists(queue), "the relay does not wait for it"
        admin.fault = sound
        async with asyncio.timeout(30):
            while await desk.broker.exists(queue):  # noqa: ASYNC110 - nobody is told of a deletion
                await asyncio.sleep(0.01)
    async with theatre.desk():
        deletions = len(admin.deleted)
        outage(theatre)
    async with theatre.desk():
        assert len(admin.deleted) == deletions, "what was cleared away is not deleted again"


async def test_a_database_that_goes_away_and_comes_back_ends_nothing(
    memory_theatre: Theatre, postgresql: str, tmp_path: Path
) -> None:
    name = f"test_{secrets.token_hex(6)}"
    await execute(postgresql, f"CREATE DATABASE {name}")
    theatre = replace(memory_theatre, config=replace(memory_theatre.config, database_url=f"{postgresql}/{name}"))
    (tmp_path / "a.iso").write_bytes(b"A")
    (tmp_path / "b.iso").write_bytes(b"B")
    async with theatre.desk() as desk:
        await desk.publish(tmp_path / "a.iso")
        await desk.until(lambda: len(desk.events(FilePublished)) == 1)
        await execute(postgresql, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await execute(postgresql, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608 - our own name
        outage(theatre)
        status, refusal = await desk.ask("GET", f"{API}/files")
        assert (status, refusal["error"]["code"]) == (503, "store_unavailable")
        await execute(postgresql, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert len((await desk.done("GET", f"{API}/files"))["files"]) == 1
        await desk.publish(tmp_path / "b.iso")
        await desk.until(lambda: len(desk.events(FilePublished)) == 2)


async def test_a_server_that_dropped_our_connections_is_asked_over_new_ones(postgresql: str) -> None:
    name = f"test_{secrets.token_hex(6)}"
    await execute(postgresql, f"CREATE DATABASE {name}")
    async with open_store(f"{postgresql}/{name}") as store:
        async with store.reading() as transaction:
            await transaction.log_generation()
        await execute(postgresql, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608 - our own name
        async with store.reading() as transaction:
            assert await transaction.log_generation() == 0


async def execute(server: str, statement: str) -> None:
    engine = open_engine(f"{server}/postgres").execution_options(isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connected:
            await connected.execute(text(statement))
    finally:
        await engine.dispose()
