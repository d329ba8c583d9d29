"""Whether a content fits on the disk and within what the operator lends, and what goes so that it does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from events.names import Digest
from events.schemas import LossReason, ReplicaLost
from mirror.content.objects import DiskFullError
from mirror.content.parts import Part
from mirror.content.piecemap import PieceLayout
from mirror.keeping import room as room_module
from mirror.keeping.eviction import Marks
from mirror.keeping.room import DISK_FREE_BYTES_MIN, NoRoomYetError, Room
from mirror.state.plan import Entry

if TYPE_CHECKING:
    from conftest import Ground

KB = 4096  # a block, so that what a file takes is its size


@pytest.fixture(autouse=True)
def no_broker_in_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "LOSS_HEARD_S", 0.0)


def content(name: str, size_bytes: int) -> bytes:
    return (name.encode() * size_bytes)[:size_bytes]


def room(ground: Ground, disk_kb: int | None = None, *, served: set[Digest] | None = None) -> Room:
    marks = None if disk_kb is None else Marks.of(disk_kb * KB, high=0.95, low=0.85)
    return Room(ground.store, ground.disk, ground.quarantine, ground.executor, marks=marks, served=lambda: served or ())


async def hold(ground: Ground, name: str, kb: int) -> Entry:
    ground.now_s += 1
    return await ground.hold(name, content(name, kb * KB))


async def tell(ground: Ground, name: str, kb: int) -> Entry:
    ground.now_s += 1
    return await ground.tell(name, content(name, kb * KB))


def begin(ground: Ground, wanted: Entry, *, have_bytes: int = 0) -> None:
    """Leave a part behind, as a fetch that broke off does."""
    part = Part(ground.disk, PieceLayout.of(wanted))
    part.land(0).append([bytes(have_bytes)])
    part.close()


async def test_what_was_set_aside_for_a_fetch_that_broke_off_is_not_asked_for_again(ground: Ground) -> None:
    wanted = await tell(ground, "a", 60)
    begin(ground, wanted, have_bytes=KB)
    ground.disk.free = DISK_FREE_BYTES_MIN + KB
    await room(ground).make(wanted, busy={wanted.sha256: 0})


async def test_a_content_that_does_not_fit_on_the_disk_is_refused_whatever_is_held(ground: Ground) -> None:
    await hold(ground, "held", 100)
    ground.disk.free = DISK_FREE_BYTES_MIN + KB
    wanted = await tell(ground, "a", 60)
    with pytest.raises(DiskFullError, match="245760 bytes to come, 4096 free"):
        await room(ground, 1000).make(wanted, busy={wanted.sha256: 0})
    assert len(ground.store.replicas) == 1, "what others use is not made up for"


async def test_parts_that_nobody_works_on_make_room_before_any_copy_goes(ground: Ground) -> None:
    held, idle, wanted = await hold(ground, "h", 30), await tell(ground, "idle", 30), await tell(ground, "w", 30)
    begin(ground, idle)
    assert not await room(ground, 100).make(wanted, busy={wanted.sha256: 0})
    assert ground.disk.parts() == [idle.sha256]
    assert not await room(ground, 70).make(wanted, busy={wanted.sha256: 0})
    assert ground.disk.parts() == []
    assert set(ground.store.replicas) == {held.sha256}


async def test_damaged_copies_make_room_before_any_sound_one_goes(ground: Ground) -> None:
    damaged, held = await hold(ground, "d", 30), await hold(ground, "h", 30)
    ground.quarantine.put(damaged.sha256)
    await ground.store.lose_replicas({damaged.sha256: LossReason.CORRUPT})
    wanted = await tell(ground, "w", 30)
    await room(ground, 100).make(wanted, busy={wanted.sha256: 0})
    assert ground.quarantine.count() == (1, 30 * KB)
    await room(ground, 70).make(wanted, busy={wanted.sha256: 0})
    assert ground.quarantine.count() == (0, 0)
    assert set(ground.store.replicas) == {held.sha256}


async def test_a_damaged_copy_gives_way_to_its_own_content_as_a_part(ground: Ground) -> None:
    damaged = await hold(ground, "d", 60)
    ground.quarantine.put(damaged.sha256)
    await ground.store.lose_replicas({damaged.sha256: LossReason.CORRUPT})
    await room(ground, 100).make(damaged, busy={damaged.sha256: 0})
    assert ground.quarantine.count() == (0, 0)
    assert ground.disk.parts() == [damaged.sha256]


async def test_nothing_is_removed_in_vain(ground: Ground) -> None:
    held, idle = await hold(ground, "h", 30), await tell(ground, "idle", 6)
    begin(ground, idle)
    wanted = await tell(ground, "w", 200)
    with pytest.raises(DiskFullError, match="allowed"):
        await room(ground, 100).make(wanted, busy={wanted.sha256: 0})
    assert ground.disk.parts() == [idle.sha256]
    assert ground.disk.path(held.sha256).exists()
    assert await ground.said(ReplicaLost) == []


async def test_what_others_work_on_counts_and_stays(ground: Ground) -> None:
    other, wanted = await tell(ground, "other", 50), await tell(ground, "wanted", 50)
    begin(ground, other)
    with pytest.raises(DiskFullError):
        await room(ground, 100).make(wanted, busy={other.sha256: 50 * KB, wanted.sha256: 0})
    assert ground.disk.parts() == [other.sha256]


async def test_the_least_recently_served_copy_goes_and_its_loss_is_said(ground: Ground) -> None:
    first, second = await hold(ground, "first", 40), await hold(ground, "second", 40)
    ground.now_s += 1
    ground.store.upkeep.served(first.sha256, now_s=ground.now_s)
    wanted = await tell(ground, "wanted", 40)
    assert await room(ground, 100).make(wanted, busy={wanted.sha256: 0})
    assert [(lost.sha256, lost.reason) for lost in await ground.said(ReplicaLost)] == [
        (second.sha256, LossReason.EVICTED)
    ]
    assert not ground.disk.path(second.sha256).exists()
    assert ground.disk.path(first.sha256).exists()


async def test_a_copy_that_is_being_served_stays_while_another_can_go(ground: Ground) -> None:
    first, second = await hold(ground, "first", 40), await hold(ground, "second", 40)
    wanted = await tell(ground, "wanted", 40)
    await room(ground, 100, served={first.sha256}).make(wanted, busy={wanted.sha256: 0})
    assert set(ground.store.replicas) == {first.sha256}
    assert set(ground.store.wants.evicted) == {second.sha256}


async def test_the_bytes_go_only_after_the_broker_heard_of_the_loss(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_module, "LOSS_HEARD_S", 60.0)
    held = await hold(ground, "held", 90)
    wanted = await tell(ground, "wanted", 40)
    making = asyncio.create_task(room(ground, 100).make(wanted, busy={wanted.sha256: 0}))
    async with asyncio.timeout(20):
        while not await ground.said(ReplicaLost):  # noqa: ASYNC110 - a table tells nobody
            await asyncio.sleep(0.01)
    assert ground.disk.path(held.sha256).exists()
    assert not making.done()
    await ground.hear()
    assert await making
    assert not ground.disk.path(held.sha256).exists()


async def test_what_had_to_go_comes_back_under_the_low_mark_alone(ground: Ground) -> None:
    gone = await hold(ground, "gone", 40)
    await ground.store.evict([gone.sha256])
    ground.disk.remove(gone.sha256)
    held = await hold(ground, "held", 50)
    assert room(ground, 100).welcome(busy={}) == ()
    with pytest.raises(NoRoomYetError):
        await room(ground, 100).make(gone, busy={gone.sha256: 0})
    assert set(ground.store.replicas) == {held.sha256}, "what comes back displaces nothing"
    assert room(ground, 110).welcome(busy={}) == (gone.sha256,)
    assert room(ground, None).welcome(busy={}) == (gone.sha256,)
    await room(ground, 110).make(gone, busy={gone.sha256: 0})


async def test_who_lends_less_has_it_kept_at_once(ground: Ground) -> None:
    first, second = await hold(ground, "first", 40), await hold(ground, "second", 40)
    await room(ground, 100).keep_within(busy={})
    assert set(ground.store.replicas) == {first.sha256, second.sha256}
    await room(ground, 60).keep_within(busy={})
    assert set(ground.store.replicas) == {second.sha256}
    await room(ground, 0).keep_within(busy={})
    assert not ground.store.replicas
    assert list(ground.disk.listing()) == []
