"""One file to twenty mirrors: with the mirrors' help, and by the master alone. Real processes on this machine, one run.

All uplinks are capped, the master's at four times a mirror's. The clock starts when the file is published and stops
when the selector sees the last mirror hold it. What left the master is counted at ``/-/origin`` by the master itself.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.verdict import Verdict
from distributary.answers import inside, number, words
from distributary.fleet.broker import open_broker
from distributary.fleet.fleet import Fleet, MirrorPlan
from distributary.fleet.waiting import wait_until

FILE_BYTES: Final = 256_000_000
MIRRORS: Final = tuple(f"m{place:02}" for place in range(20))
STARTED_AT_ONCE: Final = 5  # more Python processes at once would run into the time that each has to be ready
CHANNEL: Final = "bench"
PATH: Final = "release.bin"
PEER_RATE: Final = 5_000_000  # at 8 MB/s two cores were what mirrors waited for, not their uplinks
MASTER_RATE: Final = 4 * PEER_RATE
REPLICATION_TIMEOUT_S: Final = 900.0  # the master alone needs 256 s
SEEDS_MAX: Final = 2
COPIES_GOAL: Final = 2.2
PART_GOAL: Final = 0.2  # five times as fast as the master alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """How one file came to all mirrors."""

    half_s: float
    last_s: float
    copies_from_master: float


async def measure() -> tuple[Verdict, ...]:
    """Replicate both ways; compare."""
    return await asyncio.to_thread(_measure, os.environ)


def _measure(environ: Mapping[str, str]) -> tuple[Verdict, ...]:
    print(f"{'sources':>16} {'half of the mirrors':>20} {'last mirror':>12} {'copies from master':>19}")
    helped = _replicate(environ, "mirrors help", peers=True, seeds_max=SEEDS_MAX)
    alone = _replicate(environ, "master alone", peers=False, seeds_max=len(MIRRORS))
    return (
        Verdict(name="copies that leave the master", figure=helped.copies_from_master, goal=COPIES_GOAL, unit="copies"),
        Verdict(
            name="time to the last mirror",
            figure=helped.last_s / alone.last_s,
            goal=PART_GOAL,
            unit="of the master's alone",
        ),
    )


def _replicate(environ: Mapping[str, str], name: str, *, peers: bool, seeds_max: int) -> Replication:
    """Let a new fleet replicate a new file."""
    with tempfile.TemporaryDirectory(prefix="distributary-bench-") as place:
        folder = Path(place)
        with open_broker(environ, folder / "broker") as broker:
            fleet = Fleet(
                folder=folder / "site",
                broker=broker,
                master_overrides=(f"master.seeds_max={seeds_max}", f"master.mirror_rate={MASTER_RATE}"),
                mirror_overrides=(
                    f"mirror.peers={str(peers).lower()}",
                    f"mirror.peer_rate={PEER_RATE}",
                ),
            )
            with fleet:
                fleet.define_channel(CHANNEL)
                for start in range(0, len(MIRRORS), STARTED_AT_ONCE):
                    some = MIRRORS[start : start + STARTED_AT_ONCE]
                    fleet.join(*(MirrorPlan(name=mirror, channels=(CHANNEL,)) for mirror in some))
                replication = _published(fleet, folder)
    print(
        f"{name:>16} {replication.half_s:>18.1f} s {replication.last_s:>10.1f} s "
        f"{replication.copies_from_master:>19.2f}",
        flush=True,
    )
    return replication


def _published(fleet: Fleet, folder: Path) -> Replication:
    """Publish a file and wait until all mirrors hold it."""
    source = folder / PATH
    source.write_bytes(secrets.token_bytes(FILE_BYTES))
    began_s = time.perf_counter()
    fleet.publish(source, as_=PATH)
    half_s = _until(fleet, len(MIRRORS) // 2) - began_s
    last_s = _until(fleet, len(MIRRORS)) - began_s
    sent_bytes = number(inside(fleet.master_api.get("/-/api/v1/status"), "origin"), "sent_bytes")
    return Replication(half_s=half_s, last_s=last_s, copies_from_master=sent_bytes / FILE_BYTES)


def _until(fleet: Fleet, mirrors: int) -> float:
    """Wait until so many mirrors hold the file, as the selector sees it; give when that was."""
    wait_until(
        lambda: any(len(words(file, "mirrors")) >= mirrors for file in fleet.files()),
        within_s=REPLICATION_TIMEOUT_S,
        what=f"{mirrors} mirrors hold {PATH}",
    )
    return time.perf_counter()
