"""Reads from the master what events did not tell: after a start, a lost connection, a gap, a restated catalogue.

And what no event may tell: the keys that prove grants.

While the master is away it is asked again, less and less often; the mirror serves what it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from http import HTTPStatus
from random import Random

import structlog

from events.names import ChannelName
from mirror.config import FetchLimits
from mirror.fetching.origin import (
    Origin,
    OriginError,
    OriginForgotUsError,
    OriginRefusedError,
    OriginUnavailableError,
)
from mirror.keeping.keeper import retry_after_s
from mirror.state.authority import Authority
from mirror.state.database import StoreError
from mirror.state.plan import Action, Catalogue, Journal, Snapshot
from mirror.state.store import Store

log = structlog.stdlib.get_logger()


class Sync:
    """Brings the catalogue in line with the master's."""

    def __init__(
        self,
        origin: Origin,
        store: Store,
        authority: Authority,
        perform: Callable[[Iterable[Action]], None],
        forgotten: Callable[[str], None],
        *,
        keys_changed: Callable[[], None],
        limits: FetchLimits,
        rng: Random,
    ) -> None:
        self._origin = origin
        self._store = store
        self._authority = authority
        self._keys_changed = keys_changed
        self._perform = perform
        self._forgotten = forgotten
        self._limits = limits
        self._rng = rng
        self._channels: set[ChannelName] = set()
        self._queue_doubted = True
        self._subscriptions_doubted = True
        self._subscription_events = 0
        self._keys_doubted = True
        self._awake = asyncio.Event()
        self._awake.set()
        self.last_error = ""

    def request(self, channel: ChannelName) -> None:
        """Read a channel's snapshot, soon."""
        self._channels.add(channel)
        self._awake.set()

    def doubt_queue(self) -> None:
        """Let the master prove our queue, soon; should it have been broken, everything is read again."""
        self._queue_doubted = True
        self._awake.set()

    def doubt_catalogue(self) -> None:
        """Read subscriptions and all channels again, soon: what was withdrawn and not heard of is learnt by that alone.

        No later event tells of the last ones of a queue that were dropped, nor of all that a lost broker held.
        """
        self._subscriptions_doubted = self._keys_doubted = True
        self._awake.set()

    def doubt_keys(self) -> None:
        """Read our keys, soon: the master has other ones for us, and an answer that is under way may be older."""
        self._keys_doubted = True
        self._awake.set()

    def note_subscription_event(self) -> None:
        """Take note that an event told of a subscription: an answer that is under way may be older than it."""
        self._subscription_events += 1

    async def run(self) -> None:
        """Read what is asked for until cancelled, or until the master knows us no more."""
        failures = 0
        while True:
            await self._awake.wait()
            self._awake.clear()
            try:
                await self._catch_up()
            except OriginForgotUsError as error:
                self.last_error = str(error)
                self._forgotten("the master knows this mirror no more; ask the site for a new invitation")
                return
            except (OriginError, StoreError) as error:
                failures += 1
                delay_s = retry_after_s(failures, self._limits, self._rng)
                self.last_error = str(error)
                log.warning("sync.stalled", error=self.last_error, retry_after_s=delay_s)
                await asyncio.sleep(delay_s)
                self._awake.set()
            else:
                failures, self.last_error = 0, ""

    async def _catch_up(self) -> None:
        if self._queue_doubted:
            await self._prove_queue()
        while self._keys_doubted:
            await self._read_keys()
        if self._subscriptions_doubted:
            await self._read_subscriptions()
        for channel in sorted(self._channels):
            await self._read_channel(channel)

    async def _prove_queue(self) -> None:
        self._queue_doubted = False
        try:
            healed = await self._origin.heal_queue()
        except OriginError:
            self._queue_doubted = True
            raise
        if healed:
            log.warning("queue.healed")
            self._subscriptions_doubted = True

    async def _read_keys(self) -> None:
        self._keys_doubted = False
        try:
            keys = await self._origin.keys()
            if self._keys_doubted:
                return  # rotated meanwhile: what was read may hold no more
            if await self._authority.replace_keys(keys):
                log.info("keys.replaced", key_epochs=sorted(keys))
                self._keys_changed()
        except (OriginError, StoreError):
            self._keys_doubted = True
            raise

    async def _read_subscriptions(self) -> None:
        self._subscriptions_doubted = False
        events_before = self._subscription_events
        try:
            channels = await self._origin.subscriptions()
            if self._subscription_events != events_before:
                self._subscriptions_doubted = True
                self._awake.set()
                return
            actions = await self._store.fold(lambda catalogue, journal: _follow_only(channels, catalogue, journal))
        except (OriginError, StoreError):
            self._subscriptions_doubted = True
            raise
        self._channels |= channels
        self._perform(actions)

    async def _read_channel(self, channel: ChannelName) -> None:
        self._channels.discard(channel)
        if channel not in self._store.catalogue.positions:
            return
        try:
            snapshot = await self._snapshot(channel)
            actions = await self._store.fold(lambda catalogue, journal: catalogue.replace(snapshot, journal))
        except (OriginError, StoreError) as error:
            self._channels.add(channel)
            if isinstance(error, OriginRefusedError) and error.status in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
                self._subscriptions_doubted = True
            raise
        log.info("channel.synced", channel=channel, sequence=snapshot.sequence, files=len(snapshot.entries))
        self._perform(actions)

    async def _snapshot(self, channel: ChannelName) -> Snapshot:
        snapshot = await self._origin.snapshot(channel)
        heard = self._store.catalogue.epoch
        if snapshot.epoch < heard:
            raise OriginUnavailableError(f"snapshot of {channel}: of epoch {snapshot.epoch}, events are of {heard}")
        return snapshot


def _follow_only(channels: frozenset[ChannelName], catalogue: Catalogue, journal: Journal) -> None:
    for channel in catalogue.positions.keys() - channels:
        catalogue.unfollow(channel, journal)
    for channel in channels:
        catalogue.follow(channel, journal)
