"""Keep the broker as the database says: the log, the mirrors' queues and accounts, and the catalogue in the log.

The database is the truth; all of this can be made again from it, and is, whenever the connection comes back. Nothing
here holds a transaction open while it waits for the broker.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

import structlog

from broker.accounts import mirror_user
from broker.discovery import newest_generation
from broker.port import Admin, BrokerError
from broker.provision import (
    LogBrokenError,
    Provisioned,
    Site,
    provision_mirror,
    provision_site,
    remove_mirror,
    retire_generation,
)
from events.names import ORIGIN_CHANNEL, ChannelName, MirrorName
from events.schemas import ChannelDefined, Event, LogOpened, MirrorJoined, SubscriptionGranted
from master.errors import UnavailableError
from master.mirrors import Mirror, MirrorState
from master.store.store import Store, Transaction

# Each try makes a stream of a new name. Two in a row have been seen ruined by kills; eight mean that the broker is ill.
LOG_TRIES_MAX: Final = 8

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorAccess:
    """How mirrors reach the broker: by ``url``, with a user and password of their own where accounts are kept."""

    url: str = field(repr=False)
    secret: bytes = field(repr=False)

    def password(self, mirror: MirrorName, joins: int) -> str:
        """Derive a mirror's password, another one for each time it joins, so that nothing need be kept."""
        return hmac.digest(self.secret, f"distributary broker|{mirror}|{joins}".encode(), "sha256").hex()

    def url_for(self, mirror: MirrorName, joins: int, *, vhost: str) -> str:
        """Give the URL with the mirror's own user and password."""
        parts = urlsplit(self.url)
        user = quote(mirror_user(vhost, mirror), safe="")
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{user}:{self.password(mirror, joins)}@{host}"))


class Provisioner:
    """Provisions the broker. Until ``serve_with`` is entered, whatever needs the broker is refused as unavailable.

    Whoever changes which mirror may follow what holds ``turn`` from the first look at the database to the last word
    to the broker, or another one could unbind what this one has bound and not committed yet.
    """

    def __init__(self, store: Store, access: MirrorAccess) -> None:
        self._store = store
        self._access = access
        self._admin: Admin | None = None
        self.turn: Final = asyncio.Lock()

    @asynccontextmanager
    async def serve_with(self, admin: Admin) -> AsyncGenerator[None]:
        """Provision this broker while the block is entered."""
        self._admin = admin
        try:
            yield
        finally:
            self._admin = None

    async def settle_all(self) -> None:
        """Make the broker as the database says, all of it, in a turn of its own. Doing it again changes nothing.

        Raises:
            BrokerError: try again once the broker is there.
        """
        admin = self._present()
        async with self.turn:
            await self._settle_log(admin)
            async with self._store.reading() as transaction:
                mirrors = await transaction.fleet.mirrors()
                gone = await transaction.fleet.mirrors(MirrorState.LEFT)
            for mirror in gone:
                await remove_mirror(admin, mirror.name)
            for mirror in mirrors:
                await self._settle_mirror(admin, mirror)

    async def settle(self, mirror: Mirror, *, more: Sequence[ChannelName] = ()) -> Provisioned:
        """Put a mirror's queue and account right, with more channels than it has leave to follow as yet.

        Raises:
            UnavailableError: the broker is not there now.
        """
        try:
            return await self._settle_mirror(self._present(), mirror, more=more)
        except BrokerError as error:
            raise _unavailable(str(error)) from error

    async def settle_later(self, name: MirrorName) -> None:
        """Put a mirror's queue right after leave was taken away. If the broker is away, its return will do it."""
        try:
            async with self._store.reading() as transaction:
                mirror = await transaction.fleet.mirror(name)
            if mirror is not None and mirror.state is MirrorState.JOINED:
                await self.settle(mirror)
        except UnavailableError as error:
            log.warning("mirror.unsettled", mirror=name, error=error.message)

    async def remove(self, mirror: MirrorName) -> None:
        """Take a mirror's queue and account away. If the broker is away, its return will do it."""
        try:
            await remove_mirror(self._present(), mirror)
        except (BrokerError, UnavailableError) as error:
            log.warning("mirror.unsettled", mirror=mirror, error=str(error))

    def broker_url_for(self, mirror: Mirror) -> str:
        """Give the URL under which a mirror reaches the broker, with its own user where accounts are kept.

        Raises:
            UnavailableError: the broker is not there now.
        """
        admin = self._present()
        if not admin.keeps_accounts:
            return self._access.url
        return self._access.url_for(mirror.name, mirror.joins, vhost=admin.vhost)

    async def _settle_mirror(self, admin: Admin, mirror: Mirror, *, more: Sequence[ChannelName] = ()) -> Provisioned:
        async with self._store.reading() as transaction:
            followed = await transaction.fleet.subscriptions(mirror.name)
            ever = await transaction.journal.numbered_channels()
        return await provision_mirror(
            admin,
            mirror.name,
            sorted({*followed, *more}),
            previous_channels=ever,
            password=self._access.password(mirror.name, mirror.joins),
        )

    async def _settle_log(self, admin: Admin) -> None:
        async with self._store.reading() as transaction:
            kept = await transaction.log_generation()
        # A master without memory may find the log of an earlier one; what that said is not ours.
        first = kept or (await newest_generation(admin) or 0) + 1
        site = await _sound_log(admin, first, opened=kept > 0)
        if site.generation == kept:
            return
        # What is still in the outbox goes first, under its old numbers: mirrors may not have heard of it yet.
        async with self._store.changing() as transaction:
            await transaction.set_log_generation(site.generation)
            async for events in _said_again(transaction, site.generation):
                await transaction.journal.say(events)
        log.warning("log.opened", generation=site.generation, before=kept)

    def _present(self) -> Admin:
        if self._admin is None:
            raise _unavailable("not connected yet")
        return self._admin


async def _sound_log(admin: Admin, generation: int, *, opened: bool) -> Site:
    for candidate in range(generation, generation + LOG_TRIES_MAX):
        try:
            site = await provision_site(admin, candidate, opened=opened and candidate == generation)
        except LogBrokenError as error:
            log.warning("log.broken", generation=candidate, reason=error.reason)
            # A ruined stream that stays bound would keep every publication from being confirmed.
            await retire_generation(admin, candidate)
        else:
            return site
    raise LogBrokenError(generation, f"so are the {LOG_TRIES_MAX - 1} after it")


async def _said_again(transaction: Transaction, generation: int) -> AsyncIterator[Sequence[Event]]:
    """Give all that holds, in portions: the channels, the fleet, and what is in each channel under its own numbers.

    It carries no trace: it is said again because the log is new, and not because somebody just did it.
    """
    yield [LogOpened(generation=generation)]
    channels = await transaction.catalogue.channels()
    yield [
        ChannelDefined(channel=channel.name, filter=channel.filter, description=channel.description)
        for channel in channels
    ]
    for mirror in await transaction.fleet.mirrors():
        followed = await transaction.fleet.subscriptions(mirror.name)
        yield [
            MirrorJoined(mirror=mirror.name, profile=mirror.profile),
            *(SubscriptionGranted(mirror=mirror.name, channel=channel) for channel in followed),
        ]
    for name in (ORIGIN_CHANNEL, *(channel.name for channel in channels)):
        yield await transaction.catalogue.facts(name)


def _unavailable(problem: str) -> UnavailableError:
    return UnavailableError("broker_unavailable", f"the broker cannot be used now: {problem}", hint="try again later")
