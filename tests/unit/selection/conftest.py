"""A fleet told by hand: events numbered as their sources number them, and the view and choices that follow."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from random import Random

import pytest

from events.envelope import MASTER_SOURCE, Envelope, load_source, mirror_source
from events.names import ORIGIN_CHANNEL, ChannelName, Digest, FilePath, MirrorName, Tag
from events.schemas import (
    PUBLIC,
    Access,
    AddressPolicy,
    Availability,
    AvailabilityChanged,
    ChannelDefined,
    ChannelFollowed,
    Event,
    FilePublished,
    FileWithdrawn,
    Filter,
    InventoryAnnounced,
    KeysRotated,
    LoadReported,
    Location,
    LossReason,
    MirrorCameOnline,
    MirrorJoined,
    Profile,
    ReplicaLost,
    ReplicaReady,
    SubscriptionGranted,
)
from selection.places.place import NOWHERE, Place
from selection.policy.choice import Choice
from selection.policy.policy import Policy
from selection.policy.reservations import Reservations
from selection.policy.rules import Rules
from selection.policy.visitor import Visitor
from selection.view.file import PublishedFile
from selection.view.fleet import FleetView

ISO = ChannelName("iso")


def content(name: str) -> Digest:
    return Digest(hashlib.sha256(name.encode()).digest())


def profile_of(name: str, location: Location | None = None, *, url: str | None = None) -> Profile:
    return Profile(url=url or f"http://{name}.example", slots=10, location=location)


@dataclass
class Story:
    """What all sources said, in order. Each method says something more."""

    said: list[Envelope] = field(default_factory=list[Envelope])
    epochs: Counter[str] = field(default_factory=Counter[str])
    numbers: Counter[tuple[str, int]] = field(default_factory=Counter[tuple[str, int]])
    channel_numbers: Counter[str] = field(default_factory=Counter[str])

    def say(self, source: str, event: Event) -> Envelope:
        epoch = self.epochs[source]
        self.numbers[source, epoch] += 1
        envelope = Envelope(
            source=source,
            epoch=epoch,
            sequence=self.numbers[source, epoch],
            time_ns=0,
            traceparent="",
            event=event,
        )
        self.said.append(envelope)
        return envelope

    def master(self, event: Event) -> Envelope:
        return self.say(MASTER_SOURCE, event)

    def mirror(self, name: str, event: Event) -> Envelope:
        return self.say(mirror_source(MirrorName(name)), event)

    def next_number(self, name: str) -> int:
        source = mirror_source(MirrorName(name))
        return self.numbers[source, self.epochs[source]] + 1

    def published(
        self,
        path: str,
        *,
        channels: Iterable[str] = ("iso",),
        generation: int = 1,
        body: str | None = None,
        size_bytes: int = 1000,
        access: Access = PUBLIC,
        tags: Iterable[str] = (),
    ) -> FilePublished:
        """A file enters the catalogue and channels; its entry is given."""
        files: list[FilePublished] = []
        for channel in (ORIGIN_CHANNEL, *channels):
            self.channel_numbers[channel] += 1
            files.append(
                FilePublished(
                    channel=ChannelName(channel),
                    channel_sequence=self.channel_numbers[channel],
                    path=FilePath(path),
                    generation=generation,
                    size_bytes=size_bytes,
                    sha256=content(body or path),
                    media_type="application/octet-stream",
                    access=access,
                    tags=tuple(map(Tag, tags)),
                )
            )
            self.master(files[-1])
        return files[0]

    def withdrawn(
        self, path: str, *, channels: Iterable[str] = ("iso", "origin"), generation: int = 1, body: str | None = None
    ) -> None:
        for channel in channels:
            self.channel_numbers[channel] += 1
            self.master(
                FileWithdrawn(
                    channel=ChannelName(channel),
                    channel_sequence=self.channel_numbers[channel],
                    path=FilePath(path),
                    generation=generation,
                    sha256=content(body or path),
                    reason="by hand",
                )
            )

    def defined(self, channel: str, policy: AddressPolicy) -> None:
        self.master(ChannelDefined(channel=ChannelName(channel), filter=Filter(), address_policy=policy))

    def rotated(self, name: str, *, key_epoch: int, oldest_epoch: int = 1) -> None:
        self.master(KeysRotated(mirror=MirrorName(name), key_epoch=key_epoch, oldest_epoch=oldest_epoch))

    def joined(self, name: str, *, channels: Iterable[str] = ("iso",), location: Location | None = None) -> None:
        self.master(MirrorJoined(mirror=MirrorName(name), profile=profile_of(name, location)))
        for channel in channels:
            self.master(SubscriptionGranted(mirror=MirrorName(name), channel=ChannelName(channel)))

    def online(
        self, name: str, *, location: Location | None = None, url: str | None = None, key_epoch: int = 1
    ) -> None:
        profile = profile_of(name, location, url=url)
        self.mirror(name, MirrorCameOnline(mirror=MirrorName(name), profile=profile, key_epoch=key_epoch))

    def available(self, name: str, availability: Availability, *, until_s: int = 0) -> None:
        event = AvailabilityChanged(mirror=MirrorName(name), availability=availability, until_s=until_s)
        self.mirror(name, event)

    def followed(self, name: str, *, channel: str = "iso", behind: int = 0) -> None:
        """A mirror has acted on all that was said in a channel, but the last few facts."""
        event = ChannelFollowed(
            mirror=MirrorName(name),
            channel=ChannelName(channel),
            channel_sequence=max(0, self.channel_numbers[channel] - behind),
            epoch=self.epochs[MASTER_SOURCE],
        )
        self.mirror(name, event)

    def ready(self, name: str, body: str) -> None:
        event = ReplicaReady(
            mirror=MirrorName(name), sha256=content(body), size_bytes=1000, path=FilePath(body), generation=1
        )
        self.mirror(name, event)

    def lost(self, name: str, body: str, reason: LossReason = LossReason.CORRUPT) -> None:
        self.mirror(
            name, ReplicaLost(mirror=MirrorName(name), sha256=content(body), path=FilePath(body), reason=reason)
        )

    def inventory(
        self, name: str, bodies: Iterable[str], *, page_size: int = 1000, skip_page: int | None = None
    ) -> None:
        held = [content(body) for body in bodies]
        pages = [tuple(held[start : start + page_size]) for start in range(0, len(held), page_size)] or [()]
        as_of = self.next_number(name)
        for page, sha256s in enumerate(pages, start=1):
            event = InventoryAnnounced(
                mirror=MirrorName(name), as_of=as_of, page=page, pages=len(pages), sha256s=sha256s
            )
            if page != skip_page:
                self.mirror(name, event)

    def load(
        self,
        name: str,
        *,
        slots: int = 10,
        active: int = 0,
        reserved: int = 0,
        quota_left_bytes: int | None = None,
        sparing: bool = False,
    ) -> None:
        mirror = MirrorName(name)
        report = LoadReported(
            mirror=mirror,
            slots=slots,
            active=active,
            reserved=reserved,
            transmit_bytes_per_second=0,
            quota_left_bytes=quota_left_bytes,
            sparing=sparing,
        )
        self.say(load_source(mirror), report)

    def serving(
        self, name: str, bodies: Iterable[str] = ("a.iso",), *, location: Location | None = None, slots: int = 10
    ) -> None:
        """A mirror of the fleet that lacks nothing and holds these contents."""
        self.joined(name)
        self.online(name, location=location)
        self.inventory(name, bodies)
        self.load(name, slots=slots)

    def view(self) -> FleetView:
        return view_of(self.said)

    def shown(self, path: str, *, size_bytes: int = 1000) -> PublishedFile:
        """A file is published; it is given as the view shows it."""
        self.published(path, size_bytes=size_bytes)
        return self.file(path)

    def file(self, path: str = "a.iso") -> PublishedFile:
        """A file as the view gives it now."""
        file = self.view().file(FilePath(path))
        assert file is not None
        return file


def view_of(said: Iterable[Envelope]) -> FleetView:
    view = FleetView()
    for envelope in said:
        view.apply(envelope, heard_s=0.0)
    return view


@dataclass
class Question:
    """A visitor's question to the policy, with everything ordinary left out."""

    view: FleetView
    file: FilePublished | PublishedFile
    address: str = "203.0.113.9"
    place: Place = NOWHERE
    asked_not: frozenset[MirrorName] = frozenset()
    secure: bool | None = None
    only: MirrorName | None = None
    reservations: Reservations = field(default_factory=Reservations)
    rules: Rules = Rules(silent_after_s=10.0, load_threshold=1.0, near_km=200.0, hops_max=3)  # noqa: RUF009 - frozen
    now_s: float = 0.0
    seed: int = 0

    @property
    def visitor(self) -> Visitor:
        return Visitor(ip_address(self.address), self.place, self.secure, self.asked_not, self.only)

    def policy(self) -> Policy:
        return Policy(self.view, self.reservations, self.rules)

    def dice(self) -> Random:
        return Random(self.seed)  # noqa: S311 - dice that fall the same each time

    def published(self) -> PublishedFile:
        file = self.view.file(self.file.path)
        assert file is not None
        return file

    def choice(self, policy: Policy | None = None) -> Choice:
        policy = policy or self.policy()
        return policy.explain(self.published(), self.visitor, now_s=self.now_s, rng=self.dice())

    def picked(self, policy: Policy | None = None) -> MirrorName | None:
        policy = policy or self.policy()
        mirror = policy.choose(self.published(), self.visitor, 0, now_s=self.now_s, rng=self.dice()).mirror
        return mirror and mirror.name

    def reason(self, mirror: str) -> str:
        return self.choice().rejected[MirrorName(mirror)].reason.code


@dataclass(frozen=True)
class Kit:
    """The makers above, for tests that cannot import them."""

    Story: type[Story] = Story
    Question: type[Question] = Question

    view_of = staticmethod(view_of)
    content = staticmethod(content)


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()


@pytest.fixture
def story() -> Story:
    return Story()
