"""What the fleet view takes: memory, processor time for each event, and for a start from its snapshot. No broker.

Memory is what a process of its own grew by (``/proc/self/statm``). Time is processor time of one core, the least of
some rounds for each thousand events, since others on the machine can only add to it. Decoding is counted. There are two
logs:

- Of a site that publishes: files block by block, in the catalogue and a channel; all mirrors fetch them at once, each
  in its own order and at its own pace, lose some and fetch them again, report their load, and tell their inventory at
  the end. Of a hundred events 82 tell of a copy and 12 of a publication. An inventory page of 1,000 contents is one.
- Of visitors for 50 mirrors: for each ten, ten notices of one grant each, a record of ten decisions, and the mirrors'
  reports of some downloads. So it is where few come; a selector that has more than fifty a second puts several into a
  notice, which is one event. A view has no use for any of it but for the numbers.

They are read one by one by the decoder that validates, as for what comes from the broker, and a thousand at once as
proven bytes, as for what comes from the archive. Replay is reckoned from the events that were timed, in proportion to
the files.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import multiprocessing
import os
import statistics
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from bench.said_log import Site, path_of
from bench.verdict import Verdict
from events.codec import decode, encode
from events.envelope import Envelope
from events.proven import ProvenReader
from selection.view.fleet import FleetView
from selection.view.folding import EXCERPTS, FOLDED
from selection.view.snapshot import dump, load, packed

REPLICAS: Final = 13
FILES: Final = 100_000  # of the snapshot that is started from
MEASURED_FILES: Final = 50_000  # of those whose memory is measured; the tables are as full as with twice as many
DIFFERENT_AMONG: Final = 100  # mirrors; thirteen of them can be drawn in 10**15 ways
FILES_MANY: Final = 1_000_000
MIRRORS_MANY: Final = 1000
TREES: Final = 100  # of the million files; each is on a half of the thousand mirrors
TIMED_FILES: Final = 5_000  # of those whose events are timed; 80,000 events
VISITED_MIRRORS: Final = 50
VISITED_SECONDS: Final = 200  # 32,000 events
BATCH: Final = 1000  # events that are read and folded at once, as from the archive
ROUNDS: Final = 7
TAIL_EVENTS: Final = 5000  # five minutes of a busy site
STARTS: Final = 3
MB: Final = 1e6
US: Final = 1e6  # in a second

ALIKE_GOAL_BYTES: Final = 160.0
DIFFERENT_GOAL_BYTES: Final = 300.0
MANY_GOAL_MB: Final = 300.0
EVENT_GOAL_US: Final = 1.25  # 800,000 a second
START_GOAL_S: Final = 0.5
START_PART_GOAL: Final = 0.1

Fold: TypeAlias = Callable[[Sequence[bytes]], None]

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a start from a snapshot and a tail takes; seconds of processor time."""

    dump_s: float
    start_s: float
    snapshot_bytes: int


async def measure() -> tuple[Verdict, ...]:
    """Measure all; print the parts."""
    return await asyncio.to_thread(_measure)


def _measure() -> tuple[Verdict, ...]:
    alike = _apart(_memory_alike) / MEASURED_FILES
    different = _apart(_memory_different) / MEASURED_FILES
    many = _apart(_memory_many) / MB
    published_us, validated_us = _apart(_published_us)
    visited_us = _apart(_visited_us)
    start = _apart(_start)
    events = FILES * _events_of(TIMED_FILES) // TIMED_FILES
    print(f"{'path, beside these':>34} {_path_bytes(range(MEASURED_FILES)) / MEASURED_FILES:>10.0f} bytes a file")
    print(f"{'snapshot':>34} {start.snapshot_bytes / MB:>10.1f} MB")
    print(f"{'writing a snapshot':>34} {start.dump_s:>10.3f} CPU-s")
    print(f"{'events of a publishing site':>34} {US / published_us:>10.0f} a CPU second")
    print(f"{'... validated, one by one':>34} {US / validated_us:>10.0f} a CPU second")
    print(f"{'events of visitors':>34} {US / visited_us:>10.0f} a CPU second")
    return (
        Verdict(name="memory a file, trees alike", figure=alike, goal=ALIKE_GOAL_BYTES, unit="bytes"),
        Verdict(name="memory a file, all sets different", figure=different, goal=DIFFERENT_GOAL_BYTES, unit="bytes"),
        Verdict(name="1,000,000 files x 1,000 mirrors", figure=many, goal=MANY_GOAL_MB, unit="MB"),
        Verdict(name="event of a publishing site", figure=published_us, goal=EVENT_GOAL_US, unit="us"),
        Verdict(name="... validated, one by one", figure=validated_us, goal=EVENT_GOAL_US, unit="us"),
        Verdict(name="event of visitors", figure=visited_us, goal=EVENT_GOAL_US, unit="us"),
        Verdict(name="start from snapshot and tail", figure=start.start_s, goal=START_GOAL_S, unit="CPU-s"),
        Verdict(
            name="start, against replay",
            figure=start.start_s * US / (validated_us * events),
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


def _published_us() -> tuple[float, float]:
    """Give what an event of a publishing site takes: proven and a thousand at once, and validated one by one."""
    bodies = [encode(envelope) for envelope in Site(REPLICAS).history(TIMED_FILES)]
    return _least_us(bodies, _together), _least_us(bodies, _one_by_one)


def _visited_us() -> float:
    """Give what an event of visitors takes."""
    return _least_us([encode(each) for each in Site(VISITED_MIRRORS).visited(VISITED_SECONDS)], _together)


def _least_us(bodies: Sequence[bytes], begin: Callable[[], Fold]) -> float:
    """Give the microseconds of processor time that an event takes: for each batch the least of some rounds."""
    batches = [bodies[start : start + BATCH] for start in range(0, len(bodies), BATCH)]
    gc.collect()
    gc.freeze()  # or the collector looks at the whole log now and then
    least_ns = [sys.maxsize] * len(batches)
    for _ in range(ROUNDS):
        fold = begin()
        for at, batch in enumerate(batches):
            began_ns = time.thread_time_ns()
            fold(batch)
            least_ns[at] = min(least_ns[at], time.thread_time_ns() - began_ns)
    return sum(least_ns) / 1000 / len(bodies)


def _together() -> Fold:
    """Begin a view that reads proven bytes."""
    view, reader = FleetView(), ProvenReader(FOLDED, EXCERPTS)
    return lambda batch: view.apply_all(reader.decode_all(batch))


def _one_by_one() -> Fold:
    """Begin a view that validates what it reads."""
    view = FleetView()

    def fold(batch: Sequence[bytes]) -> None:
        for body in batch:
            view.apply(decode(body), heard_s=0.0)

    return fold


def _events_of(files: int) -> int:
    return sum(1 for _ in Site(REPLICAS).history(files))


def _start() -> Start:
    """Start from a snapshot and a tail, some times."""
    site, view = Site(REPLICAS), FleetView()
    _apply(view, site.told(FILES))
    began_s = time.process_time()
    data = dump(view)
    dump_s = time.process_time() - began_s
    tail = [encode(envelope) for envelope in itertools.islice(site.fetched(range(FILES), site.names), TAIL_EVENTS)]
    start_s = statistics.median(_start_once(data, tail) for _ in range(STARTS))
    return Start(dump_s=dump_s, start_s=start_s, snapshot_bytes=len(data))


def _start_once(data: bytes, tail: Sequence[bytes]) -> float:
    began_s = time.process_time()
    view = load(data)
    for body in tail:
        view.apply(decode(body), heard_s=0.0)
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
