"""Transactions on the archive's database: the one that archives, and those that look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import aiosqlite
from sqlalchemy import CursorResult, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from broker.retention import ENTRY_OVERHEAD_BYTES
from history.archive.gap import Gap, GapKind
from history.archive.projecting.counting import day_of_ns
from history.archive.row import Row
from history.archive.standing import Standing
from history.archive.store import tables
from history.archive.store.engine import ArchiveError, opened, translated
from history.entry import BEGINNING, Entry
from master.store.engine import reading, writing
from master.store.statements import INSERTS
from master.store.store import uncut

THE_ONE: Final = 1  # the id of the archive's own row
GAPS_SHOWN_MAX: Final = 20  # the latest; all are in the table
DAYS_OF_GROWTH: Final = 2  # today's, and a whole one


class OvertakenError(ArchiveError):
    """Another archiver has written to this archive meanwhile. Nothing was kept; go on from where it is."""


class Database:
    """The archive's database, open; ``open_database`` makes one."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._reader, self._writer = reading(engine), writing(engine)
        self.dialect = engine.dialect.name
        # SQLite lets writers wait by polling, in no order; here they queue up.
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[AsyncConnection]:
        """Look at one moment of the archive.

        Raises:
            ArchiveError: it cannot be used now.
        """
        with translated():
            async with self._reader.connect() as connection, connection.begin():
                yield connection

    @asynccontextmanager
    async def changing(self) -> AsyncGenerator[AsyncConnection]:
        """Change the archive. Such transactions come one after the other; an exception undoes all of it.

        Raises:
            ArchiveError: it cannot be used now; nothing was changed.
        """
        with translated():
            async with self._turn, self._writer.begin() as connection:
                yield connection

    async def empty_journal(self) -> bool:
        """Let nothing remain in SQLite's journal of what was overwritten; False while somebody reads who needs it.

        A checkpoint alone leaves the journal's pages where they are until others are written over them. Of a server's
        journal its operator takes care.

        Raises:
            ArchiveError: it cannot be used now.
        """
        with translated():
            async with self._turn, self._writer.connect() as connection:
                driver = (await connection.get_raw_connection()).driver_connection
                if not isinstance(driver, aiosqlite.Connection):
                    return True
                return await uncut(_emptied(driver))

    async def standing(self) -> Standing:
        """Tell how far the log is archived."""
        async with self.reading() as connection:
            return await _standing(connection)

    async def highest(self, generation: int) -> int:
        """Give the highest offset that is archived of a generation."""
        of_it = select(func.max(tables.events.c.log_offset)).where(tables.events.c.log_generation == generation)
        async with self.reading() as connection:
            highest = await connection.scalar(of_it)
        return BEGINNING if highest is None else highest

    async def unarchived(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Give those entries of one generation, in order, that are not in the archive."""
        columns = tables.events.c
        same = (columns.log_generation == entries[0].generation) & columns.log_offset.between(
            entries[0].offset, entries[-1].offset
        )
        async with self.reading() as connection:
            known = {
                (offset, message_id)
                for offset, message_id in await connection.execute(
                    select(columns.log_offset, columns.message_id).where(same)
                )
            }
        return [entry for entry in entries if (entry.offset, entry.message_id) not in known]

    async def append(
        self, rows: Sequence[Row], *, standing: Standing, before: Standing, gap: Gap | None = None
    ) -> None:
        """Archive rows and move on, from the standing ``before``, in one transaction; once begun, it is finished.

        Raises:
            OvertakenError: the archive does not stand there.
            ArchiveError: nothing was kept.
        """
        await uncut(self._append(rows, standing=standing, before=before, gap=gap))

    async def gaps(self) -> Sequence[Gap]:
        """Give the latest gaps, the last one first."""
        newest = select(tables.gaps).order_by(tables.gaps.c.number.desc()).limit(GAPS_SHOWN_MAX)
        async with self.reading() as connection:
            return [
                Gap(
                    kind=GapKind(row.kind),
                    noticed_at_ns=row.noticed_at_ns,
                    generation=row.log_generation,
                    after_offset=row.after_offset,
                    next_offset=row.next_offset,
                    detail=row.detail,
                )
                for row in await connection.execute(newest)
            ]

    async def latest_days(self) -> Sequence[tuple[str, int]]:
        """Give the last days of the log with their bytes, the latest first."""
        days = tables.log_days.c
        latest = select(days.day, days.bytes).order_by(days.day.desc()).limit(DAYS_OF_GROWTH)
        async with self.reading() as connection:
            return [(day, size_bytes) for day, size_bytes in await connection.execute(latest)]

    async def _append(self, rows: Sequence[Row], *, standing: Standing, before: Standing, gap: Gap | None) -> None:
        async with self.changing() as connection:
            await self._move(connection, standing, before)
            if gap is not None:
                await _record(connection, gap, events_before=before.number)
            if rows:
                await connection.execute(insert(tables.events), [row._asdict() for row in rows])
                await self._count(connection, rows)

    async def _move(self, connection: AsyncConnection, standing: Standing, before: Standing) -> None:
        """Write down where the archive stands, unless it stands elsewhere than we believe."""
        if before == Standing() and await _standing(connection) == before:
            first = {"id": THE_ONE, "addresses_cut_to": 0, **_columns(standing)}
            statement = INSERTS[self.dialect](tables.archive).values(first).on_conflict_do_nothing()
        else:
            here = tables.archive.c
            statement = (
                update(tables.archive)
                .where(
                    here.number == before.number,
                    here.log_generation == before.generation,
                    here.log_offset == before.offset,
                )
                .values(_columns(standing))
            )
        moved: CursorResult[tuple[()]] = await connection.execute(statement)
        if moved.rowcount != 1:
            raise OvertakenError("another archiver writes to this archive; one is enough")

    async def _count(self, connection: AsyncConnection, rows: Sequence[Row]) -> None:
        days: dict[str, list[int]] = {}
        for row in rows:
            counted = days.setdefault(day_of_ns(row.log_time_ns), [0, 0])
            counted[0] += 1
            counted[1] += len(row.body) + ENTRY_OVERHEAD_BYTES
        statement, old = INSERTS[self.dialect](tables.log_days), tables.log_days.c
        new = statement.excluded
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=["day"], set_={"entries": old.entries + new.entries, "bytes": old.bytes + new.bytes}
            ),
            [{"day": day, "entries": entries, "bytes": size_bytes} for day, (entries, size_bytes) in days.items()],
        )


@asynccontextmanager
async def open_database(database_url: str, *, create: bool = True) -> AsyncGenerator[Database]:
    """Open an archive while the block is entered.

    Raises:
        ArchiveError: it cannot be opened; without ``create``: it is not there.
    """
    async with opened(database_url, create=create) as engine:
        yield Database(engine)


async def _emptied(driver: aiosqlite.Connection) -> bool:
    try:
        ((is_blocked, *_),) = await driver.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
    except aiosqlite.Error as error:
        raise ArchiveError(f"the archive's database failed: {error}") from error
    return not is_blocked


async def _standing(connection: AsyncConnection) -> Standing:
    row = (await connection.execute(select(tables.archive))).one_or_none()
    if row is None:
        return Standing()
    return Standing(row.number, row.log_generation, row.log_offset, row.raw_id.decode(), row.log_time_ns)


def _columns(standing: Standing) -> dict[str, object]:
    return {
        "number": standing.number,
        "log_generation": standing.generation,
        "log_offset": standing.offset,
        "raw_id": standing.message_id.encode(),
        "log_time_ns": standing.log_time_ns,
    }


async def _record(connection: AsyncConnection, gap: Gap, *, events_before: int) -> None:
    last = await connection.scalar(select(func.max(tables.gaps.c.number)))
    await connection.execute(
        insert(tables.gaps).values(
            number=(last or 0) + 1,
            kind=gap.kind.value,
            noticed_at_ns=gap.noticed_at_ns,
            log_generation=gap.generation,
            after_offset=gap.after_offset,
            next_offset=gap.next_offset,
            events_before=events_before,
            detail=gap.detail.replace("\x00", "\N{REPLACEMENT CHARACTER}"),
        )
    )
