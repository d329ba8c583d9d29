"""How a selector keeps its view: through restarts, silence, outages, alarms and messages that nobody can read."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from broker.memory import MemoryBroker
from broker.port import Health, Message, PublishTimeoutError
from events.names import SelectorName
from events.routing import FILES, FLEET
from events.schemas import EventUnreadable
from selection.answering.announcer import Announcer
from selection.following.follower import Follower, Known
from selection.policy.reservations import Reservations
from selection.view.fleet import FleetView
from selection.view.statistics import Statistics

if TYPE_CHECKING:
    from conftest import Site


async def test_view_is_rebuilt_after_a_restart(site: Site) -> None:
    for number in range(20):
        await site.said.published(f"{number}.iso")
    await site.said.withdrawn("7.iso")
    for name in ("ana", "bob", "cat"):
        await site.said.serving(name, *(f"{number}.iso" for number in range(20)))
    before = await seen_by_a_selector(site)
    assert len(before["files"]) == 19
    assert before["files"][0]["mirrors"] == ["ana", "bob", "cat"]
    assert await seen_by_a_selector(site) == before


async def seen_by_a_selector(site: Site) -> dict[str, Any]:
    """Start a selector, wait for the load reports and give its view."""
    async with site.selector() as selector:

        async def all_heard() -> bool:
            mirrors = (await selector.ask("/-/api/v1/mirrors"))["mirrors"]
            return [each["state"] for each in mirrors] == ["ready"] * 3

        for name in ("ana", "bob", "cat"):
            await site.said.load(name)
        await selector.until(all_heard)
        mirrors = (await selector.ask("/-/api/v1/mirrors"))["mirrors"]
        for each in mirrors:
            del each["last_report_s"]
        return {"mirrors": mirrors, **await selector.ask("/-/api/v1/files")}


async def test_load_of_just_before_the_start_is_known_at_once(site: Site) -> None:
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso")
    async with site.selector() as selector:
        await selector.until_chosen("a.iso", "ana")  # nobody reports any more


async def test_whoever_keeps_figures_is_told_of_each_load_report(site: Site) -> None:
    heard: asyncio.Queue[float] = asyncio.Queue()

    def hear(now_s: float) -> None:
        heard.put_nowait(now_s)
        raise RuntimeError("a defect is no reason to go deaf")

    follower = Follower(
        site.broker,
        Announcer(site.broker, SelectorName("ears"), clock_ns=time.time_ns),
        known=Known(FleetView(), Statistics(days_kept=1), Reservations()),
        mark=None,
        selector=SelectorName("ears"),
        vhost=site.config.broker.vhost,
        silent_after_s=10.0,
        clock_s=time.time,
        on_load=hear,
    )
    following = asyncio.create_task(follower.run())
    try:
        async with asyncio.timeout(site.deadline_s):
            for name in ("ana", "bob"):
                await site.said.load(name)
                assert await heard.get() <= follower.hearing.now_s
    finally:
        following.cancel()
        await asyncio.wait([following])
    assert heard.empty()


async def test_mirror_falls_silent_when_its_reports_end(site: Site) -> None:
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso")
    async with site.selector(silent_after_s=1.0) as selector:
        await site.said.load("ana")
        await selector.until_chosen("a.iso", "ana")
        await selector.until_chosen("a.iso", None)
        assert await selector.reasons("a.iso") == {"ana": "silent"}
        await site.said.load("ana")
        await selector.until_chosen("a.iso", "ana")


def garbage(site: Site, message_id: str, body: bytes, *, exchange: str = FLEET, key: str = "mirror.ana.ready") -> Any:  # noqa: ANN401 - awaitable
    return site.broker.publish(Message(exchange=exchange, routing_key=key, message_id=message_id, type="x", body=body))


async def test_what_nobody_can_read_is_reported_once_and_stops_nothing(site: Site) -> None:
    unknown = msgspec.msgpack.encode(["master", 1, 999, 0, "", ["file.frozen/9", "x"]])
    forged = msgspec.msgpack.encode(["mirror/bob", 1, 1, 0, "", ["mirror.offline/1", "bob", "forged"]])
    await garbage(site, "broken", b"\xff\x00")
    await garbage(site, "forged", forged)
    await garbage(site, "unknown", unknown, exchange=FILES, key="file.iso.frozen")
    await site.said.published("a.iso")
    async with site.logged(EventUnreadable) as reports:
        async with site.selector() as selector:
            assert (await selector.visit("/a.iso")).status == 302

            async def reported() -> bool:
                return len(reports) == 2

            await selector.until(reported)
            events = (await selector.ask("/-/api/v1/status"))["events"]
            assert (events["unreadable"], events["unknown_types"]) == (2, 1)
        async with site.selector() as restarted:
            await garbage(site, "broken later", b"\xff\x00")

            async def reported_later() -> bool:
                return len(reports) >= 3

            await restarted.until(reported_later)
            assert (await restarted.ask("/-/api/v1/status"))["events"]["unreadable"] == 3
    assert [report.message_id for report in reports] == ["broken", "forged", "broken later"]
    assert "belongs at" in reports[1].reason


async def test_selector_listens_while_the_broker_is_away(memory_site: Site) -> None:
    memory = memory_site.memory
    assert memory is not None
    with memory.outage():
        async with memory_site.unready_selector() as selector:
            answer = await selector.ask("/-/readyz")
            assert not answer["ready"]
            assert "not connected" in str(answer["checks"])


async def test_selector_that_starts_during_an_alarm_says_why_it_is_not_ready(
    memory_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    block(monkeypatch, publishing=False)
    async with memory_site.unready_selector() as selector:

        async def told() -> bool:
            checks = str((await selector.ask("/-/readyz"))["checks"])
            return "awaiting our own announcement" in checks and "alarm" in checks

        await selector.until(told)
        assert (await selector.visit("/a.iso")).status == 503


async def test_alarm_of_the_broker_makes_no_mirror_silent(memory_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await memory_site.said.published("a.iso")
    await memory_site.said.serving("ana", "a.iso")
    async with memory_site.selector(silent_after_s=1.0) as selector:
        await memory_site.said.load("ana")
        await selector.until_chosen("a.iso", "ana")
        await selector.until_chosen("a.iso", None)
        block(monkeypatch)
        await selector.until_chosen("a.iso", "ana")  # the seconds before the alarm was told are taken back


def block(monkeypatch: pytest.MonkeyPatch, *, publishing: bool = True) -> None:
    """Let the broker's alarm go off."""
    told = Health(connected=True, blocked=True, since_s=0.0, reconnects=0, last_error="")
    monkeypatch.setattr(MemoryBroker, "health", told)
    if not publishing:
        monkeypatch.setattr(MemoryBroker, "publish", _blocked)


