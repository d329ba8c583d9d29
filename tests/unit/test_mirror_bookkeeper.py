"""Ledgers are written in time, whatever else there is to write."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Final, cast

import pytest

from events.names import MirrorName
from events.schemas import GrantClaimed
from mirror.serving import bookkeeper as module
from mirror.serving.bookkeeper import Bookkeeper
from mirror.serving.books import Books
from mirror.serving.periods import Calendar
from mirror.serving.quota import Ledger, Limits, Quota
from mirror.state.traces import Said

NOVEMBER_22_S: Final = 1_795_305_600.0
DEADLINE_S: Final = 20.0  # for a loaded machine


class BusyBooks:
    """Books of a mirror that has the next event to say whenever it said one."""

    def __init__(self) -> None:
        self.bookkeeper: Bookkeeper | None = None
        self.ledger_written = asyncio.Event()
        self.events = 0

    async def save(
        self, ledgers: Iterable[Ledger] = (), *, said: Collection[Said] = (), kept: Mapping[str, object] | None = None
    ) -> None:
        del kept
        self.events += len(said)
        if any(ledger.used_bytes for ledger in ledgers):
            self.ledger_written.set()
        if said:
            self.visit()

    def visit(self) -> None:
        assert self.bookkeeper is not None
        claimed = GrantClaimed(mirror=MirrorName("ana"), grant_id=bytes(16), address="192.0.2.1")
        self.bookkeeper.say(Said(claimed))


async def test_a_mirror_that_never_runs_out_of_events_writes_its_ledgers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAY_EVERY_S", 0.001)
    monkeypatch.setattr(module, "FLUSH_EVERY_S", 0.05)
    books = BusyBooks()
    quota = Quota(Limits(), Calendar(), (), now_s=NOVEMBER_22_S)
    bookkeeper = Bookkeeper(MirrorName("ana"), quota, cast("Books", books), clock_s=lambda: NOVEMBER_22_S)
    books.bookkeeper = bookkeeper
    assert await bookkeeper.reserve(1000)
    bookkeeper.spend(1000)
    books.visit()
    running = asyncio.create_task(bookkeeper.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            await books.ledger_written.wait()
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert books.events > 0
