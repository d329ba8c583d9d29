"""What the master makes of what mirrors say of themselves, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from events.envelope import MASTER_SOURCE, Envelope, mirror_source
from events.names import ORIGIN, ChannelName, Digest, FilePath, MirrorName
from events.schemas import (
    ChannelFollowed,
    Event,
    InventoryAnnounced,
    LossReason,
    MirrorCameOnline,
    MirrorLeft,
    MirrorWentOffline,
    Profile,
    ReplicaLost,
    ReplicaReady,
    SourceBanned,
    SourceFault,
)
from master.errors import StoreError
from master.heard import Announced, Ban, Heard, LogPosition
from master.mirrors import Mirror, MirrorState
from master.store import heard as heard_tables
from master.store.store import Store, open_store

ANA, BOB = MirrorName("ana"), MirrorName("bob")
ISO = ChannelName("iso")
ONE, TWO, THREE = (Digest(bytes([number]) * 32) for number in (1, 2, 3))
PATH = FilePath("a.iso")
EPOCH = 1000  # the master's, in milliseconds of its clock
PROFILE = Profile(url="http://ana.example", slots=3)


@pytest.fixture
async def store(database_url: str) -> AsyncGenerator[Store]:
    async with open_store(database_url, clock_ns=lambda: EPOCH * 1_000_000) as store:
        async with store.changing() as transaction:
            await transaction.journal.open_channel(ISO)
            for name in (ANA, BOB):
                await transaction.fleet.put_mirror(
                    Mirror(
                        name=name,
                        profile=PROFILE,
                        state=MirrorState.JOINED,
                        token_hash=name.encode(),
                        joins=1,
                        joined_at_ns=0,
                    )
                )
        yield store


def said(event: Event, sequence: int, *, mirror: MirrorName = ANA, epoch: int = 1) -> Envelope:
    source = MASTER_SOURCE if isinstance(event, MirrorLeft) else mirror_source(mirror)
    return Envelope(source=source, epoch=epoch, sequence=sequence, time_ns=0, traceparent="", event=event)


def ready(sequence: int, sha256: Digest = ONE, *, mirror: MirrorName = ANA, epoch: int = 1) -> Envelope:
    event = ReplicaReady(mirror=mirror, sha256=sha256, size_bytes=1, path=PATH, generation=1)
    return said(event, sequence, mirror=mirror, epoch=epoch)


def lost(sequence: int, sha256: Digest = ONE) -> Envelope:
    return said(ReplicaLost(mirror=ANA, sha256=sha256, path=PATH, reason=LossReason.EVICTED), sequence)


def page(as_of: int, *sha256s: Digest, page: int = 1, pages: int = 1) -> Envelope:
    event = InventoryAnnounced(mirror=ANA, as_of=as_of, page=page, pages=pages, sha256s=sha256s)
    return said(event, as_of + page)


def online(sequence: int, *, key_epoch: int = 1, epoch: int = 1) -> Envelope:
    return said(MirrorCameOnline(mirror=ANA, profile=PROFILE, key_epoch=key_epoch), sequence, epoch=epoch)


def followed(sequence: int, channel_sequence: int, *, master_epoch: int = EPOCH) -> Envelope:
    event = ChannelFollowed(mirror=ANA, channel=ISO, channel_sequence=channel_sequence, epoch=master_epoch)
    return said(event, sequence)


async def fold(store: Store, *envelopes: Envelope, offset: int = 0) -> Heard:
    async with store.changing() as transaction:
        return await transaction.heard.fold(envelopes, LogPosition(1, offset))


async def fold_and_fail(store: Store, *envelopes: Envelope, offset: int) -> None:
    async with store.changing() as transaction:
        await transaction.heard.fold(envelopes, LogPosition(1, offset))
        raise OSError


async def holders(store: Store, sha256: Digest = ONE) -> list[MirrorName]:
    async with store.reading() as transaction:
        return list(await transaction.heard.holders(sha256))


async def test_a_replica_counts_until_it_is_lost(store: Store) -> None:
    assert (await fold(store, ready(1), ready(1, mirror=BOB))).replicas == {(ANA, ONE): True, (BOB, ONE): True}
    assert await holders(store) == [ANA, BOB]
    assert (await fold(store, lost(2))).replicas == {(ANA, ONE): False}
    assert await holders(store) == [BOB]


async def test_a_late_older_word_does_not_undo_a_newer_one(store: Store) -> None:
    await fold(store, lost(5), ready(4))
    await fold(store, ready(3))
    assert await holders(store) == []
    await fold(store, ready(6))
    assert await holders(store) == [ANA]


async def test_an_inventory_replaces_what_was_said_before_it_and_nothing_after(store: Store) -> None:
    await fold(store, ready(1, ONE), ready(12, THREE))
    heard = await fold(store, page(10, TWO))
    assert heard.replaced == {ANA}
    assert [await holders(store, each) for each in (ONE, TWO, THREE)] == [[], [ANA], [ANA]]
    await fold(store, ready(9, ONE))
    assert await holders(store, ONE) == []


async def test_an_inventory_of_several_pages_takes_nothing_away_until_it_is_whole(store: Store) -> None:
    await fold(store, ready(1, THREE))
    assert (await fold(store, page(10, TWO, page=2, pages=2))).replaced == frozenset()
    assert await holders(store, THREE) == [ANA]
    assert (await fold(store, page(10, ONE, page=1, pages=2))).replaced == {ANA}
    assert [await holders(store, each) for each in (ONE, TWO, THREE)] == [[ANA], [ANA], []]


async def test_a_loss_told_between_the_pages_of_an_inventory_holds(store: Store) -> None:
    await fold(store, lost(15, ONE), page(10, ONE, TWO))
    assert [await holders(store, each) for each in (ONE, TWO)] == [[], [ANA]]


async def test_a_mirror_that_lost_its_numbers_begins_with_nothing(store: Store) -> None:
    await fold(store, online(1), ready(50))
    heard = await fold(store, online(1, epoch=2, key_epoch=3), ready(60, epoch=1))
    assert heard.replaced == {ANA}
    assert await holders(store) == []
    assert heard.announced == (Announced(mirror=ANA, online=True, profile=PROFILE, key_epoch=3),)


async def test_the_last_word_on_presence_counts(store: Store) -> None:
    await fold(store, said(MirrorWentOffline(mirror=ANA, reason="stopped"), 4), online(3))
    async with store.reading() as transaction:
        (announced,) = await transaction.heard.announced()
    assert (announced.online, announced.profile) == (False, None)
    await fold(store, online(5, key_epoch=2))
    async with store.reading() as transaction:
        assert await transaction.heard.announced() == [Announced(mirror=ANA, online=True, profile=PROFILE, key_epoch=2)]


async def test_a_mirror_that_left_is_forgotten(store: Store) -> None:
    heard = await fold(store, online(1), ready(2), said(MirrorLeft(mirror=ANA, reason=""), 9))
    assert (heard.left, heard.announced) == ({ANA}, ())
    assert await holders(store) == []
    async with store.reading() as transaction:
        assert await transaction.heard.announced() == []


async def test_copies_are_counted_by_mirror(store: Store) -> None:
    await fold(store, ready(1, ONE), ready(2, TWO), lost(3, ONE), ready(1, ONE, mirror=BOB))
    async with store.reading() as transaction:
        assert await transaction.heard.copies() == {ANA: 1, BOB: 1}


async def test_a_mirror_is_as_far_in_a_channel_as_it_last_said(store: Store) -> None:
    await fold(store, followed(2, 5), followed(1, 4))
    async with store.reading() as transaction:
        assert await transaction.heard.followed(ISO) == {ANA: 5}
        assert await transaction.heard.followed(ChannelName("other")) == {}


async def test_a_position_in_another_numbering_than_the_masters_says_nothing(store: Store) -> None:
    await fold(store, followed(1, 7), followed(2, 9000, master_epoch=EPOCH - 1))
    async with store.reading() as transaction:
        assert await transaction.heard.followed(ISO) == {ANA: 7}


async def test_only_wrong_bytes_are_held_against_a_source(store: Store) -> None:
    def banned(source: MirrorName, fault: SourceFault) -> SourceBanned:
        return SourceBanned(mirror=ANA, source=source, sha256=ONE, fault=fault)

    other = MirrorName("cat")
    heard = await fold(
        store, said(banned(BOB, SourceFault.WRONG_BYTES), 1), said(banned(other, SourceFault.TOO_SLOW), 2)
    )
    async with store.reading() as transaction:
        assert list(heard.bans) == list(await transaction.heard.bans(ONE)) == [Ban(ONE, BOB, ANA)]


async def test_positions_in_channels_that_never_were_are_not_kept(store: Store) -> None:
    invented = ChannelName("invented")
    event = ChannelFollowed(mirror=ANA, channel=invented, channel_sequence=1, epoch=EPOCH)
    await fold(store, said(event, 1), followed(2, 3))
    async with store.reading() as transaction:
        assert [await transaction.heard.followed(channel) for channel in (invented, ISO)] == [{}, {ANA: 3}]


async def test_a_mirror_accuses_only_who_can_be_a_source_and_not_without_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heard_tables, "BANS_MAX", 2)
    accused = [(MirrorName("nobody"), ONE), (BOB, ONE), (BOB, ONE), (ORIGIN, ONE), (BOB, TWO)]
    for sequence, (source, sha256) in enumerate(accused, start=1):
        event = SourceBanned(mirror=ANA, source=source, sha256=sha256, fault=SourceFault.WRONG_BYTES)
        await fold(store, said(event, sequence))
    async with store.reading() as transaction:
        bans = {*await transaction.heard.bans(ONE), *await transaction.heard.bans(TWO)}
    assert bans == {Ban(ONE, BOB, ANA), Ban(ONE, ORIGIN, ANA)}


async def test_of_an_inventory_that_changes_its_length_only_the_last_pages_are_kept(store: Store) -> None:
    await fold(store, ready(1, THREE), page(10, ONE, page=1, pages=2), page(10, TWO, page=1, pages=3))
    await fold(store, page(10, ONE, page=2, pages=2))
    assert await holders(store, THREE) == [ANA]
    await fold(store, page(10, TWO, page=1, pages=2))
    assert await holders(store, THREE) == []  # it is complete, and lacks that


async def test_the_position_is_kept_with_the_rows_or_not_at_all(store: Store) -> None:
    async with store.reading() as transaction:
        assert await transaction.heard.position() is None
    await fold(store, ready(1), offset=17)
    with pytest.raises(StoreError):
        await fold_and_fail(store, lost(2), offset=18)
    async with store.reading() as transaction:
        assert await transaction.heard.position() == LogPosition(1, 17)
    assert await holders(store) == [ANA]


async def test_a_mirror_that_claims_more_than_anybody_holds_is_not_believed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heard_tables, "REPLICAS_MAX", 2)
    await fold(store, ready(1, ONE), ready(2, TWO))
    await fold(store, ready(3, THREE))
    assert await holders(store, THREE) == []
    await fold(store, page(10, THREE), ready(20, ONE))
    assert await holders(store, THREE) == []  # the page came while two rows stood
    await fold(store, page(30, THREE))
    assert await holders(store, THREE) == [ANA]
