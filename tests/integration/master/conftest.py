"""Stages for the master: a private PostgreSQL, and a whole master over the in-memory broker or RabbitMQ."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

import aiohttp
import msgspec
import pytest

from broker.config import BrokerConfig
from broker.memory import MemoryAdmin, MemoryBroker, MemorySite
from broker.port import Admin, Broker, Delivery
from broker.topology import log_stream
from edge.clients import new_session
from events.codec import decode
from events.envelope import Envelope
from events.grants import Binding, Grant, bind, derive_key, mint
from events.invitation import read_invitation
from events.names import ORIGIN, Digest, MirrorName
from events.schemas import Download, DownloadOutcome, DownloadsReported, Event
from events.terms import START_BY_S, finish_by_s
from master import app
from master.config import MasterConfig

if TYPE_CHECKING:
    from broker.site import Vhost

Kind = TypeVar("Kind", bound=Event)

DEADLINE_S: Final = 30.0
ADMIN_TOKEN: Final = "admin-token-of-the-tests"
SECRET: Final = b"s" * 32
SITE_URL: Final = "http://site.example"


@dataclass
class Desk:
    """A running master with a client for its administrator, and what its log says."""

    url: str
    session: aiohttp.ClientSession
    broker: Broker
    said: list[Envelope] = field(default_factory=list[Envelope])
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, method: str, path: str, body: object = None, *, token: str = ADMIN_TOKEN) -> tuple[int, Any]:
        async with self.session.request(
            method, self.url + path, json=body, headers={"Authorization": f"Bearer {token}"}
        ) as response:
            raw = await response.read()
            return response.status, msgspec.json.decode(raw) if raw else None

    async def done(self, method: str, path: str, body: object = None, *, token: str = ADMIN_TOKEN) -> Any:  # noqa: ANN401 - JSON
        status, answer = await self.ask(method, path, body, token=token)
        assert status == 200, answer
        return answer

    async def publish(self, source: Path, **order: object) -> list[dict[str, Any]]:
        async with self.session.post(
            f"{self.url}/-/api/v1/files",
            json={"source": str(source), **order},
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
        ) as response:
            lines = (await response.read()).splitlines()
            assert response.status == 200, lines
            return [msgspec.json.decode(line) for line in lines]

    async def join(self, name: str, *channels: str) -> dict[str, Any]:
        body = {"channels": list(channels)}
        token = (await self.done("POST", f"/-/api/v1/mirrors/{name}/invitation", body))["token"]
        join = {"secret": read_invitation(token).secret, "name": name, "profile": {"url": "http://m", "slots": 2}}
        return (await self.done("POST", "/-/api/v1/join", join))["credentials"]

    @asynccontextmanager
    async def slow_download(self, link: Link, **headers: str) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Begin a download and take no more than its first bytes while the block is entered."""
        async with self.session.get(self.url + link.path, headers=headers, allow_redirects=False) as response:
            assert response.status in {200, 206}, await response.read()
            await response.content.readexactly(1)
            yield response

    def hear(self, delivery: Delivery) -> None:
        self.said.append(decode(delivery.body))
        self.heard.set()

    @overload
    def events(self) -> list[Event]: ...

    @overload
    def events(self, *kinds: type[Kind]) -> list[Kind]: ...

    def events(self, *kinds: type[Event]) -> Sequence[Event]:
        """All events of these kinds that the log has, each once, in the order of their numbers."""
        unique = {envelope.version: envelope.event for envelope in self.said}
        return [event for _, event in sorted(unique.items()) if not kinds or isinstance(event, kinds)]

    def downloads(self, outcome: DownloadOutcome | None = None) -> list[Download]:
        """All that was told of downloads; with an ``outcome`` those alone."""
        told = [each for report in self.events(DownloadsReported) for each in report.downloads]
        return [each for each in told if outcome in {None, each.outcome}]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the log says what it must."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await self.heard.wait()
                self.heard.clear()