async def _blocked(_self: object, _message: Message) -> None:
    raise PublishTimeoutError("blocked by the broker's alarm")


async def test_during_an_outage_redirects_go_on_from_the_last_view(memory_site: Site) -> None:
    memory = memory_site.memory
    assert memory is not None
    await memory_site.said.published("a.iso")
    await memory_site.said.serving("ana", "a.iso")
    async with memory_site.selector(silent_after_s=0.6) as selector:
        await memory_site.said.load("ana")
        await selector.until_chosen("a.iso", "ana")
        with memory.outage():

            async def degraded() -> bool:
                return (await selector.ask("/-/readyz"))["degraded"]

            await selector.until(degraded)

            visitors = iter(range(256))

            async def waiting() -> bool:
                assert await selector.sent_to("/a.iso", f"203.0.113.{next(visitors)}")
                return (await selector.ask("/-/api/v1/status"))["notices"]["waiting"] >= 10

            await selector.until(waiting)
            health = await selector.ask("/-/readyz")
            assert health["ready"]
            assert "going on from the last view" in str(health["checks"])
            assert (await selector.ask("/-/api/v1/mirrors"))["mirrors"][0]["state"] != "silent"

        async def recovered() -> bool:
            status = await selector.ask("/-/api/v1/status")
            return status["notices"]["waiting"] == 0 and not (await selector.ask("/-/readyz"))["degraded"]

        await selector.until(recovered)
