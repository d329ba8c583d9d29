"""Mirrors are told who was sent to them, once, and nobody waits for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from events.grants import derive_key, read
from events.names import MirrorName
from events.schemas import DownloadsGranted, Granted

if TYPE_CHECKING:
    from conftest import Site

SECRET = b"the site's secret, 32 bytes long"


def granted_in(notices: list[DownloadsGranted]) -> list[Granted]:
    """All grants, in the order in which they were given."""
    grants = [granted for notice in notices for granted in notice.grants]
    return sorted(grants, key=lambda granted: granted.granted_at_ns)


async def test_mirror_is_told_who_was_sent_to_it(site: Site) -> None:
    file = await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso")
    await site.said.serving("bob")
    async with site.selector() as selector, site.logged(DownloadsGranted) as notices:
        await selector.until_chosen("a.iso", "ana")
        answer = await selector.visit("/a.iso", headers={"X-Forwarded-For": "203.0.113.9"})

        async def told() -> bool:
            return bool(notices)

        await selector.until(told)
    notice: DownloadsGranted = notices[0]
    (told_of,) = notice.grants
    token = answer.headers["Location"].split("/")[4]
    ana = MirrorName("ana")
    grant = read(token, mirror=ana, keys={1: derive_key(SECRET, ana, 1)})
    assert (notice.selector, notice.mirror) == (site.config.name, "ana")
    assert told_of.grant_id == grant.grant_id
    assert (told_of.address, told_of.path, told_of.sha256) == ("203.0.113.9", "a.iso", file.sha256)


async def test_own_grants_count_as_load_until_a_report_counts_them(site: Site) -> None:
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso", slots=2)
    async with site.selector() as selector, site.logged(DownloadsGranted) as notices:
        await selector.until_chosen("a.iso", "ana")
        for number in range(2):
            assert await selector.sent_to("/a.iso", f"203.0.113.{number}") == "ana"
        assert await selector.sent_to("/a.iso", "203.0.113.2") == "master"
        assert await selector.reasons("a.iso") == {"ana": "full"}

        async def told() -> bool:
            return len(granted_in(notices)) == 3

        await selector.until(told)
        await site.said.load("ana", slots=2, active=0, seen={site.config.name: 2**62})
        await selector.until_chosen("a.iso", "ana")


async def test_visitor_who_asks_again_and_again_keeps_one_place_at_one_mirror(site: Site) -> None:
    await site.said.published("a.iso")
    for name in ("ana", "bob"):
        await site.said.serving(name, "a.iso", slots=1)
    async with site.selector() as selector, site.logged(DownloadsGranted) as notices:

        async def both_free() -> bool:
            return len((await selector.where("a.iso"))["ranked"]) == 2

        await selector.until(both_free)
        sent_to = {await selector.sent_to("/a.iso", "203.0.113.1") for _ in range(10)}
        assert sent_to in ({"ana"}, {"bob"})
        assert {await selector.sent_to("/a.iso", "203.0.113.2")} == {"ana", "bob"} - sent_to
        assert await selector.sent_to("/a.iso", "203.0.113.3") == "master"

        async def told() -> bool:
            return len(granted_in(notices)) >= 3

        await selector.until(told)
    assert [granted.address for granted in granted_in(notices)] == ["203.0.113.1", "203.0.113.2", "203.0.113.3"]


async def test_look_takes_no_place_and_is_not_announced(site: Site) -> None:
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso", slots=1)
    async with site.selector() as selector, site.logged(DownloadsGranted) as notices:
        await selector.until_chosen("a.iso", "ana")
        for number in range(5):
            assert await selector.sent_to("/a.iso", f"203.0.113.{number}", method="HEAD") == "ana"
        assert await selector.sent_to("/a.iso", "203.0.113.9") == "ana"

        async def told() -> bool:
            return bool(notices)

        await selector.until(told)
    assert [granted.address for granted in granted_in(notices)] == ["203.0.113.9"]


async def test_notices_that_find_no_room_are_dropped_and_counted(
    memory_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = memory_site.memory
    assert memory is not None
    await memory_site.said.published("a.iso")
    async with memory_site.selector(decisions_percent=0) as selector:
        monkeypatch.setattr("selection.answering.announcer.WAITING_MAX", 2)
        with memory.outage():
            for number in range(5):
                assert await selector.sent_to("/a.iso", f"203.0.113.{number}")
            notices = (await selector.ask("/-/api/v1/status"))["notices"]
    assert notices == {"waiting": 2, "dropped": 3}
