"""Sends bytes over a day's turn and is killed at every step of booking and flushing: ``python … FOLDER``.

Each attempt is a forked child that kills itself right before or right after its n-th commit, or the n-th time that
bytes leave. Prints a line of JSON for each: where it died, what had left by then on each day, and what the books say of
that day. The last attempt gets through.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

from crash_points import CrashPoints

from events.names import MirrorName
from events.schemas import QuotaWindow
from mirror.serving import bookkeeper
from mirror.serving.bookkeeper import Bookkeeper
from mirror.serving.books import Books
from mirror.serving.periods import Calendar
from mirror.serving.quota import Ledger, Limits, Quota
from mirror.state.database import Database

ANA = MirrorName("ana")
LIMITS = Limits(monthly_bytes=10_000, daily_bytes=6_000)
NOON_S = 1_795_348_800.0  # 2026-11-22, 12:00 UTC
DAY_S = 86_400.0
TRANSFERS = (1_000, 50, 4_000, 3_000, 2_500)  # of which the last does not fit any more
BLOCKS = 4
WRITTEN_WITHIN_S = 30.0


@asynccontextmanager
async def opened(folder: Path) -> AsyncGenerator[Books]:
    """Open a mirror's books."""
    async with Database.opened(folder / "state.db", ANA, lambda: int(NOON_S)) as database:
        yield Books(database)


async def until_written(books: Books, quota: Quota) -> None:
    """Wait until a flush wrote what left on this day."""
    async with asyncio.timeout(WRITTEN_WITHIN_S):
        while _used_on(await books.ledgers(), quota.day) != quota.ledgers()[-1].used_bytes:
            pass  # each look reads the database, and lets the flush go on meanwhile


def _used_on(ledgers: tuple[Ledger, ...], day: date) -> int:
    return sum(ledger.used_bytes for ledger in ledgers if ledger.day == day)


async def live(folder: Path, points: CrashPoints) -> None:
    """Send on two days until nothing is left. What leaves is written to a file before anybody counts it."""
    bookkeeper.FLUSH_EVERY_S = 0.001  # pyright: ignore[reportConstantRedefinition, reportAttributeAccessIssue] - one flush after the other
    now_s = NOON_S
    async with opened(folder) as books:
        quota = Quota(LIMITS, Calendar(), now_s=now_s)
        keeper = Bookkeeper(ANA, quota, books, clock_s=lambda: now_s)
        left = os.open(folder / "left", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        points.install()
        flushing = asyncio.create_task(keeper.run())
        for number, asked_bytes in enumerate(TRANSFERS):
            now_s = NOON_S + (number >= BLOCKS - 1) * DAY_S
            if await keeper.reserve(asked_bytes):
                for _ in range(BLOCKS):
                    points.reach("before bytes leave")
                    os.write(left, f"{quota.day} {asked_bytes // BLOCKS}\n".encode())
                    points.reach("after bytes left")
                    keeper.spend(asked_bytes // BLOCKS)
                    await until_written(books, quota)
                quota.release(asked_bytes % BLOCKS)
        flushing.cancel()
        await asyncio.wait([flushing])
        await keeper.close()


async def told(folder: Path, died_at: str) -> dict[str, object]:
    """Tell what had left, and what the next start counts."""
    left: Counter[str] = Counter()
    if (folder / "left").exists():
        for line in (folder / "left").read_text().splitlines():
            day, size_bytes = line.split()
            left[day] += int(size_bytes)
    counted: dict[str, int] = {}
    async with opened(folder) as books:
        ledgers = await books.ledgers()
        for at_s in (NOON_S, NOON_S + DAY_S):
            quota = Quota(LIMITS, Calendar(), ledgers, now_s=at_s)
            counted[str(quota.day)] = quota.used_bytes(QuotaWindow.DAY)
            counted["month"] = quota.used_bytes(QuotaWindow.MONTH)
    return {"died_at": died_at, "left": left, "counted": counted}


def main(base: Path) -> None:
    """Crash at each step in turn until an attempt gets through."""
    for crash_at in range(1000):
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
        assert os.WIFEXITED(status) or os.WTERMSIG(status) == signal.SIGKILL, f"died by itself at {died_at}"
        print(json.dumps(asyncio.run(told(folder, died_at))), flush=True)  # noqa: T201 - what the test reads
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
