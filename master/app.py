"""Puts the master together and runs it. All that it knows is in its database, so it may be killed at any point."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

import structlog
from aiohttp import web

from broker.config import BrokerConfig
from broker.port import Admin, Broker
from broker.rabbitmq import RabbitAdmin, RabbitBroker
from edge.pacing import Pacing
from edge.running import Running
from edge.server import serve
from edge.visitors import parse_proxies
from events.names import ORIGIN
from master.channels import Channels
from master.config import MasterConfig
from master.connection import Connection
from master.downloads import Downloads, Outgoing
from master.following import Following
from master.heard import Heard
from master.holding import Holding
from master.joining import Joining
from master.mirrors import FIRST_KEY
from master.provisioning import MirrorAccess, Provisioner
from master.publishing import Publisher
from master.releasing import Releasing
from master.restating import Restating
from master.revoking import Revoking
from master.seeding import Seeding
from master.serving import Serving
from master.store.store import Store, StoredOutbox, open_store
from master.tracker.tracker import Rules
from master.web.channels import ChannelRoutes
from master.web.content import OriginRoutes
from master.web.fallback import FallbackRoutes, FallbackSettings
from master.web.files import FileRoutes
from master.web.holds import HoldRoutes
from master.web.mirrors import MemberRoutes, MirrorRoutes, Urls
from master.web.pieces import PiecesRoutes
from master.web.revocations import RevocationRoutes
from master.web.routes import Routes, build_app
from master.web.status import StatusRoutes
from master.withdrawing import Withdrawing

OpenBroker: TypeAlias = Callable[[BrokerConfig], AbstractAsyncContextManager[tuple[Broker, Admin]]]

log = structlog.stdlib.get_logger()


@asynccontextmanager
async def open_rabbitmq(config: BrokerConfig) -> AsyncGenerator[tuple[Broker, Admin]]:
    """Connect to RabbitMQ, with a connection of its own for what is declared; wait until it is there.

    The latter comes first: where the virtual host or our own user is missing, it alone can make them.

    Raises:
        AccessRefusedError: wrong user, password or virtual host.
    """
    async with RabbitAdmin(config) as admin, RabbitBroker(config) as broker:
        yield broker, admin


async def run(
    config: MasterConfig, *, on_ready: Callable[[str], None], open_broker: OpenBroker = open_rabbitmq
) -> None:
    """Run until cancelled.

    The HTTP interface is there at once. ``on_ready`` is called with the URL that it listens on, as soon as the broker
    is there too and as it must be.

    Raises:
        AccessRefusedError: the broker does not let us in.
        OSError: the address cannot be listened on.
        sqlalchemy.exc.SQLAlchemyError: the database cannot be opened.
    """
    if config.shared_broker_user:
        log.warning(
            "broker.user_shared",
            consequence="each mirror gets the site's own broker user and can speak as the master",
            hint="give the master RabbitMQ's management API, and do without broker.shared_user",
        )
    config.data_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with open_store(config.store_url) as store:
        master = Master(config, store)
        await master.revoking.load()
        await master.seeding.load()
        async with serve(master.web(), host=config.listen_host, port=config.listen_port) as base_url:
            master.base_url = base_url
            log.info("master.listening", url=base_url)
            async with open_broker(config.broker) as (broker, admin):
                await master.connection.keep(broker, admin, on_provisioned=lambda: on_ready(base_url))


class Master:
    """The services of one master over one database, and its HTTP interface. ``base_url`` is set once it listens."""

    def __init__(self, config: MasterConfig, store: Store) -> None:
        self._config = config
        self._store = store
        self.base_url = ""
        access = MirrorAccess(
            url=config.mirrors_broker_url or config.broker.url,
            secret=config.secret,
            shared_user=config.shared_broker_user,
        )
        self._provisioner = Provisioner(store, access, config.retentions)
        rng = random.Random()  # noqa: S311 - jitter, not secrets
        self._serving = Serving(store)
        rules = Rules(
            seeds_max=config.seeds_max, escape_after_s=config.escape_after_s, bytes_per_second=config.mirror_rate
        )
        self.seeding = Seeding(store, self._serving, rules, secret=config.secret, rng=rng)
        self._releasing = Releasing(store)
        restating = Restating(store, config.retentions.log)
        self.following = Following(store, vhost=config.broker.vhost, on_heard=self._hear, on_grown=restating.note_grown)
        self.connection = Connection(
            self._provisioner, StoredOutbox(store), restating, self.following, self._releasing, rng=rng
        )
        self._running = Running[Outgoing]()
        self.revoking = Revoking(store, self._running, wake=self.connection.wake, clock_s=time.time)

    def web(self) -> web.Application:
        """Put the HTTP interface together."""
        config, store, wake = self._config, self._store, self._wake
        holding = Holding(store, wake=wake)
        channels = Channels(store, self._provisioner, wake=wake)
        joining = Joining(store, self._provisioner, secret=config.secret, wake=wake)
        serving, proxies = self._serving, parse_proxies(config.proxies)
        downloads = Downloads(store, slots=config.slots, wake=self.connection.wake, clock_s=time.time)
        publisher = Publisher(store, holding, checksums=config.checksums, wake=wake)
        withdrawing = Withdrawing(store, self._running, wake=wake)
        routes = Routes(
            files=FileRoutes(publisher, withdrawing, channels),
            holds=HoldRoutes(holding),
            channels=ChannelRoutes(channels),
            mirrors=MirrorRoutes(joining, self._urls),
            members=MemberRoutes(joining, channels, self._urls),
            revocations=RevocationRoutes(self.revoking),
            pieces=PiecesRoutes(joining, self.seeding, proxies=proxies),
            origin=OriginRoutes(joining, serving, self.seeding, self._running, pacing=Pacing(config.mirror_rate)),
            fallback=self._fallback(serving, downloads),
            status=StatusRoutes(store, self._provisioner, self.connection, self.following, self.seeding),
        )
        app = build_app(routes, admin_token=config.admin_token, checks=self.connection.checks)
        app.cleanup_ctx.append(downloads.reporting)
        return app

    def _wake(self) -> None:
        """Say what was committed, and look whether it lets a hold be released."""
        self.connection.wake()
        self._releasing.look()

    def _hear(self, heard: Heard) -> None:
        self.seeding.hear(heard)
        self._releasing.hear(heard)

    def _fallback(self, serving: Serving, downloads: Downloads) -> FallbackRoutes:
        config = self._config
        settings = FallbackSettings(
            keys=FIRST_KEY.keys(config.secret, ORIGIN), proxies=parse_proxies(config.proxies), site_url=config.site_url
        )
        return FallbackRoutes(serving, downloads, self.revoking, self._running, settings)

    def _urls(self) -> Urls:
        return Urls(master=self._config.public_url or self.base_url, site=self._config.site_url)
