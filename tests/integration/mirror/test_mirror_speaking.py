"""What a mirror says and hears: announcements, load, subscriptions, and what it cannot use."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp
import pytest
from msgspec import structs

from broker.memory import MemoryAdmin, MemoryBroker
from broker.port import AccessRefusedError, Broker
from broker.topology import mirror_queue, mirror_topology
from events.codec import encode
from events.envelope import Envelope, mirror_source
from events.names import ChannelName, MirrorName
from events.schemas import (
    CatalogueRestated,
    EventUnreadable,
    InventoryAnnounced,
    LoadReported,
    LogOpened,
    LossReason,
    MirrorCameOnline,
    MirrorLeft,
    MirrorWentOffline,
    ReplicaLost,
    ReplicaReady,
    SubscriptionGranted,
    SubscriptionRevoked,
)
from mirror.app import ConfigError
from mirror.content.objects import StoreLockedError
from mirror.following import link
from mirror.state import store

if TYPE_CHECKING:
    from conftest import Log, Stage

ISO, DOCS = ChannelName("iso"), ChannelName("docs")
ANA = MirrorName("ana")


def inventory(log: Log, as_of: int) -> set[bytes]:
    """Give what one complete inventory lists."""
    pages = {page.page: page for page in log.of(InventoryAnnounced) if page.as_of == as_of}
    assert len(pages) == next(iter(pages.values())).pages
    return {sha256 for page in pages.values() for sha256 in page.sha256s}


async def test_a_mirror_announces_itself_then_all_that_it_holds(stage: Stage) -> None:
    async with stage.running() as url:
        await stage.log.until(InventoryAnnounced)
        (online,) = stage.log.of(MirrorCameOnline)
        assert (online.profile.url, online.profile.slots) == (url, 20)
        held = {(await stage.publish_ready(name, name.encode())).sha256 for name in "abc"}
    async with stage.running():
        await stage.log.until(MirrorCameOnline, 2)
        *_, last = await stage.log.until(InventoryAnnounced, 2)
        assert inventory(stage.log, last.as_of) == held


async def test_an_inventory_is_newer_than_its_announcement_and_older_than_what_comes_later(stage: Stage) -> None:
    async with stage.running():
        await stage.publish_ready("a", b"a")
    versions = {type(envelope.event): envelope.sequence for envelope in stage.log.envelopes}
    (page,) = stage.log.of(InventoryAnnounced)
    assert versions[MirrorCameOnline] < page.as_of < versions[ReplicaReady]


async def test_a_large_inventory_comes_in_pages(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "INVENTORY_PAGE_MAX", 2)
    async with stage.running():
        held = {(await stage.publish_ready(name, name.encode())).sha256 for name in "abcde"}
        await stage.say(CatalogueRestated(generation=2, since=1))
        *_, last = await stage.log.until(InventoryAnnounced, 1 + 3)
        assert (last.pages, inventory(stage.log, last.as_of)) == (3, held)


async def test_an_orderly_stop_is_said(stage: Stage) -> None:
    async with stage.running():
        await stage.log.until(InventoryAnnounced)
    (offline,) = await stage.log.until(MirrorWentOffline)
    assert offline.mirror == ANA


async def test_events_are_numbered_without_a_gap_over_restarts(stage: Stage) -> None:
    for name in "ab":
        async with stage.running():
            await stage.publish_ready(name, name.encode())
    await stage.log.until(MirrorWentOffline, 2)
    own = [envelope for envelope in stage.log.envelopes if envelope.source == mirror_source(ANA)]
    assert [envelope.sequence for envelope in own] == list(range(1, len(own) + 1))
    assert len({envelope.epoch for envelope in own}) == 1


async def test_after_an_outage_of_the_broker_the_mirror_announces_itself_again(stage: Stage) -> None:
    async with stage.running():
        await stage.publish_ready("a", b"a")
        asked = stage.master.asked.count("/-/api/v1/mirrors/self/queue")
        with stage.site.outage():
            event = stage.master.publish("b", b"b")
        await stage.log.until(InventoryAnnounced, 2)
        await stage.say(event)
        await stage.log.until(ReplicaReady, 2)
        await stage.until(lambda: stage.master.asked.count("/-/api/v1/mirrors/self/queue") > asked)


async def test_what_was_withdrawn_unheard_is_gone_once_the_catalogue_is_restated(stage: Stage) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", b"a")
        stage.master.withdraw("a")
        await stage.say(CatalogueRestated(generation=2, since=1))
        (lost,) = await stage.log.until(ReplicaLost)
        assert (lost.sha256, lost.reason) == (event.sha256, LossReason.WITHDRAWN)


async def test_a_subscription_that_ended_unheard_is_given_up_once_the_catalogue_is_restated(stage: Stage) -> None:
    async with stage.running():
        await stage.log.until(InventoryAnnounced)
        event = stage.master.publish("doc", b"doc", channel=DOCS)
        await stage.say(SubscriptionGranted(mirror=ANA, channel=DOCS))
        await stage.log.until(ReplicaReady)
        del stage.master.files[DOCS]
        await stage.say(CatalogueRestated(generation=2, since=1))
        (lost,) = await stage.log.until(ReplicaLost)
        assert (lost.sha256, lost.reason) == (event.sha256, LossReason.UNSUBSCRIBED)


async def test_the_last_message_of_a_sound_queue_was_dropped_and_is_made_up_for_on_reconnection(stage: Stage) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", b"a")
        stage.master.withdraw("a")
        with stage.site.outage():
            pass
        (lost,) = await stage.log.until(ReplicaLost)
        assert lost.sha256 == event.sha256


async def test_a_master_that_counts_anew_is_heard(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        for name in "abc":
            await stage.publish_ready(name, name.encode())
        stage.master.epoch = 2
        stage.master.files.clear()
        stage.master.sequences.clear()
        event = await stage.publish_ready("d", b"d")
        await stage.log.until(ReplicaLost, 3)
        assert {lost.path for lost in stage.log.of(ReplicaLost)} == {"a", "b", "c"}
        stage.master.epoch = 1
        await stage.say(structs.replace(event, channel_sequence=2, path="late"))
        stage.master.epoch = 2
        await stage.publish_ready("e", b"e")
    async with stage.running():
        await stage.publish_ready("f", b"f")
        assert (await stage.status(http))["channels"] == {"iso": 3}


async def test_a_mirror_serves_while_the_broker_is_away(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", b"content")
    with stage.site.outage():
        async with stage.running(), http.get(stage.link(stage.grant(event))) as response:
            assert await response.read() == b"content"
            async with http.get(f"{stage.url}/-/readyz") as ready:
                assert (ready.status, (await ready.json())["degraded"]) == (200, True)


async def test_a_mirror_starts_while_the_master_is_away_and_catches_up(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    master_url = stage.config.credentials.master_url
    async with stage.running():
        event = await stage.publish_ready("a", b"content")
    missed = stage.master.publish("b", b"missed")
    stage.reconfigure(credentials=replace(stage.config.credentials, master_url="http://127.0.0.1:9"))
    async with stage.running():
        async with http.get(stage.link(stage.grant(event))) as response:
            assert await response.read() == b"content"
        async with http.get(f"{stage.url}/-/readyz") as ready:
            assert ready.status == 200
    stage.reconfigure(credentials=replace(stage.config.credentials, master_url=master_url))
    async with stage.running():
        await stage.log.until_true(lambda: missed.sha256 in {one.sha256 for one in stage.log.of(ReplicaReady)})


async def test_a_queue_that_was_made_anew_leads_to_the_snapshots(stage: Stage) -> None:
    admin = MemoryAdmin(stage.site)

    async def heal() -> bool:
        return await admin.ensure_queue(mirror_topology(ANA, (ISO,)))

    stage.master.heal = heal
    async with stage.running():
        await stage.publish_ready("a", b"a")
        await admin.delete_queue(mirror_queue(ANA))
        missed = await stage.publish("b", b"b")
        with stage.site.outage():
            pass
        await stage.log.until_true(lambda: missed.sha256 in {one.sha256 for one in stage.log.of(ReplicaReady)})
        await stage.publish_ready("c", b"c")


async def test_subscriptions_bring_files_and_take_them_away(stage: Stage) -> None:
    async with stage.running():
        await stage.log.until(InventoryAnnounced)
        event = stage.master.publish("doc", b"doc", channel=DOCS)
        await stage.say(SubscriptionGranted(mirror=ANA, channel=DOCS))
        (ready,) = await stage.log.until(ReplicaReady)
        assert ready.sha256 == event.sha256
        await stage.say(SubscriptionRevoked(mirror=ANA, channel=DOCS))
        (lost,) = await stage.log.until(ReplicaLost)
        assert (lost.sha256, lost.reason) == (event.sha256, LossReason.UNSUBSCRIBED)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\xc1 not msgpack", id="not msgpack"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x91" * 5000, id="nested deeply"),
        pytest.param(bytes(2 << 20), id="two megabytes"),
    ],
)
async def test_what_cannot_be_read_is_reported_once_and_hurts_nobody(stage: Stage, body: bytes) -> None:
    async with stage.running():
        await stage.say_bytes(body)
        (report,) = await stage.log.until(EventUnreadable)
        assert (report.reader, report.exchange, report.routing_key) == ("mirror/ana", "files", "file.iso.published")
        assert report.reason
        await stage.publish_ready("a", b"a")
        assert len(stage.log.of(EventUnreadable)) == 1


async def test_a_forged_event_is_reported_and_not_followed(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        true = await stage.publish_ready("true", b"true")
        forged = structs.replace(true, channel_sequence=2, path="forged")
        envelope = Envelope(source="mirror/bob", epoch=1, sequence=1, time_ns=0, traceparent="", event=forged)
        await stage.say_bytes(encode(envelope))
        (report,) = await stage.log.until(EventUnreadable)
        assert "mirror/bob" in report.reason
        assert (await stage.status(http))["channels"] == {"iso": 1}


async def test_an_event_of_a_newer_version_is_skipped_and_counted(stage: Stage, http: aiohttp.ClientSession) -> None:
    known = Envelope(source="master", epoch=1, sequence=1, time_ns=0, traceparent="", event=LogOpened(generation=1))
    newer = encode(known).replace(b"\xaclog.opened/1", b"\xaclog.opened/9")
    assert newer != encode(known)
    async with stage.running():
        await stage.say_bytes(newer, routing_key="log.opened")
        await stage.publish_ready("a", b"a")
        assert stage.log.of(EventUnreadable) == []
        assert (await stage.status(http))["events"]["unknown"] == {"log.opened/9": 1}


async def test_the_load_is_told_as_heartbeat_and_when_visitors_were_announced(stage: Stage) -> None:
    stage.reconfigure(slots=2, monthly_bytes=1_000_000)
    async with stage.running():
        first, second, *_ = await stage.load.until(LoadReported, 2)
        assert (first.slots, first.active, first.reserved, first.quota_left_bytes) == (2, 0, 0, 1_000_000)
        assert second.grants_seen == {}
        event = await stage.publish_ready("a", b"a")
        await stage.announce(event, bytes(16), bytes(15) + b"1")
        await stage.load.until_true(lambda: stage.load.of(LoadReported)[-1].reserved == 2)
        assert stage.load.of(LoadReported)[-1].grants_seen == {stage.selector: 2}
        numbers = [envelope.sequence for envelope in stage.load.envelopes]
        assert numbers == list(range(1, len(numbers) + 1))


async def test_a_mirror_that_left_serves_nobody_and_falls_silent(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", b"a")
        await stage.say(MirrorLeft(mirror=ANA, reason="removed by the operator"))
        async with asyncio.timeout(10):
            while "removed by the operator" not in (answer := await readiness(stage, http))[1]:
                pass
        assert answer[0] == 503
        async with http.get(stage.link(stage.grant(event)), allow_redirects=False) as response:
            assert response.status == 302
    assert stage.log.of(MirrorWentOffline) == []


async def test_a_mirror_whom_the_broker_refuses_does_not_fill_its_disk(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "RETRY_AFTER_S", 0.01)
    tries = 0

    @asynccontextmanager
    async def refuse() -> AsyncGenerator[Broker]:
        nonlocal tries
        tries += 1
        raise AccessRefusedError("no such user")
        yield

    async with stage.running(connect=refuse):
        await stage.until(lambda: tries > 20)
        said = [tag for tag in outbox_of(stage) if tag != "channel.followed/1"]
        assert said == ["mirror.online/1", "availability.changed/1", "inventory.announced/1"]
        assert len(outbox_of(stage)) <= len(said) + 1, "the channel is followed, which is said once"


async def test_a_mirror_that_comes_back_after_a_refusal_announces_itself_and_looks_what_it_missed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "RETRY_AFTER_S", 0.01)
    broken = asyncio.Event()

    @asynccontextmanager
    async def connect() -> AsyncGenerator[Broker]:
        async with MemoryBroker(stage.site) as broker, asyncio.TaskGroup() as tasks:
            if not broken.is_set():
                tasks.create_task(refuse_once())
            yield broker

    async def refuse_once() -> None:
        await broken.wait()
        raise AccessRefusedError("not now")

    async with stage.running(connect=connect):
        await stage.publish_ready("a", b"a")
        stage.master.withdraw("a")
        broken.set()
        await stage.log.until(ReplicaLost)
        await stage.log.until(MirrorCameOnline, 2)


async def test_a_mirror_that_the_master_knows_no_more_stops_serving_and_asking(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", b"a")
        stage.master.knows_us = False
        with stage.site.outage():
            pass
        async with asyncio.timeout(10):
            while "the master knows this mirror no more" not in (answer := await readiness(stage, http))[1]:
                pass
        assert answer[0] == 503
        member = next(check for check in (await stage.status(http))["checks"] if check["name"] == "member")
        assert (member["ok"], "new invitation" in member["detail"]) == (False, True)
        async with http.get(stage.link(stage.grant(event)), allow_redirects=False) as response:
            assert response.status == 302
        as_member = {"link", "sync", "announcer", "keeper", "load", "relay", "consume"}
        await stage.until(lambda: not as_member & {task.get_name() for task in asyncio.all_tasks()})


def outbox_of(stage: Stage) -> list[str]:
    """Give the types of all events that wait in the mirror's database."""
    with closing(sqlite3.connect(stage.config.data_folder / "state.db")) as connection:
        return [kind for (kind,) in connection.execute("SELECT type FROM outbox ORDER BY position")]


async def test_one_data_folder_belongs_to_one_process(stage: Stage) -> None:
    async with stage.running():
        with pytest.raises(StoreLockedError, match="another mirror uses"):
            async with stage.running():
                pass
    async with stage.running():
        pass


async def test_a_configuration_that_cannot_work_is_refused(stage: Stage) -> None:
    stage.reconfigure(slots=0, fetches_max=0)
    with pytest.raises(ConfigError, match=r"slots.*fetches_max"):
        async with stage.running():
            pass


async def test_what_the_store_holds_is_named_by_its_hash_alone(stage: Stage) -> None:
    async with stage.running():
        await stage.publish_ready("dir/with space/%2e%2e.iso", b"a")
        names = {path.name for path in (stage.config.data_folder / "obj").rglob("*") if path.is_file()}
        assert names == {hashlib.sha256(b"a").hexdigest()}


async def readiness(stage: Stage, http: aiohttp.ClientSession) -> tuple[int, str]:
    async with http.get(f"{stage.url}/-/readyz") as response:
        return response.status, await response.text()
