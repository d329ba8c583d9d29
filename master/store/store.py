"""The store: opens transactions on the master's database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from broker.relay import OutboxError, Pending
from events.schemas.fields import NS_PER_S
from events.trace import TraceContext
from master.errors import StoreError
from master.store.catalogue import CatalogueTables
from master.store.engine import DATABASE_ERRORS, migrate, open_engine, reading, writing
from master.store.fleet import FleetTables
from master.store.heard import HeardTables
from master.store.holds import HoldTables
from master.store.journal import EVENTS, Journal
from master.store.revocations import RevocationTables
from master.store.tables import CounterRow, SettingRow

EPOCH: Final = "epoch"
LOG_GENERATION: Final = "log_generation"
RESTATED_AT_NS: Final = "restated_at_ns"
BYTES_SINCE_RESTATED: Final = "bytes_since_restated"

_NS_PER_MS: Final = 1_000_000

T = TypeVar("T")

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction: all that happens in it is kept together or not at all. ``now_ns`` is when it began."""

    session: AsyncSession
    catalogue: CatalogueTables
    fleet: FleetTables
    heard: HeardTables
    holds: HoldTables
    revocations: RevocationTables
    journal: Journal
    now_ns: int

    async def log_generation(self) -> int:
        """Give the generation of the log that the catalogue was said in; 0 before the first."""
        return await self._setting(LOG_GENERATION)

    async def set_log_generation(self, generation: int) -> None:
        """Keep the generation of the log."""
        await self._set(LOG_GENERATION, generation)

    async def restated_at_ns(self) -> int:
        """Give when the catalogue was said last, all of it; 0 before the first time."""
        return await self._setting(RESTATED_AT_NS)

    async def set_restated_at_ns(self, now_ns: int) -> None:
        """Keep when the catalogue was said."""
        await self._set(RESTATED_AT_NS, now_ns)

    async def bytes_since_restated(self) -> int:
        """Give how much came into the log since the catalogue was said."""
        return await self._setting(BYTES_SINCE_RESTATED)

    async def set_bytes_since_restated(self, size_bytes: int) -> None:
        """Keep how much came into the log since the catalogue was said."""
        await self._set(BYTES_SINCE_RESTATED, size_bytes)

    async def _set(self, name: str, value: int) -> None:
        await self.session.merge(SettingRow(name=name, value=value))

    async def _setting(self, name: str) -> int:
        row = await self.session.get(SettingRow, name)
        return 0 if row is None else row.value


class Store:
    """The master's database, open. ``open_store`` makes one."""

    def __init__(self, engine: AsyncEngine, *, epoch: int, clock_ns: Callable[[], int]) -> None:
        self._reader, self._writer = reading(engine), writing(engine)
        self._epoch = epoch
        self._clock_ns = clock_ns
        # SQLite lets writers wait by polling, in no order; here they queue up.
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Transaction, None]:
        """Look at one moment of the database.

        Raises:
            StoreError: it cannot be used now.
        """
        with _translated():
            async with AsyncSession(self._reader, expire_on_commit=False) as session:
                yield self._transaction(session)

    @asynccontextmanager
    async def changing(self, *, trace: TraceContext | None = None) -> AsyncGenerator[Transaction, None]:
        """Change the database. Such transactions come one after the other; an exception undoes all of it.

        Args:
            trace: of the request that wants it; its events carry it. None: no request does.

        Raises:
            StoreError: it cannot be used now; nothing was changed.
        """
        with _translated():
            async with self._turn, AsyncSession(self._writer, expire_on_commit=False) as session, session.begin():
                transaction = self._transaction(session, trace)
                await transaction.journal.lock()
                yield transaction

    def _transaction(self, session: AsyncSession, trace: TraceContext | None = None) -> Transaction:
        now_ns = self._clock_ns()
        return Transaction(
            session=session,
            catalogue=CatalogueTables(session),
            fleet=FleetTables(session),
            heard=HeardTables(session, epoch=self._epoch),
            holds=HoldTables(session, now_ns=now_ns),
            revocations=RevocationTables(session, now_s=now_ns // NS_PER_S),
            journal=Journal(session, epoch=self._epoch, now_ns=now_ns, trace=trace),
            now_ns=now_ns,
        )


@asynccontextmanager
async def open_store(database_url: str, *, clock_ns: Callable[[], int] = time.time_ns) -> AsyncGenerator[Store]:
    """Open a database while the block is entered, and bring its tables up to date."""
    engine = open_engine(database_url)
    try:
        await migrate(engine)
        yield Store(engine, epoch=await _begin_numbering(engine, clock_ns), clock_ns=clock_ns)
    finally:
        await engine.dispose()


async def uncut(work: Coroutine[object, object, T]) -> T:
    """Let work on the store come to its end even when whoever waits for it is cancelled.

    SQLAlchemy abandons a connection in the middle of a statement, and SQLite's lock with it, until Python collects it.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


class StoredOutbox:
    """The outbox as the relay wants it, a transaction for each step; a relay that is cancelled cuts none short."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def pending(self, limit: int) -> Sequence[Pending]:
        """Give the oldest rows, in order."""
        with _for_the_relay():
            return await uncut(self._pending(limit))

    async def forget(self, positions: Sequence[int]) -> None:
        """Delete rows that the broker has taken over."""
        with _for_the_relay():
            await uncut(self._forget(positions))

    async def _pending(self, limit: int) -> Sequence[Pending]:
        async with self._store.reading() as transaction:
            return await transaction.journal.pending(limit)

    async def _forget(self, positions: Sequence[int]) -> None:
        async with self._store.changing() as transaction:
            await transaction.journal.forget(positions)


@contextmanager
def _translated() -> Generator[None]:
    """Raise ``StoreError`` for whatever the database or the way to it does; a body raises no other ``OSError``."""
    try:
        yield
    except DATABASE_ERRORS as error:
        log.warning("store.failed", error=str(error), kind=type(error).__name__)
        raise StoreError(type(error).__name__) from error


@contextmanager
def _for_the_relay() -> Generator[None]:
    try:
        yield
    except StoreError as error:
        raise OutboxError(str(error)) from error


async def _begin_numbering(engine: AsyncEngine, clock_ns: Callable[[], int]) -> int:
    """Give the epoch of this database's numbering. A new database begins a higher one, by the clock."""
    async with AsyncSession(writing(engine)) as session, session.begin():
        kept = await session.get(SettingRow, EPOCH)
        if kept is not None:
            return kept.value
        epoch = clock_ns() // _NS_PER_MS
        session.add_all([SettingRow(name=EPOCH, value=epoch), CounterRow(name=EVENTS, value=0)])
        return epoch
