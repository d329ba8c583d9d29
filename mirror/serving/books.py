"""What is kept for the operator in the mirror's database: bytes by day, what he set, what he was told."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import date
from types import MappingProxyType

from sqlalchemy import RowMapping, select

from mirror.serving.quota import Ledger
from mirror.state import tables
from mirror.state.database import Database, Transaction
from mirror.state.traces import Said


class Books:
    """The operator's rows of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ledgers(self) -> tuple[Ledger, ...]:
        """Read what left on each day.

        Raises:
            StoreError: it could not be read.
        """
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(tables.ledger))).mappings().all()
        return tuple(_ledger(row) for row in rows)

    async def save(
        self,
        ledgers: Iterable[Ledger] = (),
        *,
        said: Collection[Said] = (),
        kept: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """Write ledgers, say events and keep values under their names, all or nothing.

        Raises:
            StoreError: nothing was written, nothing was said.
        """
        rows = [_row(ledger) for ledger in ledgers]
        values = [{"name": name, "value": value} for name, value in kept.items()]

        async def work(transaction: Transaction) -> None:
            if rows:
                await transaction.connection.execute(tables.upsert(tables.ledger), rows)
            if values:
                await transaction.connection.execute(tables.upsert(tables.operator_setting), values)
            transaction.said.extend(said)

        await self._database.transact(work)

    async def kept(self) -> dict[str, object]:
        """Read all values by name.

        Raises:
            StoreError: they could not be read.
        """
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(tables.operator_setting))).all()
        return {row.name: row.value for row in rows}


def _ledger(row: RowMapping) -> Ledger:
    return Ledger(
        day=date.fromisoformat(row["day"]),
        used_bytes=row["used_bytes"],
        booked_bytes=row["booked_bytes"],
        peer_used_bytes=row["peer_used_bytes"],
        peer_booked_bytes=row["peer_booked_bytes"],
    )


def _row(ledger: Ledger) -> dict[str, object]:
    return {
        "day": ledger.day.isoformat(),
        "used_bytes": ledger.used_bytes,
        "booked_bytes": ledger.booked_bytes,
        "peer_used_bytes": ledger.peer_used_bytes,
        "peer_booked_bytes": ledger.peer_booked_bytes,
    }
