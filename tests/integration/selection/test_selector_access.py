"""A selector lets nobody have a file whom the site does not let have it, whatever he asks for it by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestServer

from events.names import FilePath
from events.schemas import Access, AccessMode
from selection.access.tickets import judge, sign
from selection.access.verdicts import Outcome

if TYPE_CHECKING:
    from conftest import Selector, Site

KEY: Final = b"the site's secret for tickets..."
FOREVER_S: Final = 9_999_999_999
BY_TICKET: Final = Access(mode=AccessMode.TICKET)
BY_SITE: Final = Access(mode=AccessMode.SITE)
FORMS: Final = ["", "?mirrorlist", "?sha256", "?mirror=ana", "?not=ana"]
SUFFIXES: Final = [".sha256", ".meta4", ".metalink", ".mirrorlist"]


def visitor(address: str = "203.0.113.9", **more: str) -> dict[str, str]:
    return {"X-Forwarded-For": address, **more}


def ticket(path: str, *, key: bytes = KEY, expires_s: int = FOREVER_S, address: str | None = None) -> str:
    bound = None if address is None else ip_address(address)
    return sign(FilePath(path), expires_s=expires_s, key=key, address=bound)


async def publish(site: Site, path: str, access: Access) -> None:
    """Publish a file beside a public one; ana holds both."""
    await site.said.published(path, access=access)
    await site.said.published("public.iso")
    await site.said.serving("ana", path, "public.iso")


@dataclass
class LittleSite:
    """The site's own server: alice is logged in, others are sent to the login."""

    url: str = ""
    asked: list[web.Request] = field(default_factory=list[web.Request])
    status: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        if self.status:
            return web.Response(status=self.status)
        if request.cookies.get("session") == "alice":
            return web.Response(status=204)
        return web.Response(status=302, headers={"Location": "https://www.example.org/login"})


@pytest.fixture
async def little_site() -> AsyncGenerator[LittleSite]:
    little, app = LittleSite(), web.Application()
    app.router.add_get("/may-download", little.answer)
    async with TestServer(app) as server:
        little.url = str(server.make_url("/may-download"))
        yield little


async def error_of(answer: ClientResponse) -> str:
    told: dict[str, Any] = await answer.json()
    return told["error"]["code"]


async def refused(selector: Selector, target: str, **headers: str) -> tuple[int, str]:
    answer = await selector.visit(target, headers=visitor(**headers, Accept="application/json"))
    assert "Location" not in answer.headers
    return answer.status, await error_of(answer)


async def test_ticket_opens_its_file_until_its_time_for_its_address(memory_site: Site) -> None:
    await publish(memory_site, "members/ü 1.iso", BY_TICKET)
    good, bound = ticket("members/ü 1.iso"), ticket("members/ü 1.iso", address="203.0.113.9")
    async with memory_site.selector(ticket_key=KEY) as selector:
        await selector.until_chosen("members/ü 1.iso", "ana")
        for each in (good, bound):
            answer = await selector.visit(f"/members/%C3%BC%201.iso?ticket={each}", headers=visitor())
            assert (answer.status, answer.headers["Cache-Control"]) == (302, "no-store")
            assert answer.headers["Location"].startswith("http://ana.example/d/")
        assert await refused(selector, "/members/%C3%BC%201.iso") == (403, "ticket_missing")
        for wrong in (
            ticket("members/2.iso"),
            ticket("members/ü 1.iso", key=b"x" * 32),
            ticket("members/ü 1.iso", address="203.0.113.10"),
            f"{good[:-1]}{'A' if good[-1] != 'A' else 'B'}",
            good.replace("9999999999-", "9999999998-"),
            "%00",
            "%FF%FE",
        ):
            assert await refused(selector, f"/members/%C3%BC%201.iso?ticket={wrong}") == (403, "ticket_wrong")
        late = ticket("members/ü 1.iso", expires_s=1_000_000_000)
        assert await refused(selector, f"/members/%C3%BC%201.iso?ticket={late}") == (403, "ticket_expired")


async def test_visitor_takes_a_ticket_along_that_is_for_him_alone_and_comes_back_with_it(memory_site: Site) -> None:
    await publish(memory_site, "a.iso", BY_TICKET)
    async with memory_site.selector(ticket_key=KEY) as selector:
        await selector.until_chosen("a.iso", "ana")
        answer = await selector.visit(f"/a.iso?ticket={ticket('a.iso')}", headers=visitor())
        (carried,) = parse_qs(urlsplit(answer.headers["Location"]).query)["ticket"]
        assert judge(carried, FilePath("a.iso"), ip_address("203.0.113.9"), key=KEY, now_s=0) is Outcome.ADMITTED
        again = await selector.visit(f"/a.iso?not=ana&ticket={carried}", headers=visitor())
        assert again.headers["Location"].startswith("http://master.example/d/")
        assert f"ticket={carried}" in again.headers["Location"]
        thief = await selector.visit(f"/a.iso?ticket={carried}", headers=visitor("198.51.100.1"))
        assert thief.status == 403


