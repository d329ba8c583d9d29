"""What a mirror does with each delivery from its queue: write it down in one transaction, then acknowledge."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import structlog

from broker.port import Delivery, Outcome
from broker.reading import read_envelope
from events.envelope import Envelope, Version, mirror_source
from events.errors import ForgedEventError, UnknownEventTypeError, UnreadableEventError
from events.names import MirrorName, SelectorName
from events.schemas import (
    CatalogueRestated,
    DownloadsGranted,
    EventUnreadable,
    FilePublished,
    FileWithdrawn,
    Granted,
    GrantsRevoked,
    KeysRotated,
    MirrorLeft,
    SubscriptionGranted,
    SubscriptionRevoked,
    tag_of,
)
from events.trace import SPAN_ID_BYTES, TraceContext, child, parse
from mirror.following.batch import Batch
from mirror.state.authority import Authority
from mirror.state.database import StoreError
from mirror.state.plan import Action, Catalogue, Journal
from mirror.state.store import Store
from mirror.state.traces import Said

SELECTORS_MAX: Final = 1000  # nobody runs more; one who invents names must not fill our memory

CatalogueFact: TypeAlias = FilePublished | FileWithdrawn | SubscriptionGranted | SubscriptionRevoked

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reactions:
    """What the handler sets going elsewhere. None of it waits."""

    perform: Callable[[Iterable[Action]], None]
    subscription_told: Callable[[], None]
    catalogue_restated: Callable[[], None]
    granted: Callable[[Granted, TraceContext | None], None]
    revoked: Callable[[GrantsRevoked], object]
    keys_rotated: Callable[[], None]
    left: Callable[[str], None]


class Told(NamedTuple):
    """A fact, the master's epoch that it is of, and the span in which this mirror does what follows from it."""

    fact: CatalogueFact
    epoch: int
    trace: TraceContext | None


class Handler:
    """Handles the deliveries of one mirror's queue. ``run`` its ``inbox`` beside it."""

    def __init__(
        self, mirror: MirrorName, store: Store, authority: Authority, reactions: Reactions, *, vhost: str
    ) -> None:
        self._mirror = mirror
        self._store = store
        self._authority = authority
        self._reactions = reactions
        self._vhost = vhost
        self._seen: dict[SelectorName, Version] = {}
        self.unknown: Counter[str] = Counter()
        self.inbox: Batch[Told] = Batch(self._write_down)

    @property
    def grants_seen(self) -> dict[SelectorName, int]:
        """For each selector the highest sequence of its notices that was taken in."""
        return {selector: version.sequence for selector, version in self._seen.items()}

    async def __call__(self, delivery: Delivery) -> Outcome:
        """Take one delivery in, or ask for it again later when the disk does not take it."""
        try:
            return await self._take_in(delivery)
        except StoreError as error:
            log.warning("event.postponed", message_id=delivery.message_id, error=str(error))
            return Outcome.RETRY

    async def _take_in(self, delivery: Delivery) -> Outcome:
        try:
            envelope = read_envelope(delivery, vhost=self._vhost)
        except UnknownEventTypeError as error:
            self.unknown[error.tag] += 1
            log.info("event.unknown", tag=error.tag)
            return Outcome.ACK
        except (UnreadableEventError, ForgedEventError) as error:
            await self._report(delivery, error)
            return Outcome.DISCARD
        await self._react(envelope)
        return Outcome.ACK

    async def _react(self, envelope: Envelope) -> None:
        match envelope.event:
            case FilePublished() | FileWithdrawn() as fact:
                await self.inbox.submit(Told(fact, envelope.epoch, _span_of(envelope)))
            case SubscriptionGranted() | SubscriptionRevoked() as fact if fact.mirror == self._mirror:
                self._reactions.subscription_told()
                await self.inbox.submit(Told(fact, envelope.epoch, _span_of(envelope)))
            case CatalogueRestated():
                self._reactions.catalogue_restated()
            case DownloadsGranted() as notice if notice.mirror == self._mirror:
                self._note_grants(notice, envelope)
            case KeysRotated() as rotated if rotated.mirror == self._mirror and self._is_current(envelope):
                self._reactions.keys_rotated()
                await self._authority.retire_keys(oldest_epoch=rotated.oldest_epoch)
            case GrantsRevoked() as revoked if revoked.mirror in (None, self._mirror):
                await self._authority.revoke(revoked, master_epoch=envelope.epoch)
                self._reactions.revoked(revoked)
            case MirrorLeft() as left if left.mirror == self._mirror and self._is_current(envelope):
                self._reactions.left(left.reason)
            case other:
                log.debug("event.ignored", tag=tag_of(other))

    def _is_current(self, envelope: Envelope) -> bool:
        """Tell whether this was not said before the master's numbering began anew."""
        return envelope.epoch >= self._store.catalogue.epoch

    def _note_grants(self, notice: DownloadsGranted, envelope: Envelope) -> None:
        seen, version = self._seen.get(notice.selector), envelope.version
        if (seen is None and len(self._seen) < SELECTORS_MAX) or (seen is not None and version > seen):
            self._seen[notice.selector] = version
        for granted in notice.grants:
            self._reactions.granted(granted, _span_of(granted))

    async def _write_down(self, batch: list[Told]) -> None:
        def change(catalogue: Catalogue, journal: Journal) -> None:
            for told in batch:
                _apply(catalogue, told, journal)

        self._reactions.perform(await self._store.fold(change))

    async def _report(self, delivery: Delivery, error: Exception) -> None:
        log.error(
            "event.unreadable", message_id=delivery.message_id, routing_key=delivery.routing_key, error=str(error)
        )
        report = EventUnreadable(
            reader=mirror_source(self._mirror),
            message_id=delivery.message_id,
            exchange=delivery.exchange,
            routing_key=delivery.routing_key,
            user_id=delivery.user_id,
            reason=str(error),
        )
        await self._store.say(Said(report))


def _apply(catalogue: Catalogue, told: Told, journal: Journal) -> None:
    if not catalogue.enter(told.epoch, journal):
        log.info("event.outdated", tag=tag_of(told.fact), epoch=told.epoch, known_epoch=catalogue.epoch)
        return
    match told.fact:
        case FilePublished() | FileWithdrawn() as fact:
            catalogue.apply(fact, journal, trace=told.trace)
        case SubscriptionGranted() as fact:
            catalogue.follow(fact.channel, journal)
        case SubscriptionRevoked() as fact:
            catalogue.unfollow(fact.channel, journal, trace=told.trace)


def _span_of(told: Envelope | Granted) -> TraceContext | None:
    """Begin the span of all that follows here from what was told; None where it carries no trace."""
    parent = parse(told.traceparent)
    return None if parent is None else child(parent, secrets.token_bytes(SPAN_ID_BYTES))
