"""A master that is killed at any moment loses nothing that it accepted, and says nothing that it did not commit."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from broker.config import BrokerConfig
from broker.memory import MemoryAdmin, MemoryBroker, MemorySite
from broker.rabbitmq import RabbitBroker
from broker.relay import Relay
from broker.topology import log_stream, site_topology
from edge.clients import new_session
from events.codec import decode
from events.envelope import Envelope
from events.schemas import FilePublished, LogOpened
from master.store.store import StoredOutbox, open_store

if TYPE_CHECKING:
    from broker.site import Vhost

TOKEN = "admin-token-of-the-tests"
DEADLINE_S = 60.0
FILES = 60
KILLS = 10
TREE_FILES = 20
RELEASES = 5

# Prints the URL that it listens on, and runs until it is killed.
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
import structlog
from broker.config import BrokerConfig
from master.app import run
from master.config import MasterConfig
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
told = json.loads(sys.argv[1])
config = MasterConfig(
    listen_port=0, site_url="http://site.example", data_folder=Path(told["folder"]),
    broker=BrokerConfig(url=told["amqp_url"], management_url=told["management_url"]),
    secret=b"s" * 32, admin_token=told["token"],
)
asyncio.run(run(config, on_ready=lambda url: print(url, flush=True)))
"""


@dataclass
class MasterProcess:
    """A master in a process of its own."""

    url: str
    process: asyncio.subprocess.Process

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)


