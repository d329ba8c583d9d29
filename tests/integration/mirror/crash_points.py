"""Takes files in and gives them up, and is killed at every step of it: ``python crash_points.py LIFE FOLDER``.

Each attempt is a forked child with a folder of its own, ``FOLDER/<number>``, that kills itself with SIGKILL right
before or right after its n-th system call or database commit. The last attempt gets through. Prints, for each attempt,
the step that it died at.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiosqlite

from events.names import ChannelName, Digest, FilePath, MirrorName
from events.schemas import FilePublished, FileWithdrawn, LossReason
from mirror import room
from mirror.eviction import Marks
from mirror.objects import Objects
from mirror.parts import Part
from mirror.piecemap import PieceLayout
from mirror.plan import Entry
from mirror.quarantine import Quarantine
from mirror.room import Room
from mirror.store import Store

CONTENT = b"content of a file" * 1000
OTHER = b"what another one has" * 700
PIECE = 8192
SHA256 = Digest(hashlib.sha256(CONTENT).digest())
ISO = ChannelName("iso")
CALLS = ("open", "pwrite", "fsync", "fchmod", "rename", "mkdir", "unlink")


class CrashPoints:
    """Counts steps and kills this process at one of them."""

    def __init__(self, crash_at: int, report: int) -> None:
        self.step = 0
        self._crash_at = crash_at
        self._report = report
        self._write = os.write

    def reach(self, name: str) -> None:
        if self.step == self._crash_at:
            self._write(self._report, name.encode())
            os.kill(os.getpid(), signal.SIGKILL)
        self.step += 1

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the call takes
            self.reach(f"before {name}")
            result = call(*args, **kwargs)
            self.reach(f"after {name}")
            return result

        return counted

    def install(self) -> None:
        for name in CALLS:
            setattr(os, name, self.around(name, getattr(os, name)))
        commit = aiosqlite.Connection.commit

        async def counted_commit(connection: aiosqlite.Connection) -> None:
            self.reach("before commit")
            await commit(connection)
            self.reach("after commit")

        setattr(aiosqlite.Connection, "commit", counted_commit)  # noqa: B010 - plain assignment wants the same names


async def live(folder: Path, points: CrashPoints) -> None:
    """Be told of a file, fetch it, be told that it is withdrawn, remove it, and say that it is gone."""
    objects = Objects(folder)
    async with Store.opened(folder / "state.db", MirrorName("ana"), time.time_ns) as store:
        await store.fold(lambda catalogue, journal: catalogue.follow(ISO, journal))
        points.install()
        await hold(store, objects, "a", CONTENT)
        withdrawn = FileWithdrawn(
            channel=ISO, channel_sequence=2, path=FilePath("a"), generation=1, sha256=SHA256, reason="test"
        )
        await store.fold(lambda catalogue, journal: catalogue.apply(withdrawn, journal))
        objects.remove(SHA256)
        store.acknowledgements.settle(SHA256)
        await store.acknowledge()


async def evict(folder: Path, points: CrashPoints) -> None:
    """Hold a file, and give it up for another one, with no broker in sight."""
    setattr(room, "LOSS_HEARD_S", 0.0)  # noqa: B010 - a constant, and plain assignment to it is refused
    objects = Objects(folder)
    clock = iter(range(1, 1_000_000))
    with ThreadPoolExecutor(1) as executor:
        async with Store.opened(folder / "state.db", MirrorName("ana"), lambda: next(clock) * 1_000_000_000) as store:
            await store.fold(lambda catalogue, journal: catalogue.follow(ISO, journal))
            await hold(store, objects, "a", CONTENT)
            wanted = await tell(store, "b", OTHER)
            marks = Marks(high_bytes=len(CONTENT) + 1, low_bytes=len(CONTENT))
            space = Room(store, objects, Quarantine(folder, objects), executor, marks=marks, served=lambda: ())
            points.install()
            await space.make(wanted, busy={wanted.sha256: 0})
            land(objects, wanted, OTHER)
            await store.add_replica(wanted.sha256, wanted.size_bytes)


async def condemn(folder: Path, points: CrashPoints) -> None:
    """Hold a file, find it damaged, put it into quarantine, and hold it again."""
    objects = Objects(folder)
    quarantine = Quarantine(folder, objects)
    async with Store.opened(folder / "state.db", MirrorName("ana"), time.time_ns) as store:
        await store.fold(lambda catalogue, journal: catalogue.follow(ISO, journal))
        wanted = await hold(store, objects, "a", CONTENT)
        objects.path(SHA256).chmod(0o640)
        objects.path(SHA256).write_bytes(CONTENT.replace(b"file", b"fire", 1))
        points.install()
        await store.lose_replicas({SHA256: LossReason.CORRUPT})
        quarantine.put(SHA256)
        quarantine.salvage(wanted)
        land(objects, wanted, CONTENT)
        await store.add_replica(wanted.sha256, wanted.size_bytes)


async def hold(store: Store, objects: Objects, name: str, content: bytes) -> Entry:
    """Be told of a file and take it in."""
    entry = await tell(store, name, content)
    land(objects, entry, content)
    await store.add_replica(entry.sha256, entry.size_bytes)
    return entry


async def tell(store: Store, name: str, content: bytes) -> Entry:
    """Be told of a file."""
    published = FilePublished(
        channel=ISO,
        channel_sequence=store.catalogue.positions[ISO] + 1,
        path=FilePath(name),
        generation=1,
        size_bytes=len(content),
        sha256=Digest(hashlib.sha256(content).digest()),
        media_type="a/b",
        piece_bytes=PIECE,
        piece_digests=b"".join(
            hashlib.sha256(content[at : at + PIECE]).digest() for at in range(0, len(content), PIECE)
        ),
    )
    await store.fold(lambda catalogue, journal: catalogue.apply(published, journal))
    entry = store.catalogue.wanted(published.sha256)
    assert entry is not None
    return entry


def land(objects: Objects, entry: Entry, content: bytes) -> None:
    """Put what is missing of a content in its place."""
    part = Part(objects, PieceLayout.of(entry))
    for piece in range(part.layout.count):
        if piece not in part.pieces:
            landing = part.land(piece)
            landing.append([content[landing.span.start : landing.span.stop]])
            assert landing.finish()
    part.commit()
    part.close()


LIVES = {"live": live, "evict": evict, "condemn": condemn}


def main(name: str, base: Path) -> None:
    """Crash at each step of a life in turn until an attempt gets through."""
    crash_at = 0
    while True:
        folder = base / str(crash_at)
        folder.mkdir()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            asyncio.run(LIVES[name](folder, CrashPoints(crash_at, writing)))
            os._exit(0)
        os.close(writing)
        _, status = os.waitpid(child, 0)
        died_at = os.read(reading, 100).decode()
        os.close(reading)
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))
        assert os.WTERMSIG(status) == signal.SIGKILL, f"died by itself at {died_at}"
        print(died_at, flush=True)  # noqa: T201 - what the test reads
        crash_at += 1


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
