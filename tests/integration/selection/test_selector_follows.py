"""How a selector keeps its view: through restarts, outages, new logs and messages that nobody can read."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from broker.memory import MemoryBroker
from broker.port import Delivery, Health, Message, PublishTimeoutError
from broker.provision import provision_site
from broker.reading import read_envelope
from broker.topology import log_stream
from events.errors import LanguageError
from events.grants import derive_key, read
from events.names import MirrorName
from events.routing import FILES, FLEET
from events.schemas import DownloadGranted, EventUnreadable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from conftest import Selector, Site

SECRET = b"the site's secret, 32 bytes long"


@asynccontextmanager
async def logged(site: Site, kind: type) -> AsyncGenerator[list[Any]]:
    """Collect the events of one type from the log while the block is entered."""
    found: list[Any] = []

    def fold(delivery: Delivery) -> None:
        try:
            event = read_envelope(delivery, vhost="").event
        except LanguageError:
            return
        if isinstance(event, kind):
            found.append(event)

    following = asyncio.create_task(site.broker.follow(log_stream(1), fold))
    yield found
    following.cancel()
    await asyncio.wait([following])


async def test_mirror_is_told_who_was_sent_to_it(site: Site) -> None:
    file = await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso")
    await site.said.serving("bob")
    async with site.selector() as selector, logged(site, DownloadGranted) as notices:
        await selector.until_chosen("a.iso", "ana")
        answer = await selector.visit("/a.iso", headers={"X-Forwarded-For": "203.0.113.9"})

        async def told() -> bool:
            return bool(notices)

        await selector.until(told)
    notice: DownloadGranted = notices[0]
    token = answer.headers["Location"].split("/")[4]
    ana = MirrorName("ana")
    grant = read(token, mirror=ana, keys={1: derive_key(SECRET, ana, 1)})
    assert notice.grant_id == grant.grant_id
    assert (notice.mirror, notice.address, notice.sha256) == ("ana", "203.0.113.9", file.sha256)
    assert notice.rejected == {"bob": "no_copy"}


async def test_own_grants_count_as_load_until_a_report_counts_them(site: Site) -> None:
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso", slots=2)
    async with site.selector() as selector, logged(site, DownloadGranted) as notices:
        await selector.until_chosen("a.iso", "ana")
        for number in range(2):
            assert await selector.sent_to("/a.iso", f"203.0.113.{number}") == "ana"
        assert await selector.sent_to("/a.iso", "203.0.113.2") == "master"
        assert await selector.reasons("a.iso") == {"ana": "full"}

        async def told() -> bool:
            return len(notices) == 3

        await selector.until(told)
        await site.said.load("ana", slots=2, active=0, seen={site.config.name: 2**62})
        await selector.until_chosen("a.iso", "ana")


async def test_visitor_who_asks_again_and_again_keeps_one_place_at_one_mirror(site: Site) -> None:
    await site.said.published("a.iso")
    for name in ("ana", "bob"):
        await site.said.serving(name, "a.iso", slots=1)
    async with site.selector() as selector, logged(site, DownloadGranted) as notices:

        async def both_free() -> bool:
            return len((await selector.where("a.iso"))["ranked"]) == 2

        await selector.until(both_free)
        sent_to = {await selector.sent_to("/a.iso", "203.0.113.1") for _ in range(10)}
        assert sent_to in ({"ana"}, {"bob"})
        assert {await selector.sent_to("/a.iso", "203.0.113.2")} == {"ana", "bob"} - sent_to
        assert await selector.sent_to("/a.iso", "203.0.113.3") == "master"

        async def told() -> bool:
            return len(notices) >= 3

        await selector.until(told)
    assert [notice.address for notice in notices] == ["203.0.113.1", "203.0.113.2", "203.0.113.3"]


async def test_look_takes_no_place_and_is_not_announced(site: Site) -> None:
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso", slots=1)
    async with site.selector() as selector, logged(site, DownloadGranted) as notices:
        await selector.until_chosen("a.iso", "ana")
        for number in range(5):
            assert await selector.sent_to("/a.iso", f"203.0.113.{number}", method="HEAD") == "ana"
        assert await selector.sent_to("/a.iso", "203.0.113.9") == "ana"

        async def told() -> bool:
            return bool(notices)

        await selector.until(told)
    assert [notice.address for notice in notices] == ["203.0.113.9"]


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
    async with logged(site, EventUnreadable) as reports:
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


async def test_selector_that_has_not_caught_up_says_what_it_awaits_and_sends_nobody_to_a_404(
    memory_site: Site,
) -> None:
    await memory_site.said.published("a.iso")
    await memory_site.admin.delete_queue(log_stream(1))
    async with memory_site.unready_selector() as selector:

        async def told() -> bool:
            answer = await selector.ask("/-/readyz")
            return not answer["ready"] and "there is no log" in str(answer["checks"])

        await selector.until(told)
        assert (await selector.visit("/-/livez")).status == 200
        assert (await selector.visit("/-/readyz")).status == 503
        for page in ("/a.iso", "/-/api/v1/files", "/-/api/v1/mirrors", "/-/api/v1/where?path=a.iso"):
            answer = await selector.visit(page)
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert not selector.ready.done()


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


async def test_notices_that_find_no_room_are_dropped_and_counted(
    memory_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = memory_site.memory
    assert memory is not None
    await memory_site.said.published("a.iso")
    async with memory_site.selector() as selector:
        monkeypatch.setattr("selection.announcer.WAITING_MAX", 2)
        with memory.outage():
            for number in range(5):
                assert await selector.sent_to("/a.iso", f"203.0.113.{number}")
            notices = (await selector.ask("/-/api/v1/status"))["notices"]
    assert notices == {"waiting": 2, "dropped": 3}


async def test_new_generation_of_the_log_is_followed_and_what_is_said_again_holds(site: Site) -> None:
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso")
    async with site.selector() as selector:
        await selector.until_chosen("a.iso", "ana")
        await provision_site(site.admin, 2)
        since = site.said.next_number
        await site.said.log_opened(2)
        await selector.until(lambda: follows(selector, 2))
        assert not (await selector.ask("/-/api/v1/status"))["log"]["caught_up"]
        assert (await selector.visit("/a.iso")).status == 302  # the last view holds until the master has said its own
        await site.admin.delete_queue(log_stream(1))
        await site.said.published("a.iso")
        await site.said.serving("ana", "a.iso")
        await site.said.restated(2, since=since)
        await selector.until(lambda: caught_up(selector))
        await selector.until_chosen("a.iso", "ana")


async def follows(selector: Selector, generation: int) -> bool:
    return (await selector.ask("/-/api/v1/status"))["log"]["generation"] == generation


async def caught_up(selector: Selector) -> bool:
    return (await selector.ask("/-/api/v1/status"))["log"]["caught_up"]


async def answers(selector: Selector, path: str, status: int) -> bool:
    return (await selector.visit(path)).status == status


async def test_withdrawal_that_was_lost_with_its_log_is_learnt_from_the_restatement(memory_site: Site) -> None:
    said = memory_site.said
    await said.published("a.iso")
    await said.published("b.iso")
    async with memory_site.selector() as selector:
        assert (await selector.visit("/a.iso")).status == 302
        await memory_site.admin.delete_queue(log_stream(1))
        said.withdraws_unheard("a.iso")
        await provision_site(memory_site.admin, 2)
        since = said.next_number
        await said.log_opened(2)
        await said.published("b.iso")
        await said.restated(2, since=since)
        await selector.until(lambda: answers(selector, "/a.iso", 404))
        assert (await selector.visit("/b.iso")).status == 302


async def test_selector_is_not_ready_before_a_new_log_tells_the_whole_catalogue(memory_site: Site) -> None:
    said = memory_site.said
    await memory_site.admin.delete_queue(log_stream(1))
    await provision_site(memory_site.admin, 2)
    since = said.next_number
    await said.log_opened(2)
    async with memory_site.unready_selector() as selector:

        async def awaits_the_master() -> bool:
            return "awaiting the master" in str(await selector.ask("/-/readyz"))

        await selector.until(awaits_the_master)
        await said.published("a.iso")
        assert not selector.ready.done()
        await said.restated(2, since=since)
        await selector.ready
        assert (await selector.visit("/a.iso")).status == 302


async def test_lost_log_is_looked_for_until_there_is_one_again(memory_site: Site) -> None:
    await memory_site.said.published("a.iso")
    async with memory_site.selector() as selector:
        await memory_site.admin.delete_queue(log_stream(1))

        async def noticed() -> bool:
            health = await selector.ask("/-/readyz")
            return health["ready"] and health["degraded"]

        await selector.until(noticed)
        assert (await selector.visit("/a.iso")).status == 302
        await provision_site(memory_site.admin, 2)
        await memory_site.said.log_opened(2)
        await memory_site.said.published("b.iso")
        await selector.until(lambda: answers(selector, "/b.iso", 302))
        assert (await selector.visit("/a.iso")).status == 302
