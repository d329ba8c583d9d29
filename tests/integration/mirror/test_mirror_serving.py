"""Visitors with tokens: what they get, what they are refused, and what is counted."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import socket
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import pytest

from events.grants import derive_key
from events.names import MirrorName
from events.schemas import DownloadOutcome, LossReason, ReplicaLost, ReplicaReady

if TYPE_CHECKING:
    from conftest import Stage


def random_bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)  # noqa: S311 - any bytes will do, but the same ones


CONTENT = random_bytes(1_000_000)
BACK = "http://site.example/dir/a.iso?not=ana"


async def test_a_token_gets_the_file_and_the_download_is_told(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        event = await stage.publish_ready("dir/a.iso", CONTENT)
        grant = stage.grant(event)
        async with http.get(stage.link(grant, "evil%0d%0aname")) as response:
            assert response.status == 200
            assert response.headers["ETag"] == f'"{event.sha256.hex()}"'
            assert 'filename="a.iso"' in response.headers["Content-Disposition"]
            assert response.headers["Content-Type"] == "application/zip"
            assert await response.read() == CONTENT
        (finished,) = await stage.log.until_told(DownloadOutcome.FINISHED)
        (first, *_) = stage.log.downloads()
        assert (first.grant_id, first.address) == (grant.grant_id, "127.0.0.1")
        assert (finished.grant_id, finished.first_byte, finished.sent_bytes) == (grant.grant_id, 0, len(CONTENT))


async def test_a_download_that_is_over_at_once_is_told_once(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        grant = stage.grant(await stage.publish_ready("a", b"short"))
        async with http.get(stage.link(grant)) as response:
            await response.read()
        (told,) = await stage.log.until_told(DownloadOutcome.FINISHED)
        assert (told.address, told.wanted_bytes, told.sent_bytes) == ("127.0.0.1", 5, 5)
        assert stage.log.downloads() == [told]


async def test_a_download_in_several_requests_begins_once(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", CONTENT)
        link = stage.link(stage.grant(event))
        for asked in ("bytes=0-99", "bytes=100-299", "bytes=300-"):
            async with http.get(link, headers={"Range": asked}) as response:
                assert response.status == 206
                await response.read()
        finished = await stage.log.until_told(DownloadOutcome.FINISHED, 3)
        assert sorted((one.first_byte, one.sent_bytes) for one in finished) == [(0, 100), (100, 200), (300, 999_700)]
        assert [one.address for one in stage.log.downloads() if one.address] == ["127.0.0.1"]


async def test_a_download_can_be_resumed_under_the_same_token(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", CONTENT)
        link = stage.link(stage.grant(event))
        headers = {"Range": "bytes=600000-", "If-Range": f'"{event.sha256.hex()}"'}
        async with http.get(link, headers=headers) as response:
            assert response.status == 206
            assert await response.read() == CONTENT[600_000:]
        (finished,) = await stage.log.until_told(DownloadOutcome.FINISHED)
        assert (finished.first_byte, finished.sent_bytes) == (600_000, 400_000)


async def test_head_costs_nothing(stage: Stage, http: aiohttp.ClientSession) -> None:
    stage.reconfigure(monthly_bytes=0, slots=1)
    async with stage.running():
        event = await stage.publish_ready("a", CONTENT)
        grant = stage.grant(event)
        for _ in range(10):
            async with http.head(stage.link(grant)) as response:
                assert response.status == 200
                assert response.headers["Content-Length"] == str(len(CONTENT))
        serves = (await stage.status(http))["serves"]
        assert {serves[key] for key in ("active", "kept", "reserved", "connections", "sent_bytes")} == {0}


@pytest.mark.parametrize("spoil", ["flipped", "cut", "other mirror", "other key", "padding", "no token"])
async def test_what_is_no_token_of_this_mirror_is_not_found(
    stage: Stage, http: aiohttp.ClientSession, spoil: str
) -> None:
    async with stage.running():
        grant = stage.grant(await stage.publish_ready("a", CONTENT))
        link = stage.link(grant)
        spoilt = {
            "flipped": link.replace("/d/A", "/d/B"),
            "cut": link.replace("/d/A", "/d/"),
            "other mirror": stage.link(grant, mirror=MirrorName("bob")),
            "other key": stage.link(grant, key=derive_key(b"x" * 32, MirrorName("ana"), 1)),
            "padding": link.replace("/x.bin", "=/x.bin"),
            "no token": f"{stage.url}/d/hello/x.bin",
        }
        async with http.get(spoilt[spoil], allow_redirects=False) as response:
            assert response.status == 404
            assert (await response.json())["error"]["code"] == "not_found"


async def test_a_token_of_another_address_is_forbidden(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        grant = stage.grant(await stage.publish_ready("a", CONTENT), address="203.0.113.9")
        async with http.get(stage.link(grant)) as response:
            assert response.status == 403
        async with http.get(stage.link(grant), headers={"X-Forwarded-For": "203.0.113.9"}) as response:
            assert response.status == 403, "nobody is believed who is not configured"


async def test_a_trusted_proxy_tells_the_visitors_address(stage: Stage, http: aiohttp.ClientSession) -> None:
    stage.reconfigure(trusted_proxies=("127.0.0.0/8",))
    async with stage.running():
        grant = stage.grant(await stage.publish_ready("a", CONTENT), address="203.0.113.9")
        async with http.get(stage.link(grant), headers={"X-Forwarded-For": "203.0.113.9"}) as response:
            assert response.status == 200


async def test_an_expired_token_leads_back_to_the_site(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        grant = stage.grant(await stage.publish_ready("dir/a.iso", CONTENT), start_in_s=-60)
        async with http.get(stage.link(grant), allow_redirects=False) as response:
            assert response.status == 302
            assert response.headers["Location"] == BACK
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["Referrer-Policy"] == "no-referrer"


async def test_detours_are_counted_on_and_nothing_else_of_the_query_is_repeated(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    async with stage.running():
        grant = stage.grant(await stage.publish_ready("dir/a.iso", CONTENT), start_in_s=-60)
        link = f"{stage.link(grant)}?not=bob&not=//evil.example&next=//evil.example&not=eve"
        async with http.get(link, allow_redirects=False) as response:
            assert response.headers["Location"] == "http://site.example/dir/a.iso?not=bob&not=ana"


async def test_visitor_who_is_sent_back_takes_his_ticket_along(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        grant = stage.grant(await stage.publish_ready("dir/a.iso", CONTENT), start_in_s=-60)
        async with http.get(f"{stage.link(grant)}?ticket=1700000000-Ab_-9", allow_redirects=False) as response:
            assert response.headers["Location"] == f"{BACK}&ticket=1700000000-Ab_-9"


async def test_the_master_that_could_not_serve_is_named_to_the_site_again(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    async with stage.running():
        grant = stage.grant(await stage.publish_ready("dir/a.iso", CONTENT), start_in_s=-60)
        link = f"{stage.link(grant)}?not=bob&not=origin"
        async with http.get(link, allow_redirects=False) as response:
            assert response.headers["Location"] == "http://site.example/dir/a.iso?not=origin&not=bob&not=ana"


async def test_a_withdrawn_file_leads_back_to_the_site(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        grant = stage.grant(await stage.publish_ready("dir/a.iso", CONTENT))
        await stage.say(stage.master.withdraw("dir/a.iso"))
        await stage.log.until(ReplicaLost)
        async with http.get(stage.link(grant), allow_redirects=False) as response:
            assert response.headers["Location"] == BACK
    async with stage.running(), http.get(stage.link(grant), allow_redirects=False) as response:
        assert response.headers["Location"] == BACK, "remembered over a restart"


async def test_a_copy_that_vanished_is_said_to_be_lost_and_fetched_again(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    async with stage.running():
        event = await stage.publish_ready("dir/a.iso", CONTENT)
        stage.object_path(event.sha256).unlink()
        async with http.get(stage.link(stage.grant(event)), allow_redirects=False) as response:
            assert response.headers["Location"] == BACK
        (lost,) = await stage.log.until(ReplicaLost)
        assert lost.reason is LossReason.MISSING
        await stage.log.until(ReplicaReady, 2)
        async with http.get(stage.link(stage.grant(event))) as response:
            assert await response.read() == CONTENT


async def test_a_visitor_is_sent_back_while_no_more_files_can_be_opened_and_the_copy_is_kept(
    stage: Stage, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage.running():
        event = await stage.publish_ready("dir/a.iso", CONTENT)
        real_open, path = os.open, stage.object_path(event.sha256)

        def exhausted(opened: str | os.PathLike[str], flags: int, mode: int = 0o777) -> int:
            if opened == path:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return real_open(opened, flags, mode)

        monkeypatch.setattr(os, "open", exhausted)
        async with http.get(stage.link(stage.grant(event)), allow_redirects=False) as response:
            assert response.headers["Location"] == BACK
        monkeypatch.undo()
        async with http.get(stage.link(stage.grant(event)), allow_redirects=False) as response:
            assert await response.read() == CONTENT, "it was not said to be lost"


@asynccontextmanager
async def holding() -> AsyncGenerator[Callable[[str], Awaitable[None]]]:
    """Give a function that takes a file so slowly that its connection stays until the block ends."""
    writers: list[asyncio.StreamWriter] = []

    async def hold(link: str) -> None:
        parts = urlsplit(link)
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, (parts.hostname, parts.port))
        reader, writer = await asyncio.open_connection(sock=raw, limit=4096)
        writers.append(writer)
        writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: x\r\nRange: bytes=0-15999999\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")

    try:
        yield hold
    finally:
        for writer in writers:
            writer.transport.abort()


async def test_no_more_visitors_than_slots(stage: Stage, http: aiohttp.ClientSession) -> None:
    stage.reconfigure(slots=1)
    async with stage.running(), holding() as hold:
        event = await stage.publish_ready("dir/a.iso", random_bytes(16_000_000))
        await hold(stage.link(stage.grant(event)))
        async with http.get(stage.link(stage.grant(event)), allow_redirects=False) as response:
            assert response.headers["Location"] == BACK
        assert (await stage.status(http))["serves"]["active"] == 1


async def test_a_visitor_who_left_is_counted_for_what_he_took_and_frees_his_slot(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    stage.reconfigure(slots=1, monthly_bytes=100_000_000)
    async with stage.running():
        event = await stage.publish_ready("a", random_bytes(32_000_000))
        grant = stage.grant(event)
        response = await http.get(stage.link(grant), headers={"Range": "bytes=1000000-"})
        await response.content.readexactly(5_000_000)
        response.close()
        (aborted,) = await stage.log.until_told(DownloadOutcome.ABORTED)
        assert aborted.grant_id == grant.grant_id
        assert (aborted.first_byte, aborted.wanted_bytes) == (1_000_000, 31_000_000)
        assert 5_000_000 <= aborted.sent_bytes < 31_000_000
        serves = (await stage.status(http))["serves"]
        assert (serves["active"], serves["sent_bytes"]) == (0, aborted.sent_bytes)
        assert (await stage.status(http))["month"]["left_bytes"] == 100_000_000 - aborted.sent_bytes


async def test_the_fifth_connection_of_a_grant_leads_back(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running(), holding() as hold:
        event = await stage.publish_ready("dir/a.iso", random_bytes(64_000_000))
        grant = stage.grant(event)
        for _ in range(4):
            await hold(stage.link(grant))
        async with http.get(stage.link(grant), headers={"Range": "bytes=0-0"}, allow_redirects=False) as response:
            assert response.headers["Location"] == BACK
        assert (await stage.status(http))["serves"]["active"] == 1


async def test_a_grant_gives_twice_its_size(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        event = await stage.publish_ready("dir/a.iso", CONTENT)
        link = stage.link(stage.grant(event))
        for _ in range(2):
            async with http.get(link) as response:
                assert await response.read() == CONTENT
        async with http.get(link, headers={"Range": "bytes=0-0"}, allow_redirects=False) as response:
            assert response.headers["Location"] == BACK


async def test_the_months_bytes_are_given_to_the_last_one_and_never_exceeded(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    monthly_bytes = 5_300_000
    stage.reconfigure(monthly_bytes=monthly_bytes)
    async with stage.running():
        event = await stage.publish_ready("dir/a.iso", CONTENT)

        async def visit(bytes_wanted: int) -> int:
            headers = {"Range": f"bytes=0-{bytes_wanted - 1}"}
            async with http.get(stage.link(stage.grant(event)), headers=headers, allow_redirects=False) as response:
                assert response.status in {206, 302}
                return len(await response.read()) if response.status == 206 else 0

        taken = await asyncio.gather(*(visit(len(CONTENT)) for _ in range(12)))
        assert sum(taken) == 5_000_000
        assert await visit(300_001) == 0
        assert await visit(300_000) == 300_000
        assert await visit(1) == 0
        month = (await stage.status(http))["month"]
        assert (month["used_bytes"], month["left_bytes"]) == (monthly_bytes, 0)
    async with stage.running():
        month = (await stage.status(http))["month"]
        assert (month["used_bytes"], month["left_bytes"]) == (monthly_bytes, 0), "a restart forgets nothing"


async def test_the_status_page_is_for_this_machine(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        assert (await stage.status(http))["mirror"] == "ana"
        headers = {"X-Forwarded-For": "127.0.0.1"}
        async with http.get(f"{stage.url}/-/api/v1/status", headers=headers) as response:
            assert response.status == 403


async def test_curl_goes_on_where_it_was(stage: Stage, tmp_path: Path) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", CONTENT)
        target = tmp_path / "a"
        target.write_bytes(CONTENT[:300_000])
        await _command("curl", "-fsS", "-C", "-", "-o", str(target), stage.link(stage.grant(event)))
        assert target.read_bytes() == CONTENT
        (finished,) = await stage.log.until_told(DownloadOutcome.FINISHED)
        assert finished.sent_bytes == 700_000


async def test_aria2_fetches_segments_in_parallel(stage: Stage, tmp_path: Path) -> None:
    content = random_bytes(24_000_000)
    async with stage.running():
        event = await stage.publish_ready("a", content)
        options = ["--no-conf", "-q", "-x4", "-s4", "-k1M", "-d", str(tmp_path), "-o", "a"]
        await _command("aria2c", *options, stage.link(stage.grant(event)))
        assert hashlib.sha256((tmp_path / "a").read_bytes()).digest() == event.sha256
        finished = await stage.log.until_told(DownloadOutcome.FINISHED)
        assert len({one.grant_id for one in finished}) == 1


async def _command(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()


async def test_a_mirror_says_when_a_file_was_published_also_after_a_restart(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    published = "Sun, 06 Nov 1994 08:49:37 GMT"
    async with stage.running():
        event = await stage.publish_ready("x.bin", b"abc")
        async with http.get(stage.link(stage.grant(event))) as response:
            assert response.headers["Last-Modified"] == published
    async with stage.running():
        link = stage.link(stage.grant(event))
        async with http.get(link, headers={"If-Modified-Since": published}) as response:
            assert (response.status, response.headers["Last-Modified"]) == (304, published)
        async with http.get(link, headers={"If-Modified-Since": "Sun, 06 Nov 1994 08:49:36 GMT"}) as response:
            assert (response.status, await response.read()) == (200, b"abc")
