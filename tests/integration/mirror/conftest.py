"""A stage for one mirror: a master over real HTTP, a broker in memory, and the mirror itself."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from broker.memory import MemoryAdmin, MemoryBroker, MemorySite
from broker.port import Broker, Delivery, Message
from broker.relay import message_of
from broker.topology import load_stream, log_stream, mirror_topology, site_topology
from events.codec import decode
from events.envelope import MASTER_SOURCE, Envelope, selector_source
from events.errors import UnreadableEventError
from events.grants import Grant, bind, derive_key, mint
from events.names import ChannelName, Digest, FilePath, MirrorName, SelectorName
from events.pieces import piece_bytes_for
from events.schemas import (
    Download,
    DownloadOutcome,
    DownloadsGranted,
    DownloadsReported,
    Event,
    FilePublished,
    FileWithdrawn,
    Granted,
    ReplicaReady,
    WithdrawMode,
)
from mirror.app import run
from mirror.config import FetchLimits, MirrorConfig, MirrorCredentials
from mirror.following.link import Connect

ANA = MirrorName("ana")
ISO = ChannelName("iso")
SELECTOR = SelectorName("sel")
KEY = derive_key(b"s" * 32, ANA, 1)
TOKEN = "mirror-token"
PEER_TOKEN = "peer-token"
SITE_URL = "http://site.example"
PUBLISHED_AT_NS = 784_111_776_000_000_001  # Sun, 06 Nov 1994 08:49:36 GMT, and a little
DEADLINE_S = 20.0
EventT = TypeVar("EventT")
Answer = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


@dataclass
class FakeTracker:
    """Leases pieces as the master does, from its ``sources`` in turn, or from the origin where there are none."""

    pieces: dict[str, int] = field(default_factory=dict[str, int])
    """How many each content has, by its digest."""
    sources: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Each mirror that has all, with its URL."""
    results: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    """What was told of former leases, and of which source."""
    held: list[int] = field(default_factory=list[int])
    """How many pieces were there at each question."""
    leases: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    barred: set[str] = field(default_factory=set[str])
    session: str = ""
    _turn: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if asked["session"] != self.session:
            self.session = asked["session"]
            self.leases.clear()
        for result in asked["results"]:
            piece, source = self.leases.pop(result["lease"])
            self.results.append(result | {"source": source, "piece": str(piece)})
            if result.get("fault") in {"wrong_bytes", "wrong_range", "wrong_encoding", "endless", "forbidden_address"}:
                self.barred.add(source)
        have = "".join(f"{byte:08b}" for byte in base64.b64decode(asked["have"]))
        self.held.append(have.count("1"))
        under_way = {piece for piece, _ in self.leases.values()}
        missing = [
            piece for piece in range(self.pieces[asked["sha256"]]) if have[piece] == "0" and piece not in under_way
        ]
        leases = [lease for piece in missing[: asked["want_max"]] if (lease := self._lease(piece)) is not None]
        return web.json_response({"leases": leases, "retry_after_s": 0.0 if leases else 0.02})

    def _lease(self, piece: int) -> dict[str, object] | None:
        good = [source for source in self.sources or [("origin", "")] if source[0] not in self.barred]
        if not good:
            return None
        self._turn += 1
        name, url = good[self._turn % len(good)]
        lease = secrets.token_hex(4)
        self.leases[lease] = piece, name
        return {
            "lease": lease,
            "piece": piece,
            "source": name,
            "url": url,
            "token": PEER_TOKEN,
            "expires_in_s": 60,
        }


