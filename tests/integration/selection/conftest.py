"""A selector on a broker, real or in memory, and everybody else's events said by hand."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import socket
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from broker.config import BrokerConfig
from broker.memory import MemoryAdmin, MemoryBroker, MemorySite
from broker.node import PrivateNode
from broker.port import Admin, Broker, Delivery
from broker.provision import provision_site
from broker.rabbitmq import RabbitAdmin, RabbitBroker
from broker.reading import read_envelope
from broker.relay import message_of
from broker.site import Vhost
from broker.topology import log_stream, site_topology
from edge.clients import new_session
from events.envelope import MASTER_SOURCE, Envelope, load_source, mirror_source
from events.errors import LanguageError
from events.names import ORIGIN_CHANNEL, ChannelName, Digest, FilePath, MirrorName, SelectorName
from events.schemas import (
    PUBLIC,
    Access,
    CatalogueRestated,
    Event,
    FilePublished,
    FileWithdrawn,
    InventoryAnnounced,
    LoadReported,
    Location,
    LogOpened,
    MirrorCameOnline,
    MirrorJoined,
    Profile,
    SubscriptionGranted,
)
from selection.app import run_on
from selection.config import SelectorConfig
from selection.places.files import PlaceFiles

Connect = Callable[[], tuple[AbstractAsyncContextManager[object], Broker]]

SECRET = b"the site's secret, 32 bytes long"
MASTER_URL = "http://master.example"
ISO = ChannelName("iso")
DEADLINE_S = 30.0
NODE_DEADLINE_S = 240.0  # a node starts in some twenty seconds
POLL_EVERY_S = 0.02


def content(name: str) -> Digest:
    return Digest(hashlib.sha256(name.encode()).digest())


@dataclass
class Said:
    """Speaks for the master and the mirrors."""

    broker: Broker
    numbers: Counter[str] = field(default_factory=Counter[str])
    channel_numbers: Counter[str] = field(default_factory=Counter[str])

    async def say(self, source: str, event: Event, *, persistent: bool = True) -> None:
        self.numbers[source] += 1
        envelope = Envelope(
            source=source,
            epoch=1,
            sequence=self.numbers[source],
            time_ns=time.time_ns(),
            traceparent="",
            event=event,
        )
        await self.broker.publish(message_of(envelope, persistent=persistent))

    async def published(
        self,
        path: str,
        *,
        access: Access = PUBLIC,
        size_bytes: int = 1000,
        sha256: Digest | None = None,
        **more: Any,  # noqa: ANN401 - any field of the event
    ) -> FilePublished:
        files: list[FilePublished] = []
        for channel in (ORIGIN_CHANNEL, ISO):
            self.channel_numbers[channel] += 1
            files.append(
                FilePublished(
                    channel=channel,
                    channel_sequence=self.channel_numbers[channel],
                    path=FilePath(path),
                    generation=1,
                    size_bytes=size_bytes,
                    sha256=sha256 or content(path),
                    media_type="application/octet-stream",
                    access=access,
                    published_at_ns=1_700_000_000_000_000_000,
                    **more,
                )
            )
            await self.say(MASTER_SOURCE, files[-1])
        return files[0]

    async def withdrawn(self, path: str) -> None:
        for channel in (ISO, ORIGIN_CHANNEL):
            self.channel_numbers[channel] += 1
            event = FileWithdrawn(
                channel=channel,
                channel_sequence=self.channel_numbers[channel],
                path=FilePath(path),
                generation=1,
                sha256=content(path),
                reason="by hand",
            )
            await self.say(MASTER_SOURCE, event)

    def withdraws_unheard(self, path: str) -> None:
        """The master withdraws a file, and nobody ever reads it."""
        del path
        self.numbers[MASTER_SOURCE] += 2

    async def log_opened(self, generation: int) -> None:
        await self.say(MASTER_SOURCE, LogOpened(generation=generation))

    async def restated(self, generation: int, *, since: int | None = None) -> None:
        """All that was said from ``since`` on is all that holds; by default nothing."""
        event = CatalogueRestated(generation=generation, since=since or self.next_number)
        await self.say(MASTER_SOURCE, event)

    @property
    def next_number(self) -> int:
        """The number of what the master says next."""
        return self.numbers[MASTER_SOURCE] + 1

    async def serving(
        self, name: str, *paths: str, location: Location | None = None, slots: int = 10, url: str | None = None
    ) -> None:
        """A mirror of the fleet that lacks nothing."""
        mirror = MirrorName(name)
        profile = Profile(url=url or f"http://{name}.example", slots=slots, location=location)
        await self.say(MASTER_SOURCE, MirrorJoined(mirror=mirror, profile=profile))
        await self.say(MASTER_SOURCE, SubscriptionGranted(mirror=mirror, channel=ISO))
        await self.say(mirror_source(mirror), MirrorCameOnline(mirror=mirror, profile=profile))
        await self.holding(name, *paths)
        await self.load(name, slots=slots)

    async def holding(self, name: str, *paths: str) -> None:
        mirror = MirrorName(name)
        event = InventoryAnnounced(
            mirror=mirror,
            as_of=self.numbers[mirror_source(mirror)] + 1,
            page=1,
            pages=1,
            sha256s=tuple(map(content, paths)),
        )
        await self.say(mirror_source(mirror), event)

    async def load(
        self,
        name: str,
        *,
        slots: int = 10,
        active: int = 0,
        seen: dict[str, int] | None = None,
        sparing: bool = False,
    ) -> None:
        mirror = MirrorName(name)
        report = LoadReported(
            mirror=mirror,
            slots=slots,
            active=active,
            reserved=0,
            transmit_bytes_per_second=0,
            sparing=sparing,
            grants_seen={SelectorName(selector): sequence for selector, sequence in (seen or {}).items()},
        )
        await self.say(load_source(mirror), report, persistent=False)


@dataclass
class Selector:
    """A running selector, as a visitor and an operator see it."""

    url: str
    http: aiohttp.ClientSession
    ready: asyncio.Future[str]

    async def listens(self) -> bool:
        try:
            return (await self.ask("/-/livez"))["live"]
        except aiohttp.ClientConnectorError:
            return False

    async def visit(self, path: str, **options: Any) -> aiohttp.ClientResponse:  # noqa: ANN401 - aiohttp's own
        method = options.pop("method", "GET")
        async with self.http.request(method, self.url + path, allow_redirects=False, **options) as answer:
            await answer.read()
            return answer

    async def sent_to(self, path: str, address: str, **options: Any) -> str:  # noqa: ANN401 - aiohttp's own
        """Visit from an address; give the first label of the host that the visitor is sent to."""
        answer = await self.visit(path, headers={"X-Forwarded-For": address}, **options)
        assert answer.status == 302
        return (urlsplit(answer.headers["Location"]).hostname or "").partition(".")[0]

    async def ask(self, page: str, **query: str) -> dict[str, Any]:
        async with self.http.get(f"{self.url}{page}", params=query) as answer:
            return await answer.json()

    async def where(self, path: str) -> dict[str, Any]:
        return await self.ask("/-/api/v1/where", path=path, ip="203.0.113.9")

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not await holds():  # noqa: ASYNC110 - asked over HTTP, nothing signals
                await asyncio.sleep(POLL_EVERY_S)

    async def until_chosen(self, path: str, mirror: str | None) -> None:
        """Wait until a mirror (or, with None, the master) would be chosen."""

        async def chosen() -> bool:
            answer = await self.where(path)
            return "chosen" in answer and answer["chosen"] == mirror

        await self.until(chosen)

    async def reasons(self, path: str) -> dict[str, str]:
        return {each["mirror"]: each["reason"] for each in (await self.where(path)).get("rejected", [])}


@dataclass
class Site:
    """A broker with a log, and what can be done to it."""

    admin: Admin
    broker: Broker
    connect: Connect
    config: SelectorConfig
    said: Said
    memory: MemorySite | None = None
    deadline_s: float = DEADLINE_S
    """For the life of a selector."""

    async def lose_log(self, generation: int) -> None:
        """Delete a generation with all that stands in it."""
        for queue in site_topology(generation).queues:
            await self.admin.delete_queue(queue.name)

    @asynccontextmanager
    async def logged(self, kind: type) -> AsyncGenerator[list[Any]]:
        """Collect the events of one type from the log while the block is entered."""
        found: list[Any] = []

        def fold(delivery: Delivery) -> None:
            try:
                event = read_envelope(delivery, vhost="").event
            except LanguageError:
                return
            if isinstance(event, kind):
                found.append(event)

        following = asyncio.create_task(self.broker.follow(log_stream(1), fold))
        yield found
        following.cancel()
        await asyncio.wait([following])

    @asynccontextmanager
    async def selector(self, **changes: Any) -> AsyncGenerator[Selector]:  # noqa: ANN401 - any field of the configuration
        """Run a selector while the block is entered; enter it once the selector is ready."""
        async with self.unready_selector(**changes) as selector:
            await selector.ready
            yield selector

    @asynccontextmanager
    async def unready_selector(self, *, places: PlaceFiles | None = None, **changes: Any) -> AsyncGenerator[Selector]:  # noqa: ANN401 - any field of the configuration
        """Run a selector while the block is entered; enter it once the selector listens."""
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            port: int = free.getsockname()[1]
        connection, broker = self.connect()
        config = replace(self.config, listen_port=port, **changes)
        run = run_on(broker, config, connection=connection, places=places or PlaceFiles(), on_ready=ready.set_result)
        async with new_session() as http, asyncio.timeout(self.deadline_s), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(run)
            selector = Selector(f"http://127.0.0.1:{port}", http, ready)
            await selector.until(selector.listens)
            yield selector
            running.cancel()


@pytest.fixture(params=["memory", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
async def site(request: pytest.FixtureRequest) -> AsyncGenerator[Site]:
    """A site whose log is open and empty."""
    if request.param == "memory":
        memory = MemorySite()
        site = _site(
            MemoryAdmin(memory), MemoryBroker(memory), lambda: _both(MemoryBroker(memory)), "amqp://x/memory", memory
        )
        await _open(site)
        yield site
        return
    vhost: Vhost = request.getfixturevalue("vhost")
    config = BrokerConfig(url=vhost.amqp_url)
    async with RabbitBroker(config) as broker, RabbitAdmin(config) as admin:
        site = _site(admin, broker, lambda: _both(RabbitBroker(config)), vhost.amqp_url)
        await _open(site)
        yield site


@pytest.fixture
async def private_site(private_node: PrivateNode) -> AsyncGenerator[Site]:
    """A site on a node of its own, to be killed and started again."""
    config = BrokerConfig(url=private_node.amqp_url, management_url=private_node.management_url)
    async with RabbitBroker(config) as broker, RabbitAdmin(config) as admin:
        site = _site(admin, broker, lambda: _both(RabbitBroker(config)), private_node.amqp_url)
        site.deadline_s = NODE_DEADLINE_S
        await _open(site)
        yield site


@pytest.fixture
async def memory_site() -> Site:
    """A site in memory, which can be broken at will."""
    memory = MemorySite()
    site = _site(
        MemoryAdmin(memory), MemoryBroker(memory), lambda: _both(MemoryBroker(memory)), "amqp://x/memory", memory
    )
    await _open(site)
    return site


def _site(
    admin: Admin,
    broker: Broker,
    connect: Connect,
    url: str,
    memory: MemorySite | None = None,
) -> Site:
    config = SelectorConfig(
        name=SelectorName(f"s{secrets.token_hex(4)}"),
        listen_port=0,
        master_url=MASTER_URL,
        broker=BrokerConfig(url=url),
        secret=SECRET,
        trusted_proxies=("127.0.0.1/32",),
    )
    return Site(admin, broker, connect, config, Said(broker), memory)


def _both(broker: MemoryBroker | RabbitBroker) -> tuple[AbstractAsyncContextManager[object], Broker]:
    """Give one broker as what is entered and as what is used."""
    return broker, broker


async def _open(site: Site) -> None:
    await provision_site(site.admin, 1)
    await site.said.log_opened(1)
    await site.said.restated(1)
