"""Keep the broker as the database says: the log, the mirrors' queues and accounts, and the catalogue in the log.

The database is the truth; all of this can be made again from it, and is, whenever the connection comes back. Nothing
here holds a transaction open while it waits for the broker.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

import structlog

from broker.accounts import importer_user, mirror_user
from broker.discovery import GENERATIONS_AHEAD_MAX, generations, newest_generation
from broker.port import Admin, BrokerError, ForeignLogError
from broker.provision import (
    LogBrokenError,
    Provisioned,
    Site,
    provision_mirror,
    provision_site,
    remove_mirror,
    retire_generation,
)
from broker.retention import Retentions
from broker.topology import import_mark, site_mark
from events.names import ChannelName, MirrorName
from master.errors import ConflictError, UnavailableError
from master.mirrors import Mirror, MirrorState
from master.restating import open_log, say_again_to
from master.store.store import Store, uncut

# Each try makes a stream of a new name. Two in a row have been seen ruined by kills; eight mean that the broker is ill.
LOG_TRIES_MAX: Final = 8
SITE_DIGITS: Final = 16  # hexadecimal: sites of one broker are few

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorAccess:
    """How mirrors reach the broker: by ``url``, with a user and password of their own where accounts are kept.

    ``shared_user`` lets them have the site's own elsewhere.
    """

    url: str = field(repr=False)
    secret: bytes = field(repr=False)
    shared_user: bool = False

    @property
    def site(self) -> str:
        """Name the site by its secret, without telling it."""
        return hmac.digest(self.secret, b"distributary site", "sha256").hex()[:SITE_DIGITS]

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

    def __init__(self, store: Store, access: MirrorAccess, retentions: Retentions) -> None:
        self._store = store
        self._access = access
        self._retentions = retentions
        self._mark = site_mark(access.site)
        self._site: Site | None = None
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

    def described(self) -> dict[str, object]:
        """Tell for the status how long the streams keep what is in them; ``in_force`` is None until that is known."""
        log_kept, load_kept = self._retentions.log, self._retentions.load
        return {
            "log": {"age_s": log_kept.age_s, "size_bytes": log_kept.size_bytes},
            "load": {"age_s": load_kept.age_s, "size_bytes": load_kept.size_bytes},
            "in_force": None if self._site is None else self._site.is_limited,
        }

    async def settle_all(self) -> None:
        """Make the log and the queues as the database says, in a turn of its own. Doing it again changes nothing.

        Raises:
            BrokerError: try again once the broker is there.
            StoreError: try again once the database is there.
        """
        admin = self._present()
        async with self.turn:
            all_said = await self._settle_log(admin)
            joined = await uncut(self._in(MirrorState.JOINED))
            remade = [mirror for mirror in joined if await self._settle_mirror(admin, mirror) is not Provisioned.KEPT]
            if remade and not all_said:
                await uncut(self._say_again_to(remade))

    async def remove_departed(self) -> None:
        """Take away what mirrors left behind that went while the broker was away, each in a turn of its own.

        Raises:
            BrokerError: try again once the broker is there.
            StoreError: try again once the database is there.
        """
        for mirror in await uncut(self._in(MirrorState.LEFT)):
            async with self.turn:
                await self._remove(self._present(), mirror.name)

    async def settle(self, mirror: Mirror, *, more: Sequence[ChannelName] = ()) -> Provisioned:
        """Put a mirror's queue and account right, with more channels than it has leave to follow as yet.

        Raises:
            UnavailableError: the broker is not there now.
        """
        try:
            return await self._settle_mirror(self._present(), mirror, more=more)
        except BrokerError as error:
            raise _unavailable(str(error)) from error

    async def heal(self, mirror: Mirror) -> Provisioned:
        """Put a mirror's queue right, and say again what a lost one may have held.

        Raises:
            UnavailableError: the broker is not there now.
        """
        found = await self.settle(mirror)
        if found is not Provisioned.KEPT:
            await uncut(self._say_again_to([mirror]))
        return found

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
        """Take away what a mirror that left has in the broker. If the broker is away, its return will do it."""
        try:
            await self._remove(self._present(), mirror)
        except (BrokerError, UnavailableError) as error:
            log.warning("mirror.unsettled", mirror=mirror, error=str(error))

    def check_access(self) -> None:
        """Make sure that mirrors can be let in at all, as far as it can be told now.

        Raises:
            ConflictError: they would have to be given the site's own broker user.
        """
        if self._admin is None or self._admin.keeps_accounts or self._access.shared_user:
            return
        raise ConflictError(
            "broker_accounts_unmanaged",
            "without RabbitMQ's management API a mirror would get the site's own broker user and could speak as the "
            "master",
            hint="set broker.management_url; or broker.shared_user = true, if each mirror may have the whole site",
        )

    def broker_url_for(self, mirror: Mirror) -> str:
        """Give the URL under which a mirror reaches the broker, with its own user where accounts are kept.

        Raises:
            UnavailableError: the broker is not there now.
            ConflictError: it could only be given the site's own user, and nobody allowed that.
        """
        admin = self._present()
        self.check_access()
        if not admin.keeps_accounts:
            return self._access.url
        return self._access.url_for(mirror.name, mirror.joins, vhost=admin.vhost)

    async def _remove(self, admin: Admin, name: MirrorName) -> None:
        """Take away what a mirror left behind, and keep that it is done. One that joined again meanwhile is kept."""
        mirror = next((mirror for mirror in await uncut(self._in(MirrorState.LEFT)) if mirror.name == name), None)
        if mirror is None:
            return
        await remove_mirror(admin, name)
        await uncut(self._keep(replace(mirror, state=MirrorState.REMOVED)))

    async def _in(self, state: MirrorState) -> Sequence[Mirror]:
        async with self._store.reading() as transaction:
            return await transaction.fleet.mirrors(state)

    async def _channels_of(self, mirror: MirrorName) -> tuple[Sequence[ChannelName], Sequence[ChannelName]]:
        """Give the channels that a mirror may follow, and all that it may ever have followed."""
        async with self._store.reading() as transaction:
            return await transaction.fleet.subscriptions(mirror), await transaction.journal.numbered_channels()

    async def _generation(self) -> int:
        async with self._store.reading() as transaction:
            return await transaction.log_generation()

    async def _open_log(self, generation: int) -> None:
        async with self._store.changing() as transaction:
            await open_log(transaction, generation)

    async def _say_again_to(self, mirrors: Sequence[Mirror]) -> None:
        async with self._store.changing() as transaction:
            await say_again_to(transaction, mirrors)

    async def _keep(self, mirror: Mirror) -> None:
        async with self._store.changing() as transaction:
            await transaction.fleet.put_mirror(mirror)

    async def _settle_mirror(self, admin: Admin, mirror: Mirror, *, more: Sequence[ChannelName] = ()) -> Provisioned:
        followed, ever = await uncut(self._channels_of(mirror.name))
        return await provision_mirror(
            admin,
            mirror.name,
            sorted({*followed, *more}),
            previous_channels=ever,
            password=self._access.password(mirror.name, mirror.joins),
        )

    async def _settle_log(self, admin: Admin) -> bool:
        """Make the log; tell whether it is a new one, in which all that holds is said again.

        Raises:
            ForeignLogError: a master without memory would take over the log of another site.
        """
        kept = await uncut(self._generation())
        is_imported = await admin.exists(import_mark().name)
        if is_imported and admin.keeps_accounts:
            await admin.remove_account(importer_user(admin.vhost))  # a killed import leaves it
        of_others = is_imported or not kept  # a master without memory may find the log of an earlier one
        is_ours = bool(kept) or is_imported
        site = self._site = await (
            self._log_after_others(admin, kept, is_ours=is_ours) if of_others else self._own_log(admin, kept)
        )
        if site.generation == kept:
            return False
        # What is still in the outbox goes first, under its old numbers: mirrors may not have heard of it yet.
        await uncut(self._open_log(site.generation))
        log.warning("log.opened", generation=site.generation, before=kept)
        if is_imported:
            await admin.delete_queue(import_mark().name)
        return True

    async def _own_log(self, admin: Admin, kept: int) -> Site:
        """Make sure of our own log.

        Readers follow the newest: one newer than ours was made before a kill or failure right here.
        """
        await admin.ensure_queue(self._mark)
        newest = await newest_generation(admin, known=kept) or 0
        for generation in range(kept, newest):
            await retire_generation(admin, generation)
        return await self._sound_log(admin, max(kept, newest), opened=newest <= kept)

    async def _log_after_others(self, admin: Admin, kept: int, *, is_ours: bool) -> Site:
        """Make a log after all that are there: what those say is not ours, or does not reach to our last word.

        Unless the virtual host is known to be ours, its mark has to say so where there is a log.
        """
        found = await generations(admin, ahead=max(kept, GENERATIONS_AHEAD_MAX))
        if found and not (is_ours or await admin.exists(self._mark.name)):
            raise ForeignLogError(
                f"the virtual host {admin.vhost!r} has the log of another site, which would be cut off"
            )
        await admin.ensure_queue(self._mark)
        site = await self._sound_log(admin, max([kept, *found]) + 1, opened=False)
        for generation in found:
            await retire_generation(admin, generation)
        return site

    async def _sound_log(self, admin: Admin, generation: int, *, opened: bool) -> Site:
        for candidate in range(generation, generation + LOG_TRIES_MAX):
            try:
                site = await provision_site(
                    admin, candidate, self._retentions, opened=opened and candidate == generation
                )
            except LogBrokenError as error:
                log.warning("log.broken", generation=candidate, reason=error.reason)
                # A ruined stream that stays bound would keep every publication from being confirmed.
                await retire_generation(admin, candidate)
            else:
                return site
        raise LogBrokenError(generation, f"so are the {LOG_TRIES_MAX - 1} after it")

    def _present(self) -> Admin:
        if self._admin is None:
            raise _unavailable("not connected yet")
        return self._admin


def _unavailable(problem: str) -> UnavailableError:
    return UnavailableError("broker_unavailable", f"the broker cannot be used now: {problem}", hint="try again later")