@dataclass
class FakeMaster:
    """Speaks the master's HTTP interface as far as a mirror uses it, and misbehaves on request."""

    contents: dict[str, bytes] = field(default_factory=dict[str, bytes])
    files: dict[ChannelName, dict[FilePath, FilePublished]] = field(
        default_factory=dict[ChannelName, dict[FilePath, FilePublished]]
    )
    sequences: dict[ChannelName, int] = field(default_factory=dict[ChannelName, int])
    answers: list[Answer] = field(default_factory=list[Answer])
    """Used up one by one by the next requests for content; afterwards the master behaves."""
    asked: list[str] = field(default_factory=list[str])
    ranges: list[str] = field(default_factory=list[str])
    heal: Callable[[], Awaitable[bool]] | None = None
    knows_us: bool = True
    keys: dict[int, bytes] = field(default_factory=lambda: {1: KEY})
    epoch: int = 1
    tracker: FakeTracker = field(default_factory=FakeTracker)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/-/api/v1/channels/{channel}/snapshot", self._snapshot)
        app.router.add_get("/-/api/v1/mirrors/self/subscriptions", self._subscriptions)
        app.router.add_delete("/-/api/v1/mirrors/self", self._leave)
        app.router.add_get("/-/api/v1/mirrors/self/keys", self._keys)
        app.router.add_post("/-/api/v1/mirrors/self/queue", self._queue)
        app.router.add_get("/-/origin/{sha256}", self._content)
        app.router.add_post("/-/api/v1/mirrors/self/pieces", self._pieces)
        return app

    def publish(
        self, path: str, content: bytes, *, channel: ChannelName = ISO, piece_bytes: int | None = None
    ) -> FilePublished:
        digest = hashlib.sha256(content).digest()
        self.contents[digest.hex()] = content
        if piece_bytes is None:
            piece_bytes = piece_bytes_for(len(content))
        starts = range(0, len(content), piece_bytes) if piece_bytes else ()
        self.tracker.pieces[digest.hex()] = len(starts) or 1
        self.sequences[channel] = self.sequences.get(channel, 0) + 1
        event = FilePublished(
            channel=channel,
            channel_sequence=self.sequences[channel],
            path=FilePath(path),
            generation=1,
            size_bytes=len(content),
            sha256=Digest(digest),
            media_type="application/zip",
            published_at_ns=PUBLISHED_AT_NS,
            piece_bytes=piece_bytes,
            piece_digests=b"".join(hashlib.sha256(content[start : start + piece_bytes]).digest() for start in starts),
        )
        self.files.setdefault(channel, {})[event.path] = event
        return event

    def withdraw(
        self, path: str, *, channel: ChannelName = ISO, mode: WithdrawMode = WithdrawMode.DRAIN
    ) -> FileWithdrawn:
        gone = self.files[channel].pop(FilePath(path))
        self.sequences[channel] += 1
        return FileWithdrawn(
            channel=channel,
            channel_sequence=self.sequences[channel],
            path=gone.path,
            generation=gone.generation,
            sha256=gone.sha256,
            reason="withdrawn by a person",
            mode=mode,
        )

    async def _snapshot(self, request: web.Request) -> web.Response:
        self._note(request)
        channel = ChannelName(request.match_info["channel"])
        files = [
            {
                "path": file.path,
                "generation": file.generation,
                "size_bytes": file.size_bytes,
                "sha256": file.sha256.hex(),
                "media_type": file.media_type,
                "channel_sequence": file.channel_sequence,
                "piece_bytes": file.piece_bytes,
                "piece_digests": base64.b64encode(file.piece_digests).decode(),
                "published_at_ns": file.published_at_ns,
            }
            for file in self.files.get(channel, {}).values()
        ]
        return web.json_response(
            {
                "channel": channel,
                "epoch": self.epoch,
                "channel_sequence": self.sequences.get(channel, 0),
                "files": files,
            }
        )

    async def _subscriptions(self, request: web.Request) -> web.Response:
        self._note(request)
        return web.json_response({"channels": sorted(self.files.keys() | {ISO})})

    async def _keys(self, request: web.Request) -> web.Response:
        self._note(request)
        return web.json_response({"grant_keys": {str(epoch): key.hex() for epoch, key in self.keys.items()}})

    async def _leave(self, request: web.Request) -> web.Response:
        self._note(request)
        self.knows_us = False
        return web.json_response({"removed": "ana"})

    async def _queue(self, request: web.Request) -> web.Response:
        self._note(request)
        return web.json_response({"queue": "mirror.ana", "healed": await self.heal() if self.heal else False})

    async def _pieces(self, request: web.Request) -> web.Response:
        self._note(request)
        return await self.tracker.answer(request)

    async def _content(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        self.ranges.append(request.headers.get("Range", ""))
        content = self.contents[request.match_info["sha256"]]
        return await (self.answers.pop(0) if self.answers else honest)(request, content)

    def _note(self, request: web.Request) -> None:
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        self.asked.append(request.path)
        if not self.knows_us:
            error = {"code": "token_wrong", "message": "no mirror of this site has this token", "hint": ""}
            raise web.HTTPForbidden(text=json.dumps({"error": error}), content_type="application/json")


async def honest(request: web.Request, content: bytes) -> web.StreamResponse:
    asked = request.http_range
    if asked.start is None:
        return web.Response(body=content)
    start, stop = asked.start, asked.stop or len(content)
    fields = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
    return web.Response(status=206, body=content[start:stop], headers=fields)


@dataclass
class Log:
    """All that was said, in order."""

    said: list[Event] = field(default_factory=list[Event])
    envelopes: list[Envelope] = field(default_factory=list[Envelope])
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, delivery: Delivery) -> None:
        try:
            envelope = decode(delivery.body)
        except UnreadableEventError:
            return  # the test put it there
        self.envelopes.append(envelope)
        self.said.append(envelope.event)
        self._changed.set()

    def of(self, kind: type[EventT]) -> list[EventT]:
        return [event for event in self.said if isinstance(event, kind)]

    async def until(self, kind: type[EventT], count: int = 1) -> list[EventT]:
        await self.until_true(lambda: len(self.of(kind)) >= count)
        return self.of(kind)

    def downloads(self, outcome: DownloadOutcome | None = None) -> list[Download]:
        """All that was told of downloads; with an ``outcome`` those alone."""
        told = [each for report in self.of(DownloadsReported) for each in report.downloads]
        return [each for each in told if outcome in {None, each.outcome}]

    async def until_told(self, outcome: DownloadOutcome, count: int = 1) -> list[Download]:
        await self.until_true(lambda: len(self.downloads(outcome)) >= count)
        return self.downloads(outcome)

    async def until_true(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@dataclass
class Stage:
    """One mirror with all around it. Change ``config`` before ``running``."""

    master: FakeMaster
    site: MemorySite
    broker: Broker
    log: Log
    load: Log
    config: MirrorConfig
    selector: SelectorName = SELECTOR
    url: str = ""
    _sequence: int = 0

    @asynccontextmanager
    async def running_until_it_ends(self) -> AsyncGenerator[asyncio.Task[None]]:
        """Run the mirror while the block is entered; it may end by itself before."""
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(run(self.config, on_ready=ready.set_result, connect=lambda: MemoryBroker(self.site)))
        try:
            self.url = await ready
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])

    @asynccontextmanager
    async def running(self, *, on_rabbitmq: bool = False, connect: Connect | None = None) -> AsyncGenerator[str]:
        """Run the mirror while the block is entered; leaving stops it in an orderly way."""
        if connect is None and not on_rabbitmq:
            connect = lambda: MemoryBroker(self.site)  # noqa: E731 - a name for it would be longer
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(run(self.config, on_ready=ready.set_result, connect=connect))
        try:
            await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            self.url = ready.result()
            yield self.url
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    async def announce(self, file: FilePublished, *grant_ids: bytes, traceparent: str = "") -> None:
        """Say as the selector that visitors were sent here for a file, in one notice."""
        now_s = int(time.time())
        grants = tuple(
            Granted(
                grant_id=grant_id,
                path=file.path,
                generation=file.generation,
                sha256=file.sha256,
                size_bytes=file.size_bytes,
                address="127.0.0.1",
                country="",
                granted_at_ns=0,
                start_by_s=now_s + 60,
                finish_by_s=now_s + 3600,
                traceparent=traceparent,
            )
            for grant_id in grant_ids
        )
        await self.say(DownloadsGranted(selector=self.selector, mirror=self.config.name, grants=grants))

    async def say(self, event: Event, *, traceparent: str = "") -> None:
        """Say an event as the master or a selector."""
        self._sequence += 1
        source = selector_source(SELECTOR) if isinstance(event, DownloadsGranted) else MASTER_SOURCE
        await self.broker.publish(
            message_of(
                Envelope(
                    source=source,
                    epoch=self.master.epoch,
                    sequence=self._sequence,
                    time_ns=0,
                    traceparent=traceparent,
                    event=event,
                )
            )
        )

    async def say_bytes(self, body: bytes, *, exchange: str = "files", routing_key: str = "file.iso.published") -> None:
        """Put anything at all into the mirror's queue."""
        message = Message(
            exchange=exchange, routing_key=routing_key, message_id=secrets.token_hex(4), type="odd", body=body
        )
        await self.broker.publish(message)

    async def publish(
        self, path: str, content: bytes, *, channel: ChannelName = ISO, piece_bytes: int | None = None
    ) -> FilePublished:
        """Publish a file at the master, and say so."""
        event = self.master.publish(path, content, channel=channel, piece_bytes=piece_bytes)
        await self.say(event)
        return event

    async def publish_ready(self, path: str, content: bytes) -> FilePublished:
        """Publish a file and wait until the mirror holds it."""
        event = await self.publish(path, content)
        await self.log.until_true(lambda: event.sha256 in {ready.sha256 for ready in self.log.of(ReplicaReady)})
        return event

    def grant(self, event: FilePublished, *, address: str = "127.0.0.1", start_in_s: int = 60) -> Grant:
        bound, prefix_bits = bind(ip_address(address))
        now_s = int(time.time())
        return Grant(
            grant_id=secrets.token_bytes(16),
            sha256=event.sha256,
            size_bytes=event.size_bytes,
            start_by_s=now_s + start_in_s,
            finish_by_s=now_s + max(start_in_s, 0) + 3600,
            address=bound,
            prefix_bits=prefix_bits,
        )

    def link(self, grant: Grant, name: str = "x.bin", *, key: bytes = KEY, mirror: MirrorName = ANA) -> str:
        return f"{self.url}/d/{mint(grant, mirror=mirror, key=key)}/{name}"

    def object_path(self, sha256: bytes) -> Path:
        name = sha256.hex()
        return self.config.data_folder / "obj" / name[:2] / name[2:4] / name

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what no event tells."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 - the file system and the fake master tell nobody
                await asyncio.sleep(0.01)

    async def status(self, http: aiohttp.ClientSession) -> dict[str, Any]:
        async with http.get(f"{self.url}/-/api/v1/status") as response:
            assert response.status == 200
            return await response.json()

    async def until_served(self, http: aiohttp.ClientSession, *, active: int) -> dict[str, Any]:
        """Wait until so many slots have a live transfer; give what is served then."""
        async with asyncio.timeout(DEADLINE_S):
            while (serves := (await self.status(http))["serves"])["active"] != active:  # noqa: ASYNC110 - see below
                await asyncio.sleep(0.01)  # the mirror tells nobody
        return serves

    def reconfigure(self, **changes: object) -> None:
        self.config = replace(self.config, **changes)  # pyright: ignore[reportArgumentType] - the tests name fields


