"""The database behind the store: how to open it, and how to bring its tables up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from alembic import command
from alembic.config import Config
from asyncpg import InterfaceError, PostgresError
from sqlalchemy import Connection, event, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

# A writer holds SQLite for milliseconds, and in this process writers queue up elsewhere: only another process (a
# backup, a person's sqlite3) makes one wait at all.
SQLITE_BUSY_TIMEOUT_MS: Final = 30_000
# What a database may do to us; SQLAlchemy does not wrap what asyncpg raises while it connects.
DATABASE_ERRORS: Final = (SQLAlchemyError, PostgresError, InterfaceError, OSError)
WRITES: Final = "distributary_writes"
_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
MIGRATIONS: Final = Path(__file__).parent / "migrations"


_turns: Final = WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]()


class _Cursor(Protocol):
    def execute(self, sql: str) -> object: ...
    def close(self) -> None: ...


class _SqliteConnection(Protocol):
    isolation_level: str | None

    def cursor(self) -> _Cursor: ...


def supported(database_url: str) -> bool:
    """Tell whether we can keep our state there."""
    return database_url.partition("://")[0].partition("+")[0] in _DRIVERS


def open_engine(database_url: str) -> AsyncEngine:
    """Open a database by URL; nothing connects yet."""
    url = make_url(database_url)
    family = url.drivername.partition("+")[0]
    # A server that was restarted leaves dead connections in the pool; asking first costs one round trip.
    engine = create_async_engine(url.set(drivername=_DRIVERS[family]), pool_pre_ping=family != "sqlite")
    if family == "sqlite":
        _prepare_sqlite(engine)
    return engine


def writing(engine: AsyncEngine) -> AsyncEngine:
    """Give the same engine for transactions that write: on SQLite they take the write lock when they begin."""
    return engine.execution_options(**{WRITES: True})


def reading(engine: AsyncEngine) -> AsyncEngine:
    """Give the same engine for transactions that look: all of one transaction sees one moment."""
    if engine.dialect.name == "sqlite":
        return engine  # in WAL mode it does so anyway
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


async def migrate(engine: AsyncEngine, migrations: Path = MIGRATIONS) -> None:
    """Bring the tables up to date; ``migrations`` is the folder with the steps.

    One database at a time: Alembic keeps the one that it works on in globals, and gives others their turn meanwhile.
    """
    turn = _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    async with turn, writing(engine).begin() as connection:
        await connection.run_sync(upgrade, migrations=migrations)


def upgrade(connection: Connection, revision: str = "head", *, migrations: Path = MIGRATIONS) -> None:
    """Bring the tables up to a revision, in the transaction that the connection is in."""
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _prepare_sqlite(engine: AsyncEngine) -> None:
    def connect(connection: _SqliteConnection, _record: object) -> None:
        # Python's sqlite3 would begin transactions by itself, and only at the first write: two writers could then
        # both have read what neither may rely on.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    _listen(engine, "connect", connect)
    _listen(engine, "begin", begin)


def _listen(engine: AsyncEngine, name: str, callback: Callable[..., None]) -> None:
    event.listen(engine.sync_engine, name, callback)
