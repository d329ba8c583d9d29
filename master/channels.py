"""Define, change, remove and try out channels. Which files are in them follows; nobody puts a file in by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from events.names import ORIGIN_CHANNEL, ChannelName, FilePath, MirrorName, is_held
from events.schemas import ChannelRemoved, Filter, SubscriptionRevoked
from events.schemas.fields import TEXT_LENGTH_MAX
from events.trace import TraceContext
from master import catalogue
from master.catalogue import Entered, Fact, PublishedFile, Standing
from master.errors import InvalidRequestError, NotFoundError
from master.filters import Decision, check_filter
from master.provisioning import Provisioner
from master.store.catalogue import Channel, Entry
from master.store.store import Store

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What became of a channel: how many files are in it now, and how many came and went."""

    channel: Channel
    files: int
    entered: int
    left: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a filter says of a file."""

    file: PublishedFile
    decision: Decision


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All files of a channel, and the number of the last fact that it includes, in which epoch of the numbering."""

    epoch: int
    channel_sequence: int
    entries: Sequence[Entry]


class Channels:
    """Keeps the channels. ``wake`` is called after each commit that said something."""

    def __init__(self, store: Store, provisioner: Provisioner, *, wake: Callable[[], None]) -> None:
        self._store = store
        self._provisioner = provisioner
        self._wake = wake

    async def all(self) -> Sequence[tuple[Channel, int]]:
        """Give all channels with the number of their files."""
        async with self._store.reading() as transaction:
            counts = await transaction.catalogue.counts()
            return [(channel, counts.get(channel.name, 0)) for channel in await transaction.catalogue.channels()]

    async def get(self, name: ChannelName) -> tuple[Channel, int]:
        """Give one channel with the number of its files.

        Raises:
            NotFoundError: no such channel.
        """
        async with self._store.reading() as transaction:
            channel = found(await transaction.catalogue.channel(name), name)
            return channel, (await transaction.catalogue.counts()).get(name, 0)

    async def files(self, name: ChannelName) -> Sequence[Entry]:
        """Give the files of a channel, without those that are held; ``origin`` is the whole catalogue.

        Raises:
            NotFoundError: no such channel.
        """
        async with self._store.reading() as transaction:
            if name != ORIGIN_CHANNEL:
                found(await transaction.catalogue.channel(name), name)
            return [entry for entry in await transaction.catalogue.entries(name) if not is_held(entry.file.path)]

    async def standing(self, path: FilePath) -> Standing:
        """Tell what stands under a path of the catalogue."""
        async with self._store.reading() as transaction:
            return await transaction.catalogue.standing(path)

    async def memberships(self) -> Mapping[FilePath, Sequence[ChannelName]]:
        """Give each file's channels, without ``origin``."""
        async with self._store.reading() as transaction:
            standings = await transaction.catalogue.standings()
        return {
            standing.file.path: sorted(standing.channels - {ORIGIN_CHANNEL})
            for standing in standings
            if standing.file is not None
        }

    async def snapshot(self, name: ChannelName) -> Snapshot:
        """Give all of a channel as it is at one moment.

        Raises:
            NotFoundError: no such channel.
        """
        async with self._store.reading() as transaction:
            found(await transaction.catalogue.channel(name), name)
            journal = transaction.journal
            return Snapshot(journal.epoch, await journal.last(name), await transaction.catalogue.entries(name))

    async def put(self, wanted: Channel, *, trace: TraceContext) -> Definition:
        """Define a channel, or define it anew; files enter and leave it accordingly.

        Raises:
            InvalidRequestError: the filter cannot be meant, or the description is too long.
        """
        if len(wanted.description) > TEXT_LENGTH_MAX:
            raise InvalidRequestError("description_too_long", f"at most {TEXT_LENGTH_MAX} characters")
        channel = replace(wanted, filter=check_filter(wanted.filter))
        async with self._store.changing(trace=trace) as transaction:
            if await transaction.catalogue.channel(channel.name) != channel:
                await transaction.catalogue.put_channel(channel)
                await transaction.journal.open_channel(channel.name)
                await transaction.journal.say([channel.definition()])
            filters = await transaction.catalogue.filters()
            standings = await transaction.catalogue.standings()
            facts = await asyncio.to_thread(_refiltered, standings, filters)
            await transaction.journal.record(facts)
            files = (await transaction.catalogue.counts()).get(channel.name, 0)
        self._wake()
        visible = [fact for fact in facts if not is_held(fact.file.path)]
        entered = sum(isinstance(fact, Entered) for fact in visible)
        log.info("channel.defined", channel=channel.name, files=files, trace_id=trace.trace_id)
        return Definition(channel=channel, files=files, entered=entered, left=len(visible) - entered)

    async def remove(self, name: ChannelName, *, trace: TraceContext) -> None:
        """Withdraw a channel's files from it, end its subscriptions, and forget it.

        Raises:
            NotFoundError: no such channel.
        """
        async with self._provisioner.turn:
            subscribers = await self._close(name, trace)
            self._wake()
            log.info("channel.removed", channel=name, mirrors=subscribers, trace_id=trace.trace_id)
            for mirror in subscribers:
                await self._provisioner.settle_later(mirror)

    async def test(self, name: ChannelName, rules: Filter | None) -> Sequence[Verdict]:
        """Tell for each file whether the channel takes it; with ``rules``, whether it would with these.

        Raises:
            NotFoundError: no such channel, and no rules to try.
            InvalidRequestError: the rules cannot be meant.
        """
        async with self._store.reading() as transaction:
            tried = (
                check_filter(rules)
                if rules is not None
                else found(await transaction.catalogue.channel(name), name).filter
            )
            standings = await transaction.catalogue.standings()
        return await asyncio.to_thread(_tried, standings, name, tried)

    async def _close(self, name: ChannelName, trace: TraceContext) -> Sequence[MirrorName]:
        """Commit all that the removal means; give the mirrors that followed the channel."""
        async with self._store.changing(trace=trace) as transaction:
            found(await transaction.catalogue.channel(name), name)
            holdings = await transaction.catalogue.holdings(name)
            await transaction.journal.record(
                [fact for standing in holdings for fact in catalogue.close_channel(standing, name).facts]
            )
            subscribers = await transaction.fleet.subscribers(name)
            for mirror in subscribers:
                await transaction.fleet.unsubscribe(mirror, name)
            revoked = [SubscriptionRevoked(mirror=mirror, channel=name) for mirror in subscribers]
            await transaction.journal.say([*revoked, ChannelRemoved(channel=name)])
            await transaction.catalogue.remove_channel(name)
        return subscribers


def _refiltered(standings: Sequence[Standing], filters: Mapping[ChannelName, Filter]) -> list[Fact]:
    """Filter the whole catalogue: seconds for a large one, so never on the event loop."""
    return [fact for standing in standings for fact in catalogue.refilter(standing, filters).facts]


def _tried(standings: Sequence[Standing], name: ChannelName, rules: Filter) -> list[Verdict]:
    files = [standing.file for standing in standings if standing.file is not None and not is_held(standing.file.path)]
    return [Verdict(file, catalogue.decide_channel(file, name, rules)) for file in files]


def found(channel: Channel | None, name: ChannelName) -> Channel:
    """Give the channel.

    Raises:
        NotFoundError: there is none.
    """
    if channel is None:
        raise NotFoundError("channel_unknown", f"no channel {name}", hint="see them all: distributary channel ls")
    return channel
