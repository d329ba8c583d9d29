"""One action through all roles: each event that it led to has its trace, and each role is a span of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import pytest

from broker.config import BrokerConfig
from broker.memory import MemoryAdmin, MemoryBroker, MemorySite
from broker.port import Admin, Broker, Delivery
from broker.topology import log_stream
from edge.clients import new_session
from events.codec import decode
from events.envelope import Envelope
from events.invitation import read_invitation
from events.names import MirrorName, SelectorName
from events.schemas import (
    ChannelDefined,
    ChannelRemoved,
    Download,
    DownloadsGranted,
    DownloadsReported,
    Event,
    FilePublished,
    FileWithdrawn,
    Granted,
    LogOpened,
    MirrorInvited,
    MirrorJoined,
    MirrorLeft,
    ReplicaLost,
    ReplicaReady,
    SubscriptionGranted,
    SubscriptionRevoked,
)
from events.trace import HEADER, RANDOM_BYTES, TraceContext, parse, root
from master import app as master_app
from master.config import MasterConfig
from mirror import app as mirror_app
from mirror.config import MirrorConfig, MirrorCredentials
from selection.app import run_on
from selection.config import SelectorConfig
from selection.places.files import PlaceFiles

DEADLINE_S = 30.0
ADMIN_TOKEN = "admin-token-of-the-tests"
SECRET = b"s" * 32
CONFIG = BrokerConfig(url="amqp://127.0.0.1/memory")
API = "/-/api/v1"
Role: TypeAlias = Callable[[Callable[[str], None]], Coroutine[Any, Any, None]]


@asynccontextmanager
async def running(role: Role) -> AsyncGenerator[str]:
    """Run a role while the block is entered; give its URL."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(role(ready.set_result))
    try:
        await asyncio.wait([task, ready], timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield ready.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


@dataclass
class Site:
    """A master on a broker in memory, its administrator, and all that the log says."""

    folder: Path
    url: str
    http: aiohttp.ClientSession
    memory: MemorySite
    said: list[Envelope] = field(default_factory=list[Envelope])
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    actions: int = 0

    def act(self) -> TraceContext:
        """Begin an action, and its trace with it."""
        self.actions += 1
        return root(self.actions.to_bytes(RANDOM_BYTES // 2, "big") * 2)

    async def ask(self, method: str, path: str, body: object = None, *, traceparent: str = "") -> Any:  # noqa: ANN401 - JSON
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"} | ({HEADER: traceparent} if traceparent else {})
        async with self.http.request(method, self.url + API + path, json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json() if answer.content_type == "application/json" else await answer.text()

    async def publish(self, name: str, *, traceparent: str = "") -> None:
        source = self.folder / name
        source.write_text(name)
        await self.ask("POST", "/files", {"source": str(source)}, traceparent=traceparent)

    async def join(self, *, channels: list[str], action: TraceContext) -> dict[str, Any]:
        invited = await self.ask(
            "POST", "/mirrors/ana/invitation", {"channels": channels}, traceparent=action.traceparent
        )
        body = {"secret": read_invitation(invited["token"]).secret, "name": "ana"}
        profile = {"profile": {"url": "http://ana.example", "slots": 2}}
        joined = await self.ask("POST", "/join", body | profile, traceparent=action.traceparent)
        return joined["credentials"]

    def hear(self, delivery: Delivery) -> None:
        self.said.append(decode(delivery.body))
        self.heard.set()

    async def first(self, kind: type[Event], trace_id: str) -> TraceContext:
        """The span of the first event of a kind that belongs to a trace, as soon as there is one."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for envelope in self.said:
                    span = parse(envelope.traceparent)
                    if isinstance(envelope.event, kind) and span is not None and span.trace_id == trace_id:
                        return span
                self.heard.clear()
                await self.heard.wait()

    async def granted(self, trace_id: str) -> TraceContext:
        """The span of the first grant that belongs to a trace, as soon as one is told of."""
        return await self._first_of(lambda event: event.grants if isinstance(event, DownloadsGranted) else (), trace_id)

    async def download(self, trace_id: str) -> TraceContext:
        """The span of the first download that belongs to a trace, as soon as one is told of."""
        return await self._first_of(
            lambda event: event.downloads if isinstance(event, DownloadsReported) else (), trace_id
        )

    async def _first_of(self, told_in: Callable[[Event], Sequence[Granted | Download]], trace_id: str) -> TraceContext:
        """The span of the first of what is told many in an event that belongs to a trace."""
        found: list[TraceContext] = []

        def is_told() -> bool:
            spans = [parse(told.traceparent) for each in self.said for told in told_in(each.event)]
            found[:] = [span for span in spans if span is not None and span.trace_id == trace_id]
            return bool(found)

        await self.until(is_told)
        return found[0]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                self.heard.clear()
                await self.heard.wait()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    memory = MemorySite()

    @asynccontextmanager
    async def open_broker(_config: BrokerConfig) -> AsyncGenerator[tuple[Broker, Admin]]:
        async with MemoryBroker(memory) as broker:
            yield broker, MemoryAdmin(memory)

    config = MasterConfig(
        listen_port=0,
        site_url="http://site.example",
        data_folder=tmp_path / "master",
        broker=CONFIG,
        secret=SECRET,
        admin_token=ADMIN_TOKEN,
    )
    async with (
        running(lambda on_ready: master_app.run(config, on_ready=on_ready, open_broker=open_broker)) as url,
        new_session() as session,
        MemoryBroker(memory) as broker,
    ):
        site = Site(folder=tmp_path, url=url, http=session, memory=memory)
        following = asyncio.create_task(broker.follow(log_stream(1), site.hear))
        yield site
        following.cancel()
        await asyncio.wait([following])


@asynccontextmanager
async def mirror_of(site: Site) -> AsyncGenerator[str]:
    """A mirror that follows the channel ``all`` and holds what is in it already."""
    await site.ask("PUT", "/channels/all", {"filter": {}})
    await site.publish("before")
    credentials = await site.join(channels=["all"], action=site.act())
    config = MirrorConfig(
        name=MirrorName("ana"),
        data_folder=site.folder / "ana",
        credentials=MirrorCredentials(
            mirror=MirrorName("ana"),
            broker_url=CONFIG.url,
            token=credentials["token"],
            grant_keys={int(epoch): bytes.fromhex(key) for epoch, key in credentials["grant_keys"].items()},
            master_url=site.url,
            site_url="http://site.example",
        ),
        report_every_s=0.2,
    )
    role: Role = lambda on_ready: mirror_app.run(  # noqa: E731 - one expression, and typed
        config, on_ready=on_ready, connect=lambda: MemoryBroker(site.memory)
    )
    async with running(role) as url:
        await site.until(lambda: any(isinstance(each.event, ReplicaReady) for each in site.said))
        yield url


@asynccontextmanager
async def selector_of(site: Site) -> AsyncGenerator[str]:
    config = SelectorConfig(name=SelectorName("sel"), listen_port=0, master_url=site.url, broker=CONFIG, secret=SECRET)
    async with (
        MemoryBroker(site.memory) as broker,
        running(lambda on_ready: run_on(broker, config, places=PlaceFiles(), on_ready=on_ready)) as url,
    ):
        yield url


async def until_page(site: Site, url: str, shows: Callable[[dict[str, Any]], bool]) -> None:
    """Wait for what no event tells."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            async with site.http.get(url) as answer:
                if shows(await answer.json()):
                    return
            await asyncio.sleep(0.02)


async def test_publication_and_replica_are_spans_of_the_trace_of_the_publisher(site: Site) -> None:
    async with mirror_of(site):
        publishing, withdrawing = site.act(), site.act()
        await site.publish("a.iso", traceparent=publishing.traceparent)
        published = await site.first(FilePublished, publishing.trace_id)
        ready = await site.first(ReplicaReady, publishing.trace_id)
        assert len({publishing.span_id, published.span_id, ready.span_id}) == 3

        await site.ask("DELETE", "/files?path=a.iso", traceparent=withdrawing.traceparent)
        withdrawn = await site.first(FileWithdrawn, withdrawing.trace_id)
        lost = await site.first(ReplicaLost, withdrawing.trace_id)
        assert len({withdrawing.span_id, withdrawn.span_id, lost.span_id}) == 3


async def test_grant_and_download_are_spans_of_the_trace_of_the_visitor(site: Site) -> None:
    visiting = site.act()
    async with mirror_of(site) as mirror_url, selector_of(site) as url:
        await until_page(site, f"{url}{API}/where?path=before", lambda page: page.get("chosen") == "ana")
        headers = {HEADER: visiting.traceparent}
        async with site.http.get(f"{url}/before", headers=headers, allow_redirects=False) as answer:
            location = answer.headers["Location"]
        granted = await site.granted(visiting.trace_id)
        await until_page(site, f"{mirror_url}{API}/status", lambda page: page["serves"]["reserved"] == 1)
        async with site.http.get(location) as answer:
            assert await answer.text() == "before"
        downloaded = await site.download(visiting.trace_id)
    assert len({visiting.span_id, granted.span_id, downloaded.span_id}) == 3


async def test_whatever_an_administrator_changes_is_a_span_of_his_trace(site: Site) -> None:
    async def asked(method: str, path: str, body: object = None) -> str:
        action = site.act()
        await site.ask(method, path, body, traceparent=action.traceparent)
        return action.trace_id

    expected: list[tuple[type[Event], str]] = []
    expected += [(ChannelDefined, await asked("PUT", "/channels/all", {"filter": {}}))]
    expected += [(ChannelDefined, await asked("PUT", "/channels/none", {"filter": {"size_bytes_min": 1 << 40}}))]
    await site.publish("a")
    joining = site.act()
    await site.join(channels=["all"], action=joining)
    expected += [(kind, joining.trace_id) for kind in (MirrorInvited, MirrorJoined, SubscriptionGranted)]
    expected += [(SubscriptionGranted, await asked("PUT", "/mirrors/ana/subscriptions/none"))]
    expected += [(SubscriptionRevoked, await asked("DELETE", "/mirrors/ana/subscriptions/none"))]
    filtering = await asked("PUT", "/channels/none", {"filter": {}})
    expected += [(ChannelDefined, filtering), (FilePublished, filtering)]
    removing = await asked("DELETE", "/channels/all")
    expected += [(kind, removing) for kind in (FileWithdrawn, SubscriptionRevoked, ChannelRemoved)]
    expected += [(MirrorLeft, await asked("DELETE", "/mirrors/ana"))]
    for kind, trace_id in expected:
        await site.first(kind, trace_id)


async def test_request_without_a_trace_begins_one_for_all_its_events_and_a_new_log_none(site: Site) -> None:
    await site.publish("a")
    await site.publish("b", traceparent="00-nonsense-01")
    await site.ask("PUT", "/channels/all", {"filter": {}})
    await site.until(lambda: sum(isinstance(each.event, FilePublished) for each in site.said) == 4)
    traces: dict[type[Event], list[str]] = {}
    for envelope in site.said:
        traces.setdefault(type(envelope.event), []).append(envelope.traceparent)
    assert traces[LogOpened] == [""]
    alone, nonsense, *entered = traces[FilePublished]
    assert [*traces[ChannelDefined]] * 2 == entered
    assert len({alone, nonsense, entered[0]}) == 3
    assert all(map(parse, (alone, nonsense, entered[0])))


async def test_a_download_from_the_master_itself_is_a_span_of_the_visitors_trace(site: Site) -> None:
    await site.publish("a")
    visiting, resuming = site.act(), site.act()
    async with selector_of(site) as url:
        await until_page(site, f"{url}{API}/where?path=a", lambda page: page.get("fallback") is True)
        headers = {HEADER: visiting.traceparent}
        async with site.http.get(f"{url}/a", headers=headers, allow_redirects=False) as answer:
            location = answer.headers["Location"]
        for action in (visiting, resuming):
            async with site.http.get(location, headers={HEADER: action.traceparent}) as answer:
                assert await answer.text() == "a"
        granted = await site.granted(visiting.trace_id)
        downloaded = await site.download(visiting.trace_id)
        await site.download(resuming.trace_id)
    assert len({visiting.span_id, granted.span_id, downloaded.span_id}) == 3
