"""What visitors take: one admission for each connection, kept within slots, budget and quota, and told as events.

Bytes are reserved and booked before the first one leaves, so no crash and no crowd can exceed the month's limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from edge.files import Sent
from edge.ranges import Part
from events.grants import Grant, IPAddress
from events.names import Digest, MirrorName
from events.schemas import DownloadAborted, DownloadFinished, DownloadStarted, Event
from mirror.database import StoreError
from mirror.quota import Ledger, Quota, month_of
from mirror.slots import Refusal, Slots
from mirror.store import Store
from mirror.traces import Said, Traces

FLUSH_EVERY_S: Final = 5.0  # what the status page of a restarted mirror may be behind
EVENTS_WAITING_MAX: Final = 10_000  # a minute of a very busy mirror with a full disk; then the oldest go unsaid

log = structlog.stdlib.get_logger()


class Traffic:
    """All downloads of one mirror."""

    def __init__(
        self, mirror: MirrorName, slots: Slots, quota: Quota, store: Store, *, clock_s: Callable[[], float]
    ) -> None:
        self.slots = slots
        self.quota = quota
        self.sent_bytes = 0
        self.traces = Traces[bytes]()  # by grant_id: of the notices that were seen
        self._mirror = mirror
        self._store = store
        self._clock_s = clock_s
        self._written = quota.closing_ledger()
        self._booking = asyncio.Lock()
        self._unsaid: list[Said] = []
        self._awake = asyncio.Event()
        self._on_change: list[Callable[[], None]] = []

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back whenever a slot was taken or became free, or bytes left."""
        self._on_change.append(callback)

    async def admit(self, grant: Grant, *, asked_bytes: int) -> Refusal | None:
        """Let a connection in that asks for so many bytes, or say why not. ``Visit`` it afterwards."""
        if refusal := self.slots.enter(grant, asked_bytes=asked_bytes):
            return refusal
        self.quota.turn(month_of(self._clock_s()))
        if not self.quota.reserve(asked_bytes):
            self._leave(grant.grant_id, unsent_bytes=asked_bytes)
            return Refusal.QUOTA_SPENT
        try:
            await self._book()
        except BaseException as error:
            self.quota.release(asked_bytes)
            self._leave(grant.grant_id, unsent_bytes=asked_bytes)
            if isinstance(error, StoreError):
                log.warning("quota.unbooked", error=str(error))
                return Refusal.QUOTA_SPENT
            raise
        self._changed()
        return None

    def visit(self, grant: Grant, *, asked: Part, address: IPAddress) -> Visit:
        """Count one admitted connection, and what leaves of the bytes that it asked for."""
        return Visit(self, grant, asked=asked, address=address)

    def count(self, grant_id: bytes, sent_bytes: int) -> None:
        """Take note of bytes that left."""
        self.sent_bytes += sent_bytes
        self.quota.spend(sent_bytes)
        self.slots.count(grant_id, sent_bytes)
        self._changed()

    def leave(self, grant_id: bytes, *, unsent_bytes: int) -> None:
        """Take note that a connection ended."""
        self.quota.release(unsent_bytes)
        self._leave(grant_id, unsent_bytes=unsent_bytes)
        self._changed()

    def say(self, said: Said) -> None:
        """Say an event soon, without waiting for the disk."""
        self._unsaid.append(said)
        if len(self._unsaid) > EVENTS_WAITING_MAX:
            del self._unsaid[0]
        self._awake.set()

    async def run(self) -> None:
        """Write events and ledger until cancelled."""
        while True:
            try:
                async with asyncio.timeout(FLUSH_EVERY_S):
                    await self._awake.wait()
            except TimeoutError:
                await self._tolerantly_write_ledger()
            else:
                self._awake.clear()
                await self._say_waiting()

    async def close(self) -> None:
        """Write what is left, after the last connection ended."""
        await self._say_waiting()
        try:
            await self._write(self.quota.closing_ledger())
        except StoreError as error:  # the booked figure stands; it is higher than the truth
            log.warning("quota.unwritten", error=str(error))

    async def _book(self) -> None:
        if not self.quota.must_book:
            return
        async with self._booking:
            if self.quota.must_book:
                await self._write(self.quota.ledger())

    async def _tolerantly_write_ledger(self) -> None:
        self.quota.turn(month_of(self._clock_s()))
        if self._written.used_bytes == self.quota.used_bytes and self._written.month == self.quota.month:
            return
        try:
            async with self._booking:
                await self._write(self.quota.ledger())
        except StoreError as error:
            log.warning("quota.unwritten", error=str(error))

    async def _write(self, ledger: Ledger) -> None:
        await self._store.save_ledger(ledger)
        self._written = ledger
        self.quota.booked(ledger)

    async def _say_waiting(self) -> None:
        waiting, self._unsaid = self._unsaid, []
        if not waiting:
            return
        try:
            await self._store.say(*waiting)
        except StoreError as error:
            log.warning("downloads.unsaid", events=len(waiting), error=str(error))
            self._unsaid = (waiting + self._unsaid)[-EVENTS_WAITING_MAX:]  # tried again with the next one

    def _leave(self, grant_id: bytes, *, unsent_bytes: int) -> None:
        self.slots.leave(grant_id, unsent_bytes=unsent_bytes, now_s=self._clock_s())

    def _changed(self) -> None:
        for callback in self._on_change:
            callback()

    @property
    def mirror(self) -> MirrorName:
        """Whose traffic it is."""
        return self._mirror


class Visit:
    """One admitted connection. ``meter`` it while it sends, then ``end`` it in any case."""

    def __init__(self, traffic: Traffic, grant: Grant, *, asked: Part, address: IPAddress) -> None:
        self._traffic = traffic
        self._grant_id = grant.grant_id
        self._sha256: Digest = grant.sha256
        self._first_byte = asked.start
        self._asked_bytes = asked.stop - asked.start
        self._address = address
        self._sent_bytes = 0

    def meter(self, sent_bytes: int) -> None:
        """Count bytes that left. The first ones of a grant, whichever connection they take, begin its download."""
        if sent_bytes > 0 and not self._traffic.slots.started(self._grant_id):
            self._say(
                DownloadStarted(
                    mirror=self._traffic.mirror,
                    grant_id=self._grant_id,
                    sha256=self._sha256,
                    address=str(self._address),
                )
            )
        self._sent_bytes += sent_bytes
        self._traffic.count(self._grant_id, sent_bytes)

    def end(self, sent: Sent | None) -> None:
        """Give back what was not used and tell how it ended; None where the sending was cut short by us."""
        self._traffic.leave(self._grant_id, unsent_bytes=self._asked_bytes - self._sent_bytes)
        if sent is not None and sent.completed:
            self._say(
                DownloadFinished(
                    mirror=self._traffic.mirror,
                    grant_id=self._grant_id,
                    sha256=self._sha256,
                    first_byte=self._first_byte,
                    sent_bytes=self._sent_bytes,
                )
            )
        elif self._sent_bytes > 0:
            self._say(
                DownloadAborted(
                    mirror=self._traffic.mirror,
                    grant_id=self._grant_id,
                    sha256=self._sha256,
                    first_byte=self._first_byte,
                    wanted_bytes=self._asked_bytes,
                    sent_bytes=self._sent_bytes,
                    reason="the visitor left" if sent is not None else "the mirror stopped",
                )
            )

    def _say(self, event: Event) -> None:
        self._traffic.say(Said(event, self._traffic.traces.of(self._grant_id)))
