"""Make the broker as ``topology`` says, prove that it works, and heal what does not. The master alone does this.

RabbitMQ 3.10 does not bring back a quorum queue or stream that was killed right after its declaration, though it
confirmed messages. So everything is proved after it is declared. A mirror's broken queue is deleted and declared again:
the mirror then reads its channels' snapshots. A broken stream cannot even be deleted: the log gets a new generation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import structlog

from broker.accounts import mirror_user
from broker.port import Admin, TopologyError
from broker.topology import (
    Topology,
    load_stream,
    log_stream,
    mirror_account,
    mirror_queue,
    mirror_topology,
    site_topology,
)
from events.names import ChannelName, MirrorName
from events.routing import Binding, mirror_bindings

log = structlog.stdlib.get_logger()


class LogBrokenError(TopologyError):
    """The log's stream of this generation is gone or does not work. Provision ``next_generation`` and say all again."""

    def __init__(self, generation: int, reason: str) -> None:
        super().__init__(f"generation {generation} of the log cannot be used: {reason}")
        self.generation, self.reason = generation, reason

    @property
    def next_generation(self) -> int:
        """The generation to open instead. A generation's name is never used again."""
        return self.generation + 1


class Provisioned(Enum):
    """What provisioning found."""

    KEPT = "it was there and works"
    NEW = "it was not there"
    HEALED = "it was broken and was made anew, empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A provisioned site; ``is_new`` tells that its log was empty just now, so that ``log.opened`` is due."""

    generation: int
    is_new: bool


async def provision_site(admin: Admin, generation: int, *, opened: bool = False) -> Site:
    """Make and prove exchanges and streams of this generation of the log. Doing it again changes nothing.

    ``opened`` tells that the generation was in use before: then its streams must be there, and a missing one is not
    made again, since a stream under a used name hides its entries from whoever read the old one.

    Raises:
        LogBrokenError: open the next generation.
        BrokerError: try again.
    """
    topology = site_topology(generation)
    for exchange in topology.exchanges:
        await admin.ensure_exchange(exchange)
    if opened:
        await _require_streams(admin, topology, generation)
    try:
        news = [await admin.ensure_queue(queue) for queue in topology.queues]
        for queue in topology.queues:
            await admin.prove(queue.name)
    except TopologyError as error:
        raise LogBrokenError(generation, str(error)) from error
    log.info("broker.site_provisioned", generation=generation, is_new=any(news))
    return Site(generation=generation, is_new=any(news))


async def retire_generation(admin: Admin, generation: int) -> None:
    """Take a generation's streams away, as far as the broker lets us: a ruined one cannot be deleted."""
    for stream in (log_stream(generation), load_stream(generation)):
        try:
            await admin.delete_queue(stream)
        except TopologyError as error:
            log.warning("broker.stream_undeletable", stream=stream, error=str(error))


async def provision_mirror(
    admin: Admin,
    mirror: MirrorName,
    channels: Iterable[ChannelName],
    *,
    previous_channels: Iterable[ChannelName] = (),
    password: str | None = None,
) -> Provisioned:
    """Make and prove a mirror's queue, bound to these channels, and its account where accounts are kept.

    ``previous_channels`` are all that it may still be bound to. Without ``password`` the account is left as it is.
    After ``HEALED`` the mirror has missed messages: it must read its channels' snapshots.

    Raises:
        TopologyError: the queue does not work even when made anew.
        BrokerError: try again.
    """
    followed = tuple(channels)
    if password is not None and admin.keeps_accounts:
        await admin.ensure_account(mirror_user(admin.vhost, mirror), password, mirror_account(mirror))
    found = await _sound_queue(admin, mirror, followed)
    for binding in stale_bindings(mirror, followed, previous_channels):
        await admin.unbind(mirror_queue(mirror), binding)
    log.info("broker.mirror_provisioned", mirror=mirror, channels=followed, found=found.name)
    return found


async def remove_mirror(admin: Admin, mirror: MirrorName) -> None:
    """Take a mirror's account and queue away; its connections are closed at once."""
    if admin.keeps_accounts:
        await admin.remove_account(mirror_user(admin.vhost, mirror))
    await admin.delete_queue(mirror_queue(mirror))


def stale_bindings(
    mirror: MirrorName, channels: Iterable[ChannelName], previous_channels: Iterable[ChannelName]
) -> list[Binding]:
    """Give the bindings that a mirror's queue may still have and should not."""
    wanted = set(mirror_bindings(mirror, tuple(channels)))
    return [binding for binding in mirror_bindings(mirror, tuple(previous_channels)) if binding not in wanted]


async def _require_streams(admin: Admin, topology: Topology, generation: int) -> None:
    for queue in topology.queues:
        try:
            is_there = await admin.exists(queue.name)
        except TopologyError as error:
            raise LogBrokenError(generation, str(error)) from error
        if not is_there:
            raise LogBrokenError(generation, f"{queue.name} is gone")


async def _sound_queue(admin: Admin, mirror: MirrorName, channels: tuple[ChannelName, ...]) -> Provisioned:
    queue = mirror_topology(mirror, channels)
    try:
        is_new = await admin.ensure_queue(queue)
        await admin.prove(queue.name)
    except TopologyError as error:
        log.warning("broker.queue_broken", queue=queue.name, error=str(error))
    else:
        return Provisioned.NEW if is_new else Provisioned.KEPT
    await admin.delete_queue(queue.name)
    await admin.ensure_queue(queue)
    await admin.prove(queue.name)
    return Provisioned.HEALED
