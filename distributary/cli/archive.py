"""``distributary archive``: the log in a database: how it stands, its projections made anew, addresses forgotten."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import click

from distributary.answers import objects, text
from distributary.cli.command import LazyGroup
from distributary.cli.confirm import confirm
from distributary.cli.events.moments import MomentError, parse_moment
from distributary.cli.invocation import Invocation, current
from distributary.cli.output import WARNING
from distributary.cli.progress import LINE_EVERY_S
from distributary.client import JsonObject
from distributary.config.services.archive import archive_config
from distributary.errors import CommandError, UnavailableError, UsageError
from history.archive.config import ArchiveConfig
from history.archive.store.addresses import count_before, cut_from, cut_up_to
from history.archive.store.database import Database, open_database
from history.archive.store.engine import ArchiveError, database_name
from history.archive.store.projecting import Projection, begin_anew, progress, step
from history.privacy import Addresses

_NS_PER_S: Final = 1_000_000_000


@click.group(cls=LazyGroup, name="archive")
def command() -> None:
    """Keep the log in a database, for years and for questions by SQL (docs/archive.md)."""


@command.command(name="status")
def status() -> None:
    """Show how far the log is archived, what is missing, and what is made of it."""
    invocation = current()
    config = archive_config(invocation.settings)
    content = {**asyncio.run(_described(config)), "archiver": _archiver(invocation)}
    if invocation.output.json:
        invocation.output.snapshot("archive", content)
        return
    for name in ("database", "events", "place", "log_time", "addresses_cut_to", "archiver"):
        invocation.output.text(f"{name.replace('_', ' '):<17} {content[name] or '-'}")
    for each in objects(content, "projections"):
        invocation.output.text(f"{text(each, 'name'):<17} made from {text(each, 'number')} events")
    for each in objects(content, "gaps"):
        invocation.output.note(f"gap: {text(each, 'text')} (noticed {text(each, 'noticed')})", style=WARNING)


@command.command(name="rebuild")
@click.argument("projection", type=click.Choice([each.value for each in Projection]), required=False)
def rebuild(projection: str | None) -> None:
    """Make the small tables anew from the events: PROJECTION, or all. An archiver may run meanwhile."""
    invocation = current()
    config = archive_config(invocation.settings)
    wanted = list(Projection) if projection is None else [Projection(projection)]
    made = asyncio.run(_rebuilt(invocation, config, wanted))
    if invocation.output.json:
        invocation.output.line({"type": "done", "projections": made})
    else:
        for each in made:
            invocation.output.text(f"{text(each, 'name')}: made from {text(each, 'number')} events")


@command.command(name="forget")
@click.option("--before", required=True, metavar="TIME", help="A time, or how long ago: 2026-11-22, 90d.")
@click.option(
    "--addresses",
    type=click.Choice([Addresses.SHORTEN.value, Addresses.DROP.value]),
    default=Addresses.DROP.value,
    show_default=True,
    help="What becomes of visitors' addresses: shorten them to their network, or drop them.",
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(before: str, addresses: str, *, dry_run: bool, yes: bool) -> None:
    """Cut visitors' addresses from all that was archived before a time, sooner than archive.addresses_days.

    The events stay. What hangs on an address, as a visitor's second decision may, can no longer be audited.
    """
    invocation = current()
    config, how = archive_config(invocation.settings), Addresses(addresses)
    before_ns = _time(before)
    count = asyncio.run(_counted(config, how, before_ns))
    changed = 0
    if not dry_run and count:
        confirm(f"{addresses} the addresses in {count} events before {_moment(before_ns)}, for ever?", yes=yes)
        changed = asyncio.run(_forgotten(config, how, before_ns))
    content: JsonObject = {"before": _moment(before_ns), "addresses": addresses, "events": count, "changed": changed}
    if invocation.output.json:
        invocation.output.snapshot("archive.forget", {**content, "dry_run": dry_run})
    else:
        said = f"would be cut in {count}" if dry_run else f"are cut in {changed}"
        invocation.output.text(f"addresses {said} events before {_moment(before_ns)}")


@asynccontextmanager
async def _opened(config: ArchiveConfig) -> AsyncGenerator[Database]:
    try:
        async with open_database(config.store_url, create=False) as database:
            yield database
    except ArchiveError as error:
        hint = "is this the site's folder, and did `distributary serve archiver` (or `serve all`) run in it?"
        raise UnavailableError("archive_unavailable", str(error), hint=hint) from error


async def _described(config: ArchiveConfig) -> JsonObject:
    async with _opened(config) as database:
        standing, made = await database.standing(), await progress(database)
        gaps, cut_to = await database.gaps(), await cut_up_to(database)
    return {
        "database": database_name(config.store_url),
        "events": standing.number,
        "place": f"g{standing.generation}:{standing.offset}" if standing.generation else "",
        "log_time": _moment(standing.log_time_ns) if standing.number else "",
        "addresses_cut_to": cut_to,
        "projections": [{"name": each.value, "number": place.number} for each, place in made.items()],
        "gaps": [{"kind": gap.kind.value, "text": gap.sentence, "noticed": _moment(gap.noticed_at_ns)} for gap in gaps],
    }


def _archiver(invocation: Invocation) -> str:
    """Say how the archiver fares, in a word or its trouble."""
    try:
        readiness = invocation.archiver().readiness()
    except CommandError as error:
        return f"offline: {error.message}"
    troubles = [each for each in objects(readiness, "checks") if not each.get("ok")]
    return "; ".join(f"{text(each, 'name')}: {text(each, 'detail')}" for each in troubles) or "ready"


async def _rebuilt(invocation: Invocation, config: ArchiveConfig, wanted: Sequence[Projection]) -> list[JsonObject]:
    made: list[JsonObject] = []
    async with _opened(config) as database:
        for projection in wanted:
            await begin_anew(database, projection)
            place, told_s = await step(database, projection), time.monotonic()
            while place.number < place.events:
                place = await step(database, projection)
                if time.monotonic() - told_s >= LINE_EVERY_S:
                    told_s = time.monotonic()
                    _tell(invocation, projection, place.number, place.events)
            made.append({"name": projection.value, "number": place.number})
    return made


def _tell(invocation: Invocation, projection: Projection, number: int, events: int) -> None:
    if invocation.output.json:
        line = {"type": "progress", "projection": projection.value, "number": number, "events": events}
        invocation.output.line(line)
    else:
        invocation.output.note(f"{projection.value}: {number:,} of {events:,} events")


async def _counted(config: ArchiveConfig, how: Addresses, before_ns: int) -> int:
    async with _opened(config) as database:
        return await count_before(database, how, before_ns=before_ns)


async def _forgotten(config: ArchiveConfig, how: Addresses, before_ns: int) -> int:
    number = changed = 0
    async with _opened(config) as database:
        while True:
            cut = await cut_from(database, how, behind=number, before_ns=before_ns)
            number, changed = cut.number, changed + cut.changed
            if cut.is_done:
                await database.empty_journal()  # where somebody reads, the archiver does it within the hour
                return changed


def _time(written: str) -> int:
    try:
        moment = parse_moment(written, now_ns=time.time_ns())
    except MomentError as error:
        raise UsageError("time_invalid", f"--before: {error}") from error
    if not isinstance(moment, int):
        raise UsageError("time_invalid", f"--before: {written!r} is a place; write a time")
    return moment


def _moment(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // _NS_PER_S, UTC).isoformat()