@dataclass
class Theatre:
    """Where masters run: one folder and database, one broker. A master may be started in it again and again."""

    config: MasterConfig
    site: MemorySite | None
    open_broker: app.OpenBroker

    @asynccontextmanager
    async def desk(self, *, generation: int | None = 1) -> AsyncGenerator[Desk]:
        """Run a master while the block is entered, following a generation of its log, or None of them."""
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        running = asyncio.create_task(app.run(self.config, on_ready=ready.set_result, open_broker=self.open_broker))
        try:
            await asyncio.wait([running, ready], timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running
            async with new_session() as session, self.open_broker(self.config.broker) as (broker, _):
                desk = Desk(url=ready.result(), session=session, broker=broker)
                async with self._hearing(desk, generation):
                    yield desk
        finally:
            await _ended(running)

    @asynccontextmanager
    async def _hearing(self, desk: Desk, generation: int | None) -> AsyncGenerator[None]:
        if generation is None:
            yield
            return
        following = asyncio.create_task(desk.broker.follow(log_stream(generation), desk.hear))
        try:
            yield
        finally:
            await _ended(following)


@dataclass(frozen=True, kw_only=True)
class Link:
    """A visitor's link to a content at the master; ``number`` makes its grant's id."""

    sha256: Digest
    size_bytes: int
    number: int = 1
    address: str = "127.0.0.1"
    binding: Binding = Binding.STRICT
    peer: bool = False
    mirror: MirrorName = ORIGIN

    @property
    def grant_id(self) -> bytes:
        return self.number.to_bytes(16)

    @property
    def path(self) -> str:
        bound, now_s = bind(ip_address(self.address), self.binding), int(time.time())
        grant = Grant(
            grant_id=self.grant_id,
            sha256=self.sha256,
            size_bytes=self.size_bytes,
            start_by_s=now_s + START_BY_S,
            finish_by_s=finish_by_s(now_s + START_BY_S, self.size_bytes),
            address=bound.address,
            prefix_bits=bound.prefix_bits,
            peer=self.peer,
        )
        return f"/d/{mint(grant, mirror=self.mirror, key=derive_key(SECRET, self.mirror, 1))}/file"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that no socket's buffers hold; it has holes, so it takes no room."""
    path = tmp_path / "large.iso"
    path.touch()
    os.truncate(path, 32 << 20)
    return path


@pytest.fixture
def link(large: Path) -> Link:
    """A link to the large file."""
    with large.open("rb") as file:
        return Link(sha256=Digest(hashlib.file_digest(file, "sha256").digest()), size_bytes=large.stat().st_size)


@pytest.fixture(params=["memory", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def theatre(request: pytest.FixtureRequest, tmp_path: Path) -> Theatre:
    """A theatre over either broker: what a test shows holds on both."""
    if request.param == "memory":
        return memory_theatre_in(tmp_path)
    vhost: Vhost = request.getfixturevalue("vhost")
    broker = BrokerConfig(url=vhost.amqp_url, management_url=vhost.management_url)
    return Theatre(config=_config(tmp_path, broker), site=None, open_broker=app.open_rabbitmq)


@pytest.fixture
def memory_theatre(tmp_path: Path) -> Theatre:
    """A theatre over the in-memory broker, for what has nothing to do with RabbitMQ."""
    return memory_theatre_in(tmp_path)


def memory_theatre_in(folder: Path) -> Theatre:
    site = MemorySite()

    @asynccontextmanager
    async def open_broker(_config: BrokerConfig) -> AsyncGenerator[tuple[Broker, Admin]]:
        async with MemoryBroker(site) as broker:
            yield broker, MemoryAdmin(site)

    config = _config(folder, BrokerConfig(url="amqp://memory/"))
    return Theatre(config=config, site=site, open_broker=open_broker)


def _config(folder: Path, broker: BrokerConfig) -> MasterConfig:
    return MasterConfig(
        listen_port=0,
        site_url=SITE_URL,
        data_folder=folder / "master",
        broker=broker,
        secret=SECRET,
        admin_token=ADMIN_TOKEN,
    )


async def _ended(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
