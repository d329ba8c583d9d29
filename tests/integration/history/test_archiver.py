"""The archiver over the in-memory broker, on SQLite and PostgreSQL alike: each entry once, byte for byte, for ever."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from msgspec.structs import replace
from sqlalchemy import Connection, select

from broker.memory import MemoryAdmin
from broker.provision import retire_generation
from broker.topology import log_stream
from events.routing import FILES, FLEET
from events.schemas import LogOpened
from events.schemas.fields import NS_PER_S
from history.archive import archiver as archiver_module
from history.archive.gap import GapKind
from history.archive.standing import Standing
from history.archive.store import tables
from history.archive.store.database import OvertakenError
from history.entry import Position

if TYPE_CHECKING:
    from conftest import Desk


async def test_every_entry_is_archived_byte_for_byte_in_its_place(desk: Desk) -> None:
    await desk.scribe.open_log()
    await desk.scribe.fill(250)
    await desk.scribe.put(FILES, "file.iso.published", "no:1:1", "file.published/1", b"\xc1 no event")
    await desk.scribe.put(FLEET, "mirror.ana.ready", "zero\x00byte\\0", "teapot\x00boiled", b"\x00")
    async with desk.archiving() as archiver:
        await desk.until(lambda: archiver.standing.number == 253)
        await desk.scribe.fill(3)
        await desk.until(lambda: archiver.standing.number == 256)
    assert await desk.archived() == desk.scribe.entries()
    assert await desk.database.gaps() == []


async def test_the_archiver_goes_on_where_it_was(desk: Desk) -> None:
    await desk.scribe.open_log()
    for _ in range(3):
        await desk.scribe.fill(10)
        async with desk.archiving() as archiver:
            await desk.until(lambda: archiver.standing.offset == desk.scribe.entries()[-1].offset)
    assert await desk.archived() == desk.scribe.entries()


async def test_columns_tell_what_a_sound_event_says_and_nothing_of_another(desk: Desk) -> None:
    await desk.scribe.open_log()
    await desk.scribe.put(FILES, "log.opened", "master:1:9", "log.opened/1", b"\xc1")
    async with desk.archiving() as archiver:
        await desk.until(lambda: archiver.standing.number == 2)
    columns = tables.events.c
    wanted = select(columns.verdict, columns.source, columns.sequence, columns.time_ns, columns.log_time_ns)
    async with desk.database.reading() as connection:
        rows = (await connection.execute(wanted.order_by(columns.number))).all()
    assert rows == [
        ("sound", "master", 1, desk.scribe.now_ns, desk.scribe.now_ns),
        ("unreadable", None, None, None, desk.scribe.now_ns),
    ]


async def test_reading_begins_behind_any_place_and_before_any_moment(desk: Desk) -> None:
    await desk.scribe.open_log()
    await desk.scribe.fill(20)
    desk.scribe.now_ns += 3600 * NS_PER_S
    await desk.scribe.fill(20)
    async with desk.archiving() as archiver:
        await desk.until(lambda: archiver.standing.number == 41)
    entries, source = desk.scribe.entries(), desk.source
    extent = await source.extent()
    assert (extent.first, extent.last, extent.entries) == (entries[0].position, entries[-1].position, 41)
    for after in (entries[0], entries[17], entries[-1]):
        async with aclosing(source.batches(after=after.position)) as batches:
            assert [each async for batch in batches for each in batch] == [
                e for e in entries if e.offset > after.offset
            ]
    assert await source.place_before(desk.scribe.now_ns / NS_PER_S) == entries[20].position
    assert await source.place_before(1.0) is None
    async with aclosing(source.batches(after=Position(7, 0))) as batches:
        assert [batch async for batch in batches] == []


async def test_what_retention_cut_off_is_a_recorded_gap_and_the_rest_is_archived(desk: Desk) -> None:
    await desk.scribe.open_log()
    async with desk.archiving() as archiver:
        await desk.until(lambda: archiver.standing.number == 1)
    await desk.scribe.fill(50)
    desk.scribe.stream().cut(30)
    async with desk.archiving() as archiver:
        await desk.until(lambda: archiver.standing.number == 22)
    (gap,) = await desk.database.gaps()
    rest = desk.scribe.entries()
    assert (gap.kind, gap.generation, gap.after_offset, gap.next_offset) == (GapKind.CUT_OFF, 1, 0, rest[0].offset)
    assert (await desk.archived())[1:] == rest


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An archiver that asks again at once."""
    for name in ("AGAIN_AFTER_S", "SETTLE_S", "LOOK_FOR_NEWER_EVERY_S"):
        monkeypatch.setattr(archiver_module, name, 0.01)


@pytest.mark.usefixtures("impatient")
async def test_a_stream_that_was_made_anew_is_archived_beside_what_was_there(desk: Desk) -> None:
    await desk.scribe.open_log()
    await desk.scribe.fill(5)
    async with desk.archiving() as archiver:
        await desk.until(lambda: archiver.standing.number == 6)
    before = desk.scribe.entries()
    await MemoryAdmin(desk.scribe.site).delete_queue(log_stream(1))
    await desk.scribe.open_log()
    await desk.scribe.fill(7)
    async with desk.archiving() as archiver:
        await desk.until(lambda: archiver.standing.number == 14)
    (gap,) = await desk.database.gaps()
    assert (gap.kind, gap.after_offset) == (GapKind.REWRITTEN, before[-1].offset)
    assert await desk.archived() == [*before, *desk.scribe.entries()]


