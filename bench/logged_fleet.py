"""A made-up fleet, said to a real log as master and mirrors would say it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.made_fleet import CHANNEL, MadeFleet, drawn_profile
from broker.config import BrokerConfig
from broker.provision import provision_site
from broker.rabbitmq import RabbitAdmin, RabbitBroker
from broker.relay import message_of
from events.envelope import MASTER_SOURCE, Envelope, load_source, mirror_source
from events.names import Digest, MirrorName
from events.schemas import (
    CatalogueRestated,
    Event,
    InventoryAnnounced,
    LoadReported,
    LogOpened,
    MirrorCameOnline,
    MirrorJoined,
    SubscriptionGranted,
)

GENERATION: Final = 1
PAGE_DIGESTS: Final = 10_000
SLOTS: Final = 1_000_000  # nobody is full before the benchmark ends
UNCONFIRMED_MAX: Final = 500


@dataclass(slots=True, kw_only=True)
class LoggedFleet(MadeFleet):
    """So many mirrors that hold files, each with room for everybody."""

    said: list[Envelope] = field(default_factory=list[Envelope])

    def say(self, source: str, event: Event) -> None:
        """Keep what somebody says."""
        sequence = self.numbers[source] = self.numbers.get(source, 0) + 1
        self.said.append(Envelope(source=source, epoch=1, sequence=sequence, time_ns=0, traceparent="", event=event))

    def report(self, name: MirrorName) -> None:
        """Let a mirror report that it is idle."""
        report = LoadReported(mirror=name, slots=SLOTS, active=0, reserved=0, transmit_bytes_per_second=0)
        self.say(load_source(name), report)

    def _join(self, name: MirrorName, digests: Sequence[Digest]) -> None:
        profile = drawn_profile(name, self.rng)
        self.say(MASTER_SOURCE, MirrorJoined(mirror=name, profile=profile))
        self.say(MASTER_SOURCE, SubscriptionGranted(mirror=name, channel=CHANNEL))
        self.say(mirror_source(name), MirrorCameOnline(mirror=name, profile=profile))
        pages = [tuple(digests[at : at + PAGE_DIGESTS]) for at in range(0, len(digests), PAGE_DIGESTS)]
        for page, sha256s in enumerate(pages, 1):
            event = InventoryAnnounced(mirror=name, as_of=2, page=page, pages=len(pages), sha256s=sha256s)
            self.say(mirror_source(name), event)
        self.report(name)


async def log_fleet(fleet: LoggedFleet, amqp_url: str) -> None:
    """Open a log and say all that a fleet has to say."""
    config = BrokerConfig(url=amqp_url)
    fleet.say(MASTER_SOURCE, LogOpened(generation=GENERATION))
    fleet.say(MASTER_SOURCE, CatalogueRestated(generation=GENERATION, since=2))
    fleet.tell()
    async with RabbitBroker(config) as broker, RabbitAdmin(config) as admin:
        await provision_site(admin, GENERATION)
        for at in range(0, len(fleet.said), UNCONFIRMED_MAX):
            some = fleet.said[at : at + UNCONFIRMED_MAX]
            await asyncio.gather(*(broker.publish(message_of(each, persistent=_lasts(each))) for each in some))


def _lasts(envelope: Envelope) -> bool:
    return not isinstance(envelope.event, LoadReported)