@pytest.mark.parametrize("access", [BY_TICKET, BY_SITE], ids=["ticket", "site"])
async def test_no_other_form_of_a_file_tells_a_stranger_anything(
    memory_site: Site, little_site: LittleSite, access: Access
) -> None:
    little_site.status = 403
    await publish(memory_site, "members/a.iso", access)
    async with memory_site.selector(ticket_key=KEY, site_access_url=little_site.url) as selector:
        await selector.until_chosen("members/a.iso", "ana")
        await selector.until_chosen("public.iso", "ana")
        forms = [*(f"/members/a.iso{form}" for form in FORMS), *(f"/members/a.iso{each}" for each in SUFFIXES)]
        for target in [*forms, "/-/api/v1/where?path=members/a.iso", "/-/api/v1/where?path=members/a.iso&ip=127.0.0.1"]:
            answer = await selector.visit(target, headers=visitor())
            text = await answer.text()
            assert answer.status == 403, target
            assert not {"Location", "ETag", "Digest", "Link"} & set(answer.headers), target
            assert "ana" not in text, target
        for target in ("/", "/members/", "/-/api/v1/files"):
            answer = await selector.visit(target, headers=visitor(Accept="application/json"))
            assert "a.iso" not in await answer.text(), target


@pytest.mark.parametrize("said", ["X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP", "Forwarded", "Via"])
async def test_proxy_on_this_machine_is_no_administrator_however_little_it_tells(memory_site: Site, said: str) -> None:
    await publish(memory_site, "members/a.iso", BY_TICKET)
    async with memory_site.selector(ticket_key=KEY) as selector:
        await selector.until_chosen("members/a.iso", "ana")
        administrator = await selector.visit("/-/api/v1/files")
        assert "members/a.iso" in await administrator.text()
        for target, status in (("/-/api/v1/where?path=members/a.iso", 403), ("/-/api/v1/files", 200)):
            answer = await selector.visit(target, headers={said: "203.0.113.9"})
            assert answer.status == status
            assert "members/a.iso" not in await answer.text()


async def test_site_is_asked_with_the_visitors_cookie_and_its_word_counts_for_seconds(
    memory_site: Site, little_site: LittleSite
) -> None:
    await publish(memory_site, "members/ü 1.iso", BY_SITE)
    async with memory_site.selector(site_access_url=little_site.url, site_access_cache_s=60.0) as selector:
        await selector.until_chosen("members/ü 1.iso", "ana")
        for spelling in ("/members/%C3%BC%201.iso", "/m%65mbers/%c3%bc%201.iso"):
            answer = await selector.visit(spelling, headers=visitor(Cookie="session=alice"))
            assert answer.headers["Location"].startswith("http://ana.example/d/")
        (asked,) = little_site.asked
        assert asked.headers["X-Original-URI"] == "/members/%C3%BC%201.iso"
        assert asked.headers["X-Forwarded-For"] == "203.0.113.9"
        assert asked.headers["Cookie"] == "session=alice"
        stranger = await selector.visit("/members/%C3%BC%201.iso", headers=visitor())
        assert (stranger.status, stranger.headers["Location"]) == (302, "https://www.example.org/login")
        assert stranger.headers["Cache-Control"] == "no-store"
        assert len(little_site.asked) == 2


@pytest.mark.parametrize(("status", "code"), [(403, "no_access"), (401, "login_needed"), (500, "access_unknown")])
async def test_what_the_site_refuses_is_refused(
    memory_site: Site, little_site: LittleSite, status: int, code: str
) -> None:
    await publish(memory_site, "a.iso", BY_SITE)
    little_site.status = status
    async with memory_site.selector(site_access_url=little_site.url) as selector:
        await selector.until_chosen("a.iso", "ana")
        assert await refused(selector, "/a.iso", Cookie="session=alice") == (503 if status == 500 else status, code)


async def test_site_that_is_down_lets_nobody_in_and_public_files_go_on(memory_site: Site) -> None:
    await publish(memory_site, "a.iso", BY_SITE)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    async with server, memory_site.selector(site_access_url=f"http://127.0.0.1:{port}/") as selector:
        await selector.until_chosen("a.iso", "ana")
        await selector.until_chosen("public.iso", "ana")
        answer = await selector.visit("/a.iso", headers=visitor(Cookie="session=alice"))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert (await selector.visit("/public.iso", headers=visitor())).status == 302


async def test_site_is_not_told_bytes_that_are_no_text(memory_site: Site, little_site: LittleSite) -> None:
    await publish(memory_site, "a.iso", BY_SITE)
    async with memory_site.selector(site_access_url=little_site.url) as selector:
        await selector.until_chosen("a.iso", "ana")
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(selector.url).port)
        writer.write(
            b"GET /a.iso?\xff HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\n"
            b"Cookie: session=alice\xff\r\nConnection: close\r\n\r\n"
        )
        status = await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert status.split()[1] in {b"302", b"400"}
    assert all("alice" not in str(asked.headers) for asked in little_site.asked)
