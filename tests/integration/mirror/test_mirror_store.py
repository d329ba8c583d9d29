"""The database: a change and its events together, or neither, in memory as on the disk."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

from events.codec import decode
from events.names import ChannelName, Digest, FilePath, MirrorName, held_path
from events.schemas import (
    Availability,
    AvailabilityChanged,
    ChannelFollowed,
    FilePublished,
    FileWithdrawn,
    InventoryAnnounced,
    LossReason,
    MirrorCameOnline,
    MirrorWentOffline,
    Profile,
)
from mirror.following.announce import Announcer
from mirror.state.database import LayoutError, StoreError
from mirror.state.plan import Catalogue, Journal
from mirror.state.store import Store
from mirror.state.traces import Said
from mirror.state.upkeep import Care

EventT = TypeVar("EventT")
ISO = ChannelName("iso")
ANA = MirrorName("ana")
ONLINE = MirrorCameOnline(mirror=ANA, profile=Profile(url="http://ana.example", slots=1))
OPEN = AvailabilityChanged(mirror=ANA, availability=Availability.OPEN)


def published(sequence: int) -> FilePublished:
    return FilePublished(
        channel=ISO,
        channel_sequence=sequence,
        path=FilePath(f"file-{sequence}"),
        generation=1,
        size_bytes=1,
        sha256=Digest(hashlib.sha256(str(sequence).encode()).digest()),
        media_type="a/b",
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.opened(tmp_path / "state.db", ANA, time.time_ns) as opened:
        await opened.fold(lambda catalogue, journal: catalogue.follow(ISO, journal))
        yield opened


async def tell(store: Store, *sequences: int) -> None:
    def change(catalogue: Catalogue, journal: Journal) -> None:
        for sequence in sequences:
            catalogue.apply(published(sequence), journal)

    await store.fold(change)


async def said(store: Store) -> list[tuple[int, str]]:
    envelopes = [decode(row.message.body) for row in await store.database.pending(1000)]
    return [(envelope.sequence, type(envelope.event).__name__) for envelope in envelopes]


class DiskFull:
    """While it lasts, the database takes nothing."""

    def __init__(self) -> None:
        self.lasts = False

    def __call__(self, *_: object) -> None:
        if self.lasts:
            raise OperationalError("COMMIT", {}, sqlite3.OperationalError("database or disk is full"))


@pytest.fixture
async def disk_full() -> AsyncIterator[DiskFull]:
    full = DiskFull()
    sqlalchemy_event.listen(Engine, "commit", full)
    yield full
    sqlalchemy_event.remove(Engine, "commit", full)


@pytest.fixture
async def last_was_read() -> AsyncIterator[asyncio.Event]:
    """Set when somebody has read which the last event of the outbox is."""
    read = asyncio.Event()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "max(outbox.position)" in statement:
            read.set()

    sqlalchemy_event.listen(Engine, "after_cursor_execute", note)
    yield read
    sqlalchemy_event.remove(Engine, "after_cursor_execute", note)


async def test_all_is_there_after_a_restart(store: Store, tmp_path: Path) -> None:
    await tell(store, 1, 2)
    await store.add_replica(published(1).sha256, 1)
    async with Store.opened(tmp_path / "state.db", ANA, time.time_ns) as again:
        assert dict(again.catalogue.positions) == {ISO: 2}
        assert set(again.catalogue.wanted_digests()) == {published(1).sha256, published(2).sha256}
        assert dict(again.replicas) == dict(store.replicas)
        assert (again.database.epoch, again.database.sequence) == (store.database.epoch, store.database.sequence)


async def test_a_failed_commit_changes_nothing(store: Store, disk_full: DiskFull) -> None:
    await tell(store, 1)
    disk_full.lasts = True
    with pytest.raises(StoreError, match="disk is full"):
        await tell(store, 2)
    with pytest.raises(StoreError, match="disk is full"):
        await store.add_replica(published(1).sha256, 1)
    assert (dict(store.catalogue.positions), dict(store.replicas), store.database.sequence) == ({ISO: 1}, {}, 0)
    disk_full.lasts = False
    await tell(store, 2)
    assert await store.add_replica(published(1).sha256, 1)
    assert await said(store) == [(1, "ReplicaReady")]


async def test_a_cancelled_caller_loses_no_commit(store: Store) -> None:
    await tell(store, *range(1, 51))
    tasks = [asyncio.create_task(store.add_replica(published(number).sha256, 1)) for number in range(1, 51)]
    for number, task in enumerate(tasks):
        if number % 2:
            await asyncio.sleep(0)
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await store.say(Said(MirrorWentOffline(mirror=ANA, reason="test")))
    numbers = [sequence for sequence, _ in await said(store)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(store.replicas) == len(numbers) - 1


async def test_the_paths_of_what_was_lost_longest_ago_are_forgotten_and_nothing_that_is_held_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mirror.state.store.FORMER_PATHS_MAX", 3)
    digests = [published(number).sha256 for number in range(1, 8)]
    await tell(store, *range(1, 8))
    for each in digests:
        await store.add_replica(each, 1)
    again = digests[0]
    await store.lose_replicas({again: LossReason.MISSING})
    await store.add_replica(again, 1)
    await store.lose_replicas(dict.fromkeys(digests[1:3], LossReason.MISSING))
    await store.evict(digests[3:])
    await store.fold(lambda catalogue, journal: catalogue.unfollow(ISO, journal))
    expected = [None, None, None, None, *(FilePath(f"file-{number}") for number in (6, 7)), FilePath("file-1")]
    in_order = [*digests[1:], again]
    async with Store.opened(tmp_path / "state.db", ANA, time.time_ns) as restarted:
        for each in (store, restarted):
            assert [each.path_of(sha256, "") for sha256 in in_order] == expected


async def test_a_visitor_is_sent_back_to_where_a_held_file_is_released_to(store: Store, tmp_path: Path) -> None:
    file = published(1)
    held = msgspec.structs.replace(file, path=held_path(file.path))
    await store.fold(lambda catalogue, journal: catalogue.apply(held, journal))
    await store.add_replica(file.sha256, 1)
    assert store.path_of(file.sha256, "") == file.path
    await store.lose_replicas({file.sha256: LossReason.MISSING})
    await store.fold(lambda catalogue, journal: catalogue.unfollow(ISO, journal))
    async with Store.opened(tmp_path / "state.db", ANA, time.time_ns) as restarted:
        assert [each.path_of(file.sha256, "") for each in (store, restarted)] == [file.path, file.path]


async def test_what_nobody_wants_is_not_taken_in(store: Store) -> None:
    assert not await store.add_replica(published(1).sha256, 1)
    assert await said(store) == []


async def test_events_leave_the_outbox_in_order_and_once(store: Store) -> None:
    await tell(store, 1, 2, 3)
    for number in (1, 2, 3):
        await store.add_replica(published(number).sha256, 1)
    first, second = await store.database.pending(2)
    assert first.position < second.position
    await store.database.forget([first.position, second.position])
    assert [sequence for sequence, _ in await said(store)] == [3]


async def test_the_outbox_holds_one_announcement_at_most(store: Store) -> None:
    assert await store.announce(ONLINE) == 0
    assert await store.announce(ONLINE) is None
    online, followed, inventory = await store.database.pending(1000)
    await store.database.forget([online.position, followed.position])
    assert await store.announce(ONLINE) is None, "a page of the first one is still to come"
    await store.database.forget([inventory.position])
    assert await store.announce(ONLINE) == 0
    assert await said(store) == [(4, "MirrorCameOnline"), (5, "ChannelFollowed"), (6, "InventoryAnnounced")]


async def test_an_announcement_that_was_put_off_is_made_once_the_outbox_is_empty(store: Store) -> None:
    announcer = Announcer(ANA, store, profile=lambda: ONLINE.profile, availability=lambda: OPEN, key_epoch=lambda: 1)
    running = asyncio.create_task(announcer.run())
    try:
        await until(store, [1, 2, 3, 4])
        announcer.request()
        await store.say(Said(MirrorWentOffline(mirror=ANA, reason="after the request")))
        await store.database.forget([row.position for row in await store.database.pending(1000)])
        await until(store, [6, 7, 8, 9])
    finally:
        running.cancel()
        await asyncio.wait([running])


async def events(store: Store, kind: type[EventT]) -> list[EventT]:
    said = [decode(row.message.body).event for row in await store.database.pending(1000)]
    return [event for event in said if isinstance(event, kind)]


async def test_an_inventory_is_as_of_its_own_first_page(store: Store) -> None:
    await store.announce(ONLINE, OPEN)
    (inventory,) = await events(store, InventoryAnnounced)
    assert (inventory.as_of, "InventoryAnnounced") in await said(store)


def withdrawal(of: int, sequence: int) -> FileWithdrawn:
    gone = published(of)
    return FileWithdrawn(
        channel=ISO, channel_sequence=sequence, path=gone.path, generation=1, sha256=gone.sha256, reason="test"
    )


async def withdraw(store: Store, of: int, sequence: int) -> None:
    await store.fold(lambda catalogue, journal: catalogue.apply(withdrawal(of, sequence), journal))


async def test_a_withdrawal_is_acknowledged_once_its_content_is_gone(store: Store) -> None:
    await tell(store, 1, 2)
    await withdraw(store, 1, 3)
    await withdraw(store, 2, 4)
    assert await store.acknowledge() == {}
    store.acknowledgements.settle(published(1).sha256)
    assert not store.acknowledgements.due.is_set(), "the other one is still there"
    await store.announce(ONLINE)
    assert await events(store, ChannelFollowed) == [], "no announcement says more"
    store.acknowledgements.settle(published(2).sha256)
    assert await store.acknowledge() == {ISO: 4}
    assert not store.acknowledgements.due.is_set()
    assert await events(store, ChannelFollowed) == [
        ChannelFollowed(mirror=ANA, channel=ISO, channel_sequence=4, epoch=store.catalogue.epoch)
    ]


async def test_a_withdrawal_that_comes_again_is_acknowledged_again(store: Store) -> None:
    await tell(store, 1)
    for _ in range(2):
        await withdraw(store, 1, 2)
        store.acknowledgements.settle(published(1).sha256)
        assert await store.acknowledge() == {ISO: 2}


async def test_a_failed_acknowledgement_is_still_owed(store: Store, disk_full: DiskFull) -> None:
    await tell(store, 1)
    await withdraw(store, 1, 2)
    store.acknowledgements.settle(published(1).sha256)
    disk_full.lasts = True
    with pytest.raises(StoreError):
        await store.acknowledge()
    disk_full.lasts = False
    assert await store.acknowledge() == {ISO: 2}


async def test_nothing_is_owed_to_a_channel_that_is_not_followed_any_more(store: Store) -> None:
    await tell(store, 1)
    await withdraw(store, 1, 2)
    await store.fold(lambda catalogue, journal: catalogue.unfollow(ISO, journal))
    store.acknowledgements.settle(published(1).sha256)
    assert await store.acknowledge() == {}
    assert not store.acknowledgements.due.is_set()


async def test_what_is_known_of_replicas_and_wants_is_there_after_a_restart(store: Store, tmp_path: Path) -> None:
    await tell(store, 1, 2)
    for number in (1, 2):
        await store.add_replica(published(number).sha256, 1)
    store.upkeep.served(published(1).sha256, now_s=5)
    store.upkeep.verified(published(1).sha256, now_s=7)
    await store.save_upkeep()
    await store.evict([published(2).sha256])
    async with Store.opened(tmp_path / "state.db", ANA, time.time_ns) as again:
        assert again.upkeep.care(published(1).sha256) == Care(verified_at_s=7, served_at_s=5)
        assert set(again.wants.evicted) == {published(2).sha256}
        assert again.wants.of(published(2).sha256) == store.wants.of(published(2).sha256)
        assert set(again.replicas) == {published(1).sha256}
        await again.add_replica(published(2).sha256, 1)
        assert set(again.wants.evicted) == set(), "it came back"


async def test_the_wait_for_the_broker_ends_when_it_took_all_over_or_at_its_limit(
    store: Store, last_was_read: asyncio.Event
) -> None:
    assert await store.database.until_taken(10)
    await store.say(Said(MirrorWentOffline(mirror=ANA, reason="x")), Said(MirrorWentOffline(mirror=ANA, reason="y")))
    assert not await store.database.until_taken(0.01)
    last_was_read.clear()
    waiting = asyncio.create_task(store.database.until_taken(10))
    await last_was_read.wait()
    await store.say(Said(MirrorWentOffline(mirror=ANA, reason="later")))
    for row in (await store.database.pending(10))[:2]:
        assert not waiting.done()
        await store.database.forget([row.position])
    assert await waiting


async def test_a_row_that_makes_no_sense_does_not_hold_up_the_others(store: Store, tmp_path: Path) -> None:
    await store.say(Said(MirrorWentOffline(mirror=ANA, reason="x")), Said(MirrorWentOffline(mirror=ANA, reason="y")))
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection, connection:
        connection.execute("UPDATE outbox SET body = x'c1' WHERE position = 1")
    broken, sound = await store.database.pending(1000)
    assert (broken.message.body, decode(sound.message.body).sequence) == (b"\xc1", 2)


async def test_load_reports_are_numbered_higher_after_the_clock_went_back(tmp_path: Path) -> None:
    epochs: list[int] = []
    for clock_s in (1_000, 500, 2_000):
        async with Store.opened(tmp_path / "state.db", ANA, lambda now_s=clock_s: now_s * 1_000_000_000) as store:
            epochs.append(store.database.load_epoch)
    assert epochs == [1_000_000, 1_000_001, 2_000_000]


async def until(store: Store, sequences: list[int]) -> None:
    """Wait until these events, and no others, are in the outbox."""
    async with asyncio.timeout(10):
        while [sequence for sequence, _ in await said(store)] != sequences:  # noqa: ASYNC110 - a table tells nobody
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("layout", [1, 99])
async def test_a_database_of_another_version_is_refused(store: Store, tmp_path: Path, layout: int) -> None:
    del store
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("UPDATE setting SET value = ? WHERE name = 'layout'", (layout,))
    connection.close()
    with pytest.raises(LayoutError, match=f"its layout is {layout} "):
        async with Store.opened(tmp_path / "state.db", ANA, time.time_ns):
            pass


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(StoreError, match="not a database"):
        async with Store.opened(tmp_path / "state.db", ANA, time.time_ns):
            pass
