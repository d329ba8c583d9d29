"""The mirror's state in SQLite: what the master said, what is held, what is yet to be said, what left this month.

Each change and the events that report it are one transaction, and a commit has reached the disk (WAL, synchronous
FULL). Events are numbered inside the transaction, so the sequence has no gap. What the rest of the mirror reads is
kept in memory and changes when, and only when, the transaction is committed. Nothing here loses a committed change to
cancellation: a transaction that began is finished.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias, TypeVar

import structlog
from sqlalchemy import delete, event, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from broker.relay import Pending, message_of
from events.codec import decode, encode
from events.envelope import Envelope, mirror_source
from events.names import ChannelName, Digest, FilePath, MirrorName
from events.schemas import (
    InventoryAnnounced,
    LossReason,
    MirrorCameOnline,
    Profile,
    ReplicaLost,
    ReplicaReady,
)
from events.trace import TraceContext
from mirror import tables
from mirror.plan import Action, Catalogue, Drop, Entry, Journal, plan
from mirror.quota import Ledger
from mirror.traces import Said

INVENTORY_PAGE_MAX: Final = 1000  # 34 kB, well under what an event may have
BUSY_TIMEOUT_S: Final = 5.0  # somebody may look into the file with sqlite3
PATHS_REMEMBERED_S: Final = 14 * 24 * 3600  # longer than any grant lives; then nobody can ask for the content any more
NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
_ROWS_MAX: Final = 500  # in one statement; SQLite takes 32,766 parameters

_T = TypeVar("_T")
Change: TypeAlias = Callable[[Catalogue, Journal], object]

log = structlog.stdlib.get_logger()


class StoreError(Exception):
    """The database could not do it: its disk is full or broken. Nothing changed; try again after a while."""


class LayoutError(StoreError):
    """A newer version wrote this database. Run that one."""


@dataclass(frozen=True, slots=True)
class Replica:
    """Content that is held, verified, and the path that it was fetched for."""

    size_bytes: int
    path: FilePath


@dataclass(slots=True)
class _Transaction:
    """What happens together, and what is to be done in memory after the commit or its failure."""

    connection: AsyncConnection
    sequence: int
    said: list[Said] = field(default_factory=list[Said])
    after: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])
    undo: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])


class Store:
    """One mirror's database. Implements ``broker.relay.Outbox``."""

    def __init__(self, engine: AsyncEngine, mirror: MirrorName, clock_ns: Callable[[], int]) -> None:
        self.catalogue = Catalogue()
        self._engine = engine
        self._mirror = mirror
        self._clock_ns = clock_ns
        self._replicas: dict[Digest, Replica] = {}
        self._former: dict[Digest, FilePath] = {}
        self._published: set[int] = set()
        self._epoch = 0
        self._sequence = 0
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Future[object]] = set()
        self._on_said: Callable[[], None] = lambda: None

    @classmethod
    @asynccontextmanager
    async def opened(cls, path: Path, mirror: MirrorName, clock_ns: Callable[[], int]) -> AsyncGenerator[Store]:
        """Open or create the database while the block is entered.

        Raises:
            StoreError: it cannot be opened; LayoutError: a newer version wrote it.
        """
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}", connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine.sync_engine, "connect", tables.set_up_connection)
        store = cls(engine, mirror, clock_ns)
        try:
            with _translated():
                await store._load()
            yield store
        finally:
            await asyncio.gather(*store._running, return_exceptions=True)
            await engine.dispose()

    @property
    def replicas(self) -> Mapping[Digest, Replica]:
        """All content that is held."""
        return MappingProxyType(self._replicas)

    @property
    def sequence(self) -> int:
        """The number of the last event that was said."""
        return self._sequence

    @property
    def epoch(self) -> int:
        """When this database was created, in milliseconds: a mirror that lost its database begins a higher one."""
        return self._epoch

    def path_of(self, sha256: Digest, file_name: str) -> FilePath | None:
        """Give a path under which content is or was known, preferably one that ends in this name."""
        if (entry := self.catalogue.wanted(sha256, name=file_name)) is not None:
            return entry.path
        return self._former.get(sha256)

    def on_said(self, callback: Callable[[], None]) -> None:
        """Call back after each commit that added events."""
        self._on_said = callback

    async def fold(self, change: Change) -> list[Action]:
        """Change the catalogue. Content that is no longer wanted stops being a replica in the same transaction.

        Raises:
            StoreError: nothing changed.
        """

        async def work(transaction: _Transaction) -> list[Action]:
            journal = Journal()
            transaction.undo.append(lambda: self.catalogue.roll_back(journal))
            change(self.catalogue, journal)
            await self._save_journal(transaction.connection, journal)
            actions = plan(self.catalogue, journal, self._replicas)
            for action in actions:
                if isinstance(action, Drop):
                    await self._forget_replica(transaction, action)
            return actions

        return await self._transact(work)

    async def add_replica(self, sha256: Digest, size_bytes: int, *, trace: TraceContext | None = None) -> bool:
        """Take verified content in and say that it is ready; False where nobody wants it any more.

        Raises:
            StoreError: nothing changed.
        """

        async def work(transaction: _Transaction) -> bool:
            wanted = self.catalogue.wanted(sha256)
            if wanted is None:
                return False
            row = {"sha256": sha256, "size_bytes": size_bytes, "path": wanted.path, "lost_at_s": None}
            await transaction.connection.execute(tables.upsert(tables.replica), [row])
            ready = ReplicaReady(
                mirror=self._mirror,
                sha256=sha256,
                size_bytes=size_bytes,
                path=wanted.path,
                generation=wanted.generation,
            )
            transaction.said.append(Said(ready, trace))
            transaction.after.append(lambda: self._replicas.update({sha256: Replica(size_bytes, wanted.path)}))
            return True

        return await self._transact(work)

    async def lose_replicas(self, lost: Mapping[Digest, LossReason]) -> None:
        """Say that content is lost. What is not held is passed over.

        Raises:
            StoreError: nothing changed.
        """

        async def work(transaction: _Transaction) -> None:
            for sha256, reason in lost.items():
                if (replica := self._replicas.get(sha256)) is not None:
                    await self._forget_replica(transaction, Drop(sha256, replica.path, reason))

        await self._transact(work)

    async def say(self, *said: Said) -> None:
        """Say events that report no state of ours.

        Raises:
            StoreError: nothing was said.
        """

        async def work(transaction: _Transaction) -> None:
            transaction.said.extend(said)

        await self._transact(work)

    async def announce(self, profile: Profile) -> int:
        """Say that the mirror is online, then all that it holds; give the number of replicas.

        The inventory is as of the first of its own pages: newer than ``mirror.online``, older than whatever becomes
        ready or lost afterwards.

        Raises:
            StoreError: nothing was said.
        """

        async def work(transaction: _Transaction) -> int:
            held = sorted(self._replicas)
            slices = [held[at : at + INVENTORY_PAGE_MAX] for at in range(0, len(held), INVENTORY_PAGE_MAX)] or [[]]
            transaction.said.append(Said(MirrorCameOnline(mirror=self._mirror, profile=profile)))
            pages = (
                InventoryAnnounced(
                    mirror=self._mirror,
                    as_of=transaction.sequence + 2,
                    page=page,
                    pages=len(slices),
                    sha256s=tuple(sha256s),
                )
                for page, sha256s in enumerate(slices, start=1)
            )
            transaction.said.extend(map(Said, pages))
            return len(held)

        return await self._transact(work)

    async def load_ledger(self, month: str) -> Ledger:
        """Read what left in a month.

        Raises:
            StoreError: it could not be read.
        """
        query = select(tables.ledger).where(tables.ledger.c.month == month)
        with _translated():
            async with self._engine.connect() as connection:
                row = (await connection.execute(query)).mappings().first()
        return Ledger(**row) if row is not None else Ledger(month=month)

    async def save_ledger(self, ledger: Ledger) -> None:
        """Write what left in a month.

        Raises:
            StoreError: nothing was written.
        """
        row = {"month": ledger.month, "used_bytes": ledger.used_bytes, "booked_bytes": ledger.booked_bytes}

        async def work(transaction: _Transaction) -> None:
            await transaction.connection.execute(tables.upsert(tables.ledger), [row])

        await self._transact(work)

    async def pending(self, limit: int) -> Sequence[Pending]:
        """Give the oldest events that are yet to be published, in order.

        Raises:
            StoreError: they could not be read.
        """
        query = select(tables.outbox).order_by(tables.outbox.c.position).limit(limit + len(self._published))
        with _translated():
            async with self._engine.connect() as connection:
                rows = (await connection.execute(query)).all()
        unpublished = [row for row in rows if row.position not in self._published]
        return [Pending(row.position, message_of(decode(row.body))) for row in unpublished[:limit]]

    async def forget(self, positions: Sequence[int]) -> None:
        """Delete events that the broker has taken over.

        While the disk takes no change, even a deletion fails; then they are kept in mind, so that the same events do
        not go out again and again, and deleted with the next ones.
        """
        self._published.update(positions)
        doomed = sorted(self._published)

        async def work(transaction: _Transaction) -> None:
            for some in _sliced(doomed):
                await transaction.connection.execute(delete(tables.outbox).where(tables.outbox.c.position.in_(some)))
            transaction.after.append(lambda: self._published.difference_update(doomed))

        try:
            await self._transact(work)
        except StoreError as error:
            log.warning("outbox.undeleted", events=len(doomed), error=str(error))

    async def _transact(self, work: Callable[[_Transaction], Awaitable[_T]]) -> _T:
        """Do some work in a transaction. Once begun, it is finished, even if the caller is cancelled."""
        running = asyncio.ensure_future(self._transact_alone(work))
        self._running.add(running)  # pyright: ignore[reportArgumentType] - a future of anything will do
        running.add_done_callback(self._finished)  # pyright: ignore[reportArgumentType] - as above
        return await asyncio.shield(running)

    def _finished(self, running: asyncio.Future[object]) -> None:
        self._running.discard(running)
        if not running.cancelled():
            running.exception()  # seen here, too, should the caller have been cancelled

    async def _transact_alone(self, work: Callable[[_Transaction], Awaitable[_T]]) -> _T:
        async with self._lock:
            undo: list[Callable[[], None]] = []
            try:
                with _translated():
                    async with self._engine.begin() as connection:
                        transaction = _Transaction(connection, self._sequence, undo=undo)
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

    async def _save_events(self, transaction: _Transaction) -> None:
        if not transaction.said:
            return
        now_ns = self._clock_ns()
        rows = [
            {"body": encode(self._envelope(said, transaction.sequence + number, now_ns))}
            for number, said in enumerate(transaction.said, start=1)
        ]
        for some in _sliced(rows):
            await transaction.connection.execute(insert(tables.outbox), list(some))
        last = transaction.sequence + len(rows)
        await transaction.connection.execute(
            update(tables.setting).where(tables.setting.c.name == "sequence").values(value=last)
        )

    def _envelope(self, said: Said, sequence: int, now_ns: int) -> Envelope:
        return Envelope(
            source=mirror_source(self._mirror),
            epoch=self._epoch,
            sequence=sequence,
            time_ns=now_ns,
            traceparent="" if said.trace is None else said.trace.traceparent,
            event=said.event,
        )

    async def _save_journal(self, connection: AsyncConnection, journal: Journal) -> None:
        now = {key: self.catalogue.entry(key) for key in journal.entries}
        kept = [tables.entry_row(entry) for entry in now.values() if entry is not None]
        for some in _sliced(kept):
            await connection.execute(tables.upsert(tables.entry), list(some))
        gone = [{"c": channel, "p": path} for (channel, path), entry in now.items() if entry is None]
        if gone:
            await connection.execute(tables.DELETE_ENTRY, gone)
        for name in journal.positions:
            position = self.catalogue.positions.get(name)
            if position is None:
                await connection.execute(delete(tables.channel).where(tables.channel.c.name == name))
            else:
                await connection.execute(tables.upsert(tables.channel), [{"name": name, "position": position}])

    async def _forget_replica(self, transaction: _Transaction, drop: Drop) -> None:
        sha256, path = drop.sha256, drop.path
        lost_at_s = self._clock_ns() // NS_PER_S
        await transaction.connection.execute(
            update(tables.replica).where(tables.replica.c.sha256 == sha256).values(lost_at_s=lost_at_s)
        )
        lost = ReplicaLost(mirror=self._mirror, sha256=sha256, path=path, reason=drop.reason)
        transaction.said.append(Said(lost, drop.trace))
        transaction.after.append(lambda: self._note_lost(sha256, path))

    def _note_lost(self, sha256: Digest, path: FilePath) -> None:
        self._replicas.pop(sha256, None)
        self._former[sha256] = path

    async def _load(self) -> None:
        now_ns = self._clock_ns()
        async with self._engine.begin() as connection:
            await connection.run_sync(tables.metadata.create_all)
            fresh = {"layout": tables.LAYOUT, "epoch": now_ns // NS_PER_MS, "sequence": 0}
            rows = [{"name": name, "value": value} for name, value in fresh.items()]
            await connection.execute(insert(tables.setting).on_conflict_do_nothing(), rows)
            expired = tables.replica.c.lost_at_s < now_ns // NS_PER_S - PATHS_REMEMBERED_S
            await connection.execute(delete(tables.replica).where(expired))
        async with self._engine.connect() as connection:
            settings = {row.name: row.value for row in await connection.execute(select(tables.setting))}
            if settings["layout"] > tables.LAYOUT:
                raise LayoutError(f"layout {settings['layout']} is newer than {tables.LAYOUT}")
            self._epoch, self._sequence = settings["epoch"], settings["sequence"]
            await self._load_catalogue(connection)
            await self._load_replicas(connection)

    async def _load_catalogue(self, connection: AsyncConnection) -> None:
        positions = {ChannelName(row.name): row.position for row in await connection.execute(select(tables.channel))}
        rows = (await connection.execute(select(tables.entry))).mappings()
        self.catalogue.restore(positions, (Entry(**row) for row in rows))

    async def _load_replicas(self, connection: AsyncConnection) -> None:
        for row in await connection.execute(select(tables.replica)):
            if row.lost_at_s is None:
                self._replicas[Digest(row.sha256)] = Replica(row.size_bytes, FilePath(row.path))
            else:
                self._former[Digest(row.sha256)] = FilePath(row.path)


def _sliced(rows: Sequence[_T]) -> Iterable[Sequence[_T]]:
    return (rows[at : at + _ROWS_MAX] for at in range(0, len(rows), _ROWS_MAX))


@contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreError(str(error.__cause__ or error)) from error
