"""What visitors and operators see of a selector, over HTTP, on both brokers."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import netaddr
import pytest
from mmdb_writer import MMDBWriter
from yarl import URL

from events.grants import Grant, check, derive_key, read
from events.names import ORIGIN, MirrorName
from events.schemas import PUBLIC, Access, DecisionsRecorded, DownloadsGranted, Location
from selection.places.files import open_places

if TYPE_CHECKING:
    from conftest import Site

SECRET = b"the site's secret, 32 bytes long"
VISITOR = {"X-Forwarded-For": "203.0.113.9"}
PORTO = Location(latitude=41.15, longitude=-8.61, country="PT")
OSLO = Location(latitude=59.91, longitude=10.75, country="NO")


def token_in(location: str) -> str:
    _, d, token, _ = urlsplit(location).path.split("/")
    assert d == "d"
    return token


def proven(location: str, mirror: str) -> Grant:
    name = MirrorName(mirror)
    return read(token_in(location), mirror=name, keys={1: derive_key(SECRET, name, 1)})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_visitor_is_sent_to_a_mirror_with_a_token_for_him_alone(site: Site, method: str) -> None:
    file = await site.said.published("dir/ü 1.iso")
    await site.said.serving("ana", "dir/ü 1.iso")
    async with site.selector() as selector:
        await selector.until_chosen("dir/ü 1.iso", "ana")
        answer = await selector.visit("/dir/%C3%BC%201.iso", method=method, headers=VISITOR)
    location = answer.headers["Location"]
    grant = proven(location, "ana")
    assert answer.status == 302
    assert location == f"http://ana.example/d/{token_in(location)}/%C3%BC%201.iso"
    assert (grant.sha256, grant.size_bytes) == (file.sha256, file.size_bytes)
    check(grant, address=ip_address("203.0.113.9"), now_s=grant.start_by_s, started=False)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["ETag"] == f'"{file.sha256.hex()}"'


async def test_each_redirect_is_a_grant_of_its_own(site: Site) -> None:
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso")
    async with site.selector() as selector:
        await selector.until_chosen("a.iso", "ana")
        locations = {(await selector.visit("/a.iso")).headers["Location"] for _ in range(5)}
    assert len(locations) == 5


async def test_without_a_fitting_mirror_the_master_serves_under_the_same_kind_of_token(site: Site) -> None:
    await site.said.published("a.iso")
    async with site.selector() as selector:
        answer = await selector.visit("/a.iso", headers=VISITOR)
    location = answer.headers["Location"]
    assert location.startswith("http://master.example/d/")
    assert proven(location, ORIGIN).size_bytes == 1000


async def test_mirror_that_sent_the_visitor_back_is_not_chosen_and_the_list_travels_along(site: Site) -> None:
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso")
    await site.said.serving("bob", "a.iso")
    async with site.selector() as selector:
        await selector.until_chosen("a.iso", "ana")
        first = await selector.visit("/a.iso?not=ana")
        second = await selector.visit("/a.iso?not=ana&not=bob")
        third = await selector.visit("/a.iso?not=x&not=y&not=z")
    assert first.headers["Location"].startswith("http://bob.example/d/")
    assert first.headers["Location"].endswith("/a.iso?not=ana")
    assert second.headers["Location"].startswith("http://master.example/d/")
    assert third.headers["Location"].startswith("http://master.example/d/")


async def test_visitor_whom_the_master_sent_back_goes_to_a_mirror_or_is_asked_to_wait(site: Site) -> None:
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso")
    async with site.selector() as selector:
        await selector.until_chosen("a.iso", "ana")
        sent = await selector.visit("/a.iso?not=origin")
        spent = await selector.visit("/a.iso?not=x&not=y&not=z&not=origin")
    assert sent.headers["Location"].startswith("http://ana.example/d/")
    assert sent.headers["Location"].endswith("/a.iso?not=origin")
    assert (spent.status, spent.headers["Retry-After"]) == (503, "30")


@pytest.mark.parametrize(
    "url", ["http://ana.example/?x=", "http://ana.example/#x", "http://u:p@ana.example", "http://["]
)
async def test_mirror_whose_url_no_visitor_can_follow_stands_in_no_location(memory_site: Site, url: str) -> None:
    await memory_site.said.published("a.iso")
    await memory_site.said.serving("ana", "a.iso", url=url)
    async with memory_site.selector() as selector:
        assert await selector.reasons("a.iso") == {"ana": "url_unusable"}
        assert await selector.sent_to("/a.iso", "203.0.113.9") == "master"


async def test_unknown_file_is_404_as_a_sentence_or_as_json(site: Site) -> None:
    async with site.selector() as selector:
        async with selector.http.get(f"{selector.url}/nothing.iso") as plain:
            assert plain.status == 404
            assert plain.content_type == "text/plain"
            assert await plain.text() == "there is no such file here: see /-/api/v1/files\n"
        headers = {"Accept": "application/json"}
        async with selector.http.get(f"{selector.url}/nothing.iso", headers=headers) as structured:
            assert structured.status == 404
            assert (await structured.json())["error"]["code"] == "file_unknown"
        head = await selector.visit("/nothing.iso", method="HEAD")
        assert head.status == 404


async def test_withdrawn_file_is_404(site: Site) -> None:
    await site.said.published("a.iso")
    async with site.selector() as selector:
        assert (await selector.visit("/a.iso")).status == 302
        await site.said.withdrawn("a.iso")

        async def gone() -> bool:
            return (await selector.visit("/a.iso")).status == 404

        await selector.until(gone)


async def test_visitor_without_access_is_refused(site: Site) -> None:
    await site.said.published("a.iso", access=Access(networks=("198.51.100.0/24",)))
    async with site.selector() as selector:
        refused = await selector.visit("/a.iso", headers=VISITOR)
        let_in = await selector.visit("/a.iso", headers={"X-Forwarded-For": "198.51.100.7"})
        claimed = await selector.visit("/a.iso", headers={"X-Forwarded-For": "198.51.100.7, 203.0.113.9"})
    assert (refused.status, let_in.status, claimed.status) == (403, 302, 403)


@pytest.mark.parametrize(
    "path",
    [
        "/a/%2e%2e/a.iso",
        "/%2e%2e/a.iso",
        "/a.iso%00",
        "/a.iso%0d%0aSet-Cookie:%20x",
        "/%5ca.iso",
        "/%ff",
        "//a.iso",
        "/a.iso/",
        "/-/nothing",
        "/%2561.iso",
    ],
)
async def test_path_that_no_file_can_have_is_like_an_unknown_one(memory_site: Site, path: str) -> None:
    await memory_site.said.published("a.iso")
    async with (
        memory_site.selector() as selector,
        selector.http.get(URL(selector.url + path, encoded=True), allow_redirects=False) as answer,
    ):
        assert answer.status == 404
        assert "Set-Cookie" not in answer.headers


async def test_dots_on_the_wire_are_no_way_around(memory_site: Site) -> None:
    await memory_site.said.published("a.iso")
    async with memory_site.selector() as selector:
        reader, writer = await asyncio.open_connection("127.0.0.1", URL(selector.url).port)
        writer.write(b"GET /dir/../a.iso HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 404 ")


async def test_other_methods_are_refused(memory_site: Site) -> None:
    async with memory_site.selector() as selector:
        answer = await selector.visit("/a.iso", method="POST")
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET,HEAD"


async def test_where_gives_the_choice_with_the_reason_for_each_mirror(site: Site, tmp_path: Path) -> None:
    writer = MMDBWriter()
    writer.insert_network(
        netaddr.IPSet(["203.0.113.0/24"]),
        {"country": {"iso_code": "PT"}, "location": {"latitude": 41.1, "longitude": -8.6}},
    )
    writer.to_db_file(str(tmp_path / "city.mmdb"))
    file = await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso", location=PORTO)
    await site.said.serving("bob", "a.iso", location=OSLO)
    await site.said.serving("cat", location=PORTO)
    with open_places([tmp_path / "city.mmdb"]) as places:
        async with site.selector(places=places) as selector:

            async def both_fit() -> bool:
                return len((await selector.where("a.iso"))["ranked"]) == 2

            await selector.until(both_fit)
            answer = await selector.where("a.iso")
            far_km = answer["ranked"][1]["distance_km"]
    assert answer == {
        "path": "a.iso",
        "size_bytes": 1000,
        "sha256": file.sha256.hex(),
        "generation": 1,
        "visitor": {"ip": "203.0.113.9", "country": "PT", "latitude": 41.1, "longitude": -8.6},
        "access": True,
        "access_mode": "public",
        "chosen": "ana",
        "fallback": False,
        "ranked": [
            {"mirror": "ana", "distance_km": 5.6, "free_slots": 10, "quota_left_bytes": None},
            {
                "mirror": "bob",
                "distance_km": far_km,
                "free_slots": 10,
                "quota_left_bytes": None,
            },
        ],
        "rejected": [
            {
                "mirror": "bob",
                "reason": "farther",
                "criterion": 6,
                "text": "it is farther from the visitor",
                "detail": f"{far_km:.0f} km away, in NO and not in PT",
            },
            {
                "mirror": "cat",
                "reason": "no_copy",
                "criterion": 2,
                "text": "it has no copy of the file",
                "detail": "",
            },
        ],
    }
    assert 2400 < far_km < 2600


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"path": "nothing.iso"}, 404, "file_unknown"),
        ({"path": "../x"}, 400, "path_invalid"),
        ({}, 400, "path_invalid"),
        ({"path": "a.iso", "ip": "here"}, 400, "address_invalid"),
    ],
)
async def test_where_says_what_is_wrong_with_a_question(
    memory_site: Site, query: dict[str, str], status: int, code: str
) -> None:
    await memory_site.said.published("a.iso")
    async with (
        memory_site.selector() as selector,
        selector.http.get(f"{selector.url}/-/api/v1/where", params=query) as answer,
    ):
        assert answer.status == status
        assert (await answer.json())["error"]["code"] == code


async def test_where_asks_for_the_visitor_himself_when_no_address_is_given(memory_site: Site) -> None:
    await memory_site.said.published("a.iso")
    async with memory_site.selector() as selector:
        answer = await selector.ask("/-/api/v1/where", path="/a.iso")
    assert answer["visitor"]["ip"] == "127.0.0.1"
    assert answer["fallback"] is True


async def test_files_and_mirrors_are_listed(site: Site) -> None:
    await site.said.published("b.iso")
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso", location=PORTO)
    async with site.selector() as selector:
        await selector.until_chosen("a.iso", "ana")
        files = (await selector.ask("/-/api/v1/files"))["files"]
        (ana,) = (await selector.ask("/-/api/v1/mirrors"))["mirrors"]
        status = await selector.ask("/-/api/v1/status")
    assert [(each["path"], each["channels"], each["mirrors"]) for each in files] == [
        ("a.iso", ["iso"], ["ana"]),
        ("b.iso", ["iso"], []),
    ]
    assert files[0]["published_at"] == "2023-11-14T22:13:20+00:00"
    assert (ana["mirror"], ana["state"], ana["copies"], ana["slots"], ana["channels"]) == (
        "ana",
        "ready",
        1,
        10,
        ["iso"],
    )
    assert (status["files"], status["mirrors"], status["missing_events"]) == (2, 1, {})
    assert status["broker"]["connected"]
    assert status["log"]["generation"] == 1


async def test_what_a_selector_says_of_its_decisions_is_not_missing(memory_site: Site) -> None:
    await memory_site.said.published("a.iso")
    await memory_site.said.serving("ana", "a.iso")
    async with (
        memory_site.logged(DecisionsRecorded) as records,
        memory_site.logged(DownloadsGranted) as notices,
        memory_site.selector() as selector,
    ):
        await selector.until_chosen("a.iso", "ana")
        for visits in range(1, 4):
            await selector.sent_to("/a.iso", f"203.0.113.{visits}")

            async def is_all_said(visits: int = visits) -> bool:
                decisions = sum(len(record.decisions) for record in records)
                return decisions == visits == sum(len(notice.grants) for notice in notices)

            await selector.until(is_all_said)
        await memory_site.said.published("last.iso")
        await selector.until_chosen("last.iso", None)  # so all before it was read
        assert (await selector.ask("/-/api/v1/status"))["missing_events"] == {}


async def test_files_come_in_pages_with_those_left_out_that_the_asker_may_not_download(memory_site: Site) -> None:
    inside = Access(networks=("198.51.100.0/24",))
    for number in range(250):
        await memory_site.said.published(f"{number:03}.iso", access=PUBLIC if number % 2 else inside)
    async with memory_site.selector() as selector:
        for headers, step in (({}, 1), (VISITOR, 2), ({"X-Forwarded-For": "198.51.100.7"}, 1)):
            found: list[str] = []
            query, pages = {"limit": "60"}, 0
            while "after" not in query or query["after"]:
                async with selector.http.get(
                    f"{selector.url}/-/api/v1/files", params=query, headers=headers
                ) as response:
                    answer = await response.json()
                found += [each["path"] for each in answer["files"]]
                query["after"] = answer["next"] or ""
                pages += 1
            assert found == [f"{number:03}.iso" for number in range(step - 1, 250, step)]
            assert pages == len(found) // 60 + 1
        wrong = await selector.visit("/-/api/v1/files?limit=0")
    assert wrong.status == 400


async def test_where_names_the_networks_that_have_access_only_on_the_selectors_machine(memory_site: Site) -> None:
    await memory_site.said.published("a.iso", access=Access(networks=("198.51.100.0/24",)))
    await memory_site.said.serving("ana", "a.iso")
    async with memory_site.selector() as selector:
        url = f"{selector.url}/-/api/v1/where?path=a.iso&ip=203.0.113.9"
        async with selector.http.get(url, headers=VISITOR) as stranger:
            assert "198.51.100" not in await stranger.text()
        async with selector.http.get(url) as administrator:
            assert "198.51.100.0/24" in await administrator.text()


@pytest.mark.parametrize(
    ("active", "state"),
    [(0, "ready"), (10, "full")],
)
async def test_mirrors_state_is_told(memory_site: Site, active: int, state: str) -> None:
    await memory_site.said.published("a.iso")
    await memory_site.said.serving("ana", "a.iso")
    await memory_site.said.load("ana", slots=10, active=active)
    async with memory_site.selector() as selector:

        async def told() -> bool:
            return (await selector.ask("/-/api/v1/mirrors"))["mirrors"][0]["state"] == state

        await selector.until(told)


async def test_probes_answer(site: Site) -> None:
    async with site.selector() as selector:
        assert await selector.ask("/-/livez") == {"live": True}
        answer = await selector.ask("/-/readyz")
    assert answer["ready"] is True
    assert answer["degraded"] is False
    assert {check["name"] for check in answer["checks"]} == {"log", "broker", "notices", "snapshot"}


async def test_strangers_are_told_how_much_there_is_and_nothing_of_broker_and_files(site: Site) -> None:
    async with site.selector() as selector:
        async with selector.http.get(f"{selector.url}/-/api/v1/status", headers={"Via": "1.1 a.proxy"}) as answer:
            assert set(await answer.json()) == {"site_url", "files", "mirrors"}
        assert {"broker", "log", "snapshot"} < set(await selector.ask("/-/api/v1/status"))
