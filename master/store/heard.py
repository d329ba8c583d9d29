"""What mirrors say of themselves in the log, folded into rows: presence, replicas, positions, bad sources.

Like the selector's view it depends on neither the order nor the repetition of what one mirror says: of two facts the
one with the higher number holds, and a complete inventory replaces all facts up to the number at which it was taken.
The position in the log stands in the same transaction as the rows. Each page of an inventory counts as it comes; what
the inventory lacks goes when its last page is there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from events.envelope import Envelope
from events.names import ORIGIN, ChannelName, Digest, MirrorName
from events.schemas import (
    ChannelFollowed,
    InventoryAnnounced,
    MirrorCameOnline,
    MirrorLeft,
    MirrorWentOffline,
    Profile,
    ReplicaLost,
    ReplicaReady,
    SourceBanned,
    SourceFault,
)
from master.heard import Announced, Ban, Heard, LogPosition
from master.store.journal import channel_counter
from master.store.profiles import read_back, stored
from master.store.statements import INSERTS
from master.store.tables import (
    AnnouncedRow,
    BanRow,
    CounterRow,
    FollowedRow,
    InventoryPageRow,
    MirrorRow,
    ReplicaRow,
    SettingRow,
)

FOLDED: Final = (
    MirrorCameOnline,
    MirrorWentOffline,
    MirrorLeft,
    InventoryAnnounced,
    ReplicaReady,
    ReplicaLost,
    ChannelFollowed,
    SourceBanned,
)
"""The types of events that rows are made of; all others can be passed over unread."""

# Twice the largest catalogue that we know of: what one mirror can make us keep, whatever it claims.
REPLICAS_MAX: Final = 1_000_000
# What one mirror can make us keep of others, and go through when it accuses one more. It meets a handful in its life.
BANS_MAX: Final = 1000

_GENERATION: Final = "followed_generation"
_OFFSET: Final = "followed_offset"

log = structlog.stdlib.get_logger()


class HeardTables:
    """Reads and folds what mirrors say, in one transaction. ``epoch`` is that of the master's own numbering."""

    def __init__(self, session: AsyncSession, *, epoch: int) -> None:
        self._session = session
        self._epoch = epoch

    async def position(self) -> LogPosition | None:
        """Give the last entry of the log that was folded; None before the first."""
        generation = await self._session.get(SettingRow, _GENERATION)
        offset = await self._session.get(SettingRow, _OFFSET)
        return None if generation is None or offset is None else LogPosition(generation.value, offset.value)

    async def fold(self, envelopes: Sequence[Envelope], position: LogPosition) -> Heard:
        """Fold entries of the log, up to this position; tell what they changed."""
        heard = await _Fold(self._session, epoch=self._epoch).run(envelopes)
        await self._session.merge(SettingRow(name=_GENERATION, value=position.generation))
        await self._session.merge(SettingRow(name=_OFFSET, value=position.offset))
        return heard

    async def announced(self) -> Sequence[Announced]:
        """Give what each mirror last said of itself, by name."""
        rows = await self._session.scalars(select(AnnouncedRow).order_by(AnnouncedRow.mirror))
        return [_announced(row) for row in rows]

    async def holders(self, sha256: Digest) -> Sequence[MirrorName]:
        """Give the mirrors that say that they hold a content, by name. Not all need be online, or in the fleet."""
        held = select(ReplicaRow.mirror).where(ReplicaRow.sha256 == sha256, ReplicaRow.held)
        return [MirrorName(name) for name in await self._session.scalars(held.order_by(ReplicaRow.mirror))]

    async def held_by(self, mirror: MirrorName, sha256s: Collection[Digest]) -> set[Digest]:
        """Give those of some contents (thousands at the most) that a mirror says it holds."""
        those = select(ReplicaRow.sha256).where(
            ReplicaRow.mirror == mirror, ReplicaRow.sha256.in_(sha256s), ReplicaRow.held
        )
        return {Digest(sha256) for sha256 in await self._session.scalars(those)}

    async def copies(self) -> Mapping[MirrorName, int]:
        """Count the contents that each mirror holds."""
        grouped = select(ReplicaRow.mirror, func.count()).where(ReplicaRow.held).group_by(ReplicaRow.mirror)
        return {MirrorName(name): count for name, count in await self._session.execute(grouped)}

    async def followed(self, channel: ChannelName) -> Mapping[MirrorName, int]:
        """Tell how far each mirror has acted on a channel's facts, by its own last word."""
        rows = await self._session.execute(
            select(FollowedRow.mirror, FollowedRow.channel_sequence).where(FollowedRow.channel == channel)
        )
        return {MirrorName(name): sequence for name, sequence in rows}

    async def bans(self, sha256: Digest) -> Sequence[Ban]:
        """Give the sources that sent wrong bytes of a content, and to whom."""
        rows = await self._session.execute(select(BanRow.source, BanRow.mirror).where(BanRow.sha256 == sha256))
        return [Ban(sha256, MirrorName(source), MirrorName(mirror)) for source, mirror in rows]


