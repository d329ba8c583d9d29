"""Make the broker as ``topology`` says, prove that it works, and heal what does not. The master alone does this.

RabbitMQ 3.10 does not bring back a quorum queue or stream that was killed right after its declaration, though it
confirmed messages. So everything is proved after it is declared. A mirror's broken queue is deleted and declared again:
the mirror then reads its channels' snapshots. A broken stream cannot even be deleted: the log gets a new generation.

The log is what the site remembers, so it is given up only when the broker refuses it in so many words, again and again;
silence means to ask again. What still answers is left to readers and taken out of the way of new messages only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

import structlog

from broker.accounts import mirror_user
from broker.port import Admin, DisconnectedError, TopologyError, UnansweredError
from broker.retention import Retentions
from broker.topology import (
    RETENTIONS_DEFAULT,
    Queue,
    Topology,
    mirror_account,
    mirror_queue,
    mirror_topology,
    site_topology,
)
from events.names import ChannelName, MirrorName
from events.routing import Binding, mirror_bindings

# A broker that comes up, or lost a node for a moment, refuses streams that are sound a second later.
REFUSALS_MIN: Final = 3
REFUSAL_PAUSE_S: Final = 2.0

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
    """A provisioned site.

    ``is_new`` tells that its log was not in use before, so that ``log.opened`` is due. ``is_limited`` tells that its
    streams keep what is configured; else they keep what they were declared with, until the next generation.
    """

    generation: int
    is_new: bool
    is_limited: bool


async def provision_site(
    admin: Admin, generation: int, retentions: Retentions = RETENTIONS_DEFAULT, *, opened: bool = False
) -> Site:
    """Make and prove exchanges and streams of this generation of the log. Doing it again changes nothing.

    ``opened`` tells that the generation was in use before: then its log must be there, and a missing one is not made
    again, since a stream under a used name hides its entries from whoever read the old one. What is in the load's
    stream is worth nothing a moment later: when broken, it is made anew under its name.

    Raises:
        LogBrokenError: open the next generation.
        BrokerError: try again.
    """
    topology = site_topology(generation, retentions)
    for exchange in topology.exchanges:
        await admin.ensure_exchange(exchange)
    log_queue, load_queue = topology.queues
    try:
        await _insist(lambda: _sound_log(admin, log_queue, opened=opened))
        await _insist(lambda: _sound_load(admin, load_queue))
        is_limited = await _is_limited(admin, topology)
    except UnansweredError as error:
        raise DisconnectedError(f"generation {generation} of the log: {error}") from error
    except TopologyError as error:
        raise LogBrokenError(generation, str(error)) from error
    log.info("broker.site_provisioned", generation=generation, is_new=not opened)
    return Site(generation=generation, is_new=not opened, is_limited=is_limited)


async def retire_generation(admin: Admin, generation: int) -> None:
    """Take a generation's streams out of the way of new messages; whoever reads one that works may read it to its end.

    A refused stream is deleted as far as the broker lets us, since one that stays bound holds up every confirmation.
    """
    for queue in site_topology(generation).queues:
        try:
            await _retire(admin, queue)
        except TopologyError as error:
            log.warning("broker.stream_unretirable", stream=queue.name, error=str(error))


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


async def _insist(ask: Callable[[], Awaitable[None]]) -> None:
    """Ask until the answer is not a refusal, or was one often enough to be believed. Silence is no refusal."""
    for _ in range(REFUSALS_MIN - 1):
        try:
            return await ask()
        except UnansweredError:
            raise
        except TopologyError as error:
            log.warning("broker.stream_refused", error=str(error), retry_after_s=REFUSAL_PAUSE_S)
            await asyncio.sleep(REFUSAL_PAUSE_S)
    return await ask()


async def _is_limited(admin: Admin, topology: Topology) -> bool:
    """Limit streams that were declared with other limits, too; tell whether all keep what is configured now."""
    if all([await admin.ensure_policy(policy) for policy in topology.policies]):
        return True
    others = [queue.name for queue in topology.queues if not await admin.is_declared_so(queue)]
    if others:
        log.warning(
            "broker.retention_kept",
            streams=others,
            consequence="they keep what they were declared with, until the next generation of the log",
            hint="set broker.management_url, and the limits of streams that are there can be changed",
        )
    return not others


async def _sound_log(admin: Admin, queue: Queue, *, opened: bool) -> None:
    """Make and prove the log's stream."""
    if opened and not await admin.exists(queue.name):
        raise TopologyError(f"{queue.name} is gone")
    await admin.ensure_queue(queue)
    await admin.prove(queue.name)


async def _sound_load(admin: Admin, queue: Queue) -> None:
    """Make and prove the load's stream, anew if need be."""
    try:
        await admin.ensure_queue(queue)
        await admin.prove(queue.name)
    except UnansweredError:
        raise
    except TopologyError as error:
        log.warning("broker.stream_broken", stream=queue.name, error=str(error))
        await admin.delete_queue(queue.name)
        await admin.ensure_queue(queue)
        await admin.prove(queue.name)


async def _retire(admin: Admin, queue: Queue) -> None:
    for binding in queue.bindings:
        await admin.unbind(queue.name, binding)
    try:
        await admin.exists(queue.name)
    except UnansweredError:
        raise
    except TopologyError:
        await admin.delete_queue(queue.name)


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