@pytest.fixture
async def master() -> AsyncIterator[tuple[FakeMaster, BaseTestServer]]:
    fake = FakeMaster()
    async with TestServer(fake.app()) as server:
        yield fake, server


@pytest.fixture
async def stage(tmp_path: Path, master: tuple[FakeMaster, BaseTestServer]) -> AsyncIterator[Stage]:
    fake, server = master
    site = MemorySite()
    admin = MemoryAdmin(site)
    topology = site_topology(1)
    for exchange in topology.exchanges:
        await admin.ensure_exchange(exchange)
    for queue in (*topology.queues, mirror_topology(ANA, (ISO,))):
        await admin.ensure_queue(queue)
    config = MirrorConfig(
        name=ANA,
        data_folder=tmp_path / "ana",
        credentials=MirrorCredentials(
            mirror=ANA,
            broker_url="amqp://127.0.0.1/memory",
            token=TOKEN,
            grant_keys={1: KEY},
            master_url=str(server.make_url("/")).rstrip("/"),
            site_url=SITE_URL,
        ),
        limits=FetchLimits(retry_first_s=0.02, retry_max_s=0.1, stall_after_s=0.5, lease_wait_s=0.5, origin_ban_s=0.05),
        private_addresses=("127.0.0.0/8", "::1/128"),
        report_every_s=0.2,
        connections_per_address=1000,  # all visitors of a test come from one
    )
    broker, log, load = MemoryBroker(site), Log(), Log()
    readers = [
        asyncio.create_task(broker.follow(log_stream(1), log.take)),
        asyncio.create_task(broker.follow(load_stream(1), load.take)),
    ]
    yield Stage(master=fake, site=site, broker=broker, log=log, load=load, config=config)
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A visitor who follows no redirects."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(auto_decompress=False, connector=connector) as session:
        yield session
