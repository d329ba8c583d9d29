"""What one visitor may take of the server: a share of its rate, and a few of its connections."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from edge.files import asked_for, send_file
from edge.gate import DESCRIPTORS_SPARE, ConnectionLimits
from edge.pacing import UNPACED, Pacing
from edge.server import new_app, serve

if TYPE_CHECKING:
    from conftest import Desk, RawClient

Dial = Callable[[str], Awaitable["RawClient"]]

RATE = 3_000_000
WINDOW_S = 1.0
REQUEST = b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def pacing() -> Pacing:
    return Pacing(RATE)


async def hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def test_transfers_share_one_rate(desk: Desk, dial: Dial, pacing: Pacing) -> None:
    app = new_app()

    async def paced(request: web.Request) -> web.StreamResponse:
        asked = asked_for(request, desk.content)
        return (await send_file(request, asked, meter=desk.metered.append, pacing=pacing)).response

    app.router.add_get("/file", paced)
    async with serve(app, host="127.0.0.1", port=0) as url:
        clients = [await dial(url) for _ in range(3)]
        for client in clients:
            await client.send(REQUEST)
        for client in clients:  # past what the kernel sends before it begins to pace
            await client.read(200_000)
        assert pacing.share == RATE // 3
        began_s = time.monotonic()
        read = await asyncio.gather(*(_read_for(client, WINDOW_S) for client in clients))
        took_s = time.monotonic() - began_s
        # Never faster than told, with some packets' tolerance; how much slower is the test machine's affair.
        for read_bytes in read:
            assert 0 < read_bytes <= 1.3 * RATE / 3 * took_s + 200_000
        pacing.change(None)
        for client in clients:
            await client.read(2_000_000)
            client.reset()
    assert pacing.share == UNPACED


async def _read_for(client: RawClient, seconds: float) -> int:
    loop, read_bytes = asyncio.get_running_loop(), 0
    until_s = loop.time() + seconds
    while loop.time() < until_s:
        read_bytes += len(await client.read(1))
    return read_bytes


async def test_connections_past_an_address_s_limit_are_closed_unheard(dial: Dial) -> None:
    app = new_app()
    app.router.add_get("/file", hello)
    async with serve(app, host="127.0.0.1", port=0, limits=ConnectionLimits(per_address=3)) as url:
        clients = [await dial(url) for _ in range(3)]
        for client in clients:
            await client.send(REQUEST)
            assert await client.read_body(5) == b"hello"
        late = await dial(url)
        with contextlib.suppress(ConnectionResetError):
            assert await late.read_to_end() == b""
        clients[0].connection.close()
        await _until_let_in(dial, url)


async def test_connections_leave_the_process_descriptors_for_its_work(
    dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def few(_which: int) -> tuple[int, int]:
        return DESCRIPTORS_SPARE + 4, 10_000

    monkeypatch.setattr("edge.server.resource.getrlimit", few)
    async with serve(new_app(), host="127.0.0.1", port=0) as url:
        heard = [await dial(url) for _ in range(2)]
        late = await dial(url)
        with contextlib.suppress(ConnectionResetError):
            assert await late.read_to_end() == b""
        for client in heard:
            await client.send(REQUEST)
            assert await client.read(1)


async def _until_let_in(dial: Dial, url: str) -> None:
    """Come again until a place is free: the server learns of the end of another when the loop turns."""
    async with asyncio.timeout(20):
        while True:
            client = await dial(url)
            try:
                await client.send(REQUEST)
                if await client.read(1):
                    return
            except ConnectionError:
                pass
            client.connection.close()


async def test_hundreds_of_idle_connections_leave_no_more_than_the_limit_open(dial: Dial) -> None:
    app = new_app()
    app.router.add_get("/file", hello)
    limits = ConnectionLimits(total=50, per_address=1000)
    async with serve(app, host="127.0.0.1", port=0, limits=limits) as url:
        closed = 0
        clients = [await dial(url) for _ in range(200)]
        for client in clients[50:]:
            try:
                closed += await client.read_to_end() == b""
            except ConnectionResetError:
                closed += 1
        assert closed == 150
        await clients[0].send(REQUEST)
        assert await clients[0].read_body(5) == b"hello"
