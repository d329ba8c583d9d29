"""The projections' tables: brought up to the events in steps, each a transaction with the projection's own place.

Whoever takes a step takes it from the place that is written down, so an archiver and a rebuilding command do not
disturb each other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from sqlalchemy import Insert, Table, delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from events.names import ORIGIN_CHANNEL
from events.proven import ProvenReader
from events.schemas import DownloadsReported, Event, FilePublished, ReplicaReady
from events.schemas.fields import NS_PER_S
from history.archive.projecting.counting import COUNTED, Counting, OpenGrant, ended
from history.archive.projecting.told import Told
from history.archive.row import Verdict
from history.archive.store import tables
from history.archive.store.database import Database
from master.store.statements import INSERTS, portions
from master.store.store import uncut

STEP: Final = 5000  # events that are looked at in a transaction: a fraction of a second
# A mirror tells of a download when it ends, its outbox a broker's outage later.
GRANT_REMEMBERED_S: Final = 7 * 24 * 3600

Fold: TypeAlias = Callable[[AsyncConnection, Sequence[Told]], Awaitable[None]]


class Projection(Enum):
    """What is made from the events."""

    DOWNLOADS = "downloads"
    READINESS = "readiness"


class Progress(NamedTuple):
    """Up to which event a projection is made, and how many events there are."""

    number: int
    events: int


@dataclass(frozen=True, slots=True)
class _Making:
    """How a projection is made. Whoever changes what it makes of events raises ``version``: then it is made anew."""

    version: int
    kinds: Collection[type[Event]]
    tables: Sequence[Table]
    fold: Fold


async def step(database: Database, projection: Projection) -> Progress:
    """Bring a projection nearer to the last event; once begun, the step is finished.

    Raises:
        ArchiveError: nothing was changed.
    """
    return await uncut(_step(database, projection))


async def begin_anew(database: Database, projection: Projection) -> None:
    """Forget what was made; the next steps make it again from the first event.

    Raises:
        ArchiveError: nothing was changed.
    """
    async with database.changing() as connection:
        await _place(connection, projection)
        await _clear(connection, projection)


async def progress(database: Database) -> Mapping[Projection, Progress]:
    """Tell how far each projection is made.

    Raises:
        ArchiveError: the database cannot be used now.
    """
    async with database.reading() as connection:
        last = await _last(connection)
        made = select(tables.projections.c.name, tables.projections.c.number)
        places: dict[str, int] = {name: number for name, number in await connection.execute(made)}  # noqa: C416 - rows
    return {each: Progress(places.get(each.value, 0), last) for each in Projection}


async def _step(database: Database, projection: Projection) -> Progress:
    async with database.changing() as connection:
        number, last = await _place(connection, projection), await _last(connection)
        up_to = min(number + STEP, last)
        if up_to > number:
            making = _MAKING[projection]
            await making.fold(connection, await _told(connection, making.kinds, number, up_to))
            await _move(connection, projection, up_to)
    return Progress(up_to, last)


async def _place(connection: AsyncConnection, projection: Projection) -> int:
    """Give up to which event a projection is made, and let nobody else go on with it meanwhile."""
    mine = tables.projections.c
    wanted = select(mine.version, mine.number).where(mine.name == projection.value).with_for_update()
    row = (await connection.execute(wanted)).one_or_none()
    if row is None:
        first = {"name": projection.value, "version": _MAKING[projection].version, "number": 0}
        await connection.execute(insert(tables.projections).values(first))
        return 0
    if row.version != _MAKING[projection].version:
        await _clear(connection, projection)
        return 0
    return row.number


async def _clear(connection: AsyncConnection, projection: Projection) -> None:
    making = _MAKING[projection]
    for table in making.tables:
        await connection.execute(delete(table))
    await _move(connection, projection, 0)


async def _move(connection: AsyncConnection, projection: Projection, number: int) -> None:
    mine = update(tables.projections).where(tables.projections.c.name == projection.value)
    await connection.execute(mine.values(number=number, version=_MAKING[projection].version))


async def _last(connection: AsyncConnection) -> int:
    return await connection.scalar(select(tables.archive.c.number)) or 0


async def _told(connection: AsyncConnection, kinds: Collection[type[Event]], number: int, up_to: int) -> Sequence[Told]:
    """Read the events of some kinds in a part of the archive, each but once: the log may tell one again."""
    each, earlier = tables.events.alias(), tables.events.alias()
    repeated = exists().where(
        earlier.c.source == each.c.source,
        earlier.c.epoch == each.c.epoch,
        earlier.c.sequence == each.c.sequence,
        earlier.c.number < each.c.number,
        earlier.c.verdict == Verdict.SOUND.value,
    )
    wanted = select(each.c.log_time_ns, each.c.time_ns, each.c.body).where(
        each.c.number > number,
        each.c.number <= up_to,
        each.c.type.in_([str(kind.__struct_config__.tag) for kind in kinds]),
        each.c.verdict == Verdict.SOUND.value,
        ~repeated,
    )
    rows = await connection.execute(wanted.order_by(each.c.number))
    return [Told(log_time_ns, time_ns, _reader.decode(body).event) for log_time_ns, time_ns, body in rows]


async def _fold_downloads(connection: AsyncConnection, told: Sequence[Told]) -> None:
    counting = Counting()
    counting.note(told)
    reported = [each for report in told if isinstance(report.event, DownloadsReported) for each in ended(report.event)]
    grants = await _opened(connection, {each.grant_id for each in reported} - counting.opened.keys())
    paths = await _paths(connection, {each.sha256 for each in reported} - counting.published.keys())
    counting.report(told, grants=grants, paths=paths)
    await _add_figures(connection, counting)
    await _remember(connection, counting)
    if told:
        now_s = told[-1].log_time_ns // NS_PER_S
        over = tables.open_grants.c.until_s < now_s - GRANT_REMEMBERED_S
        await connection.execute(delete(tables.open_grants).where(over))


async def _opened(connection: AsyncConnection, grant_ids: Collection[bytes]) -> dict[bytes, OpenGrant]:
    mine, found = tables.open_grants.c, dict[bytes, OpenGrant]()
    for portion in portions(list(grant_ids)):
        rows = await connection.execute(select(tables.open_grants).where(mine.grant_id.in_(portion)))
        found |= {row.grant_id: OpenGrant(row.day, row.country, row.path, row.until_s) for row in rows}
    return found


async def _paths(connection: AsyncConnection, sha256s: Collection[bytes]) -> dict[bytes, str]:
    mine, found = tables.contents.c, dict[bytes, str]()
    for portion in portions(list(sha256s)):
        rows = await connection.execute(select(mine.sha256, mine.path).where(mine.sha256.in_(portion)))
        found |= {sha256: path for sha256, path in rows}  # noqa: C416 - rows
    return found


async def _add_figures(connection: AsyncConnection, counting: Counting) -> None:
    statement, old = INSERTS[connection.dialect.name](tables.downloads), tables.downloads.c
    new = statement.excluded
    adding = statement.on_conflict_do_update(
        index_elements=list(tables.downloads.primary_key),
        set_={name: old[name] + new[name] for name in ("granted", "finished", "aborted", "bytes")},
    )
    await _write(connection, adding, [cell._asdict() | asdict(figures) for cell, figures in counting.figures.items()])


async def _remember(connection: AsyncConnection, counting: Counting) -> None:
    kind = INSERTS[connection.dialect.name]
    grants = kind(tables.open_grants).on_conflict_do_nothing()
    await _write(connection, grants, [{"grant_id": id_, **grant._asdict()} for id_, grant in counting.opened.items()])
    contents = kind(tables.contents)
    newest = contents.on_conflict_do_update(index_elements=["sha256"], set_={"path": contents.excluded.path})
    await _write(connection, newest, [{"sha256": key, "path": path} for key, path in counting.published.items()])


async def _fold_readiness(connection: AsyncConnection, told: Sequence[Told]) -> None:
    kind = INSERTS[connection.dialect.name]
    published = [
        {
            "path": event.path,
            "generation": event.generation,
            "sha256": event.sha256,
            "size_bytes": event.size_bytes,
            "published_at_ns": event.published_at_ns or each.log_time_ns,
        }
        for each in told
        if isinstance(event := each.event, FilePublished) and event.channel == ORIGIN_CHANNEL
    ]
    ready = [
        {"sha256": event.sha256, "mirror": event.mirror, "ready_at_ns": each.time_ns}
        for each in told
        if isinstance(event := each.event, ReplicaReady)
    ]
    await _write(connection, kind(tables.publications).on_conflict_do_nothing(), published)
    await _write(connection, kind(tables.readiness).on_conflict_do_nothing(), ready)


async def _write(connection: AsyncConnection, statement: Insert, rows: Sequence[Mapping[str, object]]) -> None:
    if rows:
        await connection.execute(statement, rows)


_reader = ProvenReader()

_MAKING: Final[Mapping[Projection, _Making]] = {
    Projection.DOWNLOADS: _Making(1, COUNTED, (tables.downloads, tables.open_grants, tables.contents), _fold_downloads),
    Projection.READINESS: _Making(
        1, (FilePublished, ReplicaReady), (tables.publications, tables.readiness), _fold_readiness
    ),
}