@pytest.mark.usefixtures("impatient")
async def test_what_stands_in_a_stream_that_is_read_again_is_not_archived_again(desk: Desk) -> None:
    await desk.scribe.open_log()
    await desk.scribe.fill(20)
    async with desk.archiving() as archiver:
        await desk.until(lambda: archiver.standing.number == 21)
    standing = await desk.database.standing()
    await desk.database.append([], standing=standing.in_generation(1), before=standing)
    await desk.scribe.fill(2)
    async with desk.archiving() as archiver:
        await desk.until(lambda: archiver.standing.number == 23)
    assert await desk.archived() == desk.scribe.entries()


@pytest.mark.usefixtures("impatient")
async def test_a_generation_is_read_to_its_end_before_the_next_one(desk: Desk) -> None:
    await desk.scribe.open_log()
    async with desk.archiving() as archiver:
        await desk.until(lambda: archiver.standing.number == 1)
        await desk.scribe.fill(30)
        await retire_generation(MemoryAdmin(desk.scribe.site), 1)
        await desk.scribe.open_log(2)
        await desk.scribe.fill(3)
        await desk.until(lambda: archiver.standing.number == 35)
    assert await desk.archived() == [*desk.scribe.entries(1), *desk.scribe.entries(2)]
    assert await desk.database.gaps() == []


@pytest.mark.usefixtures("impatient")
async def test_a_generation_that_is_gone_is_a_recorded_gap_and_the_next_one_is_archived(desk: Desk) -> None:
    await desk.scribe.open_log()
    async with desk.archiving() as archiver:
        await desk.until(lambda: archiver.standing.number == 1)
        await desk.scribe.open_log(3)
        await MemoryAdmin(desk.scribe.site).delete_queue(log_stream(1))
        await desk.until(lambda: archiver.standing.generation == 3 and archiver.standing.offset >= 0)
    (gap,) = await desk.database.gaps()
    assert (gap.kind, gap.generation, gap.next_offset) == (GapKind.LOST, 1, None)
    assert [entry.generation for entry in await desk.archived()][-1] == 3


@pytest.mark.usefixtures("impatient")
async def test_an_archiver_waits_for_a_log_and_for_its_broker(desk: Desk) -> None:
    async with desk.archiving() as archiver:
        await desk.until(lambda: "no log" in archiver.trouble)
        await desk.scribe.open_log()
        await desk.until(lambda: archiver.standing.number == 1)
        assert archiver.trouble == ""
        with desk.scribe.site.outage():
            await asyncio.sleep(0)
        await desk.scribe.fill(1)
        await desk.until(lambda: archiver.standing.number == 2)


async def test_of_two_archivers_one_alone_writes(desk: Desk) -> None:
    await desk.scribe.open_log()
    async with desk.archiving() as one, desk.archiving() as other:
        await desk.until(lambda: max(one.standing.number, other.standing.number) == 1)
        await desk.scribe.fill(40)
        await desk.until(lambda: max(one.standing.number, other.standing.number) == 41)
    assert await desk.archived() == desk.scribe.entries()


async def test_an_archive_that_stands_elsewhere_takes_nothing(desk: Desk) -> None:
    first = Standing(number=0, generation=1)
    await desk.database.append([], standing=first, before=Standing())
    with pytest.raises(OvertakenError):
        await desk.database.append([], standing=first, before=Standing())
    with pytest.raises(OvertakenError):
        await desk.database.append([], standing=Standing(generation=3), before=Standing(generation=2))
    assert await desk.database.standing() == first


@pytest.mark.usefixtures("impatient")
async def test_a_log_that_is_faster_than_the_database_is_archived_whole(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiver_module, "WAITING_MAX", 3)
    await desk.scribe.open_log()
    async with desk.archiving() as archiver:
        await desk.until(archiver.reading.is_set)
        await desk.scribe.fill(100)
        await desk.until(lambda: archiver.standing.number == 101)
    assert await desk.archived() == desk.scribe.entries()


@pytest.mark.usefixtures("impatient")
async def test_an_archiver_that_hears_nothing_proves_that_there_is_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiver_module, "PROVE_AGAIN_AFTER_S", 0.01)
    await desk.scribe.open_log()
    async with desk.archiving() as archiver:
        await desk.until(lambda: archiver.standing.number == 1)
        desk.scribe.now_ns += 10 * NS_PER_S
        now_s = desk.scribe.now_ns / NS_PER_S
        await desk.until(lambda: archiver.abreast_s == now_s)


async def test_the_steps_lead_to_the_tables(desk: Desk) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"version_table": "archive_version"})
        return list(compare_metadata(context, tables.metadata))

    async with desk.database.reading() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_clock_that_is_ahead_of_the_archivers_does_not_hold_up_the_logs_time(desk: Desk) -> None:
    await desk.scribe.open_log()
    ahead = desk.scribe.enveloped(LogOpened(generation=1))
    await desk.scribe.publish(replace(ahead, time_ns=desk.scribe.now_ns + 10**18))
    async with desk.archiving() as archiver:
        await desk.until(lambda: archiver.standing.number == 2)
        assert archiver.standing.log_time_ns == desk.scribe.now_ns
