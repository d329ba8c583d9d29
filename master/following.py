"""Follows the log for what mirrors say of themselves, and keeps it: in the database first, then for whoever listens.

Rows and the position in the log are committed together, so a restart goes on where it was. When the position is gone
(a new log, or its retention cut the entry off) reading begins at what is left: the master says its catalogue again, all
mirrors announce themselves again, and whole inventories replace what was missed.

How much came into the log since the catalogue was said is counted with it, for the log keeps no more than so much.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn

import structlog

from broker.port import Broker, Delivery, From
from broker.reading import read_envelope
from broker.retention import ENTRY_OVERHEAD_BYTES
from broker.topology import log_stream
from events.envelope import Envelope
from events.errors import LanguageError
from events.routing import FILES
from events.schemas import CatalogueRestated, InventoryAnnounced
from master.heard import Heard, LogPosition
from master.store.heard import FOLDED
from master.store.store import Store, uncut

# What may wait for the database: some ten seconds of it, and some 50 MB of events. Past that the broker keeps the rest.
WAITING_MAX: Final = 200_000
# Entries that concern nobody here are passed over without a commit, as many as are passed over again in a second.
PASSED_OVER_MAX: Final = 100_000

# Counting may lag behind by as much: a twentieth of what the smallest log holds.
UNCOUNTED_BYTES_MAX: Final = 10_000_000

_TYPES: Final = frozenset(str(kind.__struct_config__.tag) for kind in FOLDED)

_RESTATED: Final = str(CatalogueRestated.__struct_config__.tag)

log = structlog.stdlib.get_logger()


class _FullError(Exception):
    """The database is slower than the log. What waits was not read as far as the position is concerned."""


@dataclass(slots=True)
class Growth:
    """How much came into the log; since the catalogue was said, where ``is_anew``."""

    size_bytes: int = 0
    is_anew: bool = False

    def note(self, delivery: Delivery) -> None:
        """Take an entry into account. The last word of a restatement is the master's alone to say, where it says it."""
        self.size_bytes += len(delivery.body) + ENTRY_OVERHEAD_BYTES
        if delivery.type == _RESTATED and delivery.exchange == FILES:
            self.size_bytes, self.is_anew = 0, True

    def since(self, size_bytes: int) -> int:
        """Give how much it is in all, where it was so much before."""
        return self.size_bytes if self.is_anew else size_bytes + self.size_bytes


@dataclass(slots=True)
class _Inbox:
    """What was read and is not in the database yet. ``weight`` counts events and the contents that they name."""

    position: LogPosition
    growth: Growth = field(default_factory=Growth)
    passed_over: int = 0
    weight: int = 0
    envelopes: list[Envelope] = field(default_factory=list[Envelope])
    filled: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, envelope: Envelope) -> None:
        """Keep an event for the database.

        Raises:
            _FullError: too much is waiting already.
        """
        if self.weight > WAITING_MAX:
            raise _FullError
        event = envelope.event
        self.envelopes.append(envelope)
        self.weight += 1 + (len(event.sha256s) if isinstance(event, InventoryAnnounced) else 0)
        self.filled.set()

    def pass_over(self) -> None:
        """Note an entry that is of no use here."""
        self.passed_over += 1
        if self.passed_over >= PASSED_OVER_MAX or self.growth.size_bytes >= UNCOUNTED_BYTES_MAX:
            self.filled.set()

    def take(self) -> list[Envelope]:
        """Give all that waits."""
        taken, self.envelopes = self.envelopes, []
        self.growth = Growth()
        self.weight = self.passed_over = 0
        self.filled.clear()
        return taken


class Following:
    """Folds the log into the database.

    After each commit ``on_heard`` is told what it changed, ``on_grown`` how much came since the catalogue was said.
    """

    def __init__(
        self, store: Store, *, vhost: str, on_heard: Callable[[Heard], None], on_grown: Callable[[int], None]
    ) -> None:
        self._store = store
        self._vhost = vhost
        self._on_heard = on_heard
        self._on_grown = on_grown
        self._position: LogPosition | None = None
        self._unreadable = 0

    def described(self) -> dict[str, object]:
        """Tell how far it is, for the status."""
        position = self._position
        return {
            "generation": None if position is None else position.generation,
            "offset": None if position is None else position.offset,
            "unreadable": self._unreadable,
        }

    async def run(self, broker: Broker) -> NoReturn:
        """Follow the log that is open until cancelled.

        Raises:
            BrokerError: the log is not there, or may not be read; run it again later.
            StoreError: the database cannot be used now; run it again later.
        """
        while True:
            try:
                await self._follow(broker)
            except _FullError:
                log.info("log.waiting", position=self._position)

    async def _follow(self, broker: Broker) -> None:
        """Follow from the committed position until the database has fallen behind."""
        async with self._store.reading() as transaction:
            generation = await transaction.log_generation()
            kept = await transaction.heard.position()
        start = kept.offset if kept is not None and kept.generation == generation else From.FIRST
        inbox = _Inbox(LogPosition(generation, start if isinstance(start, int) else -1))
        log.info("log.followed", generation=generation, offset=inbox.position.offset)
        reading = broker.follow(log_stream(generation), lambda delivery: self._fold(inbox, delivery), start=start)
        tasks = [asyncio.create_task(self._keep(inbox), name="keep-heard"), asyncio.create_task(reading, name="follow")]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
        finally:
            for task in tasks:
                task.cancel()
            await uncut(asyncio.wait(tasks))

    def _fold(self, inbox: _Inbox, delivery: Delivery) -> None:
        """Take one entry of the log."""
        inbox.growth.note(delivery)
        envelope = self._read(delivery) if delivery.type in _TYPES else None
        if envelope is None:
            inbox.pass_over()
        else:
            inbox.put(envelope)
        if delivery.offset is not None:
            inbox.position = inbox.position._replace(offset=delivery.offset)

    def _read(self, delivery: Delivery) -> Envelope | None:
        try:
            return read_envelope(delivery, vhost=self._vhost)
        except LanguageError as error:  # the selectors tell the log of it
            self._unreadable += 1
            log.debug("event.unreadable", message_id=delivery.message_id, error=str(error))
            return None

    async def _keep(self, inbox: _Inbox) -> NoReturn:
        """Write down what was read, as much at once as came meanwhile."""
        while True:
            await inbox.filled.wait()
            growth = inbox.growth
            heard = await uncut(self._commit(inbox.take(), inbox.position, growth))
            self._on_heard(heard)

    async def _commit(self, envelopes: list[Envelope], position: LogPosition, growth: Growth) -> Heard:
        async with self._store.changing() as transaction:
            heard = await transaction.heard.fold(envelopes, position)
            grown_bytes = growth.since(await transaction.bytes_since_restated())
            await transaction.set_bytes_since_restated(grown_bytes)
        self._position = position
        self._on_grown(grown_bytes)
        return heard
