"""The master as the mirror ``origin``: the last resort of visitors, under the same tokens as everywhere."""

from __future__ import annotations

import hashlib
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from edge.dates import changed_s, http_date, read_http_date
from edge.visits import GRANT_CONNECTIONS_MAX
from events.grants import Binding, Grant, bind, derive_key, mint
from events.names import ORIGIN, Digest, MirrorName
from events.schemas import DownloadOutcome, DownloadsReported, FilePublished, GrantClaimed
from master.web.fallback import FULL_RETRY_AFTER_S

if TYPE_CHECKING:
    from conftest import Desk, Link, Theatre

SITE_URL = "http://site.example"
CONTENT = b"0123456789" * 100
SHA256 = Digest(hashlib.sha256(CONTENT).digest())


def token_for(mirror: MirrorName = ORIGIN, *, address: str = "127.0.0.1", start_in_s: int = 60) -> str:
    bound, prefix_bits = bind(ip_address(address))
    now_s = int(time.time())
    grant = Grant(
        grant_id=b"g" * 16,
        sha256=SHA256,
        size_bytes=len(CONTENT),
        start_by_s=now_s + start_in_s,
        finish_by_s=now_s + 3600,
        address=bound,
        prefix_bits=prefix_bits,
    )
    return mint(grant, mirror=mirror, key=derive_key(b"s" * 32, mirror, 1))


async def download(desk: Desk, token: str, *, method: str = "GET", **headers: str) -> tuple[int, bytes, str]:
    async with desk.session.request(
        method, f"{desk.url}/d/{token}/a.iso", headers=headers, allow_redirects=False
    ) as response:
        return response.status, await response.read(), response.headers.get("Location", "")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "ä b.iso"
    source.write_bytes(CONTENT)
    return source


async def test_who_has_the_file_since_its_publication_gets_nothing_again(memory_theatre: Theatre, source: Path) -> None:
    async with memory_theatre.desk() as desk:
        await desk.publish(source)
        url = f"{desk.url}/d/{token_for()}/a.iso"
        async with desk.session.get(url) as response:
            published = response.headers["Last-Modified"]
        async with desk.session.get(url, headers={"If-Modified-Since": published}) as response:
            assert (response.status, response.headers["Last-Modified"]) == (304, published)
        before = http_date(int(read_http_date(published) or 0) - 1)
        assert await download(desk, token_for(), **{"If-Modified-Since": before}) == (200, CONTENT, "")
        (event, *_) = desk.events(FilePublished)
        assert changed_s(event.published_at_ns) == read_http_date(published)


async def test_a_granted_download_is_served_counted_and_told_of(memory_theatre: Theatre, source: Path) -> None:
    async with memory_theatre.desk() as desk:
        await desk.publish(source)
        token = token_for()
        assert await download(desk, token, method="HEAD") == (200, b"", "")
        assert await download(desk, token) == (200, CONTENT, "")
        assert await download(desk, token, Range="bytes=990-") == (206, CONTENT[990:], "")
        await desk.until(lambda: len(desk.downloads()) == 2)
        whole, rest = desk.downloads()
        assert {whole.outcome, rest.outcome} == {DownloadOutcome.FINISHED}
        assert {(one.grant_id, one.sha256) for one in (whole, rest)} == {(b"g" * 16, SHA256)}
        assert (whole.address, rest.address) == ("127.0.0.1", ""), "it is told once a grant"
        assert (whole.first_byte, whole.sent_bytes, rest.first_byte, rest.sent_bytes) == (0, len(CONTENT), 990, 10)
        assert {report.mirror for report in desk.events(DownloadsReported)} == {ORIGIN}


@pytest.mark.parametrize(
    ("token", "status"),
    [
        pytest.param(token_for(MirrorName("ana")), 404, id="another mirror's"),
        pytest.param(token_for()[:-1] + "!", 404, id="altered"),
        pytest.param("short", 404, id="no token"),
        pytest.param(token_for(address="192.0.2.1"), 403, id="another visitor's"),
    ],
)
async def test_a_forged_or_foreign_token_opens_nothing(
    memory_theatre: Theatre, source: Path, token: str, status: int
) -> None:
    async with memory_theatre.desk() as desk:
        await desk.publish(source)
        found, body, _ = await download(desk, token)
        assert found == status
        assert CONTENT not in body


async def test_who_comes_too_late_is_sent_back_to_ask_anew(memory_theatre: Theatre, source: Path) -> None:
    async with memory_theatre.desk() as desk:
        await desk.publish(source)
        late = f"{desk.url}/d/{token_for(start_in_s=-3600)}/a.iso?not=ana"
        async with desk.session.get(late, allow_redirects=False) as response:
            back = URL(response.headers["Location"])
            assert (response.status, back.path) == (302, "/ä b.iso")
        assert (back.host, back.query.getall("not")) == ("site.example", ["ana", "origin"])
        async with desk.session.get(f"{late}&ticket=1700000000-Ab_-9", allow_redirects=False) as response:
            assert URL(response.headers["Location"]).query["ticket"] == "1700000000-Ab_-9"
        async with desk.session.get(f"{late}&not=origin", allow_redirects=False) as response:
            assert (response.status, "Retry-After" in response.headers) == (503, True), "no visitor runs in circles"


