"""HTTP over real sockets, on both event loops that the roles run on."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop
from aiohttp import web
from yarl import URL

from edge.files import Content, ContentGoneError, Sent, asked_for, send_file
from edge.server import new_app, serve
from events.names import Digest

DEADLINE_S = 20.0
FILE_BYTES = 16_000_000
CLIENT_BUFFER_BYTES = 64 << 10  # small, so that what the client has read is about what its TCP has taken


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@dataclass(slots=True)
class Desk:
    """A server of one file, and what ``send_file`` said of each request."""

    content: Content
    data: bytes
    url: str = ""
    handlers: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    results: asyncio.Queue[Sent | BaseException] = field(default_factory=asyncio.Queue[Sent | BaseException])
    metered: list[int] = field(default_factory=list[int])

    async def handle(self, request: web.Request) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self.handlers.append(task)
        try:
            sent = await send_file(request, asked_for(request, self.content), meter=self.metered.append)
        except ContentGoneError as error:
            self.results.put_nowait(error)
            raise web.HTTPGone from error
        except asyncio.CancelledError as error:
            self.results.put_nowait(error)
            raise
        self.results.put_nowait(sent)
        return sent.response

    async def result(self) -> Sent:
        outcome = await asyncio.wait_for(self.results.get(), DEADLINE_S)
        assert isinstance(outcome, Sent), outcome
        return outcome

    async def failure(self) -> BaseException:
        outcome = await asyncio.wait_for(self.results.get(), DEADLINE_S)
        assert isinstance(outcome, BaseException), outcome
        return outcome


@pytest.fixture(scope="session")
def data() -> bytes:
    return random.Random(1).randbytes(FILE_BYTES)  # noqa: S311 - anything that does not repeat itself


@pytest.fixture
async def desk(tmp_path: Path, data: bytes) -> AsyncGenerator[Desk]:
    content = Content(
        path=tmp_path / "object",
        size_bytes=len(data),
        sha256=Digest(hashlib.sha256(data).digest()),
        media_type="application/x-iso9660-image",
        file_name="größe 1.iso",
    )
    content.path.write_bytes(data)
    desk = Desk(content, data)
    async with serving({"/file": desk.handle}) as desk.url:
        yield desk


@asynccontextmanager
async def serving(
    handlers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]],
) -> AsyncGenerator[str]:
    app = new_app()
    for path, handler in handlers.items():
        app.router.add_route("*", path, handler)
    async with serve(app, host="127.0.0.1", port=0) as url:
        yield url


@pytest.fixture(name="serving")
def serving_fixture() -> object:
    return serving


@dataclass(slots=True)
class RawClient:
    """A connection without manners: sends what it is told, reads as little as it is told."""

    connection: socket.socket

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.connection, data)

    async def read(self, at_least: int) -> bytes:
        loop, found = asyncio.get_running_loop(), bytearray()
        async with asyncio.timeout(DEADLINE_S):
            while len(found) < at_least and (data := await loop.sock_recv(self.connection, 16 << 10)):
                found += data
        return bytes(found)

    async def read_body(self, size_bytes: int) -> bytes:
        found = b""
        while b"\r\n\r\n" not in found:
            more = await self.read(1)
            assert more, f"the connection ended after {found!r}"
            found += more
        body = found.partition(b"\r\n\r\n")[2]
        return body + await self.read(size_bytes - len(body))

    async def read_to_end(self) -> bytes:
        return await self.read(1 << 62)

    def reset(self) -> None:
        """Leave as a broken client does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.connection.close()


@pytest.fixture
async def dial() -> AsyncGenerator[Callable[[str], Awaitable[RawClient]]]:
    clients: list[RawClient] = []

    async def connect(url: str) -> RawClient:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CLIENT_BUFFER_BYTES)
        connection.setblocking(False)
        clients.append(RawClient(connection))
        parts = URL(url)
        await asyncio.get_running_loop().sock_connect(connection, (parts.host, parts.port))
        return clients[-1]

    yield connect
    for client in clients:
        client.connection.close()
