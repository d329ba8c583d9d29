"""Statements about many rows at once, on either kind of database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

from sqlalchemy import Insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from master.store.tables import Base

_Row = TypeVar("_Row")

ROWS_MAX: Final = 1000  # a tenth of a second of the event loop; SQLite and PostgreSQL take 32,766 parameters

INSERTS: Final = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
"""Each database's own kind of ``INSERT``, which knows what to do on a conflict."""


def portions(rows: Sequence[_Row]) -> Iterator[Sequence[_Row]]:
    """Cut rows into what one statement takes."""
    for start in range(0, len(rows), ROWS_MAX):
        yield rows[start : start + ROWS_MAX]


def upsert(session: AsyncSession, table: type[Base]) -> Insert:
    """Give the statement that writes whole rows, over older ones with the same key."""
    columns = Base.metadata.tables[table.__tablename__].columns
    statement = INSERTS[session.get_bind().dialect.name](table)
    new = {column.name: statement.excluded[column.name] for column in columns if not column.primary_key}
    return statement.on_conflict_do_update(index_elements=[c for c in columns if c.primary_key], set_=new)
