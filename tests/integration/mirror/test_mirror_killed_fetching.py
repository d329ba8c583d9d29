"""A mirror that is killed while it fetches asks again for nothing that it had verified."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer

from events.schemas import FilePublished
from mirror.content.objects import Objects
from mirror.fetching.gather import CONNECTIONS_PER_SOURCE_MAX

if TYPE_CHECKING:
    from conftest import FakeMaster

PIECE_BYTES = 256 << 10
PIECES = 10
DEADLINE_S = 100.0


async def sends(request: web.Request, content: bytes) -> web.StreamResponse:
    start, stop = request.http_range.start or 0, request.http_range.stop or len(content)
    fields = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
    return web.Response(status=206, body=content[start:stop], headers=fields)


async def sends_half(request: web.Request, content: bytes) -> web.StreamResponse:
    """Send half of a piece, and keep the connection until the other side is gone."""
    start, stop = request.http_range.start or 0, request.http_range.stop or len(content)
    response = web.StreamResponse(status=206, headers={"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"})
    response.content_length = stop - start
    await response.prepare(request)
    await response.write(content[start : (start + stop) // 2])
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - aiohttp tells nobody
        await asyncio.sleep(0.01)
    return response


@pytest.mark.processes
async def test_a_mirror_killed_twice_asks_again_only_for_the_pieces_that_were_on_their_way(
    tmp_path: Path, master: tuple[FakeMaster, BaseTestServer]
) -> None:
    fake, server = master
    content = random.Random(1).randbytes(PIECES * PIECE_BYTES)  # noqa: S311 - any bytes will do
    event = fake.publish("a", content, piece_bytes=PIECE_BYTES)
    cut_short: list[str] = []
    for verified, more in ((3, 3), (7, 4)):
        fake.answers += [sends] * more + [sends_half] * PIECES
        process = await started(tmp_path, server, event)
        await until(lambda verified=verified: fake.tracker.held[-1:] == [verified], process)
        await until(lambda: len(fake.answers) == PIECES - CONNECTIONS_PER_SOURCE_MAX, process)
        process.kill()
        await process.wait()
        cut_short += fake.ranges[len(fake.ranges) - (PIECES - len(fake.answers)) :]
        fake.answers.clear()
    process = await started(tmp_path, server, event)
    async with asyncio.timeout(DEADLINE_S):
        assert await process.wait() == 0
    path = Objects(tmp_path).path(event.sha256)
    assert hashlib.sha256(path.read_bytes()).digest() == event.sha256
    again = Counter(fake.ranges) - Counter(set(fake.ranges))
    assert again == Counter(cut_short)
    assert len(set(fake.ranges)) == PIECES


async def started(folder: Path, server: BaseTestServer, event: FilePublished) -> asyncio.subprocess.Process:
    told = {
        "sha256": event.sha256.hex(),
        "size_bytes": event.size_bytes,
        "piece_bytes": event.piece_bytes,
        "piece_digests": event.piece_digests.hex(),
    }
    script = Path(__file__).with_name("fetching_process.py")
    url = str(server.make_url("/")).rstrip("/")
    return await asyncio.create_subprocess_exec(sys.executable, str(script), str(folder), url, json.dumps(told))


async def until(condition: Callable[[], bool], process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            assert process.returncode is None, "it ended by itself"
            await asyncio.sleep(0.01)