class _Fold:
    """One portion of the log on its way into the tables."""

    def __init__(self, session: AsyncSession, *, epoch: int) -> None:
        self._session = session
        self._epoch = epoch
        self._insert = INSERTS[session.get_bind().dialect.name]
        self._rows: dict[MirrorName, AnnouncedRow] = {}
        # Facts that no statement has written yet, each with its number.
        self._facts: dict[tuple[MirrorName, Digest], tuple[int, bool]] = {}
        self._announced: set[MirrorName] = set()
        self._left: set[MirrorName] = set()
        self._replaced: set[MirrorName] = set()
        self._replicas: dict[tuple[MirrorName, Digest], bool] = {}
        self._bans: list[Ban] = []

    async def run(self, envelopes: Sequence[Envelope]) -> Heard:
        """Fold all of it, in order."""
        for envelope in envelopes:
            await self._take(envelope)
        await self._write_facts()
        await self._session.flush()
        return Heard(
            announced=tuple(_announced(self._rows[name]) for name in sorted(self._announced) if name in self._rows),
            left=frozenset(self._left),
            replicas=self._replicas,
            replaced=frozenset(self._replaced),
            bans=tuple(self._bans),
        )

    async def _take(self, envelope: Envelope) -> None:
        event, sequence = envelope.event, envelope.sequence
        if isinstance(event, MirrorLeft):
            await self._forget(event.mirror)
            self._left.add(event.mirror)
            return
        if not isinstance(event, FOLDED):
            return
        row = await self._row(event.mirror, envelope.epoch)
        if row is None:
            return
        match event:
            case MirrorCameOnline() | MirrorWentOffline():
                self._attend(row, event, sequence)
            case InventoryAnnounced():
                await self._page(row, event)
            case ReplicaReady() | ReplicaLost():
                self._note(row, event.sha256, sequence, held=isinstance(event, ReplicaReady))
            case ChannelFollowed():
                await self._follow(event, sequence)
            case SourceBanned():
                await self._ban(event)

    async def _row(self, mirror: MirrorName, epoch: int) -> AnnouncedRow | None:
        """Find what is known of a mirror; None when it has begun a newer numbering than this one."""
        row = self._rows.get(mirror) or await self._session.get(AnnouncedRow, mirror)
        if row is not None and epoch < row.epoch:
            return None
        if row is not None and epoch > row.epoch:
            await self._forget(mirror)
            row = None
        if row is None:
            row = AnnouncedRow(
                mirror=mirror, epoch=epoch, presence=0, online=False, profile=None, key_epoch=1, as_of=0, replicas_max=0
            )
            self._session.add(row)
        self._rows[mirror] = row
        return row

    def _attend(self, row: AnnouncedRow, event: MirrorCameOnline | MirrorWentOffline, sequence: int) -> None:
        if sequence <= row.presence:
            return
        row.presence, row.online = sequence, isinstance(event, MirrorCameOnline)
        if isinstance(event, MirrorCameOnline):
            row.profile, row.key_epoch = stored(event.profile), event.key_epoch
        self._announced.add(event.mirror)
        self._left.discard(event.mirror)

    def _note(self, row: AnnouncedRow, sha256: Digest, sequence: int, *, held: bool) -> None:
        """Keep a fact to be written, unless a later one is kept. Of one number, what an inventory lists is held."""
        mirror = MirrorName(row.mirror)
        if sequence > row.as_of:
            self._facts[mirror, sha256] = max(self._facts.get((mirror, sha256), (0, False)), (sequence, held))

    async def _page(self, row: AnnouncedRow, event: InventoryAnnounced) -> None:
        """Fold one page of an inventory. A mirror tells one at a time: pages of an older one are of no use any more."""
        pending = await self._session.scalar(
            select(func.max(InventoryPageRow.as_of)).where(InventoryPageRow.mirror == event.mirror)
        )
        if event.as_of <= row.as_of or event.as_of < (pending or 0):
            return
        for sha256 in event.sha256s:
            self._note(row, sha256, event.as_of, held=True)
        await self._session.execute(
            delete(InventoryPageRow).where(
                InventoryPageRow.mirror == event.mirror,
                (InventoryPageRow.as_of < event.as_of) | (InventoryPageRow.pages != event.pages),
            )
        )
        await self._session.merge(
            InventoryPageRow(mirror=event.mirror, as_of=event.as_of, pages=event.pages, page=event.page)
        )
        await self._session.flush()
        if await self._pages_of(event) >= event.pages:
            await self._replace(row, event.as_of)

    async def _pages_of(self, event: InventoryAnnounced) -> int:
        counted = select(func.count()).where(
            InventoryPageRow.mirror == event.mirror,
            InventoryPageRow.as_of == event.as_of,
            InventoryPageRow.pages == event.pages,
        )
        return await self._session.scalar(counted) or 0

    async def _replace(self, row: AnnouncedRow, as_of: int) -> None:
        """Put a complete inventory into force: what was said before and is not in it holds no more."""
        await self._write_facts()
        await self._session.execute(delete(InventoryPageRow).where(InventoryPageRow.mirror == row.mirror))
        await self._session.execute(
            delete(ReplicaRow).where(ReplicaRow.mirror == row.mirror, ReplicaRow.sequence < as_of)
        )
        row.as_of = as_of
        self._replaced.add(MirrorName(row.mirror))

    async def _write_facts(self) -> None:
        facts, self._facts = self._facts, {}
        crowded = await self._crowded({mirror for mirror, _ in facts}, facts)
        kept = {fact: said for fact, said in facts.items() if fact[0] not in crowded}
        if kept:
            statement = self._insert(ReplicaRow)
            new, old = statement.excluded, ReplicaRow
            await self._session.execute(
                statement.on_conflict_do_update(
                    index_elements=[old.mirror, old.sha256],
                    set_={"sequence": new.sequence, "held": new.held},
                    where=(old.sequence < new.sequence) | ((old.sequence == new.sequence) & new.held),
                ),
                [
                    {"mirror": mirror, "sha256": sha256, "sequence": sequence, "held": held}
                    for (mirror, sha256), (sequence, held) in kept.items()
                ],
            )
        self._replicas |= {fact: held for fact, (_, held) in kept.items()}

    async def _crowded(
        self, mirrors: Collection[MirrorName], facts: Collection[tuple[MirrorName, Digest]]
    ) -> set[MirrorName]:
        """Give the mirrors that claim more than anybody holds. They are heard again once an inventory is smaller."""
        crowded: set[MirrorName] = set()
        for mirror in mirrors:
            row, new = self._rows[mirror], sum(1 for name, _ in facts if name == mirror)
            if row.replicas_max + new > REPLICAS_MAX:
                counted = select(func.count()).where(ReplicaRow.mirror == mirror)
                row.replicas_max = await self._session.scalar(counted) or 0
            if row.replicas_max + new > REPLICAS_MAX:
                log.warning("mirror.claims_too_much", mirror=mirror, replicas=row.replicas_max)
                crowded.add(mirror)
            else:
                row.replicas_max += new
        return crowded

    async def _follow(self, event: ChannelFollowed, sequence: int) -> None:
        """Keep how far a mirror is. A position in another numbering than ours says nothing about ours."""
        if event.epoch != self._epoch or await self._session.get(CounterRow, channel_counter(event.channel)) is None:
            return
        known = await self._session.get(FollowedRow, (event.mirror, event.channel))
        if known is None or known.sequence < sequence:
            await self._session.merge(
                FollowedRow(
                    mirror=event.mirror,
                    channel=event.channel,
                    channel_sequence=event.channel_sequence,
                    sequence=sequence,
                )
            )

    async def _ban(self, event: SourceBanned) -> None:
        """Keep who sent a mirror wrong bytes: one that may be a source, for else each name would be kept for ever."""
        if event.fault is not SourceFault.WRONG_BYTES or not await self._may_be_source(event.source):
            return
        if await self._session.get(BanRow, (event.sha256, event.source, event.mirror)) is not None:
            return
        counted = select(func.count()).where(BanRow.mirror == event.mirror)
        if (await self._session.scalar(counted) or 0) >= BANS_MAX:
            log.warning("mirror.accuses_too_much", mirror=event.mirror, source=event.source)
            return
        self._session.add(BanRow(sha256=event.sha256, source=event.source, mirror=event.mirror))
        self._bans.append(Ban(event.sha256, event.source, event.mirror))

    async def _may_be_source(self, name: MirrorName) -> bool:
        return name == ORIGIN or await self._session.get(MirrorRow, name) is not None

    async def _forget(self, mirror: MirrorName) -> None:
        """Forget all that a mirror said of itself; what it said of others stands."""
        await self._session.flush()
        self._facts = {fact: said for fact, said in self._facts.items() if fact[0] != mirror}
        self._replicas = {fact: held for fact, held in self._replicas.items() if fact[0] != mirror}
        for table in (ReplicaRow, InventoryPageRow, FollowedRow, AnnouncedRow):
            await self._session.execute(
                delete(table).where(table.mirror == mirror).execution_options(synchronize_session="fetch")
            )
        self._rows.pop(mirror, None)
        self._announced.discard(mirror)
        self._replaced.add(mirror)


def _announced(row: AnnouncedRow) -> Announced:
    return Announced(
        mirror=MirrorName(row.mirror),
        online=row.online,
        profile=None if row.profile is None else read_back(Profile, row.profile),
        key_epoch=row.key_epoch,
    )
