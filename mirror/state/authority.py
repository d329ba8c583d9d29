"""What the master lets this mirror honour: the keys that prove grants, and which grants it took back.

Both are in the mirror's database before anything follows from them, so that neither a restart nor a master that is away
makes a mirror honour again what it must not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from sqlalchemy import delete, insert, select

from events.grants import CLOCK_SKEW_S
from events.schemas import GrantsRevoked
from mirror.state import tables
from mirror.state.database import Database, Transaction, save_setting

_KEPT: Final = "grant_keys_kept"  # all of them may be retired: those of the credentials must not come back then


class Authority:
    """The keys of one mirror, and what was revoked. ``load`` it first."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys: dict[int, bytes] = {}

    @property
    def keys(self) -> Mapping[int, bytes]:
        """The keys that hold now, by key epoch."""
        return MappingProxyType(self._keys)

    @property
    def key_epoch(self) -> int:
        """The newest of them; 1 where there is none, which opens nothing."""
        return max(self._keys, default=1)

    async def load(self, first: Mapping[int, bytes]) -> None:
        """Take over what was kept; the ``first`` keys, which the credentials hold, where nothing was.

        Raises:
            StoreError: it could not be read or written.
        """
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(tables.grant_key))).all()
            mark = await connection.execute(select(tables.setting).where(tables.setting.c.name == _KEPT))
            were_kept = mark.first() is not None
        self._keys = {row.key_epoch: row.key for row in rows}
        if not were_kept:
            await self.replace_keys(first)

    async def replace_keys(self, keys: Mapping[int, bytes]) -> bool:
        """Honour these keys and no others; tell whether they are other ones than before.

        Raises:
            StoreError: nothing changed.
        """
        if dict(keys) == self._keys:
            return False

        async def work(transaction: Transaction) -> None:
            await transaction.connection.execute(delete(tables.grant_key))
            if keys:
                rows = [{"key_epoch": epoch, "key": key} for epoch, key in keys.items()]
                await transaction.connection.execute(insert(tables.grant_key), rows)
            await save_setting(transaction.connection, _KEPT, 1)
            transaction.after.append(lambda: setattr(self, "_keys", dict(keys)))

        await self._database.transact(work)
        return True

    async def retire_keys(self, *, oldest_epoch: int) -> None:
        """Forget the keys of earlier epochs.

        Raises:
            StoreError: nothing changed.
        """
        await self.replace_keys({epoch: key for epoch, key in self._keys.items() if epoch >= oldest_epoch})

    async def revoke(self, revoked: GrantsRevoked, *, master_epoch: int) -> None:
        """Keep what was taken back until the last of it would have ended by itself. Once more does no harm.

        Raises:
            StoreError: it was not written down.
        """
        row = {name: getattr(revoked, name) for name in GrantsRevoked.__struct_fields__}

        async def work(transaction: Transaction) -> None:
            await self._forget_ended(transaction)
            await transaction.connection.execute(
                tables.upsert(tables.revocation), [row | {"master_epoch": master_epoch}]
            )

        await self._database.transact(work)

    async def revocations(self) -> Sequence[GrantsRevoked]:
        """Read what was taken back and still matters.

        Raises:
            StoreError: it could not be read.
        """
        await self._database.transact(self._forget_ended)
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(tables.revocation))).mappings().all()
        return [GrantsRevoked(**{name: row[name] for name in GrantsRevoked.__struct_fields__}) for row in rows]

    async def _forget_ended(self, transaction: Transaction) -> None:
        ended = tables.revocation.c.until_s < self._database.now_s() - CLOCK_SKEW_S
        await transaction.connection.execute(delete(tables.revocation).where(ended))
