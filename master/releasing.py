"""Releases by itself what was held until enough mirrors have it.

The condition stands in the database, and so does what mirrors say that they have (``master.following``). It is looked
at when the master begins, when one of the held contents is told of, and when who follows what may have changed; so a
master that was killed goes on where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NoReturn

import structlog

from events.names import Digest
from master.heard import Heard
from master.holding import release
from master.holds import Hold, HoldState, Tally
from master.store.store import Store, uncut

LOOK_AFTER_S: Final = 0.1  # what changes together is looked at once, and nobody notices the wait
LOOK_REST: Final = 10  # times as long as the last look took: 10,000 files at 20 mirrors take half a second to count

log = structlog.stdlib.get_logger()


class Releasing:
    """Watches the conditions of holds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watched: frozenset[Digest] = frozenset()
        self._awake = asyncio.Event()

    def look(self) -> None:
        """Look again, soon: something was held, or who follows what has changed."""
        self._awake.set()

    def hear(self, heard: Heard) -> None:
        """Take note of what the log said."""
        if not self._watched:
            return
        told = {sha256 for _, sha256 in heard.replicas}
        if heard.left or heard.replaced or not self._watched.isdisjoint(told):
            self._awake.set()

    async def run(self, *, wake: Callable[[], None]) -> NoReturn:
        """Release what is due, until cancelled; ``wake`` is called after each commit.

        Raises:
            StoreError: the database cannot be used now; run it again later.
        """
        loop = asyncio.get_running_loop()
        while True:
            self._awake.clear()
            began_s = loop.time()
            if await uncut(self.release_due()):
                wake()
            rest_s = LOOK_REST * (loop.time() - began_s)
            await self._awake.wait()
            await asyncio.sleep(max(LOOK_AFTER_S, rest_s))

    async def release_due(self) -> int:
        """Release each hold whose condition is met; give how many."""
        return sum([await self._release(hold) for hold in await self._due()])

    async def _due(self) -> list[Hold]:
        async with self._store.reading() as transaction:
            waiting = [hold for hold in await transaction.holds.standing() if _waits(hold)]
            watched = await transaction.holds.contents([hold.number for hold in waiting])
        # Before the mirrors are counted: whatever is told of these from now on makes us look again.
        self._watched = frozenset(watched)
        if not waiting:
            return []
        async with self._store.reading() as transaction:
            return [hold for hold in waiting if _is_met(hold, await transaction.holds.tally(hold.number))]

    async def _release(self, hold: Hold) -> bool:
        """Release one hold, unless that is not due any more: a person changed it, or a mirror lost what counted."""
        async with self._store.changing() as transaction:
            tally = await transaction.holds.tally(hold.number)
            if await transaction.holds.hold(hold.number) != hold or not _is_met(hold, tally):
                return False
            turns = await release(transaction, await transaction.holds.paths(hold.number))
        log.info(
            "hold.released", hold=hold.number, condition=str(hold.condition), files=len(turns), mirrors=tally.complete
        )
        return True


def _is_met(hold: Hold, tally: Tally) -> bool:
    return hold.condition is not None and tally.meets(hold.condition)


def _waits(hold: Hold) -> bool:
    return hold.state is HoldState.HELD and hold.condition is not None
