"""What a mirror knows and holds, in memory and, one transaction for each change and its events, in its database.

What the rest of the mirror reads changes when, and only when, the transaction is committed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from events.names import ChannelName, Digest, FilePath, MirrorName, unheld_path
from events.schemas import ChannelFollowed, Event, InventoryAnnounced, LossReason, ReplicaLost, ReplicaReady
from events.trace import TraceContext
from mirror.state import tables
from mirror.state.acks import Acknowledgements
from mirror.state.database import Database, Transaction, save_setting, sliced
from mirror.state.plan import Action, Catalogue, Drop, Entry, Journal, owed, plan
from mirror.state.traces import Said
from mirror.state.upkeep import Care, Upkeep
from mirror.state.wants import Want, Wants

INVENTORY_PAGE_MAX: Final = 1000  # 34 kB, well under what an event may have
PATHS_REMEMBERED_S: Final = 14 * 24 * 3600  # longer than any grant lives; then nobody can ask for the content any more
FORMER_PATHS_MAX: Final = 50_000  # some 15 MB; links to what was lost before these lead to "gone", not back to the site
_ANNOUNCEMENT: Final = ("mirror.online/1", "inventory.announced/1")  # all of it: these are its first and last event

Change: TypeAlias = Callable[[Catalogue, Journal], object]


@dataclass(frozen=True, slots=True)
class Replica:
    """Content that is held, verified, and the path that it was fetched for."""

    size_bytes: int
    path: FilePath


class Store:
    """One mirror's catalogue and replicas. Its ``database`` has the outbox, ``upkeep`` how the replicas fare."""

    def __init__(self, database: Database) -> None:
        self.catalogue = Catalogue()
        self.database = database
        self.wants = Wants()
        self.upkeep = Upkeep()
        self.acknowledgements = Acknowledgements()
        self._mirror = database.mirror
        self._replicas: dict[Digest, Replica] = {}
        self._former: dict[Digest, FilePath] = {}
        self._held_bytes = 0

    @classmethod
    @asynccontextmanager
    async def opened(cls, path: Path, mirror: MirrorName, clock_ns: Callable[[], int]) -> AsyncGenerator[Store]:
        """Open or create the database while the block is entered.

        Raises:
            StoreError: it cannot be opened; LayoutError: another version wrote it.
        """
        async with Database.opened(path, mirror, clock_ns) as database:
            store = cls(database)
            await database.transact(store._forget_expired)
            async with database.reading() as connection:
                await store._load_catalogue(connection)
                await store._load_wants(connection)
                await store._load_replicas(connection)
            yield store

    @property
    def replicas(self) -> Mapping[Digest, Replica]:
        """All content that is held."""
        return MappingProxyType(self._replicas)

    @property
    def held_bytes(self) -> int:
        """How large all of it is together."""
        return self._held_bytes

    def path_of(self, sha256: Digest, file_name: str) -> FilePath | None:
        """Give a path at the site under which content is or was known, preferably one that ends in this name."""
        entry = self.catalogue.wanted(sha256, name=file_name)
        path = self._former.get(sha256) if entry is None else entry.path
        return None if path is None else unheld_path(path)

    async def fold(self, change: Change) -> list[Action]:
        """Change the catalogue. Content that is no longer wanted stops being a replica in the same transaction.

        Raises:
            StoreError: nothing changed.
        """

        async def work(transaction: Transaction) -> list[Action]:
            journal = Journal()
            transaction.undo.append(lambda: self.catalogue.roll_back(journal))
            change(self.catalogue, journal)
            await self._save_journal(transaction.connection, journal)
            await self._save_needs(transaction, journal)
            actions = plan(self.catalogue, journal, self._replicas)
            drops = [each for each in actions if isinstance(each, Drop) and each.sha256 in self._replicas]
            await self._forget_replicas(transaction, drops)
            awaited = owed(self.catalogue, journal)
            transaction.after.append(lambda: self.acknowledgements.expect(awaited))
            return actions

        return await self.database.transact(work)

    async def add_replica(self, sha256: Digest, size_bytes: int, *, trace: TraceContext | None = None) -> bool:
        """Take verified content in and say that it is ready; False where nobody wants it any more.

        Raises:
            StoreError: nothing changed.
        """

        async def work(transaction: Transaction) -> bool:
            wanted = self.catalogue.wanted(sha256)
            if wanted is None:
                return False
            care = Care(verified_at_s=self.database.now_s())
            row = {
                "sha256": sha256,
                "size_bytes": size_bytes,
                "path": wanted.path,
                "verified_at_s": care.verified_at_s,
                "served_at_s": care.served_at_s,
                "lost_at_s": None,
            }
            await transaction.connection.execute(tables.upsert(tables.replica), [row])
            await self._save_wants(transaction, self.wants.marked([sha256], evicted=False))
            ready = ReplicaReady(
                mirror=self._mirror,
                sha256=sha256,
                size_bytes=size_bytes,
                path=wanted.path,
                generation=wanted.generation,
            )
            transaction.said.append(Said(ready, trace))
            transaction.after.append(lambda: self._note_held(sha256, Replica(size_bytes, wanted.path), care))
            return True

        return await self.database.transact(work)

    async def lose_replicas(self, lost: Mapping[Digest, LossReason]) -> None:
        """Say that content is lost. What is not held is passed over.

        Raises:
            StoreError: nothing changed.
        """

        async def work(transaction: Transaction) -> None:
            held = {each: reason for each, reason in lost.items() if each in self._replicas}
            drops = [Drop(each, self._replicas[each].path, reason) for each, reason in held.items()]
            await self._forget_replicas(transaction, drops)

        await self.database.transact(work)

    async def evict(self, sha256s: Collection[Digest]) -> None:
        """Say that content is lost because others need the room. What is not held is passed over.

        Raises:
            StoreError: nothing changed.
        """

        async def work(transaction: Transaction) -> None:
            held = [each for each in sha256s if each in self._replicas]
            drops = [Drop(each, self._replicas[each].path, LossReason.EVICTED) for each in held]
            await self._forget_replicas(transaction, drops)
            await self._save_wants(transaction, self.wants.marked(sha256s, evicted=True))

        await self.database.transact(work)

    async def acknowledge(self) -> dict[ChannelName, int]:
        """Say the position of each channel of which all that was withdrawn is gone; give what was said.

        Raises:
            StoreError: nothing was said.
        """

        async def work(transaction: Transaction) -> dict[ChannelName, int]:
            channels = self.acknowledgements.clear()
            positions = {each: self.catalogue.positions[each] for each in channels if each in self.catalogue.positions}
            transaction.said.extend(map(Said, self._followed(positions)))
            transaction.after.extend(lambda each=each: self.acknowledgements.forget(each) for each in channels)
            return positions

        return await self.database.transact(work)

    async def save_upkeep(self) -> None:
        """Write down what was noted of the replicas since the last time.

        Raises:
            StoreError: nothing was written; it is still known.
        """
        cares = self.upkeep.unwritten()
        if not cares:
            return

        async def work(transaction: Transaction) -> None:
            rows = [{"s": each, "v": care.verified_at_s, "u": care.served_at_s} for each, care in cares.items()]
            await transaction.connection.execute(tables.UPDATE_CARE, rows)
            transaction.after.append(lambda: self.upkeep.written(cares))

        await self.database.transact(work)

    async def say(self, *said: Said) -> None:
        """Say events that report no state of ours.

        Raises:
            StoreError: nothing was said.
        """

        async def work(transaction: Transaction) -> None:
            transaction.said.extend(said)

        await self.database.transact(work)

    async def announce(self, *greeting: Event) -> int | None:
        """Say the greeting, then the position of each channel and all that is held; give the number of replicas.

        While an earlier announcement is still in the outbox, nothing is said and None is given: announce again when it
        was taken over. So the outbox holds at most one, however often the connection was lost; taking the earlier one
        back instead would leave a gap in the numbers of our events.

        The inventory is as of the first of its own pages: newer than ``mirror.online``, older than whatever becomes
        ready or lost afterwards. A channel of which something withdrawn is still to be removed is acknowledged later.

        Raises:
            StoreError: nothing was said.
        """

        async def work(transaction: Transaction) -> int | None:
            if await self.database.holds_unsaid(transaction, *_ANNOUNCEMENT):
                return None
            clear = {each: at for each, at in self.catalogue.positions.items() if self.acknowledgements.is_clear(each)}
            transaction.said.extend(map(Said, (*greeting, *self._followed(clear))))
            held = sorted(self._replicas)
            as_of = transaction.sequence + len(transaction.said) + 1
            transaction.said.extend(map(Said, self._inventory(held, as_of=as_of)))
            return len(held)

        return await self.database.transact(work)

    def _followed(self, positions: Mapping[ChannelName, int]) -> list[ChannelFollowed]:
        return [
            ChannelFollowed(mirror=self._mirror, channel=channel, channel_sequence=at, epoch=self.catalogue.epoch)
            for channel, at in sorted(positions.items())
        ]

    def _inventory(self, held: Sequence[Digest], *, as_of: int) -> list[InventoryAnnounced]:
        slices = [held[at : at + INVENTORY_PAGE_MAX] for at in range(0, len(held), INVENTORY_PAGE_MAX)] or [[]]
        return [
            InventoryAnnounced(mirror=self._mirror, as_of=as_of, page=page, pages=len(slices), sha256s=tuple(sha256s))
            for page, sha256s in enumerate(slices, start=1)
        ]

    async def _save_journal(self, connection: AsyncConnection, journal: Journal) -> None:
        if journal.epoch is not None:
            await save_setting(connection, "master_epoch", self.catalogue.epoch)
        now = {key: self.catalogue.entry(key) for key in journal.entries}
        kept = [tables.entry_row(entry) for entry in now.values() if entry is not None]
        for some in sliced(kept):
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

    async def _save_needs(self, transaction: Transaction, journal: Journal) -> None:
        """Write down what is wanted for the first time, and forget what nobody wants any more."""
        touched = self.catalogue.touched(journal)
        fresh, gone = self.wants.changes(self.catalogue, touched, now_s=self.database.now_s())
        await self._save_wants(transaction, fresh)
        for some in sliced(sorted(gone)):
            await transaction.connection.execute(delete(tables.want).where(tables.want.c.sha256.in_(some)))
        transaction.after.append(lambda: self.wants.drop(gone))

    async def _save_wants(self, transaction: Transaction, wants: Mapping[Digest, Want]) -> None:
        rows = [{"sha256": each, "since_s": want.since_s, "evicted": want.evicted} for each, want in wants.items()]
        for some in sliced(rows):
            await transaction.connection.execute(tables.upsert(tables.want), list(some))
        transaction.after.append(lambda: self.wants.note(wants))

    async def _forget_replicas(self, transaction: Transaction, drops: Sequence[Drop]) -> None:
        lost_at_s = self.database.now_s()
        for drop in drops:
            row = tables.replica.c.sha256 == drop.sha256
            await transaction.connection.execute(update(tables.replica).where(row).values(lost_at_s=lost_at_s))
            lost = ReplicaLost(mirror=self._mirror, sha256=drop.sha256, path=drop.path, reason=drop.reason)
            transaction.said.append(Said(lost, drop.trace))
            transaction.after.append(lambda drop=drop: self._note_lost(drop.sha256, drop.path))
        await self._forget_paths(transaction, [drop.sha256 for drop in drops])

    async def _forget_paths(self, transaction: Transaction, lost: Sequence[Digest]) -> None:
        """Forget the paths of what was lost longest ago, where there are too many with those of what is lost now."""
        surplus = max(0, len(self._former) + len(lost) - FORMER_PATHS_MAX)
        oldest = list(islice(chain(self._former, lost), surplus))
        for some in sliced(oldest):
            await transaction.connection.execute(delete(tables.replica).where(tables.replica.c.sha256.in_(some)))
        transaction.after.append(lambda: self._note_forgotten(oldest))

    def _note_forgotten(self, sha256s: Iterable[Digest]) -> None:
        for sha256 in sha256s:
            self._former.pop(sha256, None)

    def _note_held(self, sha256: Digest, replica: Replica, care: Care) -> None:
        self._held_bytes += replica.size_bytes - self._size_bytes(sha256)
        self._replicas[sha256] = replica
        self._former.pop(sha256, None)
        self.upkeep.hold(sha256, care)

    def _size_bytes(self, sha256: Digest) -> int:
        replica = self._replicas.get(sha256)
        return 0 if replica is None else replica.size_bytes

    def _note_lost(self, sha256: Digest, path: FilePath) -> None:
        self._held_bytes -= self._size_bytes(sha256)
        self._replicas.pop(sha256, None)
        self._former[sha256] = path
        self.upkeep.release(sha256)

    async def _forget_expired(self, transaction: Transaction) -> None:
        expired = tables.replica.c.lost_at_s < self.database.now_s() - PATHS_REMEMBERED_S
        await transaction.connection.execute(delete(tables.replica).where(expired))

    async def _load_catalogue(self, connection: AsyncConnection) -> None:
        positions = {ChannelName(row.name): row.position for row in await connection.execute(select(tables.channel))}
        rows = (await connection.execute(select(tables.entry))).mappings()
        self.catalogue.restore(self.database.master_epoch, positions, (Entry(**row) for row in rows))

    async def _load_wants(self, connection: AsyncConnection) -> None:
        rows = await connection.execute(select(tables.want))
        self.wants.note({Digest(row.sha256): Want(row.since_s, row.evicted) for row in rows})

    async def _load_replicas(self, connection: AsyncConnection) -> None:
        for row in await connection.execute(select(tables.replica).order_by(tables.replica.c.lost_at_s)):
            if row.lost_at_s is None:
                care = Care(row.verified_at_s, row.served_at_s)
                self._note_held(Digest(row.sha256), Replica(row.size_bytes, FilePath(row.path)), care)
            else:
                self._former[Digest(row.sha256)] = FilePath(row.path)
