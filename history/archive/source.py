"""The log as the archive keeps it: years of it, from any place or moment on, at the speed of a local disk."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from history.archive.store.database import Database, open_database
from history.archive.store.engine import ArchiveError, database_name
from history.archive.store.events import (
    bodies_between,
    entries_between,
    first_behind,
    last_up_to,
    name_of,
    places_of,
    time_before,
)
from history.entry import Entry, Position
from history.sources.port import BATCH_MAX, Bodies, Extent, SourceError

# One question of the database, some milliseconds of it, and a megabyte or two; what is given at a time is a part of it.
AT_ONCE: Final = 5 * BATCH_MAX
BODIES_AT_ONCE: Final = 10_000  # some three megabytes


class ArchiveSource:
    """Implements ``history.sources.port.Source``, ``Proving`` and ``Dated`` over an open archive."""

    def __init__(self, database: Database, *, vhost: str, name: str) -> None:
        self._database = database
        self.vhost = vhost
        self.name = name

    async def extent(self) -> Extent:
        """Tell what there is.

        Raises:
            SourceError: the database does not tell.
        """
        try:
            async with self._database.reading() as connection:
                first, last, count = await places_of(connection)
        except ArchiveError as error:
            raise SourceError(str(error)) from error
        return Extent(first=first, last=last, entries=count)

    async def proven(self, *, up_to: Position | None = None) -> AsyncGenerator[Bodies]:
        """Give the sound entries' bodies up to and with a place. See ``history.sources.port.Proving``."""
        try:
            async with self._database.reading() as connection:
                last = await last_up_to(connection, up_to)
            for number in range(1, last + 1, BODIES_AT_ONCE):
                end = min(number + BODIES_AT_ONCE, last + 1)
                async with self._database.reading() as connection:
                    bodies = await bodies_between(connection, number, end)
                    place, message_id = await name_of(connection, end - 1)
                yield Bodies(bodies, place, message_id)
        except ArchiveError as error:
            raise SourceError(str(error)) from error

    async def place_before(self, time_s: float) -> Position | None:
        """Find a place that all before it was said before a time. See ``Dated``."""
        try:
            async with self._database.reading() as connection:
                return await time_before(connection, time_s)
        except ArchiveError as error:
            raise SourceError(str(error)) from error

    async def batches(self, *, after: Position | None = None) -> AsyncGenerator[Sequence[Entry]]:
        """Give the entries behind a place. See ``Source.batches``."""
        try:
            async with self._database.reading() as connection:
                number = await first_behind(connection, after)
                _, _, last = await places_of(connection)
            while number <= last:
                up_to = min(number + AT_ONCE, last + 1)
                async with self._database.reading() as connection:
                    entries = await entries_between(connection, number, up_to)
                for start in range(0, len(entries), BATCH_MAX):
                    yield entries[start : start + BATCH_MAX]
                number = up_to
        except ArchiveError as error:
            raise SourceError(str(error)) from error


@asynccontextmanager
async def open_archive(database_url: str, *, vhost: str) -> AsyncGenerator[ArchiveSource]:
    """Open an archive that is there, to be read while the block is entered.

    Raises:
        SourceError: there is none, or it cannot be used.
    """
    try:
        async with open_database(database_url, create=False) as database:
            yield ArchiveSource(database, vhost=vhost, name=database_name(database_url))
    except ArchiveError as error:
        raise SourceError(str(error)) from error
