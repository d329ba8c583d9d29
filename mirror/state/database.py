"""The mirror's SQLite database: each change and the events that report it are one transaction.

A commit has reached the disk (WAL, synchronous FULL). Events are numbered inside the transaction, so the sequence has
no gap, and stay in the outbox until the broker took them over. What is kept in memory changes when, and only when, the
transaction is committed. Nothing here loses a committed change to cancellation: a transaction that began is finished.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import structlog
from sqlalchemy import Row, delete, event, func, insert, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from broker.port import Message
from broker.relay import OutboxError, Pending, message_of
from events.envelope import Envelope, mirror_source
from events.names import MirrorName
from events.schemas.fields import NS_PER_S
from mirror.state import tables
from mirror.state.traces import Said

BUSY_TIMEOUT_S: Final = 5.0  # somebody may look into the file with sqlite3
FILE_MODE: Final = 0o600  # it holds the keys that open links; nginx's workers may come into this folder
NS_PER_MS: Final = 1_000_000
_ROWS_MAX: Final = 500  # in one statement; SQLite takes 32,766 parameters

_T = TypeVar("_T")

log = structlog.stdlib.get_logger()


class StoreError(Exception):
    """The database could not do it: its disk is full or broken. Nothing changed; try again after a while."""


class LayoutError(StoreError):
    """Another version wrote this database. Run that one, or delete the file: the copies stay and are hashed again."""


@dataclass(slots=True)
class Transaction:
    """What happens together, and what is to be done in memory after the commit or its failure."""

    connection: AsyncConnection
    sequence: int
    said: list[Said] = field(default_factory=list[Said])
    after: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])
    undo: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])


class Database:
    """One mirror's database and outbox. Implements ``broker.relay.Outbox``."""

    def __init__(self, engine: AsyncEngine, mirror: MirrorName, clock_ns: Callable[[], int]) -> None:
        self.mirror = mirror
        self._engine = engine
        self._clock_ns = clock_ns
        self._published: set[int] = set()
        self._settings: dict[str, int] = {}
        self._sequence = 0
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Future[object]] = set()
        self._on_said: Callable[[], None] = lambda: None
        self._on_taken: list[Callable[[], None]] = []

    @classmethod
    @asynccontextmanager
    async def opened(cls, path: Path, mirror: MirrorName, clock_ns: Callable[[], int]) -> AsyncGenerator[Database]:
        """Open or create the database while the block is entered.

        Raises:
            StoreError: it cannot be opened; LayoutError: another version wrote it.
            OSError: it cannot be created.
        """
        _create_private(path)
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}", connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine.sync_engine, "connect", tables.set_up_connection)
        database = cls(engine, mirror, clock_ns)
        try:
            with _translated():
                await database._load()
            yield database
        finally:
            await asyncio.gather(*database._running, return_exceptions=True)
            await engine.dispose()

    @property
    def sequence(self) -> int:
        """The number of the last event that was said."""
        return self._sequence

    @property
    def epoch(self) -> int:
        """When this database was created, in milliseconds: a mirror that lost its database begins a higher one.

        It does so by its clock, for nothing else is left to it: whoever deletes the database of a mirror whose clock
        then stands before its first creation is not heard until the clock has passed that.
        """
        return self._settings["epoch"]

    @property
    def load_epoch(self) -> int:
        """The epoch of this process's load reports: higher than that of any before, even after the clock went back."""
        return self._settings["load_epoch"]

    @property
    def master_epoch(self) -> int:
        """The master's epoch as it was when this database was opened; 0 before any was known."""
        return self._settings["master_epoch"]

    def now_s(self) -> int:
        """Give the time."""
        return self._clock_ns() // NS_PER_S

    def on_said(self, callback: Callable[[], None]) -> None:
        """Call back after each commit that added events."""
        self._on_said = callback

    def on_taken(self, callback: Callable[[], None]) -> None:
        """Call back whenever events left the outbox."""
        self._on_taken.append(callback)

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[AsyncConnection]:
        """Read while the block is entered.

        Raises:
            StoreError: it could not be read.
        """
        with _translated():
            async with self._engine.connect() as connection:
                yield connection

    async def transact(self, work: Callable[[Transaction], Awaitable[_T]]) -> _T:
        """Do some work in a transaction. Once begun, it is finished, even if the caller is cancelled.

        Raises:
            StoreError: nothing changed.
        """
        running = asyncio.ensure_future(self._transact_alone(work))
        self._running.add(running)  # pyright: ignore[reportArgumentType] - a future of anything will do
        running.add_done_callback(self._finished)  # pyright: ignore[reportArgumentType] - as above
        return await asyncio.shield(running)

    async def until_taken(self, limit_s: float) -> bool:
        """Wait until the broker took over all that was said until now; False where it did not in that time.

        Raises:
            StoreError: it could not be read.
        """
        async with self.reading() as connection:
            last = (await connection.execute(select(func.max(tables.outbox.c.position)))).scalar()
        taken = asyncio.Event()
        self._on_taken.append(taken.set)
        try:
            async with asyncio.timeout(limit_s):
                while last is not None and await self._is_pending(last):
                    await taken.wait()
                    taken.clear()
        except TimeoutError:
            return False
        finally:
            self._on_taken.remove(taken.set)
        return True

    async def holds_unsaid(self, transaction: Transaction, *types: str) -> bool:
        """Tell whether events of these types are yet to be published."""
        query = select(tables.outbox.c.position).where(tables.outbox.c.type.in_(types))
        positions = (await transaction.connection.execute(query)).scalars()
        return any(position not in self._published for position in positions)

    async def pending(self, limit: int) -> Sequence[Pending]:
        """Give the oldest events that are yet to be published, in order.

        Raises:
            OutboxError: they could not be read.
        """
        query = select(tables.outbox).order_by(tables.outbox.c.position).limit(limit + len(self._published))
        try:
            async with self.reading() as connection:
                rows = (await connection.execute(query)).all()
        except StoreError as error:
            raise OutboxError(str(error)) from error
        unpublished = [row for row in rows if row.position not in self._published]
        return [Pending(row.position, _message(row)) for row in unpublished[:limit]]

    async def forget(self, positions: Sequence[int]) -> None:
        """Delete events that the broker has taken over.

        While the disk takes no change, even a deletion fails; then they are kept in mind, so that the same events do
        not go out again and again, and deleted with the next ones.
        """
        self._published.update(positions)
        doomed = sorted(self._published)

        async def work(transaction: Transaction) -> None:
            for some in sliced(doomed):
                await transaction.connection.execute(delete(tables.outbox).where(tables.outbox.c.position.in_(some)))
            transaction.after.append(lambda: self._published.difference_update(doomed))

        try:
            await self.transact(work)
        except StoreError as error:
            log.warning("outbox.undeleted", events=len(doomed), error=str(error))
        for callback in self._on_taken:
            callback()

    async def _is_pending(self, last: int) -> bool:
        query = select(tables.outbox.c.position).where(tables.outbox.c.position <= last)
        async with self.reading() as connection:
            positions = (await connection.execute(query)).scalars()
            return any(position not in self._published for position in positions)

    def _finished(self, running: asyncio.Future[object]) -> None:
        self._running.discard(running)
        if not running.cancelled():
            running.exception()  # seen here, too, should the caller have been cancelled

    async def _transact_alone(self, work: Callable[[Transaction], Awaitable[_T]]) -> _T:
        async with self._lock:
            undo: list[Callable[[], None]] = []
            try:
                with _translated():
                    async with self._engine.begin() as connection:
                        transaction = Transaction(connection, self._sequence, undo=undo)
                        result = await work(transaction)
                        await self._save_events(transaction)
            except BaseException:
                for step in reversed(undo):
                    step()
                raise
            self._sequence += len(transaction.said)
            for step in transaction.after:
                step()
        if transaction.said:
            self._on_said()
        return result

    async def _save_events(self, transaction: Transaction) -> None:
        if not transaction.said:
            return
        now_ns = self._clock_ns()
        rows = [
            _row(message_of(self._envelope(said, transaction.sequence + number, now_ns)))
            for number, said in enumerate(transaction.said, start=1)
        ]
        for some in sliced(rows):
            await transaction.connection.execute(insert(tables.outbox), list(some))
        await save_setting(transaction.connection, "sequence", transaction.sequence + len(rows))

    def _envelope(self, said: Said, sequence: int, now_ns: int) -> Envelope:
        return Envelope(
            source=mirror_source(self.mirror),
            epoch=self.epoch,
            sequence=sequence,
            time_ns=now_ns,
            traceparent="" if said.trace is None else said.trace.traceparent,
            event=said.event,
        )

    async def _load(self) -> None:
        now_ms = self._clock_ns() // NS_PER_MS
        fresh = {"layout": tables.LAYOUT, "epoch": now_ms, "sequence": 0, "load_epoch": 0, "master_epoch": 0}
        async with self._engine.begin() as connection:
            await connection.run_sync(tables.setting.create, checkfirst=True)
            kept = {row.name: row.value for row in await connection.execute(select(tables.setting))}
            self._settings = fresh | kept
            if self._settings["layout"] != tables.LAYOUT:
                raise LayoutError(
                    f"its layout is {self._settings['layout']} and not {tables.LAYOUT}: run the version that wrote it,"
                    " or delete it; the copies stay and are hashed again, the bytes of this month are counted anew"
                )
            await connection.run_sync(tables.metadata.create_all)
            self._settings["load_epoch"] = max(now_ms, self._settings["load_epoch"] + 1)
            for name, value in self._settings.items():
                await save_setting(connection, name, value)
        self._sequence = self._settings["sequence"]


def sliced(rows: Sequence[_T]) -> Iterable[Sequence[_T]]:
    """Give the rows in pieces of which each fits into a statement."""
    return (rows[at : at + _ROWS_MAX] for at in range(0, len(rows), _ROWS_MAX))


async def save_setting(connection: AsyncConnection, name: str, value: int) -> None:
    """Write a number down under its name."""
    await connection.execute(tables.upsert(tables.setting), [{"name": name, "value": value}])


def _row(message: Message) -> dict[str, object]:
    return {
        "exchange": message.exchange,
        "routing_key": message.routing_key,
        "message_id": message.message_id,
        "type": message.type,
        "headers": dict(message.headers),
        "body": message.body,
    }


def _message(row: Row[tuple[object, ...]]) -> Message:
    return Message(
        exchange=row.exchange,
        routing_key=row.routing_key,
        message_id=row.message_id,
        type=row.type,
        headers=row.headers,
        body=row.body,
    )


def _create_private(path: Path) -> None:
    """Create the database's file, if there is none, for its owner alone; SQLite gives its others the same mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))


@contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreError(str(error.__cause__ or error)) from error
