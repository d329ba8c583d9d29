"""The archive's database: opened as the master's is, and with what personal data asks of SQLite."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, Protocol

import structlog
from sqlalchemy import event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from master.store.engine import DATABASE_ERRORS, migrate, open_engine

FILE_MODE: Final = 0o600  # it holds visitors' addresses
MIGRATIONS: Final = Path(__file__).parent / "migrations"

log = structlog.stdlib.get_logger()


class ArchiveError(Exception):
    """The archive's database cannot be used now. Nothing of the transaction was kept; try again after a while."""


class _Connection(Protocol):
    def cursor(self) -> _Cursor: ...


class _Cursor(Protocol):
    def execute(self, sql: str) -> object: ...
    def close(self) -> None: ...


@asynccontextmanager
async def opened(database_url: str, *, create: bool = True) -> AsyncGenerator[AsyncEngine]:
    """Open the database while the block is entered, and bring its tables up to date.

    Raises:
        ArchiveError: it cannot be opened; without ``create``: it is not there.
    """
    path = database_file(database_url)
    if path is not None:
        _prepare_file(path, create=create)
    engine = open_engine(database_url)
    if path is not None:
        event.listen(engine.sync_engine, "connect", _overwrite_what_is_deleted)
    try:
        with translated():
            await migrate(engine, MIGRATIONS)
        yield engine
    finally:
        await engine.dispose()


def database_file(database_url: str) -> Path | None:
    """Give the file of a database in one; None of a server's."""
    url = make_url(database_url)
    return Path(url.database or "") if url.drivername.startswith("sqlite") else None


def database_name(database_url: str) -> str:
    """Name a database for people: without its password."""
    return make_url(database_url).render_as_string(hide_password=True)


@contextmanager
def translated() -> Generator[None]:
    """Raise ``ArchiveError`` for whatever the database or the way to it does."""
    try:
        yield
    except DATABASE_ERRORS as error:
        cause = error.__cause__ or error
        log.warning("archive.database_failed", error=str(cause), kind=type(error).__name__)
        raise ArchiveError(f"the archive's database failed: {cause}") from error


def _prepare_file(path: Path, *, create: bool) -> None:
    """Create the file, if there is none, for its owner alone; SQLite gives its others the same mode."""
    if not create and not path.exists():
        raise ArchiveError(f"there is no archive at {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
    except OSError as error:
        raise ArchiveError(f"{path}: {error.strerror}") from error


def _overwrite_what_is_deleted(connection: _Connection, _record: object) -> None:
    """Let no address that was cut linger in the free room of the file."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA secure_delete = ON")
    cursor.close()
