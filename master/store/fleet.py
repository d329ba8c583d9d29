"""The fleet's rows: mirrors, their invitations and their subscriptions, within one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from events.names import ChannelName, MirrorName
from events.schemas import Profile
from master.mirrors import NO_RULE, KeyEpochs, Mirror, MirrorState, OpenInvitation, Rule
from master.store.profiles import read_back, stored
from master.store.tables import InvitationRow, MirrorRow, SubscriptionRow


class FleetTables:
    """Reads and writes the fleet in one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def mirror(self, name: MirrorName) -> Mirror | None:
        """Give a mirror that is, or was, part of the fleet."""
        row = await self._session.get(MirrorRow, name)
        return None if row is None else _mirror(row)

    async def mirrors(self, state: MirrorState = MirrorState.JOINED) -> Sequence[Mirror]:
        """Give all mirrors in this state, by name."""
        joined = select(MirrorRow).where(MirrorRow.state == state.value).order_by(MirrorRow.name)
        return [_mirror(row) for row in await self._session.scalars(joined)]

    async def mirror_by_token(self, token_hash: bytes) -> Mirror | None:
        """Give the mirror of the fleet that has this token."""
        row = await self._session.scalar(
            select(MirrorRow).where(MirrorRow.token_hash == token_hash, MirrorRow.state == MirrorState.JOINED.value)
        )
        return None if row is None else _mirror(row)

    async def put_mirror(self, mirror: Mirror) -> None:
        """Write a mirror."""
        await self._session.merge(
            MirrorRow(
                name=mirror.name,
                profile=stored(mirror.profile),
                state=mirror.state.value,
                token_hash=mirror.token_hash,
                joins=mirror.joins,
                joined_at_ns=mirror.joined_at_ns,
                key_epoch=mirror.keys.newest,
                oldest_epoch=mirror.keys.oldest,
                rule=None if mirror.rule == NO_RULE else stored(mirror.rule),
            )
        )
        await self._session.flush()

    async def invitation(self, mirror: MirrorName) -> OpenInvitation | None:
        """Give a mirror's last invitation."""
        row = await self._session.get(InvitationRow, mirror)
        if row is None:
            return None
        return OpenInvitation(
            mirror=MirrorName(row.mirror),
            secret_hash=row.secret_hash,
            channels=tuple(ChannelName(channel) for channel in row.channels),
            expires_at_ns=row.expires_at_ns,
            used=row.used,
        )

    async def put_invitation(self, invitation: OpenInvitation) -> None:
        """Write an invitation; it replaces the mirror's last one."""
        await self._session.merge(
            InvitationRow(
                mirror=invitation.mirror,
                secret_hash=invitation.secret_hash,
                channels=list(invitation.channels),
                expires_at_ns=invitation.expires_at_ns,
                used=invitation.used,
            )
        )
        await self._session.flush()

    async def subscriptions(self, mirror: MirrorName) -> tuple[ChannelName, ...]:
        """Give the channels that a mirror has leave to follow, by name."""
        of_mirror = select(SubscriptionRow.channel).where(SubscriptionRow.mirror == mirror)
        rows = await self._session.scalars(of_mirror.order_by(SubscriptionRow.channel))
        return tuple(ChannelName(channel) for channel in rows)

    async def subscribers(self, channel: ChannelName) -> tuple[MirrorName, ...]:
        """Give the mirrors that have leave to follow a channel, by name."""
        of_channel = select(SubscriptionRow.mirror).where(SubscriptionRow.channel == channel)
        rows = await self._session.scalars(of_channel.order_by(SubscriptionRow.mirror))
        return tuple(MirrorName(mirror) for mirror in rows)

    async def subscribe(self, mirror: MirrorName, channel: ChannelName) -> None:
        """Give leave."""
        await self._session.merge(SubscriptionRow(mirror=mirror, channel=channel))
        await self._session.flush()

    async def unsubscribe(self, mirror: MirrorName, channel: ChannelName) -> None:
        """Take leave away."""
        await self._session.execute(
            delete(SubscriptionRow).where(SubscriptionRow.mirror == mirror, SubscriptionRow.channel == channel)
        )


def _mirror(row: MirrorRow) -> Mirror:
    return Mirror(
        name=MirrorName(row.name),
        profile=read_back(Profile, row.profile),
        state=MirrorState(row.state),
        token_hash=row.token_hash,
        joins=row.joins,
        joined_at_ns=row.joined_at_ns,
        keys=KeyEpochs(row.oldest_epoch, row.key_epoch),
        rule=NO_RULE if row.rule is None else read_back(Rule, row.rule),
    )
