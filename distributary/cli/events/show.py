"""``distributary events show``: one event, or one visitor's grant with the decision behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from distributary.cli.command import Command
from distributary.cli.events.moments import Moment, MomentError, parse_moment
from distributary.cli.events.options import from_option, source_option
from distributary.cli.invocation import Invocation, current
from distributary.cli.printable import printable
from distributary.errors import CommandError
from distributary.exits import ExitCode

if TYPE_CHECKING:
    from distributary.cli.output import Output
    from history.entry import Entry, Position
    from history.sources.port import Source
    from history.telling.told import Told


@click.command(cls=Command, name="show")
@click.argument("wanted", metavar="ID")
@from_option
@source_option
def command(*, wanted: str, begin: Moment | None, source: str | None) -> None:
    """Show an event by its id (master:1:42) or its place in the log (g1:1234), with all that it says.

    For the id of a grant, or the link itself: all that was said of it, and why the visitor was sent there.
    --from saves reading the log from its beginning.
    """
    asyncio.run(_show(current(), wanted, begin, source))


async def _show(invocation: Invocation, wanted: str, begin: Moment | None, source: str | None) -> None:
    from distributary.cli.events.granted import grant_id_in, show_grant  # noqa: PLC0415 - help must not pay for it
    from distributary.cli.events.opening import opened_log  # noqa: PLC0415
    from distributary.cli.events.reaching import reached  # noqa: PLC0415

    grant_id = grant_id_in(wanted)
    async with opened_log(invocation, source) as log:
        place = _place_in(wanted)
        after = await reached(log, place or begin)
        if grant_id is not None:
            await show_grant(invocation, log, grant_id, after=after)
            return
        await _show_event(invocation.output, log, wanted, place, after=after)


async def _show_event(
    output: Output, log: Source, wanted: str, place: Position | None, *, after: Position | None
) -> None:
    from history.telling.told import tell  # noqa: PLC0415 - help must not pay for it

    def is_wanted(entry: Entry) -> bool:
        return entry.position == place if place is not None else entry.message_id == wanted

    def is_past(entry: Entry) -> bool:
        return place is not None and entry.position >= place

    entry = await _found(output, log, is_wanted, is_past, after=after)
    if entry is None:
        raise CommandError(
            "event_unknown",
            f"{wanted!r} is not in {log.name}",
            exit_code=ExitCode.NOT_FOUND,
            hint="`events ls --json` tells ids and places; the archive or an export may reach back further",
        )
    _print(output, tell(entry, vhost=log.vhost))


async def _found(
    output: Output,
    log: Source,
    is_wanted: Callable[[Entry], bool],
    is_past: Callable[[Entry], bool],
    *,
    after: Position | None,
) -> Entry | None:
    from distributary.cli.events.progress import reading_progress  # noqa: PLC0415 - help must not pay for it

    count = 0
    with reading_progress(output, "looking", await log.extent()) as update:
        async with aclosing(log.batches(after=after)) as batches:
            async for batch in batches:
                for entry in batch:
                    if is_wanted(entry):
                        return entry
                    if is_past(entry):
                        return None
                count += len(batch)
                update(count, batch[-1].position)
    return None


def _place_in(wanted: str) -> Position | None:
    from history.entry import Position  # noqa: PLC0415 - help must not pay for it

    try:
        moment = parse_moment(wanted, now_ns=0)
    except MomentError:
        return None
    return moment if isinstance(moment, Position) else None


def _print(output: Output, told: Told) -> None:
    from history.telling.lines import line_of  # noqa: PLC0415 - help must not pay for it
    from history.telling.records import record_of  # noqa: PLC0415

    record = record_of(told)
    if output.json:
        output.snapshot("events.event", {name: value for name, value in record.items() if name != "schema"})
        return
    output.text(printable(line_of(told)))
    for name in ("id", "event", "exchange", "routing_key", "user", "time", "traceparent", "trouble", "body"):
        if record.get(name):
            output.text(printable(f"  {name:<12} {record[name]}"))
    if "content" in record:
        output.text(json.dumps(record["content"], indent=2, ensure_ascii=False))