@asynccontextmanager
async def master_process(folder: Path, vhost: Vhost) -> AsyncGenerator[MasterProcess]:
    told = {"folder": str(folder), "amqp_url": vhost.amqp_url, "management_url": vhost.management_url, "token": TOKEN}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, json.dumps(told), stdout=asyncio.subprocess.PIPE, env=os.environ
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            line = await process.stdout.readline()
        assert line, "the master ended before it was ready"
        yield MasterProcess(line.decode().strip(), process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def publish_until_killed(master: MasterProcess, source: Path, *, kill_after_s: float | None) -> set[str]:
    """Publish a tree; give the paths that the master accepted before it died."""
    accepted: set[str] = set()
    if kill_after_s is not None:
        asyncio.get_running_loop().call_later(kill_after_s, master.kill)
    try:
        async with (
            new_session() as session,
            session.post(
                f"{master.url}/-/api/v1/files",
                json={"source": str(source), "as": ""},
                headers={"Authorization": f"Bearer {TOKEN}"},
            ) as response,
        ):
            async for line in response.content:
                report: dict[str, Any] = json.loads(line)
                if report["type"] in {"published", "unchanged"}:
                    accepted.add(report["path"])
    except (aiohttp.ClientError, json.JSONDecodeError):
        assert kill_after_s is not None
    return accepted


@pytest.mark.faults
@pytest.mark.processes
@pytest.mark.rabbitmq
@pytest.mark.timeout(300)
async def test_a_master_killed_again_and_again_loses_nothing_and_doubles_nothing(tmp_path: Path, vhost: Vhost) -> None:
    tree, rng = tmp_path / "tree", random.Random(20)  # noqa: S311 - moments and content, no secrets
    tree.mkdir()
    for number in range(FILES):
        (tree / f"{number:03}.bin").write_bytes(rng.randbytes(100 + number))
    accepted: set[str] = set()
    for _ in range(KILLS):
        async with master_process(tmp_path / "master", vhost) as master:
            accepted |= await publish_until_killed(master, tree, kill_after_s=rng.uniform(0.02, 0.6))
            await master.process.wait()
    async with master_process(tmp_path / "master", vhost) as master:
        accepted |= await publish_until_killed(master, tree, kill_after_s=None)
        said = await everything_said(vhost)
    assert len(accepted) == FILES
    unique = {envelope.version: envelope for envelope in said}
    sequences = sorted(version.sequence for version in unique)
    assert sequences == list(range(1, len(sequences) + 1)), "no number is missing in the log"
    published = [envelope.event for _, envelope in sorted(unique.items()) if isinstance(envelope.event, FilePublished)]
    assert sorted(event.path for event in published) == sorted(accepted), "each file is said once"
    assert [event.channel_sequence for event in published] == list(range(1, FILES + 1))
    for envelope in said:
        assert envelope == unique[envelope.version], "a repetition is the same fact"


@pytest.mark.faults
@pytest.mark.processes
@pytest.mark.rabbitmq
@pytest.mark.timeout(300)
async def test_a_master_killed_while_it_releases_has_released_all_of_a_tree_or_nothing(
    tmp_path: Path, vhost: Vhost
) -> None:
    tree, rng = tmp_path / "tree", random.Random(21)  # noqa: S311 - moments, no secrets
    tree.mkdir()
    for number in range(TREE_FILES):
        (tree / f"{number:03}.bin").write_bytes(b"%d" % number)
    for number in range(RELEASES):
        async with master_process(tmp_path / "master", vhost) as master:
            await asked(master, "POST", "files", {"source": str(tree), "as": str(number), "hold": True})
            asyncio.get_running_loop().call_later(rng.uniform(0.0, 0.1), master.kill)
            with contextlib.suppress(aiohttp.ClientError):
                await asked(master, "POST", "releases", {"paths": [str(number)]})
            await master.process.wait()
    async with master_process(tmp_path / "master", vhost) as master:
        published = json.loads(await asked(master, "GET", "files"))["files"]
        holds = json.loads(await asked(master, "GET", "holds"))["holds"]
    released = {file["path"].partition("/")[0] for file in published}
    held = {file["path"].partition("/")[0] for hold in holds for file in hold["files"]}
    assert sorted(released | held) == sorted(map(str, range(RELEASES)))
    assert not released & held
    assert len(published) == TREE_FILES * len(released)


async def asked(master: MasterProcess, method: str, path: str, body: object = None) -> bytes:
    """Ask as administrator; give the whole answer."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        new_session() as session,
        session.request(method, f"{master.url}/-/api/v1/{path}", json=body, headers=headers) as response,
    ):
        assert response.status == HTTPStatus.OK, await response.read()
        return await response.read()


async def everything_said(vhost: Vhost) -> list[Envelope]:
    """Read the log until the last file that can be in it."""
    said: list[Envelope] = []
    last = asyncio.Event()

    def fold(delivery: Any) -> None:  # noqa: ANN401 - a delivery
        said.append(decode(delivery.body))
        paths = {envelope.event.path for envelope in said if isinstance(envelope.event, FilePublished)}
        if len(paths) == FILES:
            last.set()

    async with RabbitBroker(BrokerConfig(url=vhost.amqp_url)) as broker:
        following = asyncio.create_task(broker.follow(log_stream(1), fold))
        try:
            await asyncio.wait_for(last.wait(), DEADLINE_S)
        finally:
            following.cancel()
            await asyncio.wait([following])
    return said


async def test_what_was_published_and_not_yet_forgotten_is_said_again_as_the_same_fact(database_url: str) -> None:
    """The gap between the broker's confirmation and the outbox's: a kill there repeats, and does not lose."""
    site, said = MemorySite(), list[Envelope]()

    class Unforgetting(StoredOutbox):
        async def forget(self, positions: object) -> None:
            raise KeyboardInterrupt(positions)

    async with open_store(database_url) as store, MemoryBroker(site) as broker:
        admin = MemoryAdmin(site)
        for exchange in site_topology(1).exchanges:
            await admin.ensure_exchange(exchange)
        for queue in site_topology(1).queues:
            await admin.ensure_queue(queue)
        async with store.changing() as transaction:
            await transaction.journal.say([LogOpened(generation=1), LogOpened(generation=2)])
        with pytest.raises(KeyboardInterrupt):
            await Relay(Unforgetting(store), broker).drain()
        assert await Relay(StoredOutbox(store), broker).drain() == 2
        assert await Relay(StoredOutbox(store), broker).drain() == 0
        said += [decode(delivery.body) for delivery in site.stream(log_stream(1)).after(0, limit=10)]
    assert [envelope.sequence for envelope in said] == [1, 2, 1, 2]
    assert said[:2] == said[2:]
