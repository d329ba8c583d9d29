"""A log written by hand: each source numbers what it says, and each entry stands where the broker would put it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest

from events.codec import encode
from events.envelope import MASTER_SOURCE, Envelope, mirror_source, selector_source
from events.names import ChannelName, Digest, FilePath, MirrorName, SelectorName
from events.routing import address_of
from events.schemas import (
    PUBLIC,
    Event,
    FilePublished,
    InventoryAnnounced,
    MirrorCameOnline,
    MirrorJoined,
    Profile,
    ReplicaReady,
    SelectorCameOnline,
    SubscriptionGranted,
    tag_of,
)
from history.entry import Entry
from history.sources.memory import VHOST, MemorySource

START_NS = 1_800_000_000_000_000_000
STEP_NS = 1_000_000_000  # between two entries
ISO = ChannelName("iso")


def digest(name: str) -> Digest:
    return Digest(name.encode().ljust(32, b".")[:32])


@dataclass
class Log:
    """Entries in order. Each ``say`` adds one, a second later than the one before."""

    entries: list[Entry] = field(default_factory=list[Entry])
    generation: int = 1
    offset: int = -1
    now_ns: int = START_NS
    epochs: Counter[str] = field(default_factory=Counter[str])
    numbers: Counter[tuple[str, int]] = field(default_factory=Counter[tuple[str, int]])
    channel_numbers: Counter[str] = field(default_factory=Counter[str])

    @property
    def source(self) -> MemorySource:
        return MemorySource(self.entries)

    def say(self, source: str, event: Event, *, number: int | None = None, time_ns: int | None = None) -> Entry:
        """Let a source say something under its next number, or another one."""
        self.now_ns += STEP_NS
        key = source, self.epochs[source]
        self.numbers[key] = self.numbers[key] + 1 if number is None else max(number, self.numbers[key])
        envelope = Envelope(
            source=source,
            epoch=self.epochs[source],
            sequence=self.numbers[key] if number is None else number,
            time_ns=self.now_ns if time_ns is None else time_ns,
            traceparent="",
            event=event,
        )
        return self.put(entry_for(envelope))

    def put(self, entry: Entry) -> Entry:
        """Let an entry stand at the end, wherever it stood before."""
        self.offset += 1
        placed = entry._replace(generation=self.generation, offset=self.offset)
        self.entries.append(placed)
        return placed

    def skip(self, source: str, count: int = 1) -> None:
        """Lose the next numbers of a source."""
        self.numbers[source, self.epochs[source]] += count

    def next_generation(self) -> None:
        self.generation += 1
        self.offset = -1

    def master(self, event: Event) -> Entry:
        return self.say(MASTER_SOURCE, event)

    def mirror(self, name: str, event: Event) -> Entry:
        return self.say(mirror_source(MirrorName(name)), event)

    def selector(self, name: str, event: Event) -> Entry:
        return self.say(selector_source(SelectorName(name)), event)

    def came_online(self, name: str = "one") -> Entry:
        return self.selector(name, SelectorCameOnline(selector=SelectorName(name)))

    def published(self, path: str, *, channel: str = "iso") -> Entry:
        self.channel_numbers[channel] += 1
        return self.master(
            FilePublished(
                channel=ChannelName(channel),
                channel_sequence=self.channel_numbers[channel],
                path=FilePath(path),
                generation=1,
                size_bytes=1000,
                sha256=digest(path),
                media_type="application/octet-stream",
                access=PUBLIC,
            )
        )

    def ready(self, name: str, path: str) -> Entry:
        mirror = MirrorName(name)
        return self.mirror(
            name,
            ReplicaReady(mirror=mirror, sha256=digest(path), size_bytes=1000, path=FilePath(path), generation=1),
        )

    def serving(self, name: str) -> None:
        """Let a mirror join, follow the channel and come online with nothing."""
        mirror, profile = MirrorName(name), Profile(url=f"http://{name}.example", slots=10)
        self.master(MirrorJoined(mirror=mirror, profile=profile))
        self.master(SubscriptionGranted(mirror=mirror, channel=ISO))
        self.mirror(name, MirrorCameOnline(mirror=mirror, profile=profile, key_epoch=1))
        as_of = self.numbers[mirror_source(mirror), 0] + 1
        self.mirror(name, InventoryAnnounced(mirror=mirror, as_of=as_of, page=1, pages=1, sha256s=()))


def entry_for(envelope: Envelope) -> Entry:
    """Write an envelope as its speaker would; where it stands is the log's to say."""
    address = address_of(envelope.event)
    role, _, name = envelope.source.partition("/")
    user = f"{VHOST}.{name}" if role == "mirror" else f"{VHOST}-site"
    return Entry(
        0, 0, address.exchange, address.routing_key, envelope.id, tag_of(envelope.event), user, encode(envelope)
    )


@pytest.fixture
def log() -> Log:
    return Log()
