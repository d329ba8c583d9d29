"""The gatekeeper asks a real little site over HTTP, and lets nobody in whom the site did not let in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from events.names import FilePath
from events.schemas import Access, AccessMode
from selection.access import site as site_module
from selection.access.asker import Asker
from selection.access.gatekeeper import Gatekeeper
from selection.access.site import SiteAsker
from selection.access.verdicts import ADMITTED, SITE_SILENT, Outcome, Verdict

VISITOR: Final = ip_address("203.0.113.9")
MEMBER: Final = Asker(address=VISITOR, query="x=1", cookie="session=alice; theme=dark")
STRANGER: Final = Asker(address=VISITOR)


@dataclass(frozen=True)
class PublishedFile:
    path: FilePath
    access: Access


BY_SITE: Final = Access(mode=AccessMode.SITE)
FILE: Final = PublishedFile(FilePath("members/ü 1.iso"), BY_SITE)


@dataclass
class LittleSite:
    """A site that lets alice in and remembers what it was asked."""

    asked: list[web.Request] = field(default_factory=list[web.Request])
    refusal: tuple[int, dict[str, str]] = (403, {})
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        await self.opened.wait()
        if request.cookies.get("session") == "alice" or request.headers.get("Authorization") == "Bearer alice":
            return web.Response(status=204)
        status, headers = self.refusal
        return web.Response(status=status, headers=headers)

    def server(self) -> TestServer:
        app = web.Application()
        app.router.add_get("/{path:.*}", self.answer)
        return TestServer(app)


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def site() -> AsyncGenerator[LittleSite]:
    little = LittleSite()
    little.opened.set()
    async with little.server() as server:
        little.url = str(server.make_url("/may?door=files"))
        yield little


@asynccontextmanager
async def keeper(url: str, clock: Clock | None = None, limit_s: float = 30.0) -> AsyncGenerator[Gatekeeper]:
    async with SiteAsker(url, limit_s=limit_s, kept_s=5.0, clock_s=clock or Clock()) as asker:
        yield Gatekeeper(site=asker)


async def test_site_is_told_who_asks_for_what_and_its_yes_admits(site: LittleSite) -> None:
    async with keeper(site.url) as gatekeeper:
        assert await gatekeeper.admits(FILE, MEMBER) is ADMITTED
    (asked,) = site.asked
    assert asked.path_qs == "/may?door=files"
    assert asked.headers["Cookie"] == "session=alice; theme=dark"
    assert asked.headers["X-Original-URI"] == "/members/%C3%BC%201.iso?x=1"
    assert asked.headers["X-Forwarded-For"] == "203.0.113.9"
    assert "Authorization" not in asked.headers


async def test_authorization_is_passed_on(site: LittleSite) -> None:
    async with keeper(site.url) as gatekeeper:
        assert await gatekeeper.admits(FILE, Asker(address=VISITOR, authorization="Bearer alice")) is ADMITTED
    assert site.asked[0].headers["Authorization"] == "Bearer alice"


async def test_refusal_is_passed_on(site: LittleSite) -> None:
    async with keeper(site.url) as gatekeeper:
        assert await gatekeeper.admits(FILE, STRANGER) == Verdict(Outcome.REFUSED)


async def test_redirect_to_the_login_is_passed_on_and_not_followed(site: LittleSite) -> None:
    login = "https://www.example.org/login?next=x"
    site.refusal = (302, {"Location": login})
    async with keeper(site.url) as gatekeeper:
        verdict = await gatekeeper.admits(FILE, STRANGER)
    assert verdict == Verdict(Outcome.SENT_ON, (("Location", login),))
    assert len(site.asked) == 1


async def test_yes_counts_for_seconds_for_this_visitor_and_file_alone(site: LittleSite) -> None:
    clock = Clock()
    other_file = PublishedFile(FilePath("members/2.iso"), BY_SITE)
    async with keeper(site.url, clock) as gatekeeper:
        assert await gatekeeper.admits(FILE, MEMBER) is ADMITTED
        assert await gatekeeper.admits(FILE, MEMBER) is ADMITTED
        assert len(site.asked) == 1
        assert await gatekeeper.admits(FILE, STRANGER) == Verdict(Outcome.REFUSED)
        assert await gatekeeper.admits(other_file, MEMBER) is ADMITTED
        assert len(site.asked) == 3
        clock.now_s += 5.0
        assert await gatekeeper.admits(FILE, MEMBER) is ADMITTED
        assert len(site.asked) == 4


async def test_those_who_ask_for_the_same_at_once_share_one_question(site: LittleSite) -> None:
    site.opened.clear()
    async with keeper(site.url) as gatekeeper, asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(gatekeeper.admits(FILE, MEMBER)) for _ in range(20)]
        leaving = tasks.create_task(gatekeeper.admits(FILE, MEMBER))
        await asyncio.sleep(0)
        leaving.cancel()  # the others get their answer all the same
        site.opened.set()
        assert {(await each).outcome for each in asking} == {Outcome.ADMITTED}
    assert len(site.asked) == 1


async def test_site_that_is_down_admits_nobody() -> None:
    server = LittleSite().server()
    await server.start_server()
    url = str(server.make_url("/"))
    await server.close()
    async with keeper(url) as gatekeeper:
        assert await gatekeeper.admits(FILE, MEMBER) is SITE_SILENT


async def test_site_that_does_not_answer_in_time_admits_nobody_and_is_asked_again(site: LittleSite) -> None:
    site.opened.clear()
    async with keeper(site.url, limit_s=0.05) as gatekeeper:
        assert await gatekeeper.admits(FILE, MEMBER) is SITE_SILENT
    site.opened.set()
    async with keeper(site.url) as gatekeeper:
        assert await gatekeeper.admits(FILE, MEMBER) is ADMITTED


async def test_broken_site_admits_nobody(site: LittleSite) -> None:
    site.refusal = (500, {})
    async with keeper(site.url) as gatekeeper:
        assert await gatekeeper.admits(FILE, STRANGER) is SITE_SILENT
        assert await gatekeeper.admits(FILE, MEMBER) is ADMITTED


async def test_site_that_speaks_no_http_admits_nobody() -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        port: int = server.sockets[0].getsockname()[1]
        async with keeper(f"http://127.0.0.1:{port}/") as gatekeeper:
            assert await gatekeeper.admits(FILE, MEMBER) is SITE_SILENT


async def test_flood_of_questions_is_not_passed_on_to_the_site(
    site: LittleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_module, "QUESTIONS_MAX", 3)
    site.opened.clear()
    askers = [Asker(address=VISITOR, cookie=f"session=alice; n={number}") for number in range(5)]
    async with keeper(site.url) as gatekeeper, asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(gatekeeper.admits(FILE, asker)) for asker in askers]
        assert [await each for each in asking[3:]] == [SITE_SILENT, SITE_SILENT]
        site.opened.set()
        assert [await each for each in asking[:3]] == [ADMITTED] * 3


async def test_one_visitor_who_floods_the_site_takes_no_answer_from_another(
    site: LittleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_module, "QUESTIONS_PER_VISITOR_MAX", 3)
    site.opened.clear()
    flood = [Asker(address=VISITOR, query=str(number)) for number in range(5)]
    other = Asker(address=ip_address("198.51.100.1"), cookie="session=alice")
    async with keeper(site.url) as gatekeeper, asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(gatekeeper.admits(FILE, asker)) for asker in flood]
        others = tasks.create_task(gatekeeper.admits(FILE, other))
        assert [await each for each in asking[3:]] == [SITE_SILENT, SITE_SILENT]
        site.opened.set()
        assert await others is ADMITTED
        await asyncio.gather(*asking)
        assert await gatekeeper.admits(FILE, MEMBER) is ADMITTED  # there is room for the visitor again


async def test_without_an_address_of_the_site_nobody_is_let_in_by_it() -> None:
    assert await Gatekeeper().admits(FILE, MEMBER) is SITE_SILENT


async def test_networks_count_before_the_site_is_asked(site: LittleSite) -> None:
    file = PublishedFile(FILE.path, Access(mode=AccessMode.SITE, networks=("198.51.100.0/24",)))
    async with keeper(site.url) as gatekeeper:
        assert await gatekeeper.admits(file, MEMBER) == Verdict(Outcome.OTHER_NETWORK)
    assert site.asked == []
