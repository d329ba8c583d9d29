"""The mirror's composition root: makes the parts, ties them together, runs them until it is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Final

import structlog

from broker.config import BrokerConfig
from broker.rabbitmq import RabbitBroker
from edge.clients import new_session
from edge.gate import ConnectionLimits
from edge.health import Check
from edge.pacing import Pacing
from edge.server import serve
from edge.visitors import parse_proxies
from events.names import Digest
from events.schemas import Granted, LossReason
from events.trace import TraceContext
from mirror.config import MirrorConfig, Serving, open_connections
from mirror.content.objects import Objects
from mirror.content.parts import PartsOnOffer
from mirror.fetching.blame import Blame
from mirror.fetching.fetch import Fetcher
from mirror.fetching.guard import peer_session
from mirror.fetching.origin import Origin, OriginError, OriginForgotUsError
from mirror.fetching.sources import Neighbourhood
from mirror.following.announce import Announcer
from mirror.following.handler import Handler, Reactions
from mirror.following.link import Connect, Link
from mirror.following.sync import Sync
from mirror.keeping.keeper import Keeper
from mirror.keeping.reconcile import reconcile
from mirror.keeping.scrub import Scrubber
from mirror.operating.control import controlled
from mirror.operating.operator import Consequences, Operator, kept_settings
from mirror.operating.promises import Promises, promised
from mirror.operating.status import Status
from mirror.serving.bookkeeper import Bookkeeper, kept_told
from mirror.serving.books import Books
from mirror.serving.express import Express
from mirror.serving.external import FOLDER_NAME as NGINX_FOLDER
from mirror.serving.external import External
from mirror.serving.load import LoadReporter
from mirror.serving.peering import Peering
from mirror.serving.quota import Quota
from mirror.serving.slots import PeerSlots, Slots
from mirror.serving.traffic import Traffic
from mirror.serving.web import Counter, mirror_app
from mirror.state.acks import Acknowledger
from mirror.state.authority import Authority
from mirror.state.database import StoreError
from mirror.state.plan import Action, Drop, Fetch, Resync
from mirror.state.store import Store

MEMBERSHIP_ASKED_S: Final = 5.0  # a master that is up answers at once; without one, visitors do not wait longer
THREADS_SPARE: Final = 3  # beside one for each fetch: removals, scrubbing, and what is looked up

log = structlog.stdlib.get_logger()


class NotAMemberError(Exception):
    """The master knows this mirror no more. Starting again cannot help: its operator has to join again."""


class ConfigError(ValueError):
    """The configuration cannot work; the message lists all problems."""


async def run(config: MirrorConfig, *, on_ready: Callable[[str], None], connect: Connect | None = None) -> None:
    """Be this mirror until cancelled. Broker and master may be away; what is held is served all the same.

    Args:
        config: what the operator wants.
        on_ready: called once with the base URL that is listened on.
        connect: makes a connection to the broker; by default to RabbitMQ, as the credentials say.

    Raises:
        ConfigError: the configuration cannot work.
        NotAMemberError: the master says so; where it does not answer, the mirror starts, and ends no more.
        StoreLockedError: another process uses the data folder.
        StoreError: the database cannot be opened.
        OSError: the address cannot be listened on.
    """
    if problems := config.problems():
        raise ConfigError("; ".join(problems))
    objects = Objects(config.data_folder)
    with (
        objects.locked(),
        ThreadPoolExecutor(config.fetches_max + THREADS_SPARE, thread_name_prefix="mirror-disk") as executor,
    ):
        async with (
            Store.opened(config.data_folder / "state.db", config.name, time.time_ns) as store,
            new_session(read_timeout_s=config.limits.stall_after_s) as session,
            peer_session(config.private_addresses, read_timeout_s=config.limits.stall_after_s) as peers,
        ):
            origin = Origin(session, config.credentials.master_url, config.credentials.token)
            await _prove_membership(config, origin)
            around = Neighbourhood(
                mirror=config.name,
                origin=origin,
                peers=peers,
                blame=Blame(origin_ban_s=config.limits.origin_ban_s),
                say=store.say,
            )
            fetcher = Fetcher(around, objects, executor, config.limits, Random())  # noqa: S311 - jitter
            books = Books(store.database)
            kept = await books.kept()
            traffic = await _traffic(config, books, kept)
            traffic.on_begin(lambda sha256: store.upkeep.served(sha256, now_s=time.time()))
            rng = Random()  # noqa: S311 - jitter
            keeper = Keeper(config, store, objects, fetcher, executor, rng, served=lambda: traffic.served)
            keeper.consider(*await reconcile(store, objects, executor))
            scrubber = Scrubber(
                store,
                objects,
                keeper,
                executor,
                bytes_per_second=config.scrub_bytes_per_second,
                every_s=config.scrub_every_s,
                served=lambda: traffic.served,
                cut=lambda sha256: traffic.cut(lambda grant: grant.sha256 == sha256, "the copy is damaged"),
                clock_s=time.time,
            )
            authority = await _authority(config, store, traffic)
            mirror = _Mirror(
                config=config,
                store=store,
                authority=authority,
                objects=objects,
                keeper=keeper,
                scrubber=scrubber,
                origin=origin,
                traffic=traffic,
                connect=connect or _rabbitmq(config),
                on_the_way=fetcher.offered,
            )
            mirror.operator = Operator(config, books, traffic, mirror.consequences(), kept=kept)
            keeper.limit_disk(mirror.operator.promises.disk_bytes_max)
            await mirror.run(on_ready)


async def _prove_membership(config: MirrorConfig, origin: Origin) -> None:
    try:
        async with asyncio.timeout(MEMBERSHIP_ASKED_S):
            await origin.subscriptions()
    except OriginForgotUsError as error:
        raise NotAMemberError(f"the master knows the mirror {config.name} no more: it left, or was removed") from error
    except (OriginError, TimeoutError) as error:
        log.info("membership.unproved", mirror=config.name, error=str(error) or type(error).__name__)


def _rabbitmq(config: MirrorConfig) -> Connect:
    broker = BrokerConfig(url=config.credentials.broker_url, name=f"mirror {config.name}")
    return lambda: RabbitBroker(broker)


async def _traffic(config: MirrorConfig, books: Books, kept: Mapping[str, object]) -> Traffic:
    promises = promised(config.promises, kept_settings(kept))
    quota = Quota(
        config.byte_limits(promises), config.calendar, await books.ledgers(), now_s=time.time(), told=kept_told(kept)
    )
    pacing = Pacing(promises.rate_bytes_per_second)
    peer_rate = config.peer_rate_bytes_per_second
    return Traffic(
        config.name,
        Slots(promises.slots, connections_per_address=config.connections_per_address),
        PeerSlots(config.peer_slots),
        Bookkeeper(config.name, quota, books, clock_s=time.time),
        clock_s=time.time,
        pacing=pacing,
        peer_pacing=pacing if peer_rate is None else Pacing(peer_rate),
    )


async def _authority(config: MirrorConfig, store: Store, traffic: Traffic) -> Authority:
    authority = Authority(store.database)
    await authority.load(config.credentials.grant_keys)
    for revoked in await authority.revocations():
        traffic.revoke(revoked)
    return authority


@dataclass(slots=True, kw_only=True)
class _Mirror:
    """All parts of a running mirror."""

    config: MirrorConfig
    store: Store
    authority: Authority
    objects: Objects
    keeper: Keeper
    scrubber: Scrubber
    origin: Origin
    traffic: Traffic
    connect: Connect
    on_the_way: PartsOnOffer
    sync: Sync = field(init=False)
    operator: Operator = field(init=False)
    external: External | None = field(init=False)
    handler: Handler | None = field(init=False, default=None)
    link: Link | None = field(init=False, default=None)
    announcer: Announcer | None = field(init=False, default=None)
    left_because: str | None = field(init=False, default=None)
    as_member: list[asyncio.Task[None]] = field(init=False, default_factory=list[asyncio.Task[None]])
    always: list[asyncio.Task[None]] = field(init=False, default_factory=list[asyncio.Task[None]])
    stopping: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.external = self._nginx() if self.config.serve is Serving.EXTERNAL else None
        self.sync = Sync(
            self.origin,
            self.store,
            self.authority,
            self._perform,
            self._leave,
            keys_changed=self._announce,
            limits=self.config.limits,
            rng=Random(),  # noqa: S311 - jitter
        )

    async def run(self, on_ready: Callable[[str], None]) -> None:
        """Serve; while serving, keep up with the master and the broker."""
        counter = self._counter()
        app = mirror_app(counter, checks=self._checks, status=self._status)
        self._peering().add_to(app)
        async with asyncio.TaskGroup() as tasks:
            try:
                async with (
                    contextlib.nullcontext() if self.external is None else self.external.listening(),
                    serve(
                        app,
                        host=self.config.listen_host,
                        port=self.config.listen_port,
                        limits=self._limits(),
                        lane=None if self.external is None else Express(counter, self.external),
                        beside=None if self.external is None else self.external.door(),
                    ) as url,
                    controlled(self.operator, self.config.data_folder, status=self._status),
                ):
                    self._start(tasks, url)
                    log.info("mirror.serving", mirror=self.config.name, url=url, replicas=len(self.store.replicas))
                    on_ready(url)
                    await self.stopping.wait()
            finally:
                await self._stop()
            for task in (*self.as_member, *self.always):
                task.cancel()

    def _start(self, tasks: asyncio.TaskGroup, url: str) -> None:
        handler = self.handler = Handler(
            self.config.name, self.store, self.authority, self._reactions(), vhost=self._vhost()
        )
        self.announcer = Announcer(
            self.config.name,
            self.store,
            profile=lambda: self.config.profile(url, self.operator.promises),
            availability=self.operator.announcement,
            key_epoch=lambda: self.authority.key_epoch,
        )
        reporter = LoadReporter(
            self.config.name,
            self.traffic,
            epoch=self.store.database.load_epoch,
            every_s=self.config.report_every_s,
            clock_ns=time.time_ns,
            grants_seen=lambda: handler.grants_seen,
        )
        self.link = Link(
            self.config.name,
            self.connect,
            self.store.database,
            handler=handler,
            reporter=reporter,
            reconnected=self._reconnected,
            refused=self.sync.doubt_queue,
        )
        always = {
            "inbox": handler.inbox.run(),
            "bookkeeper": self.traffic.bookkeeper.run(),
            "operator": self.operator.run(),
        }
        self.always = [tasks.create_task(part, name=name) for name, part in always.items()]
        as_member = {
            "keeper": self.keeper.run(),
            "scrubber": self.scrubber.run(),
            "sync": self.sync.run(),
            "announcer": self.announcer.run(),
            "acknowledger": Acknowledger(self.store).run(),
            "link": self.link.run(),
        }
        self.as_member = [tasks.create_task(part, name=name) for name, part in as_member.items()]

    async def _stop(self) -> None:
        """Write down and say what is left. Whatever fails here is made up for at the next start."""
        await self.scrubber.write_down()
        await self.traffic.bookkeeper.close()
        if self.announcer is None or self.link is None:
            return
        try:
            if self.left_because is None:
                await self.announcer.say_goodbye("stopped by its operator")
            await self.link.say_last_words()
        except StoreError as error:
            log.warning("mirror.goodbye_unsaid", error=str(error))
        log.info("mirror.stopped", mirror=self.config.name)

    def consequences(self) -> Consequences:
        """What the operator can set going here."""
        return Consequences(
            promised=self._promised,
            leave=self._leave_fleet,
            left_because=lambda: self.left_because,
            stop=self.stopping.set,
        )

    def _promised(self, promises: Promises) -> None:
        self.keeper.limit_disk(promises.disk_bytes_max)
        self._announce()

    async def _leave_fleet(self) -> None:
        await self.origin.leave()
        self._leave("left by its operator")

    def _reactions(self) -> Reactions:
        return Reactions(
            perform=self._perform,
            subscription_told=self.sync.note_subscription_event,
            catalogue_restated=self._start_over,
            granted=self._expect,
            revoked=self.traffic.revoke,
            keys_rotated=self.sync.doubt_keys,
            left=self._leave,
        )

    def _perform(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Fetch():
                    self.keeper.want(action.entry.sha256, trace=action.trace)
                case Drop():
                    if action.cut:
                        self._cut(action.sha256)
                    self.keeper.consider(action.sha256)
                case Resync():
                    self.sync.request(action.channel)

    def _cut(self, sha256: Digest) -> None:
        cut = self.traffic.cut(lambda grant: grant.sha256 == sha256, "the file was withdrawn")
        if cut:
            log.info("transfers.cut", sha256=sha256.hex(), transfers=cut)

    def _announce(self) -> None:
        if self.announcer is not None:
            self.announcer.request()

    def _start_over(self) -> None:
        """Tell all and ask for all again: the log may be a new one, and what it was to tell us may be lost."""
        self._announce()
        self.sync.doubt_catalogue()

    def _reconnected(self) -> None:
        """Take nothing for granted: the broker may be a new one, or our queue have dropped its last messages."""
        self.sync.doubt_queue()
        self._start_over()

    def _expect(self, notice: Granted, trace: TraceContext | None) -> None:
        self.traffic.slots.expect(notice.grant_id, start_by_s=notice.start_by_s, now_s=time.time())
        self.traffic.traces.note(notice.grant_id, trace)

    def _leave(self, reason: str) -> None:
        """Stop all that only a member does. Visitors are sent back, and the operator can read why."""
        if self.left_because is not None:
            return
        self.left_because = reason
        log.critical("mirror.left", mirror=self.config.name, reason=reason)
        for task in self.as_member:
            task.cancel()

    async def _lost(self, sha256: Digest) -> None:
        await self.store.lose_replicas({sha256: LossReason.MISSING})
        self.keeper.consider(sha256)

    def _vhost(self) -> str:
        return BrokerConfig(url=self.config.credentials.broker_url).vhost

    def _counter(self) -> Counter:
        return Counter(
            name=self.config.name,
            site_url=self.config.credentials.site_url,
            grant_keys=lambda: self.authority.keys,
            proxies=parse_proxies(self.config.trusted_proxies),
            store=self.store,
            objects=self.objects,
            traffic=self.traffic,
            lost=self._lost,
            left=lambda: self.left_because,
            clock_s=time.time,
            external=self.external,
        )

    def _peering(self) -> Peering:
        return Peering(
            mirror=self.config.name,
            offers=lambda: self.config.peers and self.left_because is None,
            grant_keys=lambda: self.authority.keys,
            proxies=parse_proxies(self.config.trusted_proxies),
            store=self.store,
            objects=self.objects,
            on_the_way=self.on_the_way,
            traffic=self.traffic,
            clock_s=time.time,
        )

    def _limits(self) -> ConnectionLimits:
        return ConnectionLimits(
            per_address=open_connections(self.config.connections_per_address),
            proxies=parse_proxies(self.config.trusted_proxies),
        )

    def _nginx(self) -> External:
        return External(
            self.config.data_folder / NGINX_FOLDER,
            pacing=self.traffic.pacing,
            clock_s=time.time,
        )

    def _checks(self) -> tuple[Check, ...]:
        health = self.link.health if self.link is not None else None
        connected = health is not None and health.connected
        detail = "" if connected or self.link is None else self.link.last_error or "not connected"
        return (
            Check(name="member", ok=self.left_because is None, detail=self.left_because or ""),
            Check(name="broker", ok=connected, detail=detail, vital=False),
            Check(name="master", ok=not self.sync.last_error, detail=self.sync.last_error, vital=False),
        )

    def _status(self, verbose: bool = False) -> dict[str, object]:  # noqa: FBT001, FBT002 - a callback with one meaning
        unknown: Mapping[str, int] = self.handler.unknown if self.handler is not None else {}
        status = Status(
            config=self.config,
            store=self.store,
            keeper=self.keeper,
            objects=self.objects,
            on_the_way=self.on_the_way,
            traffic=self.traffic,
            operator=self.operator,
            left_because=self.left_because,
        )
        return status.show(self._checks(), unknown, verbose=verbose)
