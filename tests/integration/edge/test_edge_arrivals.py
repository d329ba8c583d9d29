"""New connections at a server with a lane, over real sockets: whoever comes, says little or much, stays or leaves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, cast

import pytest
from aiohttp import web

from edge.gate import ConnectionLimits
from edge.lane import PIPELINED_MAX, Lane
from edge.server import new_app, serve
from edge.simple import SimpleRequest

if TYPE_CHECKING:
    from conftest import RawClient

Dial = Callable[[str], Awaitable["RawClient"]]

ONE = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
STAY = b"GET /-/page HTTP/1.1\r\nHost: x\r\n\r\n"
PAGE = b"GET /-/page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
DEADLINE_S = 20.0
CROWD = 100


def answer(request: SimpleRequest) -> bytes | None:
    target = request.target.decode("ascii")
    return None if target.startswith("/-/") else f"HTTP/1.1 302 Found\r\nLocation: {target}\r\n".encode("ascii")


async def page(_request: web.Request) -> web.Response:
    return web.Response(text="a page")


@pytest.fixture
async def url() -> AsyncGenerator[str]:
    app = new_app()
    app.router.add_get("/-/page", page)
    limits = ConnectionLimits(per_address=CROWD)
    async with serve(app, host="127.0.0.1", port=0, limits=limits, lane=answer) as url:
        yield url


async def ask_once(dial: Dial, url: str, request: bytes) -> bytes:
    client = await dial(url)
    await client.send(request)
    answered = await client.read_to_end()
    client.connection.close()
    return answered


async def test_crowd_that_comes_once_and_leaves_is_answered_and_let_in_again(url: str, dial: Dial) -> None:
    for _ in range(3):
        crowd = [await dial(url) for _ in range(CROWD)]
        for client in crowd:
            await client.send(LAST)
        for client in crowd:
            answered = await client.read_to_end()
            assert answered.startswith(b"HTTP/1.1 302 Found\r\nLocation: /b\r\n")
            assert answered.endswith(b"Connection: close\r\n\r\n")


async def test_who_stays_is_answered_again(url: str, dial: Dial) -> None:
    client = await dial(url)
    for _ in range(3):
        await client.send(ONE)
        assert (await client.read(1)).startswith(b"HTTP/1.1 302 Found\r\nLocation: /a\r\n")
    await client.send(LAST)
    assert (await client.read_to_end()).startswith(b"HTTP/1.1 302 Found\r\nLocation: /b\r\n")


async def test_what_the_lane_leaves_to_aiohttp_is_answered_by_it(url: str, dial: Dial) -> None:
    assert (await ask_once(dial, url, PAGE)).endswith(b"a page")


async def test_request_that_comes_in_two_is_answered_when_it_is_whole(
    url: str, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    hear = Lane.data_received

    def noting(lane: Lane, data: bytes) -> None:
        hear(lane, data)
        heard.put_nowait(data)

    monkeypatch.setattr(Lane, "data_received", noting)
    client = await dial(url)
    await client.send(LAST[:20])
    assert await asyncio.wait_for(heard.get(), DEADLINE_S) == LAST[:20]
    await client.send(LAST[20:])
    assert (await client.read_to_end()).startswith(b"HTTP/1.1 302 Found")


async def test_who_says_no_more_is_answered_all_the_same(url: str, dial: Dial) -> None:
    for request in (ONE, LAST):
        client = await dial(url)
        await client.send(request)
        client.connection.shutdown(socket.SHUT_WR)
        assert (await client.read_to_end()).startswith(b"HTTP/1.1 302 Found")


async def test_who_leaves_within_his_first_word_takes_no_place(url: str, dial: Dial) -> None:
    for _ in range(2):
        for client in [await dial(url) for _ in range(CROWD)]:
            await client.send(LAST[:1])  # the kernel would not tell of who has said nothing
            client.reset()
    async with asyncio.timeout(DEADLINE_S):
        while not await _is_let_in(dial, url):
            pass


async def _is_let_in(dial: Dial, url: str) -> bool:
    """Tell whether a place is free; the server learns of the end of others when its loop turns."""
    with contextlib.suppress(ConnectionError):
        return bool(await ask_once(dial, url, LAST))
    return False


async def test_requests_that_aiohttp_has_no_room_for_are_not_read(dial: Dial) -> None:
    begun: asyncio.Queue[asyncio.Transport] = asyncio.Queue()
    may_end = asyncio.Event()

    async def wait(request: web.Request) -> web.Response:
        begun.put_nowait(cast("asyncio.Transport", request.transport))
        await may_end.wait()
        return web.Response(text="a page")

    app = new_app()
    app.router.add_get("/-/page", wait)
    async with serve(app, host="127.0.0.1", port=0, lane=answer) as url:
        client = await dial(url)
        await client.send(STAY * (2 * PIPELINED_MAX - 1) + PAGE)
        transport = await asyncio.wait_for(begun.get(), DEADLINE_S)
        assert not transport.is_reading()
        may_end.set()
        assert (await client.read_to_end()).count(b"a page") == 2 * PIPELINED_MAX


async def test_who_stays_silent_is_closed_in_time(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.server.HEAD_READ_TIMEOUT_S", 0.2)
    async with serve(new_app(), host="127.0.0.1", port=0, lane=answer) as url:
        silent = await dial(url)
        assert await silent.read_to_end() == b""


async def test_whoever_was_let_in_is_let_go_when_the_server_ends(dial: Dial) -> None:
    async with serve(new_app(), host="127.0.0.1", port=0, lane=answer) as url:
        staying = await dial(url)
        await staying.send(ONE)
        assert await staying.read(1)
    assert await staying.read_to_end() == b""
    with pytest.raises(ConnectionRefusedError):
        await dial(url)
