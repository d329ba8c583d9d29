"""A made-up fleet all over the world, told to a view by events, for benchmarks of the selector's parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Final

from events.envelope import MASTER_SOURCE, Envelope, load_source, mirror_source
from events.names import ORIGIN_CHANNEL, ChannelName, Digest, FilePath, MirrorName
from events.schemas import (
    Event,
    FilePublished,
    InventoryAnnounced,
    LoadReported,
    Location,
    MirrorCameOnline,
    MirrorJoined,
    Profile,
    SubscriptionGranted,
)
from selection.places.place import Place
from selection.view.fleet import FleetView

CHANNEL: Final = ChannelName("bench")
COUNTRIES: Final = ("AU", "BR", "DE", "FR", "IN", "JP", "US", "ZA")
SLOTS: Final = 1000
SIZE_BYTES: Final = 10_000_000
NOW_S: Final = 1.0


@dataclass(slots=True, kw_only=True)
class MadeFleet:
    """So many mirrors, and files of which each is held by as many of them, drawn anew for each file."""

    mirrors: int
    files: int
    replicas: int
    rng: Random
    view: FleetView = field(default_factory=FleetView)
    numbers: dict[str, int] = field(default_factory=dict[str, int])

    def tell(self) -> None:
        """Tell the view all of it."""
        held: dict[MirrorName, list[Digest]] = {mirror_name(number): [] for number in range(self.mirrors)}
        names = list(held)
        for number in range(self.files):
            digest = Digest(sha256(file_path(number).encode()).digest())
            for channel in (ORIGIN_CHANNEL, CHANNEL):
                self.say(MASTER_SOURCE, _published(file_path(number), digest, channel, number + 1))
            for name in self.rng.sample(names, self.replicas):
                held[name].append(digest)
        for name, digests in held.items():
            self._join(name, digests)

    def say(self, source: str, event: Event) -> None:
        """Let somebody say something."""
        sequence = self.numbers[source] = self.numbers.get(source, 0) + 1
        envelope = Envelope(source=source, epoch=0, sequence=sequence, time_ns=0, traceparent="", event=event)
        self.view.apply(envelope, heard_s=NOW_S)

    def report(self, name: MirrorName) -> None:
        """Let a mirror report that about half of its slots are taken."""
        active = self.rng.randrange(SLOTS // 4, SLOTS * 3 // 4)
        report = LoadReported(mirror=name, slots=SLOTS, active=active, reserved=0, transmit_bytes_per_second=0)
        self.say(load_source(name), report)

    def _join(self, name: MirrorName, digests: Sequence[Digest]) -> None:
        profile = drawn_profile(name, self.rng)
        self.say(MASTER_SOURCE, MirrorJoined(mirror=name, profile=profile))
        self.say(MASTER_SOURCE, SubscriptionGranted(mirror=name, channel=CHANNEL))
        self.say(mirror_source(name), MirrorCameOnline(mirror=name, profile=profile))
        self.say(mirror_source(name), InventoryAnnounced(mirror=name, as_of=2, page=1, pages=1, sha256s=tuple(digests)))
        self.report(name)


def mirror_name(number: int) -> MirrorName:
    """Name a mirror."""
    return MirrorName(f"m{number}")


def file_path(number: int) -> FilePath:
    """Name a file."""
    return FilePath(f"pool/main/{number}.bin")


def drawn_profile(name: MirrorName, rng: Random) -> Profile:
    """Give a mirror somewhere in the world."""
    place = drawn_place(rng)
    location = Location(latitude=place.latitude or 0.0, longitude=place.longitude or 0.0, country=place.country)
    return Profile(url=f"https://{name}.example", slots=SLOTS, location=location)


def drawn_place(rng: Random) -> Place:
    """Give somewhere in the world, where people live: between Cape Horn and the North Cape."""
    return Place(
        latitude=rng.uniform(-55, 71), longitude=rng.uniform(-180, 180), country=rng.choice(COUNTRIES), continent="EU"
    )


def _published(path: FilePath, digest: Digest, channel: ChannelName, channel_sequence: int) -> FilePublished:
    return FilePublished(
        channel=channel,
        channel_sequence=channel_sequence,
        path=path,
        generation=1,
        size_bytes=SIZE_BYTES,
        sha256=digest,
        media_type="application/octet-stream",
    )
