"""A zoo of bad sources beside good ones: what arrives is whole, costs little more, and whoever lied is told of."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from edge.clients import new_session
from events.names import ORIGIN, ChannelName, Digest, FilePath, MirrorName
from events.schemas import DeclineReason, FilePublished, ReplicaDeclined, SourceBanned, SourceFault
from mirror.config import FetchLimits
from mirror.content.objects import DigestMismatchError, Objects
from mirror.fetching.blame import Blame, SourcesBadError
from mirror.fetching.fetch import Fetcher
from mirror.fetching.guard import peer_session
from mirror.fetching.origin import Origin
from mirror.fetching.sources import Neighbourhood
from mirror.state.plan import Entry
from mirror.state.traces import Said

if TYPE_CHECKING:
    from conftest import FakeMaster, Stage

MIB = 1 << 20
PIECE_BYTES = 4 * MIB
ANA = MirrorName("ana")
LOOPBACK = ("127.0.0.0/8", "::1/128")
LIMITS = FetchLimits(
    stall_after_s=3.0,  # a loaded machine falls silent for a second
    bytes_per_second_min=20_000,
    rate_window_s=2.0,
    retry_first_s=0.02,
    retry_max_s=0.1,
    lease_wait_s=0.5,
    origin_ban_s=0.2,
)

Habit = Callable[["Animal", web.Request, bytes], Awaitable[web.StreamResponse]]


@dataclass
class Animal:
    """One source: a real server with one habit."""

    name: str
    habit: Habit
    contents: dict[str, bytes]
    sent_bytes: int = 0
    requests: int = 0
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        assert request.transport is not None
        # What the kernel takes for bytes that nobody will read counts as sent, so let it take little.
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 10)
        return await self.habit(self, request, self.contents[request.match_info["sha256"]])

    async def send(self, request: web.Request, response: web.StreamResponse, body: bytes) -> web.StreamResponse:
        await response.prepare(request)
        for start in range(0, len(body), 64 << 10):
            block = body[start : start + (64 << 10)]
            await response.write(block)
            self.sent_bytes += len(block)
            await asyncio.sleep(0)  # whoever is not wanted any more shall notice: this loop is the client's, too
        return response


def asked_of(request: web.Request, content: bytes) -> tuple[int, int]:
    return request.http_range.start or 0, request.http_range.stop or len(content)


def partial(start: int, stop: int, size_bytes: int) -> web.StreamResponse:
    response = web.StreamResponse(status=206, headers={"Content-Range": f"bytes {start}-{stop - 1}/{size_bytes}"})
    response.content_length = stop - start
    return response


async def honest(animal: Animal, request: web.Request, content: bytes) -> web.StreamResponse:
    start, stop = asked_of(request, content)
    return await animal.send(request, partial(start, stop, len(content)), content[start:stop])


async def drops_connections(animal: Animal, request: web.Request, content: bytes) -> web.StreamResponse:
    start, stop = asked_of(request, content)
    response = await animal.send(request, partial(start, stop, len(content)), content[start:stop][: 640 << 10])
    assert request.transport is not None
    request.transport.close()
    return response


async def flips_a_byte(animal: Animal, request: web.Request, content: bytes) -> web.StreamResponse:
    start, stop = asked_of(request, content)
    wrong = content[start : stop - 1] + bytes([content[stop - 1] ^ 1])
    return await animal.send(request, partial(start, stop, len(content)), wrong)


async def lies_about_the_range(animal: Animal, request: web.Request, content: bytes) -> web.StreamResponse:
    start, stop = asked_of(request, content)
    response = partial(start, stop, len(content))
    response.headers["Content-Range"] = f"bytes {start + 1}-{stop}/{len(content)}"
    return await animal.send(request, response, content[start:stop])


async def sends_all(animal: Animal, request: web.Request, content: bytes) -> web.StreamResponse:
    return await animal.send(request, web.StreamResponse(), content)


async def knows_nothing(animal: Animal, request: web.Request, content: bytes) -> web.StreamResponse:
    del animal, request, content
    return web.Response(status=404)


async def fails(animal: Animal, request: web.Request, content: bytes) -> web.StreamResponse:
    del animal, request, content
    return web.Response(status=500)


async def redirects(animal: Animal, request: web.Request, content: bytes) -> web.StreamResponse:
    del animal, request, content
    return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})


async def stalls(animal: Animal, request: web.Request, content: bytes) -> web.StreamResponse:
    start, stop = asked_of(request, content)
    await animal.send(request, partial(start, stop, len(content)), content[start : start + 1000])
    await asyncio.Event().wait()
    raise AssertionError


async def is_slow(animal: Animal, request: web.Request, content: bytes) -> web.StreamResponse:
    start, stop = asked_of(request, content)
    response = partial(start, stop, len(content))
    await response.prepare(request)
    for position in range(start, stop, 1000):
        await response.write(content[position : min(position + 1000, stop)])
        animal.sent_bytes += 1000
        await asyncio.sleep(0.1)  # it is what it is
    return response


async def is_endless(animal: Animal, request: web.Request, content: bytes) -> web.StreamResponse:
    start, stop = asked_of(request, content)
    response = partial(start, stop, len(content))
    del response.headers["Content-Length"]
    response.enable_chunked_encoding()
    return await animal.send(request, response, content[start:stop] * 3)


async def compresses(animal: Animal, request: web.Request, content: bytes) -> web.StreamResponse:
    start, stop = asked_of(request, content)
    response = partial(start, stop, len(content))
    response.headers["Content-Encoding"] = "gzip"
    return await animal.send(request, response, content[start:stop])


async def drops_and_will_not_go_on(animal: Animal, request: web.Request, content: bytes) -> web.StreamResponse:
    start, stop = asked_of(request, content)
    if start % MIB:
        return web.Response(status=416)
    response = await animal.send(request, partial(start, stop, len(content)), content[start : (start + stop) // 2])
    assert request.transport is not None
    request.transport.close()
    return response


BAD: dict[Habit, SourceFault] = {
    flips_a_byte: SourceFault.WRONG_BYTES,
    lies_about_the_range: SourceFault.WRONG_RANGE,
    sends_all: SourceFault.WRONG_RANGE,
    knows_nothing: SourceFault.REFUSED,
    redirects: SourceFault.REFUSED,
    fails: SourceFault.UNREACHABLE,
    stalls: SourceFault.TOO_SLOW,
    is_slow: SourceFault.TOO_SLOW,
    is_endless: SourceFault.ENDLESS,
    compresses: SourceFault.WRONG_ENCODING,
}
LIARS = {
    habit.__name__.replace("_", "-")
    for habit, fault in BAD.items()
    if fault not in {SourceFault.REFUSED, SourceFault.UNREACHABLE, SourceFault.TOO_SLOW}
}


@dataclass
class Workshop:
    """A fetcher and its sources."""

    master: FakeMaster
    fetcher: Fetcher
    objects: Objects
    stack: AsyncExitStack
    said: list[SourceBanned]
    animals: dict[str, Animal] = field(default_factory=dict[str, Animal])

    async def keep(self, habits: Iterable[Habit]) -> None:
        """Start a source of each habit."""
        for habit in habits:
            animal = Animal(habit.__name__.replace("_", "-"), habit, self.master.contents)
            app = web.Application()
            app.router.add_get("/-/peer/{sha256}", animal.answer)
            server = await self.stack.enter_async_context(TestServer(app))
            animal.url = str(server.make_url("/")).rstrip("/")
            self.animals[animal.name] = animal
        self.master.tracker.sources = [(animal.name, animal.url) for animal in self.animals.values()]

    async def fetch(self, event: FilePublished) -> None:
        async with self.fetcher.fetched(entry_of(event)):
            pass

    @property
    def sent_bytes(self) -> int:
        return sum(animal.sent_bytes for animal in self.animals.values())

    def is_whole(self, sha256: Digest) -> bool:
        return hashlib.sha256(self.objects.path(sha256).read_bytes()).digest() == sha256


def entry_of(event: FilePublished) -> Entry:
    return Entry(
        channel=ChannelName("iso"),
        path=FilePath("a"),
        sequence=1,
        generation=1,
        sha256=event.sha256,
        size_bytes=event.size_bytes,
        piece_bytes=event.piece_bytes,
        piece_digests=event.piece_digests,
    )


@asynccontextmanager
async def opened(
    folder: Path, master: FakeMaster, server: BaseTestServer, private_addresses: tuple[str, ...] = LOOPBACK
) -> AsyncGenerator[Workshop]:
    said: list[SourceBanned] = []

    async def say(one: Said) -> None:
        assert isinstance(one.event, SourceBanned)
        said.append(one.event)

    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(new_session(read_timeout_s=LIMITS.stall_after_s))
        peers = await stack.enter_async_context(peer_session(private_addresses, read_timeout_s=LIMITS.stall_after_s))
        executor = stack.enter_context(ThreadPoolExecutor(4))
        objects = Objects(folder)
        around = Neighbourhood(
            mirror=ANA,
            origin=Origin(session, str(server.make_url("/")).rstrip("/"), "mirror-token"),
            peers=peers,
            blame=Blame(origin_ban_s=LIMITS.origin_ban_s),
            say=say,
        )
        fetcher = Fetcher(around, objects, executor, LIMITS, random.Random(1))  # noqa: S311 - jitter
        yield Workshop(master, fetcher, objects, stack, said)


@pytest.fixture
async def workshop(tmp_path: Path, master: tuple[FakeMaster, BaseTestServer]) -> AsyncIterator[Workshop]:
    async with opened(tmp_path, *master) as workshop:
        yield workshop


def some_bytes(count: int) -> bytes:
    return random.Random(count).randbytes(count)  # noqa: S311 - any bytes will do


async def test_a_file_arrives_whole_from_one_good_source_in_a_zoo(workshop: Workshop) -> None:
    content = some_bytes(64 * MIB)
    event = workshop.master.publish("a", content, piece_bytes=PIECE_BYTES)
    await workshop.keep([*BAD, drops_connections, honest])
    await workshop.fetch(event)
    assert workshop.is_whole(event.sha256)
    assert workshop.sent_bytes - len(content) <= len(content) // 10
    told = {(banned.source, banned.fault) for banned in workshop.said}
    assert (MirrorName("flips-a-byte"), SourceFault.WRONG_BYTES) in told
    assert {banned.source for banned in workshop.said if banned.piece is not None} == {"flips-a-byte"}
    assert len(workshop.said) == len({banned.source for banned in workshop.said}), "each is told of once"
    assert {banned.source for banned in workshop.said} <= {name for name in workshop.animals if name != "honest"}
    wrong = [one for one in workshop.master.tracker.results if one.get("fault") == "wrong_bytes"]
    assert [one["source"] for one in wrong] == ["flips-a-byte"]


async def test_a_source_that_drops_a_hundred_connections_costs_little(workshop: Workshop) -> None:
    content = some_bytes(64 * MIB)
    event = workshop.master.publish("a", content, piece_bytes=PIECE_BYTES)
    await workshop.keep([drops_connections])
    await workshop.fetch(event)
    assert workshop.is_whole(event.sha256)
    dropper = workshop.animals["drops-connections"]
    assert dropper.requests >= 100
    assert dropper.sent_bytes - len(content) <= len(content) // 10
    assert {one["outcome"] for one in workshop.master.tracker.results} == {"done"}


async def test_a_source_that_does_not_go_on_sends_a_piece_twice_at_most(workshop: Workshop) -> None:
    event = workshop.master.publish("a", some_bytes(2 * MIB), piece_bytes=MIB)
    await workshop.keep([drops_and_will_not_go_on])
    with pytest.raises(SourcesBadError, match="refused"):
        await workshop.fetch(event)
    tries = [one for one in workshop.master.tracker.results if one["outcome"] == "failed"]
    assert workshop.sent_bytes <= 2 * len(tries) * (MIB // 2)


async def test_only_bad_sources_are_refused_each_with_its_fault(workshop: Workshop) -> None:
    event = workshop.master.publish("a", some_bytes(3 * MIB), piece_bytes=MIB)
    await workshop.keep(BAD)
    async with asyncio.timeout(90):
        with pytest.raises(SourcesBadError) as refused:
            await workshop.fetch(event)
    assert {source: fault.fault for source, fault in refused.value.faults.items()} == {
        MirrorName(habit.__name__.replace("_", "-")): fault for habit, fault in BAD.items()
    }
    for habit, fault in BAD.items():
        assert f"{habit.__name__.replace('_', '-')}: {fault.value}" in str(refused.value)
    assert refused.value.reason is DeclineReason.SOURCE_UNAVAILABLE
    assert {banned.source for banned in workshop.said} >= LIARS
    assert not workshop.objects.path(event.sha256).exists()


async def test_a_liar_is_left_alone_for_this_content_and_asked_for_another(workshop: Workshop) -> None:
    first = workshop.master.publish("a", some_bytes(2 * MIB), piece_bytes=MIB)
    second = workshop.master.publish("b", some_bytes(3 * MIB), piece_bytes=MIB)
    await workshop.keep([flips_a_byte])
    tracker, liar = workshop.master.tracker, workshop.animals["flips-a-byte"]
    for event, requests in ((first, 1), (first, 1), (second, 2)):
        tracker.barred.clear()  # the master goes on sending us there
        with pytest.raises(SourcesBadError) as refused:
            await workshop.fetch(event)
        assert refused.value.reason is DeclineReason.DIGEST_MISMATCH
        assert liar.requests == requests
    assert [banned.sha256 for banned in workshop.said] == [first.sha256, second.sha256]


async def test_right_pieces_of_a_wrong_whole_are_refused(workshop: Workshop) -> None:
    event = workshop.master.publish("a", some_bytes(2 * MIB), piece_bytes=MIB)
    other = Digest(hashlib.sha256(b"another").digest())
    workshop.master.contents[other.hex()] = workshop.master.contents[event.sha256.hex()]
    workshop.master.tracker.pieces[other.hex()] = 2
    await workshop.keep([honest])
    entry = entry_of(event)
    lie = entry.__class__(
        channel=entry.channel,
        path=entry.path,
        sequence=1,
        generation=1,
        sha256=other,
        size_bytes=entry.size_bytes,
        piece_bytes=entry.piece_bytes,
        piece_digests=entry.piece_digests,
    )
    with pytest.raises(DigestMismatchError, match=other.hex()):
        async with workshop.fetcher.fetched(lie):
            pass
    assert not workshop.objects.path(other).exists()
    assert workshop.objects.parts() == []


async def test_a_master_that_sent_wrong_bytes_is_tried_again_after_a_while(workshop: Workshop) -> None:
    async def flips(request: web.Request, content: bytes) -> web.StreamResponse:
        del request
        return web.Response(body=content[:-1] + bytes([content[-1] ^ 1]))

    event = workshop.master.publish("a", some_bytes(10_000))
    workshop.master.answers.append(flips)
    for _ in range(2):
        with pytest.raises(SourcesBadError, match="origin: wrong_bytes"):
            await workshop.fetch(event)
    assert len(workshop.master.ranges) == 1, "not asked again at once"
    async with asyncio.timeout(30):
        while not workshop.objects.path(event.sha256).exists():
            try:
                await workshop.fetch(event)
            except SourcesBadError:
                await asyncio.sleep(0.02)
    assert [banned.source for banned in workshop.said] == [ORIGIN]


async def test_a_small_content_comes_from_a_peer_where_the_master_cannot_send_it(workshop: Workshop) -> None:
    async def lost(request: web.Request, content: bytes) -> web.StreamResponse:
        del request, content
        return web.Response(status=404)

    event = workshop.master.publish("a", some_bytes(10_000))
    workshop.master.answers.append(lost)
    await workshop.keep([honest])
    await workshop.fetch(event)
    assert workshop.is_whole(event.sha256)
    assert workshop.animals["honest"].requests == 1


async def test_a_peer_in_our_own_network_is_not_connected_to_unless_the_operator_allows(
    tmp_path: Path, master: tuple[FakeMaster, BaseTestServer]
) -> None:
    async with opened(tmp_path, *master, private_addresses=()) as workshop:
        event = workshop.master.publish("a", some_bytes(2 * MIB), piece_bytes=MIB)
        await workshop.keep([honest])
        with pytest.raises(SourcesBadError, match=r"honest: forbidden_address .*private_addresses"):
            await workshop.fetch(event)
        assert workshop.animals["honest"].requests == 0


async def test_a_mirror_with_bad_sources_alone_declines_and_names_them(stage: Stage) -> None:
    async def flips(request: web.Request) -> web.StreamResponse:
        content = stage.master.contents[request.match_info["sha256"]]
        start, stop = asked_of(request, content)
        response = web.Response(status=206, body=bytes(stop - start))
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return response

    app = web.Application()
    app.router.add_get("/-/peer/{sha256}", flips)
    async with TestServer(app) as server:
        stage.master.tracker.sources = [("bob", str(server.make_url("/")).rstrip("/"))]
        async with stage.running():
            event = await stage.publish("a", some_bytes(2 * MIB), piece_bytes=MIB)
            (declined, *_) = await stage.log.until(ReplicaDeclined)
            assert declined.reason is DeclineReason.DIGEST_MISMATCH
            assert "bob: wrong_bytes" in declined.detail
            (banned, *_) = await stage.log.until(SourceBanned)
            assert (banned.source, banned.fault, banned.sha256) == ("bob", SourceFault.WRONG_BYTES, event.sha256)
            assert banned.piece in {0, 1}
            stage.master.tracker.sources = []
            await stage.log.until_true(lambda: stage.object_path(event.sha256).exists())