async def test_a_resume_goes_on_when_the_time_to_start_is_over(memory_theatre: Theatre, source: Path) -> None:
    async with memory_theatre.desk() as desk:
        await desk.publish(source)
        assert (await download(desk, token_for()))[0] == 200
        assert (await download(desk, token_for(start_in_s=-3600), Range="bytes=990-"))[0] == 206


async def test_the_fifth_connection_of_a_download_is_sent_elsewhere(
    memory_theatre: Theatre, large: Path, link: Link
) -> None:
    async with memory_theatre.desk() as desk, AsyncExitStack() as connections:
        await desk.publish(large)
        quarter = f"bytes=0-{link.size_bytes // 4}"
        for _ in range(GRANT_CONNECTIONS_MAX):
            await connections.enter_async_context(desk.slow_download(link, Range=quarter))
        async with desk.session.get(desk.url + link.path, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (302, f"{SITE_URL}/large.iso?not=origin")
        await connections.enter_async_context(desk.slow_download(replace(link, number=2)))


async def test_many_ranges_are_no_more_than_twice_the_file(memory_theatre: Theatre, source: Path) -> None:
    async with memory_theatre.desk() as desk:
        await desk.publish(source)
        token = token_for()
        assert [(await download(desk, token))[0] for _ in range(3)] == [200, 200, 302]
        assert (await download(desk, token, method="HEAD"))[0] == 200, "HEAD takes nothing"


async def test_more_downloads_than_slots_are_told_to_come_again(
    memory_theatre: Theatre, large: Path, link: Link
) -> None:
    one_slot = replace(memory_theatre, config=replace(memory_theatre.config, slots=1))
    async with one_slot.desk() as desk:
        await desk.publish(large)
        one_more = desk.url + replace(link, number=2).path
        async with desk.slow_download(link), desk.slow_download(link), desk.session.get(one_more) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, str(FULL_RETRY_AFTER_S))
            assert b'"slots_full"' in await response.read()
        await desk.until(lambda: len(desk.downloads(DownloadOutcome.ABORTED)) == 2)
        async with desk.slow_download(replace(link, number=2)):
            pass


async def test_a_mirrors_leave_for_pieces_opens_nothing_to_visitors(
    memory_theatre: Theatre, large: Path, link: Link
) -> None:
    async with memory_theatre.desk() as desk:
        await desk.publish(large)
        async with desk.session.get(desk.url + replace(link, peer=True).path) as response:
            assert (response.status, b'"not_found"' in await response.read()) == (404, True)


async def test_the_other_address_family_may_claim_a_download_once(
    memory_theatre: Theatre, large: Path, link: Link
) -> None:
    proxied = replace(memory_theatre, config=replace(memory_theatre.config, proxies=("127.0.0.0/8",)))
    bound = replace(link, address="203.0.113.9")
    async with proxied.desk() as desk:
        await desk.publish(large)

        async def come_from(address: str) -> int:
            headers = {"X-Forwarded-For": address}
            async with desk.session.head(desk.url + bound.path, headers=headers) as response:
                return response.status

        assert [await come_from(address) for address in ("203.0.113.9", "203.0.113.8")] == [200, 403]
        assert [await come_from(address) for address in ("2001:db8::1", "2001:db8::2")] == [200, 200], "one /64"
        assert [await come_from(address) for address in ("2001:db8:0:1::1", "203.0.113.9")] == [403, 200]
        await desk.until(lambda: bool(desk.events(GrantClaimed)))
        assert desk.events(GrantClaimed) == [
            GrantClaimed(mirror=ORIGIN, grant_id=bound.grant_id, address="2001:db8::1")
        ]
        anybodys = replace(bound, number=2, binding=Binding.OFF).path
        async with desk.session.head(desk.url + anybodys, headers={"X-Forwarded-For": "2001:db8:9::1"}) as response:
            assert response.status == 200


def change(source: Path) -> None:
    source.write_bytes(b"x" * len(CONTENT))


async def test_a_withdrawn_or_changed_file_is_not_sent(memory_theatre: Theatre, source: Path) -> None:
    async with memory_theatre.desk() as desk:
        await desk.publish(source)
        change(source)
        assert (await download(desk, token_for()))[0] == 409
        await desk.done("DELETE", "/-/api/v1/files?path=%C3%A4%20b.iso")
        assert (await download(desk, token_for()))[0] == 404
