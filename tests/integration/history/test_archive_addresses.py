"""Visitors' addresses in the archive: cut after their time, in the bodies, once; sooner by command."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from sqlalchemy import select

from broker.config import BrokerConfig
from broker.retention import DAY_S
from events.codec import decode, encode
from events.examples import EXAMPLES
from events.names import MirrorName
from events.routing import FILES
from events.schemas import EVENT_TYPES, DecisionsRecorded, GrantClaimed, GrantsRevoked
from events.schemas.fields import NS_PER_S
from history.archive.config import ArchiveConfig
from history.archive.row import PERSONAL
from history.archive.store import addresses
from history.archive.store.addresses import count_before, cut_from, cut_old, cut_up_to
from history.archive.store.tables import archive
from history.archive.upkeep import Upkeep
from history.privacy import Addresses, without_addresses
from master.store import engine

if TYPE_CHECKING:
    from conftest import Desk

OLD, YOUNG = "192.0.2.77", "2001:db8:1:2::3"


def claim(address: str) -> GrantClaimed:
    return GrantClaimed(mirror=MirrorName("ana"), grant_id=bytes(16), address=address)


async def tell(desk: Desk) -> int:
    """Let addresses be said on two days, among other things; give the moment between."""
    await desk.scribe.open_log()
    await desk.scribe.say(claim(OLD))
    await desk.scribe.put(FILES, "file.iso.published", "no:1:1", "file.published/1", b"\xc1 192.0.2.77")
    desk.scribe.now_ns += 2 * DAY_S * NS_PER_S
    await desk.scribe.fill(1)
    await desk.scribe.say(claim(YOUNG))
    await desk.archive_all()
    return desk.scribe.now_ns


async def said(desk: Desk) -> list[str]:
    """Give the addresses that the archive holds."""
    envelopes = [decode(entry.body) for entry in await desk.archived() if entry.body and b"\xc1" not in entry.body]
    return [each.event.address for each in envelopes if isinstance(each.event, GrantClaimed)]


async def cut_all(desk: Desk, how: Addresses, before_ns: int) -> int:
    changed = 0
    while True:
        cut = await cut_old(desk.database, how, before_ns=before_ns)
        changed += cut.changed
        if cut.is_done:
            return changed


@pytest.mark.parametrize(("how", "left"), [(Addresses.SHORTEN, "192.0.2.0"), (Addresses.DROP, "::")])
async def test_addresses_before_a_moment_are_cut_and_later_ones_stand(desk: Desk, how: Addresses, left: str) -> None:
    before_ns = await tell(desk)
    assert await count_before(desk.database, how, before_ns=before_ns) == 2
    assert await cut_all(desk, how, before_ns) == 2
    assert await said(desk) == [left, YOUNG]
    assert [entry.body for entry in await desk.archived() if entry.message_id == "no:1:1"] == [b""]
    assert await cut_all(desk, how, before_ns) == 0
    assert await cut_up_to(desk.database) == 3


async def test_cutting_in_small_steps_comes_to_the_same(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "STEP", 1)
    before_ns = await tell(desk)
    assert await cut_all(desk, Addresses.DROP, before_ns) == 2
    assert await said(desk) == ["::", YOUNG]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("how", [Addresses.SHORTEN, Addresses.DROP])
async def test_no_file_of_the_archive_holds_an_address_that_was_cut(desk: Desk, tmp_path: Path, how: Addresses) -> None:
    await desk.scribe.open_log()
    await desk.scribe.say(*(claim(f"192.0.2.{last}") for last in range(100, 200)))
    await desk.scribe.say(decisions(f"192.0.2.{last}" for last in range(100, 200)))  # more than a page
    await desk.archive_all()
    assert held(tmp_path, b"192.0.2.1")
    await cut_all(desk, how, desk.scribe.now_ns + 1)
    assert await desk.database.empty_journal()
    assert held(tmp_path, b"192.0.2.1") == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for others who use the database."""
    monkeypatch.setattr(engine, "SQLITE_BUSY_TIMEOUT_MS", 50)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("impatient")
async def test_the_journal_is_left_while_somebody_reads_and_emptied_later(desk: Desk) -> None:
    await desk.scribe.open_log()
    await desk.archive_all()
    async with desk.database.reading() as connection:
        await connection.execute(select(archive))
        await desk.scribe.say(claim(OLD))
        await desk.archive_all()
        assert not await desk.database.empty_journal()
    assert await desk.database.empty_journal()


def decisions(addresses: Iterable[str]) -> DecisionsRecorded:
    (record,) = (each.event for each in EXAMPLES.values() if isinstance(each.event, DecisionsRecorded))
    return replace(record, decisions=tuple(replace(record.decisions[0], address=each) for each in addresses))


def held(folder: Path, words: bytes) -> list[str]:
    """Name the files that these words are in."""
    return [file.name for file in folder.iterdir() if words in file.read_bytes()]


async def test_what_was_shortened_can_be_dropped_and_not_the_other_way_round(desk: Desk) -> None:
    before_ns = await tell(desk)
    await cut_all(desk, Addresses.SHORTEN, before_ns)
    assert (await cut_from(desk.database, Addresses.SHORTEN, behind=0, before_ns=before_ns)).changed == 0
    assert (await cut_from(desk.database, Addresses.DROP, behind=0, before_ns=before_ns)).changed == 2
    assert await count_before(desk.database, Addresses.DROP, before_ns=before_ns) == 0
    assert await said(desk) == ["::", YOUNG]


def test_every_type_that_tells_of_visitors_is_known_as_such() -> None:
    changed = {
        type(envelope.event)
        for envelope in EXAMPLES.values()
        if without_addresses(body := encode(envelope), Addresses.DROP) != body
    }
    assert changed | {GrantsRevoked} == set(PERSONAL), "a revocation has one where it is of a network"
    assert set(PERSONAL) < set(EVENT_TYPES)


async def test_upkeep_cuts_what_is_older_than_the_configured_days(desk: Desk, tmp_path: Path) -> None:
    await tell(desk)
    config = ArchiveConfig(data_folder=tmp_path, broker=BrokerConfig(url="amqp://b/"), addresses_days=1)
    async with desk.archiving() as archiver:
        upkeep = Upkeep(desk.database, archiver, config, clock_s=lambda: desk.scribe.now_ns / NS_PER_S)
        task = asyncio.create_task(upkeep.run())

        async def cut() -> bool:
            return await cut_up_to(desk.database) == 3

        try:
            await desk.until_told(cut)
            await desk.until(lambda: not held(tmp_path, OLD.encode()))
        finally:
            task.cancel()
            await asyncio.wait([task])
    assert await said(desk) == ["192.0.2.0", YOUNG]
