"""Takes a file in and withdraws it again, and is killed at every step of it: ``python crash_points.py FOLDER``.

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
from pathlib import Path
from typing import Any

import aiosqlite

from events.names import ChannelName, Digest, FilePath, MirrorName
from events.schemas import FilePublished, FileWithdrawn
from mirror.objects import Objects
from mirror.parts import Part
from mirror.piecemap import PieceLayout
from mirror.store import Store

CONTENT = b"content of a file" * 1000
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
    """Be told of a file, fetch it, be told that it is withdrawn, remove it."""
    objects = Objects(folder)
    async with Store.opened(folder / "state.db", MirrorName("ana"), time.time_ns) as store:
        await store.fold(lambda catalogue, journal: catalogue.follow(ISO, journal))
        points.install()
        published = FilePublished(
            channel=ISO,
            channel_sequence=1,
            path=FilePath("a"),
            generation=1,
            size_bytes=len(CONTENT),
            sha256=SHA256,
            media_type="a/b",
        )
        await store.fold(lambda catalogue, journal: catalogue.apply(published, journal))
        part = Part(objects, PieceLayout(sha256=SHA256, size_bytes=len(CONTENT)))
        landing = part.land(0)
        landing.append([CONTENT[:5000], CONTENT[5000:]])
        assert landing.finish()
        part.commit()
        part.close()
        await store.add_replica(SHA256, len(CONTENT))
        withdrawn = FileWithdrawn(
            channel=ISO, channel_sequence=2, path=FilePath("a"), generation=1, sha256=SHA256, reason="test"
        )
        await store.fold(lambda catalogue, journal: catalogue.apply(withdrawn, journal))
        objects.remove(SHA256)


def main(base: Path) -> None:
    """Crash at each step in turn until an attempt gets through."""
    crash_at = 0
    while True:
        folder = base / str(crash_at)
        folder.mkdir()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            asyncio.run(live(folder, CrashPoints(crash_at, writing)))
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
    main(Path(sys.argv[1]))
