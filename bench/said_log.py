"""What a made-up site says, event by event, as its log has it: for benchmarks of those who read a log."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

from events.envelope import MASTER_SOURCE, Envelope, load_source, mirror_source, selector_source
from events.grants import GRANT_ID_BYTES
from events.names import ORIGIN_CHANNEL, ChannelName, Digest, FilePath, MirrorName, SelectorName
from events.schemas import (
    Decision,
    DecisionOutcome,
    DecisionsRecorded,
    Download,
    DownloadOutcome,
    DownloadsGranted,
    DownloadsReported,
    Event,
    FilePublished,
    Granted,
    InventoryAnnounced,
    LoadReported,
    LossReason,
    MirrorCameOnline,
    MirrorJoined,
    Profile,
    ReplicaLost,
    ReplicaReady,
    Seen,
    SubscriptionGranted,
    Whereabouts,
)
from events.schemas.fields import NS_PER_S

CHANNEL: Final = ChannelName("bench")
SELECTOR: Final = SelectorName("bench")
BLOCK: Final = 100  # files that are published together
PAGE: Final = 1000
LOSS_EVERY: Final = 50
LOAD_EVERY: Final = 20
SLOWEST_PACE: Final = 3.0  # times the fastest mirror's, to fetch a file
CATALOGUE: Final = 100_000  # files that visitors ask for
RECORDS_A_SECOND: Final = 10
VISITORS_A_RECORD: Final = 10
REPORTS_A_RECORD: Final = 5
DOWNLOADS_A_REPORT: Final = 4
NOW_S: Final = 1_790_000_000
TRACEPARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SEED: Final = 4


@dataclass(slots=True)
class Site:
    """What the sources of a site say, numbered as they number it."""

    mirrors: int
    rng: random.Random = field(default_factory=lambda: random.Random(SEED))  # noqa: S311 - the same site each time
    said: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def names(self) -> list[MirrorName]:
        """Give the mirrors."""
        return [MirrorName(f"m{number:04}") for number in range(self.mirrors)]

    def say(self, source: str, event: Event) -> Envelope:
        """Number an event."""
        sequence = self.said[source] = self.said.get(source, 0) + 1
        return Envelope(source=source, epoch=1, sequence=sequence, time_ns=0, traceparent="", event=event)

    def fleet(self) -> Iterator[Envelope]:
        """Let all mirrors join and come online."""
        for name in self.names:
            profile = Profile(url=f"https://{name}.example", slots=100)
            yield self.say(MASTER_SOURCE, MirrorJoined(mirror=name, profile=profile))
            yield self.say(MASTER_SOURCE, SubscriptionGranted(mirror=name, channel=CHANNEL))
            yield self.say(mirror_source(name), MirrorCameOnline(mirror=name, profile=profile))

    def published(self, numbers: Sequence[int]) -> Iterator[Envelope]:
        """Publish files in the catalogue and a channel."""
        for number in numbers:  # no ``product``: it keeps all numbers, in memory that is being measured
            for channel in (ORIGIN_CHANNEL, CHANNEL):
                yield self.say(MASTER_SOURCE, self._published(number, channel))

    def ready(self, name: MirrorName, number: int) -> Envelope:
        """Let a mirror hold a file."""
        event = ReplicaReady(mirror=name, sha256=digest_of(number), size_bytes=1, path=path_of(number), generation=1)
        return self.say(mirror_source(name), event)

    def fetched(self, numbers: Sequence[int], names: Sequence[MirrorName]) -> Iterator[Envelope]:
        """Let mirrors fetch files at once, each in its own order; now and then one loses a copy and gets it again."""
        turns: list[tuple[float, MirrorName, int]] = []
        for name in names:
            pace = self.rng.uniform(1, SLOWEST_PACE)
            order = self.rng.sample(numbers, len(numbers))
            turns += [(pace * place, name, number) for place, number in enumerate(order)]
        for turn, (_, name, number) in enumerate(sorted(turns), 1):
            yield self.ready(name, number)
            if turn % LOAD_EVERY == 0:
                yield self.load(name, active=turn % 100)
            if turn % LOSS_EVERY == 0:
                lost = ReplicaLost(
                    mirror=name, sha256=digest_of(number), path=path_of(number), reason=LossReason.MISSING
                )
                yield self.say(mirror_source(name), lost)
                yield self.ready(name, number)

    def load(self, name: MirrorName, *, active: int) -> Envelope:
        """Let a mirror report its load."""
        report = LoadReported(mirror=name, slots=100, active=active, reserved=0, transmit_bytes_per_second=active)
        return self.say(load_source(name), report)

    def inventory(self, name: MirrorName, numbers: Sequence[int]) -> Iterator[Envelope]:
        """Let a mirror tell all that it holds."""
        pages = [numbers[start : start + PAGE] for start in range(0, len(numbers), PAGE)]
        as_of = self.said[mirror_source(name)] + 1
        for page, held in enumerate(pages, 1):
            sha256s = tuple(map(digest_of, held))
            event = InventoryAnnounced(mirror=name, as_of=as_of, page=page, pages=len(pages), sha256s=sha256s)
            yield self.say(mirror_source(name), event)

    def history(self, files: int) -> Iterator[Envelope]:
        """Say all that there is to say of so many files, on all mirrors."""
        yield from self.fleet()
        for start in range(0, files, BLOCK):
            block = range(start, min(start + BLOCK, files))
            yield from self.published(block)
            yield from self.fetched(block, self.names)
        for name in self.names:
            yield from self.inventory(name, range(files))

    def visited(self, seconds: int) -> Iterator[Envelope]:
        """Let visitors come, each to a random file and mirror, in the order in which it is told of them."""
        names = self.names
        for _ in range(seconds * RECORDS_A_SECOND):
            granted = [self._granted() for _ in range(VISITORS_A_RECORD)]
            for grant in granted:
                event = DownloadsGranted(selector=SELECTOR, mirror=self.rng.choice(names), grants=(grant,))
                yield self.say(selector_source(SELECTOR), event)
            yield self.say(selector_source(SELECTOR), self._decided(granted))
            for name in self.rng.sample(names, REPORTS_A_RECORD):
                downloads = tuple(self._downloads(self.rng.sample(granted, DOWNLOADS_A_REPORT)))
                yield self.say(mirror_source(name), DownloadsReported(mirror=name, downloads=downloads))

    def _published(self, number: int, channel: ChannelName) -> FilePublished:
        return FilePublished(
            channel=channel,
            channel_sequence=number + 1,
            path=path_of(number),
            generation=1,
            size_bytes=10_000 + 977 * number,
            sha256=digest_of(number),
            media_type="application/vnd.debian.binary-package",
            published_at_ns=1_790_000_000_000_000_000 + number,
        )

    def _granted(self) -> Granted:
        number = self.rng.randrange(CATALOGUE)
        return Granted(
            grant_id=self.rng.randbytes(GRANT_ID_BYTES),
            path=path_of(number),
            generation=1,
            sha256=digest_of(number),
            size_bytes=10_000 + number,
            address=str(IPv4Address(self.rng.getrandbits(32))),
            country="DE",
            granted_at_ns=NOW_S * NS_PER_S,
            start_by_s=NOW_S,
            finish_by_s=NOW_S,
            traceparent=TRACEPARENT,
        )

    def _decided(self, granted: Sequence[Granted]) -> DecisionsRecorded:
        decisions = tuple(
            Decision(
                grant_id=grant.grant_id,
                at_ns=grant.granted_at_ns,
                path=grant.path,
                generation=1,
                address=grant.address,
                place=Whereabouts(latitude=51.3, longitude=9.6, country="DE", continent="EU", is_precise=False),
                outcome=DecisionOutcome.SENT,
                mirror=self.rng.choice(self.names),
                is_reserved=True,
            )
            for grant in granted
        )
        seen = Seen(generation=1, offset=self.said.get(selector_source(SELECTOR), 0), message_id="master:1:1")
        return DecisionsRecorded(selector=SELECTOR, seen=seen, decisions=decisions)

    def _downloads(self, granted: Sequence[Granted]) -> Iterator[Download]:
        for grant in granted:
            yield Download(
                grant_id=grant.grant_id,
                sha256=grant.sha256,
                outcome=self.rng.choice((DownloadOutcome.STARTED, DownloadOutcome.FINISHED)),
                at_ns=grant.granted_at_ns,
                address=grant.address,
                traceparent=TRACEPARENT,
            )

    def told(self, files: int) -> Iterator[Envelope]:
        """Say what makes the same of a view in fewer words: mirrors tell all that they hold at once."""
        yield from self.fleet()
        yield from self.published(range(files))
        for name in self.names:
            yield from self.inventory(name, range(files))


def path_of(number: int) -> FilePath:
    """Give a path as distributions have them."""
    return FilePath(f"pool/main/{number % 997:03}/package-{number:07}_1.{number % 7}-1_amd64.deb")


def digest_of(number: int) -> Digest:
    """Give a digest; as from the wire, each time another object."""
    return Digest(hashlib.sha256(number.to_bytes(8, "big")).digest())
