"""What the store promises, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from msgspec import structs
from sqlalchemy import Connection, text

from events.codec import decode
from events.envelope import Envelope
from events.names import ORIGIN_CHANNEL, ChannelName, Digest, FilePath, MirrorName, Tag
from events.schemas import (
    Access,
    AddressPolicy,
    FilePublished,
    FileWithdrawn,
    Filter,
    GrantsRevoked,
    Location,
    LogOpened,
    Profile,
    WithdrawMode,
)
from master import catalogue
from master.catalogue import NOTHING, Change, Entered, Wish
from master.checksums import NO_CHECKSUMS
from master.hashing import Fingerprint, Source
from master.mirrors import KeyEpochs, Mirror, MirrorState, OpenInvitation
from master.pieces import ONE_PIECE, Pieces
from master.store.catalogue import Channel, Copy
from master.store.engine import open_engine, upgrade
from master.store.store import Store, StoredOutbox, Transaction, open_store
from master.store.tables import Base

ISO = Channel(
    name=ChannelName("iso"),
    filter=Filter(paths_any=("**/*.iso",), size_bytes_min=1),
    description="Images",
    address_policy=AddressPolicy.PREFIX,
)
ANA = Mirror(
    name=MirrorName("ana"),
    profile=Profile(url="http://ana", slots=3, monthly_bytes=None, location=Location(latitude=1.5, longitude=-2.5)),
    state=MirrorState.JOINED,
    token_hash=b"t" * 32,
    joins=1,
    joined_at_ns=1,
    keys=KeyEpochs(2, 3),
)
WISH = Wish(
    path=FilePath("a/ü.iso"),
    size_bytes=3_000_000_000,
    sha256=Digest(b"1" * 32),
    pieces=Pieces(8 << 20, b"p" * 32 * 358),
    media_type="application/x-iso9660-image",
    tags=(Tag("stable"),),
    access=Access(networks=("192.0.2.0/24",)),
    named_channels=(ISO.name,),
)
SOURCE = Source(
    location=Path("/srv/ü.iso"),
    fingerprint=Fingerprint(size_bytes=3_000_000_000, mtime_ns=1_700_000_000_123_456_789, inode=2**63 - 1),
    hashed_at_ns=1_700_000_009_000_000_000,
)


@pytest.fixture
async def store(database_url: str) -> AsyncGenerator[Store]:
    ticks = count(1_000_000_000)
    async with open_store(database_url, clock_ns=lambda: next(ticks)) as store:
        yield store


async def publish(transaction: Transaction, wish: Wish = WISH) -> Change:
    standing = await transaction.catalogue.standing(wish.path)
    filters = await transaction.catalogue.filters()
    change = catalogue.publish(standing, wish, filters, now_ns=transaction.now_ns)
    assert change.standing.file is not None
    await transaction.catalogue.put_files([Copy(change.standing.file, SOURCE)])
    await transaction.journal.record(change.facts)
    return change


async def said(store: Store) -> list[Envelope]:
    return [decode(pending.message.body) for pending in await StoredOutbox(store).pending(10_000)]


async def test_a_published_file_reads_back_as_it_was_written(store: Store) -> None:
    async with store.changing() as transaction:
        await transaction.catalogue.put_channel(ISO)
        change = await publish(transaction)
    async with store.reading() as transaction:
        assert await transaction.catalogue.standing(WISH.path) == change.standing
        assert await transaction.catalogue.source(WISH.path) == SOURCE
        assert await transaction.catalogue.standings() == [change.standing]
        assert await transaction.catalogue.channel(ISO.name) == ISO
        assert await transaction.catalogue.channels_holding(WISH.sha256) == {ORIGIN_CHANNEL, ISO.name}
        assert [copy.source for copy in await transaction.catalogue.copies(WISH.sha256)] == [SOURCE]
        assert await transaction.catalogue.counts() == {ORIGIN_CHANNEL: 1, ISO.name: 1}


async def test_facts_are_numbered_without_a_gap_in_each_channel(store: Store) -> None:
    async with store.changing() as transaction:
        await transaction.catalogue.put_channel(ISO)
        for number in range(3):
            await publish(transaction, replace(WISH, path=FilePath(f"{number}.iso")))
    async with store.changing() as transaction:
        standing = await transaction.catalogue.standing(FilePath("1.iso"))
        await transaction.journal.record(catalogue.withdraw(standing, reason="", mode=WithdrawMode.DRAIN).facts)
        await transaction.catalogue.forget_files([FilePath("1.iso")])
    events = [envelope.event for envelope in await said(store)]
    for channel in (ORIGIN_CHANNEL, ISO.name):
        numbers = [
            event.channel_sequence
            for event in events
            if isinstance(event, FilePublished | FileWithdrawn) and event.channel == channel
        ]
        assert numbers == [1, 2, 3, 4]
    async with store.reading() as transaction:
        assert await transaction.journal.last(ISO.name) == 4
        assert [entry.channel_sequence for entry in await transaction.catalogue.entries(ISO.name)] == [1, 3]
        assert [fact.channel_sequence for fact in await transaction.catalogue.facts(ISO.name)] == [1, 3]


async def test_a_withdrawn_path_keeps_its_generation_alone(store: Store) -> None:
    async with store.changing() as transaction:
        change = await publish(transaction)
        await transaction.journal.record(catalogue.withdraw(change.standing, reason="", mode=WithdrawMode.DRAIN).facts)
        await transaction.catalogue.forget_files([WISH.path])
    async with store.reading() as transaction:
        assert await transaction.catalogue.standing(WISH.path) == replace(NOTHING, last_generation=1)
        assert await transaction.catalogue.source(WISH.path) is None
        assert await transaction.catalogue.standings() == []
        assert await transaction.catalogue.copies(WISH.sha256) == []


async def test_what_fails_leaves_neither_state_nor_events_nor_numbers(store: Store) -> None:
    async def fail() -> None:
        async with store.changing() as transaction:
            await publish(transaction)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with store.changing() as transaction:
        await publish(transaction)
    assert [envelope.sequence for envelope in await said(store)] == [1]


async def test_the_order_of_commits_is_the_order_of_numbers(store: Store) -> None:
    committed: list[int] = []

    async def change(number: int) -> None:
        async with store.changing() as transaction:
            await transaction.journal.say([LogOpened(generation=number + 1)])
            await asyncio.sleep(0)
            committed.append(number)

    await asyncio.gather(*(change(number) for number in range(20)))
    envelopes = await said(store)
    assert [envelope.sequence for envelope in envelopes] == list(range(1, 21))
    assert [envelope.event for envelope in envelopes] == [LogOpened(generation=number + 1) for number in committed]


async def test_two_processes_never_take_the_same_number(database_url: str) -> None:
    async with open_store(database_url) as one, open_store(database_url) as other:

        async def change(store: Store) -> None:
            for number in range(10):
                async with store.changing() as transaction:
                    await transaction.journal.say([LogOpened(generation=number + 1)])

        await asyncio.gather(change(one), change(other))
        assert [envelope.sequence for envelope in await said(one)] == list(range(1, 21))


async def test_many_events_are_said_in_their_order(store: Store) -> None:
    async with store.changing() as transaction:
        await transaction.journal.say(LogOpened(generation=number + 1) for number in range(6000))
    events = [envelope.event for envelope in await said(store)]
    assert events == [LogOpened(generation=number + 1) for number in range(6000)]


async def test_the_outbox_forgets_what_was_published_and_keeps_the_rest(store: Store) -> None:
    outbox = StoredOutbox(store)
    async with store.changing() as transaction:
        await transaction.journal.say(LogOpened(generation=number + 1) for number in range(5))
    await outbox.forget([1, 2, 4])
    assert [pending.position for pending in await outbox.pending(10)] == [3, 5]
    assert [pending.position for pending in await outbox.pending(1)] == [3]


async def test_numbering_goes_on_after_a_restart_under_the_same_epoch(database_url: str) -> None:
    versions: list[tuple[int, int]] = []
    for clock_s in (1, 2):
        async with open_store(database_url, clock_ns=lambda now_s=clock_s: now_s * 1_000_000_000) as store:
            async with store.changing() as transaction:
                await transaction.journal.say([LogOpened(generation=1)])
            versions = [envelope.version for envelope in await said(store)]
    assert versions == [(1000, 1), (1000, 2)]


async def test_a_channel_that_comes_back_counts_on(store: Store) -> None:
    async with store.changing() as transaction:
        await transaction.catalogue.put_channel(ISO)
        change = await publish(transaction)
        await transaction.journal.record(catalogue.close_channel(change.standing, ISO.name).facts)
        await transaction.catalogue.remove_channel(ISO.name)
    async with store.changing() as transaction:
        assert await transaction.catalogue.channel(ISO.name) is None
        await transaction.catalogue.put_channel(ISO)
        standing = await transaction.catalogue.standing(WISH.path)
        await transaction.journal.record(catalogue.refilter(standing, await transaction.catalogue.filters()).facts)
        assert await transaction.journal.last(ISO.name) == 3
        assert set(await transaction.journal.numbered_channels()) == {ORIGIN_CHANNEL, ISO.name}


async def test_a_mirror_reads_back_as_it_was_written(store: Store) -> None:
    left = replace(ANA, state=MirrorState.LEFT, name=MirrorName("bob"), token_hash=b"b" * 32)
    async with store.changing() as transaction:
        await transaction.fleet.put_mirror(ANA)
        await transaction.fleet.put_mirror(left)
        await transaction.fleet.subscribe(ANA.name, ISO.name)
        await transaction.fleet.subscribe(ANA.name, ISO.name)
    async with store.reading() as transaction:
        assert await transaction.fleet.mirror(ANA.name) == ANA
        assert await transaction.fleet.mirrors() == [ANA]
        assert await transaction.fleet.mirrors(MirrorState.LEFT) == [left]
        assert await transaction.fleet.mirror_by_token(ANA.token_hash) == ANA
        assert await transaction.fleet.mirror_by_token(left.token_hash) is None
        assert await transaction.fleet.subscriptions(ANA.name) == (ISO.name,)
        assert await transaction.fleet.subscribers(ISO.name) == (ANA.name,)
    async with store.changing() as transaction:
        await transaction.fleet.unsubscribe(ANA.name, ISO.name)
        assert await transaction.fleet.subscriptions(ANA.name) == ()


async def test_a_new_invitation_replaces_the_last(store: Store) -> None:
    first = OpenInvitation(mirror=ANA.name, secret_hash=b"1" * 32, channels=(), expires_at_ns=1, used=True)
    second = replace(first, secret_hash=b"2" * 32, channels=(ISO.name,), used=False)
    async with store.changing() as transaction:
        await transaction.fleet.put_invitation(first)
        await transaction.fleet.put_invitation(second)
    async with store.reading() as transaction:
        assert await transaction.fleet.invitation(ANA.name) == second


async def test_revocations_are_kept_until_the_last_grant_has_ended(database_url: str) -> None:
    now_s = 1_000_000
    lasting = GrantsRevoked(revocation=1, start_by_s_max=now_s, until_s=now_s + 100, reason="why", grant_id=b"g" * 16)
    whole = {"mirror": ANA.name, "sha256": WISH.sha256, "network": "192.0.2.0/24"}
    short = structs.replace(lasting, revocation=2, until_s=now_s + 1, **whole)
    async with open_store(database_url, clock_ns=lambda: now_s * 1_000_000_000) as store:
        async with store.changing() as transaction:
            await transaction.revocations.add(lasting)
            await transaction.revocations.add(short)
            assert await transaction.revocations.holding() == [lasting, short]
        now_s += 2
        async with store.changing() as transaction:
            assert await transaction.revocations.holding() == [lasting]
            await transaction.revocations.add(structs.replace(short, revocation=3, until_s=now_s))
        now_s -= 2
        async with store.reading() as transaction:
            assert [each.revocation for each in await transaction.revocations.holding()] == [1, 3], "2 is forgotten"


async def test_the_largest_file_that_ever_stood_is_remembered(store: Store) -> None:
    async with store.changing() as transaction:
        assert await transaction.catalogue.largest_bytes() == 0
        await publish(transaction)
    async with store.changing() as transaction:
        change = await publish(transaction, replace(WISH, sha256=Digest(b"2" * 32), size_bytes=1, pieces=ONE_PIECE))
        await transaction.journal.record(catalogue.withdraw(change.standing, reason="", mode=WithdrawMode.DRAIN).facts)
        await transaction.catalogue.forget_files([WISH.path])
    async with store.reading() as transaction:
        assert await transaction.catalogue.largest_bytes() == WISH.size_bytes
        assert await transaction.catalogue.last_content(WISH.path) == (Digest(b"2" * 32), 1)
        assert await transaction.catalogue.last_content(FilePath("never")) is None


async def test_a_reader_sees_one_moment(store: Store) -> None:
    async with store.reading() as reader:
        assert await reader.journal.last(ORIGIN_CHANNEL) == 0
        async with store.changing() as transaction:
            await publish(transaction)
        assert await reader.catalogue.entries(ORIGIN_CHANNEL) == []


async def test_migrations_lead_to_the_tables_that_the_code_knows(database_url: str) -> None:
    async with open_store(database_url):
        pass
    engine = open_engine(database_url)

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))

    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await engine.dispose()
    assert found == []


async def test_a_file_of_an_older_database_is_said_as_it_was(database_url: str) -> None:
    engine = open_engine(database_url)
    async with engine.begin() as connection:
        await connection.run_sync(lambda each: upgrade(each, "v0002"))
        await connection.execute(
            text(
                "INSERT INTO files (path, generation, size_bytes, sha256, media_type, tags, networks, published_at_ns,"
                " source_path, inode, mtime_ns, hashed_at_ns)"
                " VALUES ('a.iso', 1, 5, :sha256, 'text/plain', '[]', '[]', 1, '/srv/a.iso', 1, 1, 1)"
            ),
            {"sha256": WISH.sha256},
        )
    await engine.dispose()
    async with open_store(database_url) as store:
        async with store.changing() as transaction:
            (standing,) = await transaction.catalogue.standings()
            assert standing.file is not None
            assert (standing.file.pieces, standing.file.checksums) == (ONE_PIECE, NO_CHECKSUMS)
            await transaction.journal.record([Entered(ORIGIN_CHANNEL, standing.file)])
        (envelope,) = await said(store)
    assert isinstance(envelope.event, FilePublished)
