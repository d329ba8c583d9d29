"""Serving through Debian's nginx: it sends what the mirror decided, and all that it sends is counted."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from bench.nginx import PrivateNginx
from broker.ports import draw_ports
from edge.files import Content
from events.names import Digest
from events.schemas import DownloadOutcome
from mirror.config import Serving, open_connections
from mirror.serving.external import FOLDER_NAME, LOG_NAME, REQUESTS_NAME, SOCKET_NAME
from mirror.serving.nginx import REQUEST_FIELD, NginxPlan, place_of, snippet
from mirror.serving.web import Counter

if TYPE_CHECKING:
    from conftest import Stage

CONTENT = random.Random(3).randbytes(900_000)  # noqa: S311 - any bytes will do, but the same ones
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")

pytestmark = [pytest.mark.processes, pytest.mark.skipif(NGINX is None, reason="needs nginx: .ci/setup test")]


@asynccontextmanager
async def behind_nginx(
    stage: Stage, folder: Path, *, connections_per_address: int = 50, **changes: object
) -> AsyncGenerator[PrivateNginx]:
    """Run the mirror with nginx before it. ``stage.url`` is nginx's then."""
    mirror_port, port = draw_ports(2)
    stage.reconfigure(
        serve=Serving.EXTERNAL,
        trusted_proxies=("127.0.0.1/32",),
        listen_port=mirror_port,
        url=f"http://127.0.0.1:{port}",
        connections_per_address=connections_per_address,
        **changes,
    )
    data = stage.config.data_folder
    plan = NginxPlan(
        name="ana",
        listen=f"127.0.0.1:{port}",
        server_name="127.0.0.1",
        mirror=f"127.0.0.1:{mirror_port}",
        objects=str(data / "obj"),
        requests=str(data / FOLDER_NAME / REQUESTS_NAME),
        accounts=str(data / FOLDER_NAME / SOCKET_NAME),
        log_file=str(data / FOLDER_NAME / LOG_NAME),
        connections_per_address=open_connections(connections_per_address),
    )
    async with stage.running():
        nginx = PrivateNginx(folder / "nginx", snippet(plan), port=port)
        await asyncio.to_thread(nginx.__enter__)
        stage.url = f"http://127.0.0.1:{port}"
        try:
            yield nginx
        finally:
            await asyncio.to_thread(nginx.__exit__, None, None, None)


