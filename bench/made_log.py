"""A made-up log of a fleet at work: its catalogue and mirrors first, and then days of what a running site says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Final

from bench.logged_fleet import LoggedFleet
from bench.made_fleet import CHANNEL, file_path, mirror_name
from events.envelope import MASTER_SOURCE, Envelope, mirror_source, selector_source
from events.grants import GRANT_ID_BYTES
from events.names import Digest, MirrorName, SelectorName
from events.schemas import (
    CatalogueRestated,
    Decision,
    DecisionOutcome,
    DecisionsRecorded,
    Download,
    DownloadOutcome,
    DownloadsGranted,
    DownloadsReported,
    Event,
    Figures,
    FilePublished,
    Granted,
    LoadReported,
    LogOpened,
    ReplicaReady,
    Seen,
    Whereabouts,
)

MIRRORS: Final = 50
FILES: Final = 200
REPLICAS: Final = 20
GENERATION: Final = 1
SELECTOR: Final = SelectorName("selector")
SIZE_BYTES: Final = 10_000_000
BEGAN_NS: Final = 1_795_000_000 * 10**9
STEP_NS: Final = 50_000_000  # twenty events a second: a busy site
SEED: Final = 5

# Of a thousand events of a running site: visitors are granted, recorded and reported; files come now and then.
SHARES: Final = {"granted": 300, "reported": 300, "decided": 250, "ready": 130, "published": 20}

# A year of a site with fifty mirrors: a visitor a second on the average, a hundred files a day, each in two channels
# and fetched by all. Notices to mirrors, records of decisions and reports of downloads are said in batches.
YEAR_S: Final = 365 * 86_400
YEAR_VISITORS: Final = YEAR_S
YEAR_FILES: Final = 365 * 100
EVENTS_A_VISITOR: Final = 1 / 2 + 1 / 2 + 2 / 2.5  # his grant, the decision, and his download's start and end
EVENTS_A_FILE: Final = 2 + MIRRORS
YEAR_EVENTS: Final = round(YEAR_VISITORS * EVENTS_A_VISITOR + YEAR_FILES * EVENTS_A_FILE)


@dataclass(slots=True, kw_only=True)
class MadeLog:
    """Says one event after the other, in the order of the log, each source with numbers of its own."""

    mirrors: int = MIRRORS
    rng: Random = field(default_factory=lambda: Random(SEED))  # noqa: S311 - the same log each time
    now_ns: int = BEGAN_NS
    published: int = FILES
    numbers: dict[str, int] = field(default_factory=dict[str, int])

    def envelopes(self, count: int) -> Iterator[Envelope]:
        """Give so many events."""
        fleet = LoggedFleet(mirrors=self.mirrors, files=FILES, replicas=min(REPLICAS, self.mirrors), rng=self.rng)
        fleet.say(MASTER_SOURCE, LogOpened(generation=GENERATION))
        fleet.tell()
        fleet.say(MASTER_SOURCE, CatalogueRestated(generation=GENERATION, since=2))
        self.numbers = fleet.numbers
        beginning = [each for each in fleet.said if not isinstance(each.event, LoadReported)][:count]
        yield from beginning
        kinds = self.rng.choices(list(SHARES), list(SHARES.values()), k=count - len(beginning))
        for kind in kinds:
            yield self._next(kind)

    def _next(self, kind: str) -> Envelope:
        self.now_ns += STEP_NS
        mirror = mirror_name(self.rng.randrange(self.mirrors))
        match kind:
            case "granted":
                return self._said(selector_source(SELECTOR), self._granted(mirror))
            case "reported":
                return self._said(mirror_source(mirror), self._reported(mirror))
            case "decided":
                return self._said(selector_source(SELECTOR), self._decided(mirror))
            case "ready":
                return self._said(mirror_source(mirror), self._ready(mirror))
            case _:
                return self._said(MASTER_SOURCE, self._published())

    def _said(self, source: str, event: Event) -> Envelope:
        sequence = self.numbers[source] = self.numbers.get(source, 0) + 1
        return Envelope(source=source, epoch=1, sequence=sequence, time_ns=self.now_ns, traceparent="", event=event)

    def _granted(self, mirror: MirrorName) -> DownloadsGranted:
        grants = tuple(self._grant() for _ in range(self.rng.randint(1, 3)))
        return DownloadsGranted(selector=SELECTOR, mirror=mirror, grants=grants)

    def _grant(self) -> Granted:
        number = self.rng.randrange(self.published)
        start_by_s = self.now_ns // 10**9 + 90
        return Granted(
            grant_id=self.rng.randbytes(GRANT_ID_BYTES),
            path=file_path(number),
            generation=1,
            sha256=_digest(number),
            size_bytes=SIZE_BYTES,
            address=self._address(),
            country="PT",
            granted_at_ns=self.now_ns,
            start_by_s=start_by_s,
            finish_by_s=start_by_s + 3600,
        )

    def _reported(self, mirror: MirrorName) -> DownloadsReported:
        downloads = tuple(self._download() for _ in range(self.rng.randint(1, 4)))
        return DownloadsReported(mirror=mirror, downloads=downloads)

    def _download(self) -> Download:
        return Download(
            grant_id=self.rng.randbytes(GRANT_ID_BYTES),
            sha256=_digest(self.rng.randrange(self.published)),
            outcome=DownloadOutcome.FINISHED,
            at_ns=self.now_ns,
            address=self._address(),
            wanted_bytes=SIZE_BYTES,
            sent_bytes=SIZE_BYTES,
        )

    def _decided(self, mirror: MirrorName) -> DecisionsRecorded:
        decisions = tuple(self._decision(mirror) for _ in range(self.rng.randint(1, 3)))
        seen = Seen(generation=GENERATION, offset=0, message_id=f"{MASTER_SOURCE}:1:1")
        return DecisionsRecorded(selector=SELECTOR, seen=seen, decisions=decisions)

    def _decision(self, mirror: MirrorName) -> Decision:
        figures = Figures(mirror=mirror, slots=100, active=self.rng.randrange(100), reserved=0)
        return Decision(
            grant_id=self.rng.randbytes(GRANT_ID_BYTES),
            at_ns=self.now_ns,
            path=file_path(self.rng.randrange(self.published)),
            generation=1,
            address=self._address(),
            place=Whereabouts(latitude=38.7, longitude=-9.1, country="PT", continent="EU"),
            outcome=DecisionOutcome.SENT,
            mirror=mirror,
            is_reserved=True,
            figures=(figures,),
        )

    def _ready(self, mirror: MirrorName) -> ReplicaReady:
        number = self.rng.randrange(self.published)
        return ReplicaReady(
            mirror=mirror, sha256=_digest(number), size_bytes=SIZE_BYTES, path=file_path(number), generation=1
        )

    def _published(self) -> FilePublished:
        number = self.published
        self.published += 1
        return FilePublished(
            channel=CHANNEL,
            channel_sequence=number + 1,
            path=file_path(number),
            generation=1,
            size_bytes=SIZE_BYTES,
            sha256=_digest(number),
            media_type="application/octet-stream",
            published_at_ns=self.now_ns,
        )

    def _address(self) -> str:
        return f"203.0.113.{self.rng.randrange(256)}"


def _digest(number: int) -> Digest:
    return Digest(sha256(file_path(number).encode()).digest())
