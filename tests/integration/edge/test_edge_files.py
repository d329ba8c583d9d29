"""Files over real sockets: every byte right, and every byte counted."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from structlog.testing import capture_logs

from edge.clients import new_session
from edge.files import ContentGoneError
from edge.shortage import RETRY_AFTER_S, Shortages

if TYPE_CHECKING:
    from conftest import Desk, RawClient

Dial = Callable[[str], Awaitable["RawClient"]]

GET = b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n"
TOLERANCE_BYTES = 1_000_000


@pytest.fixture
async def session() -> AsyncGenerator[aiohttp.ClientSession]:
    async with new_session() as session:
        yield session


async def test_whole_file_arrives_with_its_description(desk: Desk, session: aiohttp.ClientSession) -> None:
    async with session.get(f"{desk.url}/file") as answer:
        data = await answer.read()
    assert answer.status == 200
    assert hashlib.sha256(data).digest() == desk.content.sha256
    assert answer.headers["ETag"] == f'"{desk.content.sha256.hex()}"'
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Length"] == str(len(desk.data))
    assert answer.headers["Content-Type"] == "application/x-iso9660-image"
    assert answer.headers["Content-Disposition"] == (
        "attachment; filename=\"gro_e 1.iso\"; filename*=UTF-8''gr%C3%B6%C3%9Fe%201.iso"
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "sandbox"
    assert answer.headers["Repr-Digest"].startswith("sha-256=:")
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    sent = await desk.result()
    assert (sent.completed, sent.sent_bytes, sent.wanted_bytes) == (True, len(desk.data), len(desk.data))
    assert sum(desk.metered) == len(desk.data)


async def test_progress_is_told_while_the_file_leaves(desk: Desk, session: aiohttp.ClientSession) -> None:
    async with session.get(f"{desk.url}/file") as answer:
        await answer.read()
    await desk.result()
    assert len(desk.metered) >= 3
    assert all(delta > 0 for delta in desk.metered)


@pytest.mark.parametrize(
    ("field", "start", "stop"),
    [
        pytest.param("bytes=1000000-13999999", 1_000_000, 14_000_000, id="large enough for sendfile"),
        pytest.param("bytes=10-19", 10, 20, id="a few bytes"),
        pytest.param("bytes=-100", -100, None, id="the last bytes"),
        pytest.param("bytes=15000000-", 15_000_000, None, id="all from a place on"),
    ],
)
async def test_part_is_sent_alone(
    desk: Desk, session: aiohttp.ClientSession, field: str, start: int, stop: int | None
) -> None:
    async with session.get(f"{desk.url}/file", headers={"Range": field}) as answer:
        data = await answer.read()
    assert answer.status == 206
    assert data == desk.data[start:stop]
    first = start % len(desk.data)
    assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(data) - 1}/{len(desk.data)}"
    assert (await desk.result()).sent_bytes == len(data)


async def test_resume_with_the_right_tag_goes_on(desk: Desk, session: aiohttp.ClientSession) -> None:
    fields = {"Range": "bytes=1000000-", "If-Range": f'"{desk.content.sha256.hex()}"'}
    async with session.get(f"{desk.url}/file", headers=fields) as answer:
        assert answer.status == 206
        assert await answer.read() == desk.data[1_000_000:]


@pytest.mark.parametrize("validator", ['"another"', "Sat, 21 Nov 2026 10:00:00 GMT"], ids=["other tag", "date"])
async def test_resume_with_another_validator_begins_anew(
    desk: Desk, session: aiohttp.ClientSession, validator: str
) -> None:
    fields = {"Range": "bytes=1000000-", "If-Range": validator}
    async with session.get(f"{desk.url}/file", headers=fields) as answer:
        assert answer.status == 200
        assert await answer.read() == desk.data


async def test_head_describes_and_sends_nothing(desk: Desk, session: aiohttp.ClientSession) -> None:
    async with session.head(f"{desk.url}/file", headers={"Range": "bytes=0-9"}) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(desk.data)))
    sent = await desk.result()
    assert (sent.completed, sent.wanted_bytes, sent.sent_bytes, desk.metered) == (True, 0, 0, [])


async def test_range_past_the_end_is_refused_with_the_size(desk: Desk, session: aiohttp.ClientSession) -> None:
    async with session.get(f"{desk.url}/file", headers={"Range": f"bytes={len(desk.data)}-"}) as answer:
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(desk.data)}")
        assert await answer.read() == b""


async def test_client_that_has_it_gets_nothing(desk: Desk, session: aiohttp.ClientSession) -> None:
    fields = {"If-None-Match": f'"{desk.content.sha256.hex()}"'}
    async with session.get(f"{desk.url}/file", headers=fields) as answer:
        assert (answer.status, await answer.read()) == (304, b"")
        assert answer.headers["ETag"] == fields["If-None-Match"]


async def test_second_download_on_a_connection_is_counted_for_itself(desk: Desk, dial: Dial) -> None:
    client = await dial(desk.url)
    await client.send(b"GET /file HTTP/1.1\r\nHost: x\r\nRange: bytes=0-3999999\r\n\r\n")
    assert await client.read_body(4_000_000) == desk.data[:4_000_000]
    assert (await desk.result()).sent_bytes == 4_000_000
    await client.send(GET)
    read = len(await client.read(3_000_000))
    client.reset()
    sent = await desk.result()
    assert abs(sent.sent_bytes - read) < TOLERANCE_BYTES


@pytest.mark.parametrize("after_bytes", [100_000, 3_000_000, 11_000_000])
@pytest.mark.parametrize("politely", [True, False], ids=["closing", "resetting"])
async def test_download_that_is_broken_off_is_counted_as_the_client_took_it(
    desk: Desk, dial: Dial, after_bytes: int, politely: bool
) -> None:
    client = await dial(desk.url)
    await client.send(GET)
    read_bytes = len(await client.read(after_bytes))
    client.connection.close() if politely else client.reset()
    sent = await desk.result()
    assert not sent.completed
    assert abs(sent.sent_bytes - read_bytes) < TOLERANCE_BYTES
    assert sum(desk.metered) == sent.sent_bytes


async def test_cancelled_download_breaks_the_connection_off_and_is_counted(desk: Desk, dial: Dial) -> None:
    client = await dial(desk.url)
    await client.send(GET)
    read_bytes = len(await client.read(2_000_000))
    desk.handlers[0].cancel()
    assert isinstance(await desk.failure(), asyncio.CancelledError)
    with pytest.raises(ConnectionResetError):
        await client.read_to_end()
    assert abs(sum(desk.metered) - read_bytes) < TOLERANCE_BYTES


async def test_file_that_shrinks_on_the_way_ends_the_connection_early(desk: Desk, dial: Dial) -> None:
    client = await dial(desk.url)
    await client.send(GET)
    await client.read(1_000_000)
    os.truncate(desk.content.path, 9_000_000)
    with pytest.raises(ConnectionResetError):
        await client.read_to_end()
    assert not (await desk.result()).completed


@pytest.mark.parametrize("problem", [errno.EMFILE, errno.ENFILE])
async def test_file_that_no_descriptor_is_left_for_is_not_called_gone(
    desk: Desk, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, problem: int
) -> None:
    real_open, path = os.open, desk.content.path
    monkeypatch.setattr("edge.files._shortages", Shortages())

    def exhausted(opened: str | os.PathLike[str], flags: int, mode: int = 0o777) -> int:
        if opened == path:
            raise OSError(problem, os.strerror(problem))
        return real_open(opened, flags, mode)

    monkeypatch.setattr(os, "open", exhausted)
    with capture_logs() as lines:
        for _ in range(3):
            async with session.get(f"{desk.url}/file") as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, str(RETRY_AFTER_S))
    assert [line["event"] for line in lines] == ["files.exhausted"], "once in a while"
    assert desk.metered == []
    monkeypatch.undo()
    async with session.get(f"{desk.url}/file") as answer:
        assert await answer.read() == desk.data


@pytest.mark.parametrize("harm", ["missing", "symlink", "fifo", "folder", "longer", "shorter"])
async def test_file_that_is_not_as_promised_is_refused_before_anything_is_sent(
    desk: Desk, session: aiohttp.ClientSession, harm: str, tmp_path: Path
) -> None:
    _harm(desk.content.path, harm, tmp_path)
    async with session.get(f"{desk.url}/file") as answer:
        assert answer.status == 410
    error = await desk.failure()
    assert isinstance(error, ContentGoneError)
    assert error.path == desk.content.path
    assert desk.metered == []


def _harm(path: Path, harm: str, folder: Path) -> None:
    match harm:
        case "longer" | "shorter":
            os.truncate(path, path.stat().st_size + (1 if harm == "longer" else -1))
        case "symlink":
            path.rename(folder / "elsewhere")
            path.symlink_to(folder / "elsewhere")
        case _:
            path.unlink()
            if harm == "fifo":
                os.mkfifo(path)
            elif harm == "folder":
                path.mkdir()
