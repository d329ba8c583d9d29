"""The rows of revocations, within one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from events.names import Digest, MirrorName
from events.schemas import GrantsRevoked
from master.store.tables import RevocationRow


class RevocationTables:
    """Reads and writes revocations in one transaction."""

    def __init__(self, session: AsyncSession, *, now_s: int) -> None:
        self._session = session
        self._now_s = now_s

    async def holding(self) -> Sequence[GrantsRevoked]:
        """Give those that hold, by number."""
        holding = select(RevocationRow).where(RevocationRow.until_s >= self._now_s).order_by(RevocationRow.number)
        return [_revocation(row) for row in await self._session.scalars(holding)]

    async def add(self, revoked: GrantsRevoked) -> None:
        """Keep a revocation; those that ended are forgotten."""
        await self._session.execute(delete(RevocationRow).where(RevocationRow.until_s < self._now_s))
        self._session.add(
            RevocationRow(
                number=revoked.revocation,
                start_by_s_max=revoked.start_by_s_max,
                until_s=revoked.until_s,
                reason=revoked.reason,
                mirror=revoked.mirror,
                grant_id=revoked.grant_id,
                sha256=revoked.sha256,
                network=revoked.network,
            )
        )
        await self._session.flush()


def _revocation(row: RevocationRow) -> GrantsRevoked:
    return GrantsRevoked(
        revocation=row.number,
        start_by_s_max=row.start_by_s_max,
        until_s=row.until_s,
        reason=row.reason,
        mirror=None if row.mirror is None else MirrorName(row.mirror),
        grant_id=row.grant_id,
        sha256=None if row.sha256 is None else Digest(row.sha256),
        network=row.network,
    )
