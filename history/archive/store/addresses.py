"""Cutting visitors' addresses out of the archived bodies, in steps that a kill undoes or leaves whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from history.archive.row import AddressState
from history.archive.store.database import Database
from history.archive.store.events import number_up_to
from history.archive.store.tables import archive, events
from history.privacy import Addresses, without_addresses
from master.store.store import uncut

STEP: Final = 2000  # events that are looked at in a transaction; a body takes some 50 us to be written anew

_CUT: Final = {Addresses.SHORTEN: AddressState.SHORTENED, Addresses.DROP: AddressState.DROPPED}
_STALE: Final = {
    Addresses.SHORTEN: (AddressState.WHOLE.value,),
    Addresses.DROP: (AddressState.WHOLE.value, AddressState.SHORTENED.value),
}


class Cut(NamedTuple):
    """Up to which event a step came, how many bodies it wrote anew, and whether there is nothing more to do."""

    number: int
    changed: int
    is_done: bool


async def cut_old(database: Database, how: Addresses, *, before_ns: int) -> Cut:
    """Cut the addresses of some more events before a moment of the log; remember how far that came.

    Raises:
        ArchiveError: nothing was changed.
    """
    return await uncut(_cut_old(database, how, before_ns=before_ns))


async def cut_from(database: Database, how: Addresses, *, behind: int, before_ns: int) -> Cut:
    """Cut the addresses of some events behind a number and before a moment of the log, also those cut less before.

    Raises:
        ArchiveError: nothing was changed.
    """
    return await uncut(_cut_from(database, how, behind=behind, before_ns=before_ns))


async def cut_up_to(database: Database) -> int:
    """Give the number of the event up to which addresses were cut by age."""
    async with database.reading() as connection:
        return await connection.scalar(select(archive.c.addresses_cut_to)) or 0


async def count_before(database: Database, how: Addresses, *, before_ns: int) -> int:
    """Count the events before a moment whose addresses would be cut.

    Raises:
        ArchiveError: the database cannot be used now.
    """
    async with database.reading() as connection:
        last = await number_up_to(connection, time_ns=before_ns)
        stale = select(func.count()).where(events.c.number <= last, events.c.addresses.in_(_STALE[how]))
        return await connection.scalar(stale) or 0


async def _cut_old(database: Database, how: Addresses, *, before_ns: int) -> Cut:
    async with database.changing() as connection:
        behind = await connection.scalar(select(archive.c.addresses_cut_to).with_for_update()) or 0
        cut = await _step(connection, how, behind=behind, before_ns=before_ns)
        if cut.number > behind:
            await connection.execute(update(archive).values(addresses_cut_to=cut.number))
    return cut


async def _cut_from(database: Database, how: Addresses, *, behind: int, before_ns: int) -> Cut:
    async with database.changing() as connection:
        return await _step(connection, how, behind=behind, before_ns=before_ns)


async def _step(connection: AsyncConnection, how: Addresses, *, behind: int, before_ns: int) -> Cut:
    last = await number_up_to(connection, time_ns=before_ns)
    up_to = max(behind, min(behind + STEP, last))
    changed = await _rewritten(connection, how, behind, up_to)
    if changed:
        this = update(events).where(events.c.number == bindparam("of_number"))
        await connection.execute(this.values(body=bindparam("new_body"), addresses=_CUT[how].value), changed)
    return Cut(up_to, len(changed), up_to >= last)


async def _rewritten(
    connection: AsyncConnection, how: Addresses, behind: int, up_to: int
) -> Sequence[dict[str, object]]:
    stale = select(events.c.number, events.c.body).where(
        events.c.number > behind, events.c.number <= up_to, events.c.addresses.in_(_STALE[how])
    )
    return [
        {"of_number": number, "new_body": without_addresses(body, how)}
        for number, body in await connection.execute(stale)
    ]
