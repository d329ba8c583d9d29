"""Invite mirrors, let them join, say which channels they may follow, and remove them.

A mirror's queue is bound to a channel before the leave to follow it is committed, and unbound after leave was taken
away; so no fact of a followed channel can pass a mirror by, and a crash in between leaves only a binding too many,
which the next start takes away.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from broker.provision import Provisioned
from events.grants import KEY_EPOCH_MAX
from events.names import ChannelName, MirrorName
from events.schemas import MirrorInvited, MirrorLeft, Profile, SubscriptionGranted, SubscriptionRevoked
from events.schemas.fields import NS_PER_S
from events.trace import TraceContext
from master.channels import found
from master.errors import ConflictError, ForbiddenError, GoneError, InvalidRequestError, NotFoundError
from master.mirrors import FIRST_KEY, NO_RULE, KeyEpochs, Mirror, MirrorState, OpenInvitation, Rule
from master.provisioning import Provisioner
from master.store.store import Store, Transaction

SECRET_BYTES: Final = 16  # beyond guessing; short enough to paste
TOKEN_BYTES: Final = 32
EXPIRES_IN_S_DEFAULT: Final = 86_400
EXPIRES_IN_S_MAX: Final = 30 * 86_400  # an invitation that lies about for longer is found by somebody else


log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a mirror needs from then on. It is given once and kept by the mirror alone."""

    mirror: MirrorName
    broker_url: str
    token: str
    grant_keys: dict[int, bytes]
    channels: tuple[ChannelName, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """An invitation as it was issued; the secret is nowhere else."""

    mirror: MirrorName
    secret: str
    expires_at_s: int


def token_hash(token: str) -> bytes:
    """Hash a secret for keeping. It is random and long, so a plain hash does."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class Joining:
    """Keeps the fleet's members. ``wake`` is called after each commit that said something."""

    def __init__(self, store: Store, provisioner: Provisioner, *, secret: bytes, wake: Callable[[], None]) -> None:
        self._store = store
        self._provisioner = provisioner
        self._secret = secret
        self._wake = wake

    async def invite(
        self, name: MirrorName, channels: Sequence[ChannelName], *, expires_in_s: int, trace: TraceContext
    ) -> Issued:
        """Invite a mirror, or invite it again; the last invitation counts.

        Raises:
            NotFoundError: no such channel.
            InvalidRequestError: it would never, or hardly ever, expire.
            ConflictError: mirrors can be given no broker users of their own.
        """
        self._provisioner.check_access()
        if not 0 < expires_in_s <= EXPIRES_IN_S_MAX:
            raise InvalidRequestError("expiry_invalid", f"an invitation holds for 1 to {EXPIRES_IN_S_MAX} seconds")
        secret = secrets.token_urlsafe(SECRET_BYTES)
        async with self._store.changing(trace=trace) as transaction:
            for channel in channels:
                found(await transaction.catalogue.channel(channel), channel)
            expires_at_s = transaction.now_ns // NS_PER_S + expires_in_s
            invitation = OpenInvitation(
                mirror=name,
                secret_hash=token_hash(secret),
                channels=tuple(sorted(set(channels))),
                expires_at_ns=expires_at_s * NS_PER_S,
                used=False,
            )
            await transaction.fleet.put_invitation(invitation)
            await transaction.journal.say(
                [MirrorInvited(mirror=name, channels=invitation.channels, expires_at_ns=invitation.expires_at_ns)]
            )
        self._wake()
        log.info("mirror.invited", mirror=name, channels=invitation.channels, trace_id=trace.trace_id)
        return Issued(mirror=name, secret=secret, expires_at_s=expires_at_s)

    async def join(self, name: MirrorName, *, secret: str, profile: Profile, trace: TraceContext) -> Credentials:
        """Let a mirror take up its invitation, once. Joining again with a new one replaces its credentials.

        Raises:
            ForbiddenError: no such invitation, or another secret.
            GoneError: used or expired.
            UnavailableError: the broker is not there now; the invitation still holds.
            ConflictError: mirrors can be given no broker users of their own; the invitation still holds.
        """
        self._provisioner.check_access()
        token = secrets.token_urlsafe(TOKEN_BYTES)
        async with self._provisioner.turn:
            async with self._store.reading() as transaction:
                mirror, channels = await self._joiner(transaction, name, secret, profile, token)
            await self._provisioner.settle(mirror, more=channels)
            broker_url = self._provisioner.broker_url_for(mirror)
            async with self._store.changing(trace=trace) as transaction:
                followed = await self._admit(transaction, mirror, secret, channels)
        self._wake()
        log.info("mirror.joined", mirror=name, url=profile.url, joins=mirror.joins, trace_id=trace.trace_id)
        return Credentials(
            mirror=name,
            broker_url=broker_url,
            token=token,
            grant_keys=self.grant_keys(mirror),
            channels=followed,
        )

    async def subscribe(
        self, name: MirrorName, channel: ChannelName, *, trace: TraceContext
    ) -> tuple[ChannelName, ...]:
        """Give a mirror leave to follow a channel; give all that it may follow.

        Raises:
            NotFoundError: no such mirror or channel.
            UnavailableError: the broker is not there now.
        """
        async with self._provisioner.turn:
            async with self._store.reading() as transaction:
                mirror = member(await transaction.fleet.mirror(name), name)
                found(await transaction.catalogue.channel(channel), channel)
            await self._provisioner.settle(mirror, more=(channel,))
            async with self._store.changing(trace=trace) as transaction:
                found(await transaction.catalogue.channel(channel), channel)
                await _grant(transaction, name, [channel])
                followed = await transaction.fleet.subscriptions(name)
        self._wake()
        return followed

    async def unsubscribe(
        self, name: MirrorName, channel: ChannelName, *, trace: TraceContext
    ) -> tuple[ChannelName, ...]:
        """Take leave away; give all that the mirror may still follow.

        Raises:
            NotFoundError: no such mirror.
        """
        async with self._provisioner.turn:
            async with self._store.changing(trace=trace) as transaction:
                member(await transaction.fleet.mirror(name), name)
                if channel in await transaction.fleet.subscriptions(name):
                    await transaction.fleet.unsubscribe(name, channel)
                    await transaction.journal.say([SubscriptionRevoked(mirror=name, channel=channel)])
                followed = await transaction.fleet.subscriptions(name)
            self._wake()
            await self._provisioner.settle_later(name)
        return followed

    async def remove(self, name: MirrorName, *, reason: str, trace: TraceContext) -> None:
        """Take a mirror out of the fleet; its token, account and queue end at once.

        Raises:
            NotFoundError: no such mirror.
        """
        async with self._provisioner.turn:
            async with self._store.changing(trace=trace) as transaction:
                mirror = member(await transaction.fleet.mirror(name), name)
                for channel in await transaction.fleet.subscriptions(name):
                    await transaction.fleet.unsubscribe(name, channel)
                unruled = replace(mirror, state=MirrorState.LEFT, rule=NO_RULE)
                await transaction.fleet.put_mirror(unruled)
                ended = [] if mirror.rule == NO_RULE else [unruled.ruling()]
                await transaction.journal.say([*ended, MirrorLeft(mirror=name, reason=reason)])
            self._wake()
            await self._provisioner.remove(name)
        log.info("mirror.left", mirror=name, reason=reason, trace_id=trace.trace_id)

    async def rotate_keys(self, name: MirrorName, *, cut: bool, trace: TraceContext) -> KeyEpochs:
        """Give a mirror a new grant key; the one before holds on, or with ``cut`` opens nothing any more.

        Raises:
            NotFoundError: no such mirror.
            ConflictError: its epochs are used up.
        """
        async with self._store.changing(trace=trace) as transaction:
            mirror = member(await transaction.fleet.mirror(name), name)
            keys = mirror.keys.rotated(cut=cut)
            if keys is None:
                raise ConflictError(
                    "key_epochs_used_up",
                    f"{name} had all {KEY_EPOCH_MAX} keys that a mirror can have",
                    hint="let it join under another name",
                )
            mirror = replace(mirror, keys=keys)
            await transaction.fleet.put_mirror(mirror)
            await transaction.journal.say([mirror.rotation()])
        self._wake()
        log.info("keys.rotated", mirror=name, key_epoch=keys.newest, cut=cut, trace_id=trace.trace_id)
        return keys

    async def edit(self, name: MirrorName, change: Callable[[Rule], Rule], *, trace: TraceContext) -> Rule:
        """Change what the site rules for a mirror; give all of it.

        Raises:
            NotFoundError: no such mirror.
        """
        async with self._store.changing(trace=trace) as transaction:
            mirror = member(await transaction.fleet.mirror(name), name)
            edited = replace(mirror, rule=change(mirror.rule))
            if edited != mirror:
                await transaction.fleet.put_mirror(edited)
                await transaction.journal.say([edited.ruling()])
        self._wake()
        log.info("mirror.ruled", mirror=name, enabled=edited.rule.enabled, trace_id=trace.trace_id)
        return edited.rule

    def grant_keys(self, mirror: Mirror) -> dict[int, bytes]:
        """Give a mirror's grant keys that hold, by epoch."""
        return mirror.keys.keys(self._secret, mirror.name)

    async def mirrors(self) -> Sequence[tuple[Mirror, tuple[ChannelName, ...]]]:
        """Give all mirrors with the channels that they may follow."""
        async with self._store.reading() as transaction:
            mirrors = await transaction.fleet.mirrors()
            return [(mirror, await transaction.fleet.subscriptions(mirror.name)) for mirror in mirrors]

    async def subscriptions(self, name: MirrorName) -> tuple[ChannelName, ...]:
        """Give the channels that a mirror may follow."""
        async with self._store.reading() as transaction:
            return await transaction.fleet.subscriptions(name)

    async def authenticate(self, token: str) -> Mirror:
        """Give the mirror that a token belongs to.

        Raises:
            ForbiddenError: nobody's.
        """
        async with self._store.reading() as transaction:
            mirror = await transaction.fleet.mirror_by_token(token_hash(token))
        if mirror is None:
            raise ForbiddenError(
                "token_wrong", "no mirror of this site has this token", hint="ask the site for a new invitation"
            )
        return mirror

    async def heal_queue(self, mirror: Mirror) -> Provisioned:
        """Put a mirror's queue right and prove it.

        Raises:
            UnavailableError: the broker is not there now.
        """
        async with self._provisioner.turn:
            found = await self._provisioner.heal(mirror)
        self._wake()
        return found

    async def _joiner(
        self, transaction: Transaction, name: MirrorName, secret: str, profile: Profile, token: str
    ) -> tuple[Mirror, tuple[ChannelName, ...]]:
        """Give the mirror as it will be, and the channels it is invited to that there still are."""
        invitation = await _holding_invitation(transaction, name, secret)
        before = await transaction.fleet.mirror(name)
        known = await transaction.catalogue.filters()
        mirror = Mirror(
            name=name,
            profile=profile,
            state=MirrorState.JOINED,
            token_hash=token_hash(token),
            joins=1 if before is None else before.joins + 1,
            joined_at_ns=transaction.now_ns,
            keys=FIRST_KEY if before is None else before.keys,
            rule=NO_RULE if before is None else before.rule,
        )
        return mirror, tuple(channel for channel in invitation.channels if channel in known)

    async def _admit(
        self, transaction: Transaction, mirror: Mirror, secret: str, channels: Sequence[ChannelName]
    ) -> tuple[ChannelName, ...]:
        invitation = await _holding_invitation(transaction, mirror.name, secret)
        known = await transaction.catalogue.filters()
        await transaction.fleet.put_invitation(replace(invitation, used=True))
        await transaction.fleet.put_mirror(mirror)
        await transaction.journal.say(mirror.introduction())
        await _grant(transaction, mirror.name, [channel for channel in channels if channel in known])
        return await transaction.fleet.subscriptions(mirror.name)


def member(mirror: Mirror | None, name: MirrorName) -> Mirror:
    """Give the mirror.

    Raises:
        NotFoundError: it is not part of the fleet.
    """
    if mirror is None or mirror.state is not MirrorState.JOINED:
        raise NotFoundError("mirror_unknown", f"no mirror {name}", hint="see them all: distributary mirror ls")
    return mirror


async def _grant(transaction: Transaction, name: MirrorName, channels: Sequence[ChannelName]) -> None:
    before = await transaction.fleet.subscriptions(name)
    new = [channel for channel in channels if channel not in before]
    for channel in new:
        await transaction.fleet.subscribe(name, channel)
    await transaction.journal.say([SubscriptionGranted(mirror=name, channel=channel) for channel in new])


async def _holding_invitation(transaction: Transaction, name: MirrorName, secret: str) -> OpenInvitation:
    invitation = await transaction.fleet.invitation(name)
    if invitation is None or not hmac.compare_digest(invitation.secret_hash, token_hash(secret)):
        raise ForbiddenError(
            "invitation_unknown",
            f"no such invitation for {name}",
            hint="a newer one may have replaced it; ask the site",
        )
    if invitation.used:
        raise GoneError("invitation_used", "this invitation was used", hint="ask the site for a new one")
    if invitation.expires_at_ns < transaction.now_ns:
        raise GoneError("invitation_expired", "this invitation has expired", hint="ask the site for a new one")
    return invitation