async def test_nginx_sends_the_file_as_the_mirror_would(
    stage: Stage, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with behind_nginx(stage, tmp_path):
        event = await stage.publish_ready("dir/a.iso", CONTENT)
        grant = stage.grant(event)
        forged = {"X-Forwarded-For": "203.0.113.9", REQUEST_FIELD: "mine"}
        async with http.get(stage.link(grant), headers=forged) as response:
            assert (response.status, await response.read()) == (200, CONTENT)
        assert response.headers["Server"] == "nginx"
        assert response.headers.getall("ETag") == [f'"{event.sha256.hex()}"']
        assert response.headers["Content-Type"] == "application/zip"
        assert 'filename="a.iso"' in response.headers["Content-Disposition"]
        assert response.headers["Repr-Digest"].startswith("sha-256=:")
        assert response.headers.getall("X-Content-Type-Options") == ["nosniff"]
        assert response.headers.getall("Content-Security-Policy") == ["sandbox"]
        assert response.headers.getall("Referrer-Policy") == ["no-referrer"]
        assert response.headers["Cache-Control"] == "private, no-transform"
        assert response.headers["Accept-Ranges"] == "bytes"
        assert response.headers.getall("Last-Modified") == ["Sun, 06 Nov 1994 08:49:37 GMT"]
        assert not {"X-Accel-Redirect", "Location"} & set(response.headers)
        (finished,) = await stage.log.until_told(DownloadOutcome.FINISHED)
        assert (finished.grant_id, finished.sent_bytes) == (grant.grant_id, len(CONTENT))
        assert finished.address == "127.0.0.1"  # whom nginx saw, whatever the visitor wrote


TAG = "the right tag"


@pytest.mark.parametrize(
    ("fields", "status", "start", "stop"),
    [
        pytest.param({"Range": "bytes=100-299"}, 206, 100, 300, id="a part"),
        pytest.param({"Range": "bytes=-7"}, 206, len(CONTENT) - 7, None, id="the end"),
        pytest.param({"Range": "bytes=600000-", "If-Range": TAG}, 206, 600_000, None, id="resumed"),
        pytest.param({"Range": "bytes=600000-", "If-Range": '"other"'}, 200, 0, None, id="another file"),
        pytest.param({"Range": "bytes=0-1,5-6"}, 200, 0, None, id="two parts"),
        pytest.param({"Range": "bytes=9-2"}, 200, 0, None, id="nonsense"),
        pytest.param({"Range": "bytes=900000-"}, 416, 0, 0, id="past the end"),
        pytest.param({"If-None-Match": TAG}, 304, 0, 0, id="had already"),
        pytest.param({"If-Match": TAG}, 200, 0, None, id="if it is the one"),
        pytest.param({"If-Match": '"other"'}, 412, 0, 0, id="if it is another"),
        pytest.param({"If-Modified-Since": "Sun, 06 Nov 1994 08:49:36 GMT"}, 200, 0, None, id="changed since"),
        pytest.param({"If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 304, 0, 0, id="not changed since"),
        pytest.param({"If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"}, 200, 0, None, id="not changed until"),
        pytest.param({"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:36 GMT"}, 412, 0, 0, id="changed until"),
    ],
)
async def test_conditions_and_ranges_hold_as_without_nginx(
    stage: Stage,
    http: aiohttp.ClientSession,
    tmp_path: Path,
    fields: dict[str, str],
    status: int,
    start: int,
    stop: int | None,
) -> None:
    async with behind_nginx(stage, tmp_path):
        event = await stage.publish_ready("a", CONTENT)
        sent = {name: f'"{event.sha256.hex()}"' if value is TAG else value for name, value in fields.items()}
        async with http.get(stage.link(stage.grant(event)), headers=sent) as response:
            body = await response.read()
        assert (response.status, body) == (status, CONTENT[start:stop])
        if body:
            (finished,) = await stage.log.until_told(DownloadOutcome.FINISHED)
            assert (finished.first_byte, finished.sent_bytes) == (start, len(body))


async def test_visitor_behind_a_busy_address_is_sent_back_to_the_site_and_not_refused_by_nginx(
    stage: Stage, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with behind_nginx(stage, tmp_path, connections_per_address=1, rate_bytes_per_second=200_000):
        event = await stage.publish_ready("a", CONTENT)
        link, of_a_neighbour = stage.link(stage.grant(event)), stage.link(stage.grant(event))
        async with http.get(link), http.get(of_a_neighbour, allow_redirects=False) as response:
            assert response.status == 302


async def test_head_takes_nothing(stage: Stage, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with behind_nginx(stage, tmp_path, monthly_bytes=0):
        event = await stage.publish_ready("a", CONTENT)
        async with http.head(stage.link(stage.grant(event))) as response:
            assert (response.status, response.headers["Content-Length"]) == (200, str(len(CONTENT)))


async def test_download_that_is_broken_off_is_counted_and_its_slot_is_free(
    stage: Stage, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with behind_nginx(stage, tmp_path, rate_bytes_per_second=200_000, slots=1):
        event = await stage.publish_ready("a", CONTENT)
        link = stage.link(stage.grant(event))
        response = await http.get(link)
        read_bytes = len(await response.content.readany())
        response.close()
        (aborted,) = await stage.log.until_told(DownloadOutcome.ABORTED)
        assert read_bytes <= aborted.sent_bytes < len(CONTENT)
        async with http.get(link, headers={"Range": "bytes=0-9"}) as second:
            assert second.status == 206


async def test_many_small_downloads_are_all_counted(stage: Stage, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with behind_nginx(stage, tmp_path, slots=40):
        event = await stage.publish_ready("a", CONTENT[:10_000])

        async def visit() -> bytes:
            async with http.get(stage.link(stage.grant(event))) as response:
                return await response.read()

        for _ in range(5):
            assert set(await asyncio.gather(*(visit() for _ in range(20)))) == {CONTENT[:10_000]}
        assert sum(one.sent_bytes for one in await stage.log.until_told(DownloadOutcome.FINISHED, 100)) == 1_000_000


async def test_lost_datagram_is_made_up_for_by_the_log(
    stage: Stage, http: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mirror.serving.external.RECONCILE_EVERY_S", 0.1)
    async with behind_nginx(stage, tmp_path):
        event = await stage.publish_ready("a", CONTENT)
        (stage.config.data_folder / FOLDER_NAME / SOCKET_NAME).unlink()
        async with http.get(stage.link(stage.grant(event))) as response:
            assert await response.read() == CONTENT
        (finished,) = await stage.log.until_told(DownloadOutcome.FINISHED)
        assert finished.sent_bytes == len(CONTENT)


async def test_objects_cannot_be_had_without_a_token(stage: Stage, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with behind_nginx(stage, tmp_path):
        event = await stage.publish_ready("a", CONTENT)
        for whole in (True, False):
            for path in (place_of(Digest(event.sha256), whole=whole), "/-/objects/../nginx.conf", "/-/whole/"):
                async with http.get(f"{stage.url}{path}") as response:
                    assert response.status in {400, 403, 404}
                    assert b"X-Accel" not in await response.read()


async def test_no_log_of_nginx_holds_a_token(stage: Stage, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with behind_nginx(stage, tmp_path) as nginx:
        event = await stage.publish_ready("a", CONTENT)
        link = stage.link(stage.grant(event))
        async with http.get(link) as response:
            await response.read()
        stage.object_path(event.sha256).chmod(0)
        async with http.get(link, headers={"Range": "bytes=0-9"}) as response:
            await response.read()
        await stage.log.until_told(DownloadOutcome.FINISHED)
    token = link.rsplit("/", 2)[1].encode()
    logs = [path for folder in (nginx.folder, stage.config.data_folder / FOLDER_NAME) for path in folder.glob("*.log")]
    assert len(logs) == 2
    for path in logs:
        assert token not in path.read_bytes()


async def test_visitor_who_goes_around_nginx_is_sent_the_file_by_the_mirror(
    stage: Stage, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with behind_nginx(stage, tmp_path):
        event = await stage.publish_ready("a", CONTENT)
        stage.url = f"http://127.0.0.1:{stage.config.listen_port}"
        async with http.get(stage.link(stage.grant(event))) as response:
            assert (await response.read(), response.headers["Server"]) == (CONTENT, "distributary")


SIMPLY_SENT = [
    pytest.param({}, id="all of it"),
    pytest.param({"Range": "bytes=100-299"}, id="a part"),
    pytest.param({"Range": "bytes=600000-", "If-Range": TAG}, id="resumed"),
    pytest.param({"Range": "bytes=0-1,5-6"}, id="two parts"),
]
JUDGED_BY_THE_MIRROR = [
    pytest.param({"Range": "bytes=900000-"}, id="past the end"),
    pytest.param({"If-None-Match": TAG}, id="had already"),
    pytest.param({"If-Match": TAG}, id="if it is the one"),
    pytest.param({"X-Forwarded-For": "192.0.2.1"}, id="another visitor's"),
    pytest.param({"X-Forwarded-For": "nonsense"}, id="a proxy's nonsense"),
]
NOT_SIMPLE = {"TE": "trailers"}  # which the lane leaves to aiohttp, and which changes no answer


@pytest.mark.parametrize("fields", SIMPLY_SENT + JUDGED_BY_THE_MIRROR)
@pytest.mark.parametrize("content", [pytest.param(CONTENT, id="large"), pytest.param(CONTENT[:9000], id="small")])
async def test_lane_and_aiohttp_order_the_same(
    stage: Stage, http: aiohttp.ClientSession, tmp_path: Path, fields: dict[str, str], content: bytes
) -> None:
    async with behind_nginx(stage, tmp_path):
        event = await stage.publish_ready("a-b_c.1.iso", content)
        tag = f'"{event.sha256.hex()}"'
        asked = {name: tag if value is TAG else value for name, value in fields.items()}
        stage.url = f"http://127.0.0.1:{stage.config.listen_port}"
        answers: list[tuple[int, dict[str, str], bytes]] = []
        for name, how in (("first", {}), ("second", NOT_SIMPLE)):
            sent = {REQUEST_FIELD: name, "X-Forwarded-For": "127.0.0.1", **asked, **how}
            async with http.get(stage.link(stage.grant(event)), headers=sent) as response:
                named = {each: value for each, value in response.headers.items() if each != "Date"}
                answers.append((response.status, named, await response.read()))
        assert answers[0] == answers[1]


@pytest.mark.parametrize("fields", SIMPLY_SENT)
async def test_what_is_simply_sent_never_comes_to_aiohttp(
    stage: Stage, http: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str]
) -> None:
    async def refuse(_counter: Counter, _request: web.Request) -> web.StreamResponse:
        raise AssertionError("the lane did not answer")

    monkeypatch.setattr(Counter, "serve", refuse)
    async with behind_nginx(stage, tmp_path):
        event = await stage.publish_ready("a", CONTENT)
        asked = {name: f'"{event.sha256.hex()}"' if value is TAG else value for name, value in fields.items()}
        async with http.get(stage.link(stage.grant(event)), headers=asked) as response:
            assert response.status in {200, 206}
            await response.read()
        await stage.log.until_told(DownloadOutcome.FINISHED)


def be_content(_content: Content) -> None:
    """Look at nothing: the file goes right after it was looked at."""


async def test_small_file_that_nginx_cannot_read_is_not_told_as_sent(
    stage: Stage, http: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mirror.serving.external.PRESUMED_S", 3.0)
    async with behind_nginx(stage, tmp_path):
        bad, good = [await stage.publish_ready(name, CONTENT[:size]) for name, size in (("bad", 9000), ("good", 8000))]
        stage.object_path(bad.sha256).unlink()
        monkeypatch.setattr("mirror.serving.external.require", be_content)
        async with http.get(stage.link(stage.grant(bad)), allow_redirects=False) as response:
            assert response.status == 404
        async with http.get(stage.link(stage.grant(good))) as response:
            assert response.status == 200
        (finished,) = await stage.log.until_told(DownloadOutcome.FINISHED)
        assert finished.sha256 == good.sha256


async def test_nginx_is_told_each_download_s_share_of_the_rate(
    stage: Stage, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with behind_nginx(stage, tmp_path, rate_bytes_per_second=1_000_000):
        event = await stage.publish_ready("a", CONTENT)
        stage.url = f"http://127.0.0.1:{stage.config.listen_port}"
        told: list[str] = []
        for name in ("first", "second"):
            fields = {REQUEST_FIELD: name, "X-Forwarded-For": "127.0.0.1"}  # as nginx asks
            async with http.get(stage.link(stage.grant(event)), headers=fields) as response:
                assert response.headers["X-Accel-Redirect"] == place_of(Digest(event.sha256), whole=True)
                told.append(response.headers["X-Accel-Limit-Rate"])
        assert told == ["500000", "250000"], "both together stay within the rate, and leave some for a third"
