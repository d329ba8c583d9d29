"""A selector hands out what it knows at a moment: what the log makes up to the entry that is named in it."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from history.entry import Position
from history.replay.replayer import replay
from history.sources.broker_log import BrokerLog
from selection.following.snapshot import Part, read, site_of
from selection.view.differences import differences
from selection.view.snapshot import load

if TYPE_CHECKING:
    from conftest import Selector, Site

SNAPSHOT = "/-/api/v1/snapshot"


async def handed_out(selector: Selector) -> bytes:
    async with selector.http.get(f"{selector.url}{SNAPSHOT}") as answer:
        assert answer.status == HTTPStatus.OK
        return await answer.read()


async def test_snapshot_is_what_the_log_makes_up_to_its_mark(site: Site) -> None:
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso")
    async with site.selector() as selector:
        await selector.until_chosen("a.iso", "ana")
        early = read(await handed_out(selector), site=site_of(site.config.secret))
        await site.said.withdrawn("a.iso")
        await site.said.published("b.iso")
        await selector.until_chosen("b.iso", None)
        late = read(await handed_out(selector), site=site_of(site.config.secret))
        source = BrokerLog(site.broker, vhost=site.config.broker.vhost, name="the test's", clock_s=time.time)
        for found in (early, late):
            place = Position(found.mark.generation, found.mark.offset)
            replayed = await replay(source, until=place)
            assert (replayed.position, replayed.message_id) == (place, found.mark.message_id)
            assert list(differences(replayed.view, load(found.parts[Part.VIEW]))) == []
        assert early.mark.offset < late.mark.offset


async def test_snapshot_is_for_administrators_alone(memory_site: Site) -> None:
    async with memory_site.selector() as selector:
        for header in ({"X-Forwarded-For": "203.0.113.9"}, {"Via": "1.1 proxy"}):
            async with selector.http.get(f"{selector.url}{SNAPSHOT}", headers=header) as answer:
                assert (answer.status, (await answer.json())["error"]["code"]) == (HTTPStatus.FORBIDDEN, "not_local")


async def test_there_is_no_snapshot_before_the_view_is_whole(memory_site: Site) -> None:
    await memory_site.lose_log(1)
    async with memory_site.unready_selector() as selector, selector.http.get(f"{selector.url}{SNAPSHOT}") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (
            HTTPStatus.SERVICE_UNAVAILABLE,
            "no_snapshot",
        )


async def test_many_who_ask_at_once_are_each_given_a_whole_one(memory_site: Site) -> None:
    async with memory_site.selector() as selector:
        found = await asyncio.gather(*(handed_out(selector) for _ in range(3)))
        assert all(not read(each, site=site_of(memory_site.config.secret)).damage for each in found)
