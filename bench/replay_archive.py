"""How fast the archive takes the log up and gives it back: events per second of one core. Called by ``bench.replay``.

Taking up is what the archiver does with entries that it has: each is decoded and judged; then rows and place are
committed, two thousand at once. Giving back is the whole of ``events replay --source archive``: sound bodies are read,
decoded and folded into the view. Time is the processor's, of all threads of this process (SQLite works in one of its
own). Of the readings the best of some rounds counts, since what else the machine does only adds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from bench.made_log import GENERATION, YEAR_EVENTS, MadeLog
from bench.verdict import Verdict
from events.codec import encode
from events.envelope import Envelope
from events.routing import address_of
from events.schemas import tag_of
from history.archive.row import Row, row_of
from history.archive.source import ArchiveSource
from history.archive.standing import Standing
from history.archive.store.database import Database, open_database
from history.entry import Entry
from history.replay.replayer import replay

EVENTS: Final = 100_000
AT_ONCE: Final = 2000  # as the archiver commits
ROUNDS: Final = 5
PER_MINUTE: Final = 60
VHOST: Final = "bench"
READ_GOAL_US: Final = 5.0  # 200,000 a second
WRITE_GOAL_US: Final = 50.0  # 20,000 a second


async def measure_archive() -> tuple[Verdict, ...]:
    """Measure both; give what was found."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_database(f"sqlite:///{Path(folder) / 'archive.sqlite3'}") as database:
            entries = [_entry(envelope, offset) for offset, envelope in enumerate(MadeLog().envelopes(EVENTS))]
            began_s = time.process_time()
            rows = _judged(entries)
            judge_us = (time.process_time() - began_s) / EVENTS * 1e6
            write_us = await _cpu_us(lambda: _write(database, rows))
            read_us = min([await _cpu_us(lambda: _read(database)) for _ in range(ROUNDS)])
            replay_us = min([await _cpu_us(lambda: _replay(database)) for _ in range(ROUNDS)])
    print(f"{EVENTS} events of a fleet at work, in SQLite: {judge_us:.1f} us to judge, {write_us:.1f} us to write,")
    print(f"{read_us:.1f} us to read, {replay_us:.1f} us to read, decode and fold:", end=" ")
    print(f"{1e6 / replay_us:,.0f} events a second on one core")
    minutes = YEAR_EVENTS * replay_us / 1e6 / PER_MINUTE
    print(
        f"a year's log of a fleet of 50 mirrors ({YEAR_EVENTS:,} events) would take {minutes:.1f} min from the archive"
    )
    return (
        Verdict(name="a row, written to the archive", figure=write_us, goal=WRITE_GOAL_US, unit="us"),
        Verdict(name="an event, replayed from the archive", figure=replay_us, goal=READ_GOAL_US, unit="us"),
    )


async def _cpu_us(work: Callable[[], Awaitable[int]]) -> float:
    """Give the processor time of an event, of all threads."""
    began_s = time.process_time()
    count = await work()
    return (time.process_time() - began_s) / count * 1e6


def _judged(entries: Sequence[Entry]) -> list[Row]:
    now_ns = time.time_ns()
    return [
        row_of(entry, number=number, vhost=VHOST, log_time_ns=0, now_ns=now_ns)
        for number, entry in enumerate(entries, 1)
    ]


async def _write(database: Database, rows: Sequence[Row]) -> int:
    standing = Standing(generation=GENERATION)
    await database.append([], standing=standing, before=Standing())
    for at in range(0, len(rows), AT_ONCE):
        some, before = rows[at : at + AT_ONCE], standing
        last = some[-1]
        standing = Standing(last.number, GENERATION, last.log_offset, last.message_id, last.log_time_ns)
        await database.append(some, standing=standing, before=before)
    return len(rows)


def _entry(envelope: Envelope, offset: int) -> Entry:
    address = address_of(envelope.event)
    user, kind = "site", tag_of(envelope.event)
    if address.exchange == "fleet":
        user = f"{VHOST}.{envelope.source.removeprefix('mirror/')}"
    key, body = address.routing_key, encode(envelope)
    return Entry(GENERATION, offset, address.exchange, key, envelope.id, kind, user, body)


async def _read(database: Database) -> int:
    count = 0
    async for some in ArchiveSource(database, vhost=VHOST, name="bench").proven():
        count += len(some.bodies)
    return count


async def _replay(database: Database) -> int:
    replayer = await replay(ArchiveSource(database, vhost=VHOST, name="bench"))
    if replayer.entries != EVENTS:
        raise RuntimeError(f"{replayer.entries} of {EVENTS} events were replayed: some are not sound")
    return EVENTS
