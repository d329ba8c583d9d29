"""The rows of holds, within one transaction: which files are held together, until when, and who has them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sqlalchemy import Exists, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from events.names import ORIGIN_CHANNEL, ChannelName, Digest, FilePath, MirrorName, held_path
from events.schemas.fields import NS_PER_S
from master.holds import Condition, Hold, HoldState, Tally, parse_condition
from master.store.statements import portions
from master.store.tables import FileRow, HeldFileRow, HoldRow, MembershipRow, ReplicaRow, SubscriptionRow

_SEPARATOR: Final = ","  # in no name of a channel
REMEMBERED_NS: Final = 24 * 3600 * NS_PER_S  # whoever waits for a release asks within seconds


class HoldTables:
    """Reads and writes holds in one transaction that began at ``now_ns``."""

    def __init__(self, session: AsyncSession, *, now_ns: int) -> None:
        self._session = session
        self._now_ns = now_ns

    async def begin(self, number: int, condition: Condition | None) -> None:
        """Begin a hold that is open. What ended a day ago, or was never filled, is forgotten."""
        cutoff_ns = self._now_ns - REMEMBERED_NS
        old = (HoldRow.began_at_ns < cutoff_ns) & (HoldRow.ended_at_ns < cutoff_ns)
        await self._session.execute(delete(HoldRow).where(old, ~_has_files()))
        self._session.add(
            HoldRow(
                number=number,
                condition="" if condition is None else str(condition),
                state=HoldState.OPEN.value,
                began_at_ns=self._now_ns,
                ended_at_ns=0,
            )
        )
        await self._session.flush()

    async def seal(self, number: int) -> bool:
        """Take note that all files of a hold are held; forget one without any, and tell whether it has some."""
        await self._session.execute(delete(HoldRow).where(HoldRow.number == number, ~_has_files()))
        sealed = update(HoldRow).where(HoldRow.number == number).values(state=HoldState.HELD.value)
        return (await self._session.execute(sealed.returning(HoldRow.number))).first() is not None

    async def add(self, path: FilePath, number: int) -> None:
        """Put a held file into a hold; it leaves the one that it was in."""
        row = await self._session.get(HeldFileRow, path)
        before = None if row is None else row.hold
        await self._session.merge(HeldFileRow(path=path, hold=number))
        await self._session.flush()
        if before is not None and before != number:
            await self._close({before}, HoldState.ENDED)

    async def drop(self, paths: Sequence[FilePath], outcome: HoldState) -> None:
        """Hold these no more. Holds that have nothing left have ended so."""
        numbers: set[int] = set()
        for some in portions(paths):
            dropped = delete(HeldFileRow).where(HeldFileRow.path.in_(some)).returning(HeldFileRow.hold)
            numbers |= set(await self._session.scalars(dropped))
        await self._close(numbers, outcome)

    async def hold(self, number: int) -> Hold | None:
        """Give a hold; one that ended for a day."""
        row = await self._session.get(HoldRow, number)
        return None if row is None else _hold(row)

    async def standing(self) -> Sequence[Hold]:
        """Give all that hold files, oldest first."""
        rows = await self._session.scalars(select(HoldRow).where(_has_files()).order_by(HoldRow.number))
        return [_hold(row) for row in rows]

    async def paths(self, number: int) -> Sequence[FilePath]:
        """Give the files of a hold, as they stand in the catalogue, in order."""
        of_hold = select(HeldFileRow.path).where(HeldFileRow.hold == number)
        rows = await self._session.scalars(of_hold.order_by(HeldFileRow.path))
        return [FilePath(path) for path in rows]

    async def matching(self, path: FilePath) -> Sequence[FilePath]:
        """Give what is held for a path, and for all paths in the folder of that name."""
        held = held_path(path)
        folder = f"{held}/"
        inside = func.substr(HeldFileRow.path, 1, len(folder)) == folder  # SQLite's LIKE takes a for A
        rows = await self._session.scalars(select(HeldFileRow.path).where((HeldFileRow.path == held) | inside))
        return [FilePath(each) for each in rows]

    async def all_paths(self) -> Sequence[FilePath]:
        """Give all that is held."""
        return [FilePath(path) for path in await self._session.scalars(select(HeldFileRow.path))]

    async def contents(self, numbers: Collection[int]) -> set[Digest]:
        """Give the contents of some holds."""
        joined = select(FileRow.sha256).join(HeldFileRow, HeldFileRow.path == FileRow.path)
        rows = await self._session.scalars(joined.where(HeldFileRow.hold.in_(numbers)).distinct())
        return {Digest(sha256) for sha256 in rows}

    async def copies(self, number: int) -> Mapping[FilePath, int]:
        """Count for each file of a hold the mirrors that have it, where any has."""
        counted = (
            select(HeldFileRow.path, func.count())
            .join(FileRow, FileRow.path == HeldFileRow.path)
            .join(ReplicaRow, (ReplicaRow.sha256 == FileRow.sha256) & ReplicaRow.held)
            .where(HeldFileRow.hold == number)
            .group_by(HeldFileRow.path)
        )
        return {FilePath(path): count for path, count in await self._session.execute(counted)}

    async def channels(self, number: int) -> Mapping[FilePath, tuple[ChannelName, ...]]:
        """Give for each file of a hold the channels that it is in, where it is in any."""
        rows = await self._session.execute(
            select(MembershipRow.path, MembershipRow.channel)
            .join(HeldFileRow, HeldFileRow.path == MembershipRow.path)
            .where(HeldFileRow.hold == number, MembershipRow.channel != ORIGIN_CHANNEL)
            .order_by(MembershipRow.path, MembershipRow.channel)
        )
        found: dict[FilePath, tuple[ChannelName, ...]] = {}
        for path, channel in rows:
            found[FilePath(path)] = (*found.get(FilePath(path), ()), ChannelName(channel))
        return found

    async def tally(self, number: int) -> Tally:
        """Tell how far mirrors are with a hold."""
        followers = await self._followers(number)
        complete = await self._complete(number)
        return Tally(followers=tuple(sorted(followers)), complete=tuple(sorted(followers & complete)))

    async def _followers(self, number: int) -> set[MirrorName]:
        """Give the mirrors that follow, for each file of a hold that mirrors can have, a channel that it is in."""
        of_files = (
            select(func.aggregate_strings(MembershipRow.channel, _SEPARATOR).label("channels"))
            .join(HeldFileRow, HeldFileRow.path == MembershipRow.path)
            .where(HeldFileRow.hold == number, MembershipRow.channel != ORIGIN_CHANNEL)
            .group_by(MembershipRow.path)
            .subquery()
        )
        # Files by the thousand are in the same few channels, and these are looked at once.
        joined = await self._session.scalars(select(of_files.c.channels).distinct())
        needed = {frozenset(channels.split(_SEPARATOR)) for channels in joined}
        followed: defaultdict[str, set[str]] = defaultdict(set)
        for mirror, channel in await self._session.execute(select(SubscriptionRow.mirror, SubscriptionRow.channel)):
            followed[mirror].add(channel)
        return {
            MirrorName(mirror)
            for mirror, channels in followed.items()
            if needed and all(channels & each for each in needed)
        }

    async def _complete(self, number: int) -> set[MirrorName]:
        """Give the mirrors that have every content of a hold that is in a channel."""
        contents = (
            select(FileRow.sha256)
            .join(HeldFileRow, HeldFileRow.path == FileRow.path)
            .join(MembershipRow, MembershipRow.path == FileRow.path)
            .where(HeldFileRow.hold == number, MembershipRow.channel != ORIGIN_CHANNEL)
            .distinct()
            .subquery()
        )
        count = await self._session.scalar(select(func.count()).select_from(contents))
        having = (
            select(ReplicaRow.mirror)
            .join(contents, contents.c.sha256 == ReplicaRow.sha256)
            .where(ReplicaRow.held)
            .group_by(ReplicaRow.mirror)
            .having(func.count() == count)
        )
        return {MirrorName(name) for name in await self._session.scalars(having)}

    async def _close(self, numbers: Collection[int], outcome: HoldState) -> None:
        """End those of some holds that have nothing left; one that is open may yet be filled."""
        ended = update(HoldRow).where(HoldRow.number.in_(numbers), HoldRow.state == HoldState.HELD.value, ~_has_files())
        await self._session.execute(ended.values(state=outcome.value, ended_at_ns=self._now_ns))


def _has_files() -> Exists:
    return select(HeldFileRow.path).where(HeldFileRow.hold == HoldRow.number).exists()


def _hold(row: HoldRow) -> Hold:
    return Hold(
        number=row.number,
        condition=parse_condition(row.condition) if row.condition else None,
        state=HoldState(row.state),
        began_at_ns=row.began_at_ns,
    )
