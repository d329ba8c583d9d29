"""What the lane redirects, aiohttp would have redirected alike; and what it does not, aiohttp answers."""

from __future__ import annotations

import asyncio
import re
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from events.schemas import Access, AccessMode, Location
from selection.answering.web import Endpoint

if TYPE_CHECKING:
    from conftest import Selector, Site

_OWN = re.compile(rb"/d/[A-Za-z0-9_-]{132}/|Date: [^\r]+")  # each link has a token of its own
LEAVES_THE_LANE = "TE: trailers\r\n"  # no simple request, for the lane; nothing, for a selector
DEADLINE_S = 20.0
PORTO = Location(latitude=41.15, longitude=-8.61, country="PT")
DELHI = Location(latitude=28.61, longitude=77.2, country="IN")


async def say(selector: Selector, request: str) -> bytes:
    """Send a request that ends its connection; give the answer but for what no two answers share."""
    parts = urlsplit(selector.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    with closing(writer):
        writer.write(request.encode())
        async with asyncio.timeout(DEADLINE_S):
            return _OWN.sub(b"...", await reader.read())


def written(target: str, *fields: str, method: str = "GET", aside: str = "") -> str:
    lines = "".join(f"{field}\r\n" for field in fields)
    return f"{method} {target} HTTP/1.1\r\nHost: dl.example\r\n{aside}{lines}Connection: close\r\n\r\n"


REQUESTS = {
    "plain": written("/dir/a.iso"),
    "look": written("/dir/a.iso", method="HEAD"),
    "encoded": written("/dir%2fa.iso"),
    "by name in another script": written("/%C3%BC%20b.iso"),
    "from elsewhere": written("/dir/a.iso", "X-Forwarded-For: 198.51.100.7"),
    "through two proxies": written("/dir/a.iso", "X-Forwarded-For: 2001:db8::1, 127.0.0.1"),
    "from an address of IPv4 in IPv6": written("/dir/a.iso", "X-Forwarded-For: ::ffff:198.51.100.7"),
    "from an address with zeros before": written("/dir/a.iso", "X-Forwarded-For: 198.51.100.007"),
    "by https": written("/dir/a.iso", "X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https"),
    "proxy that errs": written("/dir/a.iso", "X-Forwarded-For: unknown"),
    "not again": written("/dir/a.iso?not=ana"),
    "from one mirror": written("/dir/a.iso?mirror=bob"),
    "as metalink": written("/dir/a.iso", "Accept: application/metalink4+xml"),
    "rather as metalink": written("/dir/a.iso", "Accept: */*,application/metalink4+xml"),
    "as anything, and then as metalink": written("/dir/a.iso", "Accept: */*", "Accept: application/metalink4+xml"),
    "as anything, with spaces": written("/dir/a.iso", "Accept: \t*/* "),
    "by a tool that is called after metalink": written("/dir/a.iso", "User-Agent: metalink/1", "Accept: */*"),
    "as a browser": written("/dir/a.iso", "Accept: text/html,application/xhtml+xml,*/*;q=0.8"),
    "has another": written("/dir/a.iso", 'If-None-Match: "x"'),
    "has it": written("/dir/a.iso", "If-None-Match: *"),
    "hash": written("/dir/a.iso.sha256"),
    "folder": written("/dir/"),
    "page": written("/-/livez"),
    "page behind an encoded dash": written("/%2d/livez"),
    "unknown": written("/c.iso"),
    "top": written("/"),
    "two slashes": written("//dir/a.iso"),
    "dots": written("/x/../dir/a.iso"),
    "no text": written("/%ff"),
    "for a ticket": written("/ticket.iso"),
    "for a network": written("/network.iso"),
    "held by nobody": written("/nobody.iso"),
}


@pytest.mark.parametrize("request_text", REQUESTS.values(), ids=REQUESTS.keys())
async def test_lane_and_aiohttp_answer_alike(memory_site: Site, request_text: str) -> None:
    said = memory_site.said
    for path in ("dir/a.iso", "ü b.iso", "nobody.iso"):
        await said.published(path)
    await said.published("ticket.iso", access=Access(mode=AccessMode.TICKET))
    await said.published("network.iso", access=Access(networks=("192.0.2.0/24",)))
    await said.serving("ana", "dir/a.iso", "ü b.iso", "ticket.iso", "network.iso", location=PORTO)
    await said.serving("bob", "dir/a.iso", location=DELHI)
    await said.load("bob", sparing=True)  # so that there are no dice
    async with memory_site.selector(site_url="https://dl.example") as selector:
        await selector.until_chosen("dir/a.iso", "ana")
        fast = await say(selector, request_text)
        slow = await say(selector, request_text.replace("Host:", f"{LEAVES_THE_LANE}Host:", 1))
    assert fast == slow


async def test_plain_visitor_is_redirected_though_aiohttp_is_never_asked(
    memory_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def note(_endpoint: Endpoint, request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=500)

    monkeypatch.setattr(Endpoint, "visit", note)
    await memory_site.said.published("a.iso")
    async with memory_site.selector() as selector:
        answer = await say(selector, written("/a.iso"))
        assert answer.startswith(b"HTTP/1.1 302 Found\r\nLocation: http://master.example...a.iso\r\n")
        await say(selector, written("/a.iso?not=ana"))
    assert asked == ["/a.iso"]
