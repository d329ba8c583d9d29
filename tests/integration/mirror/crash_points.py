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
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import aiosqlite
import structlog

from events.names import ChannelName, Digest, FilePath, MirrorName
from events.schemas import FilePublished, FileWithdrawn
from events.trace import TraceContext
from mirror.config import MirrorConfig, MirrorCredentials
from mirror.content.objects import Objects
from mirror.content.parts import Part
from mirror.content.piecemap import PieceLayout
from mirror.keeping import room
from mirror.keeping.keeper import Keeper
from mirror.keeping.scrub import Scrubber
from mirror.state.plan import Entry
from mirror.state.store import Store

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


@dataclass
class Shelf:
    """A source that has all contents at hand."""

    objects: Objects

    @asynccontextmanager
    async def fetched(self, entry: Entry, *, trace: TraceContext | None = None) -> AsyncGenerator[None]:
        """Put a content in its place."""
        del trace
        land(self.objects, entry, CONTENT if entry.sha256 == SHA256 else OTHER)
        yield


@dataclass
class Mirror:
    """What keeps one store, as the mirror does it, and its parts."""

    objects: Objects
    store: Store
    keeper: Keeper
    scrubber: Scrubber

    async def hold(self, name: str, content: bytes) -> None:
        """Be told of a file and take it in."""
        entry = await tell(self.store, name, content)
        await self.settle(entry.sha256)

    async def settle(self, sha256: Digest) -> None:
        """Do what is to be done about a content, as the keeper's workers do."""
        with self.keeper.alone_with(sha256):
            await self.keeper.settle(sha256)


@asynccontextmanager
async def mirror_in(folder: Path) -> AsyncGenerator[Mirror]:
    """Open a mirror whose clock goes on by a second whenever it is read, and whose disk has room for one file."""
    ana, clock = MirrorName("ana"), iter(range(1, 1_000_000))
    config = MirrorConfig(
        name=ana,
        data_folder=folder,
        credentials=MirrorCredentials(
            mirror=ana, broker_url="amqp://x", token="t", grant_keys={}, master_url="http://x", site_url="http://x"
        ),
        disk_bytes_max=len(CONTENT),
        disk_high=1.0,
        disk_low=1.0,
    )
    objects = Objects(folder)
    with ThreadPoolExecutor(1) as executor:
        async with Store.opened(folder / "state.db", ana, lambda: next(clock) * 1_000_000_000) as store:
            await store.fold(lambda catalogue, journal: catalogue.follow(ISO, journal))
            rng = Random(1)  # noqa: S311 - jitter
            keeper = Keeper(config, store, objects, Shelf(objects), executor, rng, served=lambda: ())
            scrubber = Scrubber(
                store,
                objects,
                keeper,
                executor,
                bytes_per_second=1 << 40,
                every_s=1.0,
                served=lambda: (),
                cut=lambda _: None,
                clock_s=time.time,
            )
            yield Mirror(objects, store, keeper, scrubber)


async def live(folder: Path, points: CrashPoints) -> None:
    """Be told of a file, fetch it, be told that it is withdrawn, remove it, and say that it is gone."""
    async with mirror_in(folder) as mirror:
        points.install()
        await mirror.hold("a", CONTENT)
        withdrawn = FileWithdrawn(
            channel=ISO, channel_sequence=2, path=FilePath("a"), generation=1, sha256=SHA256, reason="test"
        )
        await mirror.store.fold(lambda catalogue, journal: catalogue.apply(withdrawn, journal))
        await mirror.settle(SHA256)
        await mirror.store.acknowledge()


async def evict(folder: Path, points: CrashPoints) -> None:
    """Hold a file, and give it up for another one, with no broker in sight."""
    setattr(room, "LOSS_HEARD_S", 0.0)  # noqa: B010 - a constant, and plain assignment to it is refused
    async with mirror_in(folder) as mirror:
        await mirror.hold("a", CONTENT)
        points.install()
        await mirror.hold("b", OTHER)


async def condemn(folder: Path, points: CrashPoints) -> None:
    """Hold a file, find it damaged, put it into quarantine, and hold it again."""
    async with mirror_in(folder) as mirror:
        await mirror.hold("a", CONTENT)
        mirror.objects.path(SHA256).chmod(0o640)
        mirror.objects.path(SHA256).write_bytes(CONTENT.replace(b"file", b"fire", 1))
        points.install()
        await mirror.scrubber.examine(SHA256)
        await mirror.settle(SHA256)


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
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    main(sys.argv[1], Path(sys.argv[2]))
