"""What the fleet view takes: memory, processor time for each event, and for a start from its snapshot. No broker.

Memory is what a process of its own grew by (``/proc/self/statm``). Time is processor time of one core. The events are
as a site says them: files are published block by block, each mirror tells of its copies in its own order, loses some
and fetches them again, reports its load, and tells its inventory at the end. An inventory page is one event, whatever
is in it. Decoding is counted: by the decoder that validates, as for what comes from the broker, and by the one for
proven bytes. Replay is reckoned from the events that were timed, in proportion to the files.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import itertools
import multiprocessing
import os
import random
import statistics
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from bench.verdict import Verdict
from events.codec import decode, encode
from events.envelope import MASTER_SOURCE, Envelope, load_source, mirror_source
from events.names import ORIGIN_CHANNEL, ChannelName, Digest, FilePath, MirrorName
from events.proven import ProvenReader
from events.schemas import (
    Event,
    FilePublished,
    InventoryAnnounced,
    LoadReported,
    LossReason,
    MirrorCameOnline,
    MirrorJoined,
    Profile,
    ReplicaLost,
    ReplicaReady,
    SubscriptionGranted,
)
from selection.view.fleet import FleetView
from selection.view.snapshot import dump, load, packed

CHANNEL: Final = ChannelName("bench")
REPLICAS: Final = 13
FILES: Final = 100_000  # of the snapshot that is started from
MEASURED_FILES: Final = 50_000  # of those whose memory is measured; the tables are as full as with twice as many
DIFFERENT_AMONG: Final = 100  # mirrors; thirteen of them can be drawn in 10**15 ways
FILES_MANY: Final = 1_000_000
MIRRORS_MANY: Final = 1000
TREES: Final = 100  # of the million files; each is on a half of the thousand mirrors
BLOCK: Final = 100  # files that are published together
PAGE: Final = 1000
LOSS_EVERY: Final = 50
LOAD_EVERY: Final = 20
TIMED_FILES: Final = 10_000  # of those whose events are timed; 160,000 events
CHUNK: Final = 20_000  # events that are held encoded at a time
TAIL_EVENTS: Final = 5000  # five minutes of a busy site
STARTS: Final = 3
SEED: Final = 4
MB: Final = 1e6

ALIKE_GOAL_BYTES: Final = 160.0
DIFFERENT_GOAL_BYTES: Final = 300.0
MANY_GOAL_MB: Final = 300.0
EVENT_GOAL_US: Final = 1.25  # 800,000 a second
START_GOAL_S: Final = 0.5
START_PART_GOAL: Final = 0.1


Found = TypeVar("Found")


@dataclass(slots=True)
class Times:
    """What folding a history took by either decoder, and a start from its snapshot. Seconds of processor time."""

    events: int = 0
    timed_events: int = 0
    validated_s: float = 0.0
    proven_s: float = 0.0
    dump_s: float = 0.0
    start_s: float = 0.0
    snapshot_bytes: int = 0


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
        for number, channel in itertools.product(numbers, (ORIGIN_CHANNEL, CHANNEL)):
            event = FilePublished(
                channel=channel,
                channel_sequence=number + 1,
                path=path_of(number),
                generation=1,
                size_bytes=10_000 + 977 * number,
                sha256=digest_of(number),
                media_type="application/vnd.debian.binary-package",
                published_at_ns=1_790_000_000_000_000_000 + number,
            )
            yield self.say(MASTER_SOURCE, event)

    def ready(self, name: MirrorName, number: int) -> Envelope:
        """Let a mirror hold a file."""
        event = ReplicaReady(mirror=name, sha256=digest_of(number), size_bytes=1, path=path_of(number), generation=1)
        return self.say(mirror_source(name), event)

    def fetched(self, numbers: Sequence[int], names: Sequence[MirrorName]) -> Iterator[Envelope]:
        """Let mirrors fetch files, each in its own order; now and then one loses a copy and fetches it again."""
        turns = [(name, number) for name in names for number in self.rng.sample(numbers, len(numbers))]
        for turn, (name, number) in enumerate(turns, 1):
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


async def measure() -> tuple[Verdict, ...]:
    """Measure all; print the parts."""
    return await asyncio.to_thread(_measure)


def _measure() -> tuple[Verdict, ...]:
    alike = _apart(_memory_alike) / MEASURED_FILES
    different = _apart(_memory_different) / MEASURED_FILES
    many = _apart(_memory_many) / MB
    figures = _apart(_times)
    validated_us, proven_us = (s * 1e6 / figures.timed_events for s in (figures.validated_s, figures.proven_s))
    print(f"{'path, beside these':>34} {_path_bytes(range(MEASURED_FILES)) / MEASURED_FILES:>10.0f} bytes a file")
    print(f"{'snapshot':>34} {figures.snapshot_bytes / MB:>10.1f} MB")
    print(f"{'events, validated and applied':>34} {1e6 / validated_us:>10.0f} a CPU second")
    print(f"{'events, proven and applied':>34} {1e6 / proven_us:>10.0f} a CPU second")
    print(f"{'writing a snapshot':>34} {figures.dump_s:>10.3f} CPU-s")
    return (
        Verdict(name="memory a file, trees alike", figure=alike, goal=ALIKE_GOAL_BYTES, unit="bytes"),
        Verdict(name="memory a file, all sets different", figure=different, goal=DIFFERENT_GOAL_BYTES, unit="bytes"),
        Verdict(name="1,000,000 files x 1,000 mirrors", figure=many, goal=MANY_GOAL_MB, unit="MB"),
        Verdict(name="event, validated and applied", figure=validated_us, goal=EVENT_GOAL_US, unit="us"),
        Verdict(name="event, proven and applied", figure=proven_us, goal=EVENT_GOAL_US, unit="us"),
        Verdict(name="start from snapshot and tail", figure=figures.start_s, goal=START_GOAL_S, unit="CPU-s"),
        Verdict(
            name="start, against replay",
            figure=figures.start_s * 1e6 / (validated_us * figures.events),
            goal=START_PART_GOAL,
            unit="x",
        ),
    )


def _memory_alike() -> int:
    """Give the bytes that files take beyond their paths when all are on the same mirrors."""
    site = Site(REPLICAS)
    return _beyond_paths(site, (site.ready(name, number) for name in site.names for number in range(MEASURED_FILES)))


def _memory_different() -> int:
    """Give the same when each file is on other mirrors than all others."""
    site = Site(DIFFERENT_AMONG)
    names = site.names
    return _beyond_paths(
        site,
        (site.ready(name, number) for number in range(MEASURED_FILES) for name in site.rng.sample(names, REPLICAS)),
    )


def _beyond_paths(site: Site, copies: Iterator[Envelope]) -> int:
    view = FleetView()
    _apply(view, site.fleet())
    before_bytes = _resident_bytes()
    _apply(view, site.published(range(MEASURED_FILES)))
    _apply(view, copies)
    return _resident_bytes() - before_bytes - _path_bytes(range(MEASURED_FILES))


def _memory_many() -> int:
    """Give the bytes that a process has that knows a million files in trees, each tree on its half of the mirrors.

    Half a billion facts would take an hour to tell. So the files are published, who holds them is written into a
    snapshot, and what is measured is the process that starts from it.
    """
    return _apart_with(_resident_of, _apart(_snapshot_of_many))


def _snapshot_of_many() -> bytes:
    site, view = Site(MIRRORS_MANY), FleetView()
    _apply(view, site.fleet())
    _apply(view, site.published(range(FILES_MANY)))
    dumped = view.dump()
    trees = [site.rng.getrandbits(MIRRORS_MANY) for _ in range(TREES)]
    held = array("B", bytes(1) + bytes(1 + number % TREES for number in range(FILES_MANY)))
    uses = array("I", [0, *itertools.repeat(FILES_MANY // TREES, TREES)])
    sets = [tree.to_bytes(MIRRORS_MANY // 8, "little") for tree in (0, *trees)]
    dumped.contents.held = held.typecode, held.tobytes()
    dumped.contents.sets = sets, uses.tobytes()
    for number, told in dumped.told.items():
        told.copies = sum(FILES_MANY // TREES for tree in trees if tree >> number & 1)
    return packed(dumped)


def _resident_of(data: bytes) -> int:
    before_bytes = _resident_bytes()
    view = load(data)
    grown_bytes = _resident_bytes() - before_bytes
    if len(view.catalogue) != FILES_MANY:
        raise RuntimeError(f"{len(view.catalogue)} files")
    return grown_bytes


def _times() -> Times:
    """Fold a history by both decoders; start from the snapshot of a larger one and a tail, some times."""
    times = Times()
    history, validated, proven = Site(REPLICAS).history(TIMED_FILES), FleetView(), FleetView()
    while chunk := [encode(envelope) for envelope in itertools.islice(history, CHUNK)]:
        times.timed_events += len(chunk)
        times.validated_s += _fold(validated, chunk, decode)
        times.proven_s += _fold(proven, chunk, ProvenReader().decode)
    site, view = Site(REPLICAS), FleetView()
    times.events = times.timed_events * FILES // TIMED_FILES
    _apply(view, site.told(FILES))
    began_s = time.process_time()
    data = dump(view)
    times.dump_s, times.snapshot_bytes = time.process_time() - began_s, len(data)
    tail = [encode(envelope) for envelope in itertools.islice(site.fetched(range(FILES), site.names), TAIL_EVENTS)]
    times.start_s = statistics.median(_start(data, tail) for _ in range(STARTS))
    return times


def _start(data: bytes, tail: Sequence[bytes]) -> float:
    began_s = time.process_time()
    _fold(load(data), tail, decode)
    return time.process_time() - began_s


def _fold(view: FleetView, bodies: Sequence[bytes], read: Callable[[bytes], Envelope]) -> float:
    """Give the processor time that these events take."""
    began_s = time.process_time()
    for body in bodies:
        view.apply(read(body), heard_s=0.0)
    return time.process_time() - began_s


def _apply(view: FleetView, said: Iterator[Envelope]) -> int:
    count = 0
    for count, envelope in enumerate(said, 1):  # noqa: B007 - the last count is given
        view.apply(envelope, heard_s=0.0)
    return count


def _resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _path_bytes(numbers: Sequence[int]) -> int:
    return sum(sys.getsizeof(path_of(number)) for number in numbers)


def _apart(work: Callable[[], Found]) -> Found:
    """Do something in a process of its own, that has nothing else in its memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work).result()


def _apart_with(work: Callable[[bytes], Found], data: bytes) -> Found:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, data).result()
