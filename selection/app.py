"""The selector's composition root: all parts are made, joined and ended here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext

import structlog

from broker.port import Broker
from broker.rabbitmq import RabbitBroker
from edge.server import serve
from edge.visitors import parse_proxies
from events.names import parse_tag
from events.schemas import SelectionRules
from selection.access.gatekeeper import Gatekeeper
from selection.access.site import SiteAsker
from selection.answering.announcer import Announcer
from selection.answering.dice import Dice
from selection.answering.granting import Keys, Terms
from selection.answering.heads import Heads
from selection.answering.lane import RedirectLane
from selection.answering.preparing import prepare_rankings
from selection.answering.recording import Desk, Recorder
from selection.answering.redirector import Office, Redirector
from selection.answering.web import Endpoint
from selection.collector import calm_collector
from selection.config import SelectorConfig
from selection.following.follower import Follower, Known
from selection.following.snapshot import site_of
from selection.following.snapshot_file import SnapshotFile
from selection.following.snapshots import Restored, Snapshots
from selection.places.files import PlaceFiles, open_places
from selection.policy.claims import Claims
from selection.policy.policy import Policy
from selection.policy.reservations import Reservations
from selection.policy.rules import Rules

log = structlog.stdlib.get_logger()


async def run(config: SelectorConfig, *, on_ready: Callable[[str], None]) -> None:
    """Send visitors to mirrors until cancelled.

    Listens at once, and tells visitors to come again soon until the view has caught up with the log. Then it calls
    ``on_ready`` with the base URL.

    Raises:
        GeoFileError: a file that tells where addresses are cannot be read.
        AccessRefusedError: the broker does not let us in, or read the log (then in an exception group).
        OSError: the address cannot be listened on, or the folder of the state not be used.
    """
    with open_places(config.geoip_files, config.places_file) as places, calm_collector() as keep:
        broker = RabbitBroker(config.broker)
        await run_on(broker, config, connection=broker, places=places, on_ready=on_ready, on_known=keep)


async def run_on(
    broker: Broker,
    config: SelectorConfig,
    *,
    connection: AbstractAsyncContextManager[object] | None = None,
    places: PlaceFiles,
    on_ready: Callable[[str], None],
    on_known: Callable[[], None] = lambda: None,
) -> None:
    """Do the same on any adapter of the broker; entering ``connection`` connects it, None: it is connected.

    Calls ``on_known`` when much is known that will stay: what a snapshot tells, and then what the log does.
    """
    announcer = Announcer(broker, config.name, clock_ns=time.time_ns)
    site = _site_asker(config)
    gatekeeper = Gatekeeper(ticket_key=config.ticket_key, site=site)
    snapshots = _snapshots(config)
    restored = snapshots.restore(days_kept=config.statistics_days)
    on_known()
    follower, endpoint = _joined(
        broker, announcer, config, gatekeeper=gatekeeper, places=places, snapshots=snapshots, restored=restored
    )
    serving = serve(
        endpoint.app(),
        host=config.listen_host,
        port=config.listen_port,
        lane=_lane(endpoint, follower) if config.fast_lane else None,
        shares_port=config.shares_port,
    )
    try:
        async with site or nullcontext(), serving as base_url, asyncio.TaskGroup() as tasks:
            tasks.create_task(_converse(connection, announcer, follower), name="converse")
            tasks.create_task(places.run(), name="watch-places")
            tasks.create_task(snapshots.run(restored, follower.mark), name="write-snapshots")
            await follower.caught_up.wait()
            on_known()
            preparing = prepare_rankings(endpoint.office.policy, follower.hearing)
            tasks.create_task(preparing, name="prepare-rankings")
            log.info("selector.ready", url=base_url, selector=config.name)
            on_ready(base_url)
    finally:
        snapshots.write_last(restored, follower.mark())


async def _converse(
    connection: AbstractAsyncContextManager[object] | None, announcer: Announcer, follower: Follower
) -> None:
    """Listen and speak, from before the first connection on; it is closed when the last word was said."""
    connected = asyncio.create_task(_hold(connection or nullcontext()), name="connect")
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(announcer.run(), name="announce")
            tasks.create_task(follower.run(), name="follow")
            await asyncio.shield(connected)
    finally:
        connected.cancel()
        await asyncio.wait([connected])


async def _hold(connection: AbstractAsyncContextManager[object]) -> None:
    """Keep a connection until cancelled."""
    async with connection:
        await asyncio.Event().wait()


def _lane(endpoint: Endpoint, follower: Follower) -> RedirectLane:
    return RedirectLane(
        endpoint.redirector,
        view=endpoint.view,
        heads=endpoint.office.heads,
        places=endpoint.office.places,
        proxies=endpoint.proxies,
        is_ready=follower.caught_up.is_set,
    )


def _snapshots(config: SelectorConfig) -> Snapshots:
    file = None if config.state_dir is None else SnapshotFile(config.state_dir, config.name)
    return Snapshots(file, site=site_of(config.secret), clock_s=time.time)


def _site_asker(config: SelectorConfig) -> SiteAsker | None:
    if config.site_access_url is None:
        return None
    return SiteAsker(config.site_access_url, limit_s=config.site_access_timeout_s, kept_s=config.site_access_cache_s)


def _joined(
    broker: Broker,
    announcer: Announcer,
    config: SelectorConfig,
    *,
    gatekeeper: Gatekeeper,
    places: PlaceFiles,
    snapshots: Snapshots,
    restored: Restored,
) -> tuple[Follower, Endpoint]:
    """Make all parts around one view."""
    view, reservations = restored.view, Reservations()
    policy = Policy(view, reservations, _rules(config))
    follower = Follower(
        broker,
        announcer,
        known=Known(view, restored.statistics, reservations),
        mark=restored.mark,
        selector=config.name,
        vhost=config.broker.vhost,
        silent_after_s=config.silent_after_s,
        clock_s=time.time,
        on_load=policy.heard,
    )
    desk = Desk(
        selector=config.name,
        view=view,
        policy=policy,
        reservations=reservations,
        rules=_recorded_rules(config),
        seen=follower.seen,
        has_room=announcer.has_room_for,
        say=announcer.record,
        on_gathered=announcer.gather,
    )
    recorder = Recorder(desk, percent=config.decisions_percent)
    announcer.gather_from(recorder.flush)
    office = Office(
        selector=config.name,
        master_url=config.master_url,
        policy=policy,
        terms=_terms(config),
        keys=Keys(config.secret),
        view=view,
        reservations=reservations,
        claims=Claims(),
        recorder=recorder,
        heads=Heads(config.site_url),
        hearing=follower.hearing,
        places=places.places,
        rng=Dice(),
        clock_s=time.time,
    )
    endpoint = Endpoint(
        office=office,
        redirector=Redirector(office, announcer),
        gatekeeper=gatekeeper,
        follower=follower,
        announcer=announcer,
        statistics=restored.statistics,
        snapshots=snapshots,
        proxies=parse_proxies(config.trusted_proxies),
        hops_max=config.hops_max,
        site_url=config.site_url,
        places=places,
    )
    return follower, endpoint


def _rules(config: SelectorConfig) -> Rules:
    return Rules(
        silent_after_s=config.silent_after_s,
        load_threshold=config.load_threshold,
        near_km=config.near_km,
        hops_max=config.hops_max,
        share_percent_max=config.share_percent_max,
        sticky_tags=tuple(map(parse_tag, config.sticky_tags)),
    )


def _recorded_rules(config: SelectorConfig) -> SelectionRules:
    """Give all settings that decisions depend on, as they are recorded."""
    return SelectionRules(
        silent_after_s=config.silent_after_s,
        load_threshold=config.load_threshold,
        near_km=config.near_km,
        hops_max=config.hops_max,
        share_percent_max=config.share_percent_max,
        sticky_tags=tuple(map(parse_tag, config.sticky_tags)),
        start_by_s=config.start_by_s,
        recorded_percent=max(1, config.decisions_percent),
    )


def _terms(config: SelectorConfig) -> Terms:
    return Terms(
        start_by_s=config.start_by_s,
        finish_within_s=config.finish_within_s,
        finish_bytes_per_second=config.finish_bytes_per_second,
    )
