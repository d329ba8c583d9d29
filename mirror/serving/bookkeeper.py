"""Keeps the quota on the disk: books before bytes leave, writes what left, and says downloads and limits as events.

Bytes are reserved and booked before the first one leaves, so no crash and no crowd can exceed a limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import structlog

from edge.reports import SAY_EVERY_S, Reports
from events.names import MirrorName
from events.schemas import Download, QuotaReached
from mirror.serving.books import Books
from mirror.serving.quota import Ledger, Limits, Quota
from mirror.state.database import StoreError
from mirror.state.traces import Said

FLUSH_EVERY_S: Final = 5.0  # what the status page of a restarted mirror may be behind
EVENTS_WAITING_MAX: Final = 1_000  # limits and claims of an hour with a full disk; then the oldest go unsaid
_TOLD: Final = "told"  # under which it is kept which limits the operator was told of

log = structlog.stdlib.get_logger()


class Bookkeeper:
    """One mirror's quota and its books. ``run`` it beside what it counts."""

    def __init__(self, mirror: MirrorName, quota: Quota, books: Books, *, clock_s: Callable[[], float]) -> None:
        self.quota = quota
        self._mirror = mirror
        self._books = books
        self._clock_s = clock_s
        self._booking = asyncio.Lock()
        self._written = quota.closing_ledgers()
        self._unsaid: list[Said] = []
        self._reports = Reports(mirror)
        self._told: dict[str, str] | None = None
        self._awake = asyncio.Event()

    def is_booked(self, size_bytes: int) -> bool:
        """Tell whether so many bytes of a visitor's may leave without anything being written before."""
        self.quota.turn(self._clock_s())
        return not self.quota.must_book_for(size_bytes)

    def set_aside(self, size_bytes: int, *, for_peer: bool = False) -> bool:
        """Set bytes aside for a transfer; False where they are not there. Unless they are booked, ``book`` them."""
        self.quota.turn(self._clock_s())
        if self.quota.reserve(size_bytes, for_peer=for_peer):
            return True
        self._note_reached()
        return False

    async def reserve(self, size_bytes: int, *, for_peer: bool = False) -> bool:
        """Set bytes aside for a transfer and book them; False where they are not there, or the disk fails."""
        if not self.set_aside(size_bytes, for_peer=for_peer):
            return False
        try:
            await self.book()
        except BaseException as error:
            self.quota.release(size_bytes, for_peer=for_peer)
            if isinstance(error, StoreError):
                log.warning("quota.unbooked", error=str(error))
                return False
            raise
        return True

    def spend(self, size_bytes: int, *, for_peer: bool = False) -> None:
        """Take note that reserved bytes left."""
        self.quota.spend(size_bytes, for_peer=for_peer)
        self._note_reached()

    async def limit(self, limits: Limits) -> None:
        """Hold all transfers to these limits from now on; what was promised before is kept."""
        self.quota.limits = limits
        self._note_reached()
        try:
            await self.book()
        except StoreError as error:  # the next transfer books before it begins
            log.warning("quota.unbooked", error=str(error))

    async def book(self) -> None:
        """Write the ledgers if they have to be before another byte may leave.

        Raises:
            StoreError: they could not be.
        """
        if not self.quota.must_book:
            return
        async with self._booking:
            if self.quota.must_book:
                await self._write(self.quota.ledgers())

    def say(self, said: Said) -> None:
        """Say an event soon, without waiting for the disk."""
        self._unsaid.append(said)
        if len(self._unsaid) > EVENTS_WAITING_MAX:
            del self._unsaid[0]
        self._awake.set()

    def tell(self, download: Download) -> None:
        """Tell of a download soon, together with others."""
        self._reports.note(download)
        self._awake.set()

    async def run(self) -> None:
        """Write events and ledgers until cancelled."""
        async with (
            asyncio.TaskGroup() as writing
        ):  # two clocks: events that never cease must not keep ledgers unwritten
            writing.create_task(self._say_for_ever(), name="bookkeeper-events")
            writing.create_task(self._flush_for_ever(), name="bookkeeper-ledgers")

    async def close(self) -> None:
        """Write what is left, after the last transfer ended."""
        await self._say_waiting()
        try:
            await self._write(self.quota.closing_ledgers())
        except StoreError as error:  # the booked figure stands; it is higher than the truth
            log.warning("quota.unwritten", error=str(error))

    async def _say_for_ever(self) -> None:
        while True:
            await self._awake.wait()
            self._awake.clear()
            await self._say_waiting()
            await asyncio.sleep(SAY_EVERY_S)

    async def _flush_for_ever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            await self._flush()

    def _note_reached(self) -> None:
        for reached in self.quota.reached():
            self._told = self.quota.told(reached)
            log.warning("quota.reached", window=reached.window.value, level=reached.level.value)
            self.say(
                Said(
                    QuotaReached(
                        mirror=self._mirror,
                        window=reached.window,
                        level=reached.level,
                        used_bytes=reached.used_bytes,
                        limit_bytes=reached.limit_bytes,
                        resets_at_s=reached.resets_at_s,
                    )
                )
            )

    async def _flush(self) -> None:
        self.quota.turn(self._clock_s())
        if _used(self._written) == _used(self.quota.ledgers()):
            return
        try:
            async with self._booking:
                await self._write(self.quota.ledgers())
        except StoreError as error:
            log.warning("quota.unwritten", error=str(error))

    async def _write(self, ledgers: tuple[Ledger, ...]) -> None:
        await self._books.save(ledgers)
        self._written = ledgers
        self.quota.booked(ledgers)

    async def _say_waiting(self) -> None:
        waiting, self._unsaid = self._unsaid, []
        told, self._told = self._told, None
        reports = self._reports.take()
        if not waiting and not reports:
            return
        try:
            said = [*waiting, *map(Said, reports)]
            await self._books.save(said=said, kept={} if told is None else {_TOLD: told})
        except StoreError as error:
            log.warning("downloads.unsaid", events=len(waiting) + len(reports), error=str(error))
            self._reports.put_back(reports)
            self._unsaid = (waiting + self._unsaid)[-EVENTS_WAITING_MAX:]  # tried again with the next one
            self._told = self._told or told


def kept_told(kept: Mapping[str, object]) -> dict[str, str]:
    """Find among what was kept which limits the operator was told of."""
    return msgspec.convert(kept.get(_TOLD, {}), dict[str, str])


def _used(ledgers: Sequence[Ledger]) -> list[tuple[object, int, int]]:
    return [(ledger.day, ledger.used_bytes, ledger.peer_used_bytes) for ledger in ledgers]
