"""``distributary events ls``: what is in the log."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import click

from distributary.cli.command import Command
from distributary.cli.events.moments import Moment, is_reversed
from distributary.cli.events.options import chosen, filter_options, from_option, source_option, until_option
from distributary.cli.invocation import Invocation, current


@click.command(cls=Command, name="ls")
@filter_options
@from_option
@until_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="End after so many.")
@source_option
def command(
    *, begin: Moment | None, until: Moment | None, limit: int | None, source: str | None, **criteria: tuple[str, ...]
) -> None:
    """List the events in the log, the oldest first: when, where in the log, what kind, who, what.

    Times are UTC and each event's own. Whoever gives no --from reads the whole log.
    """
    if is_reversed(begin, until):
        raise click.UsageError("--from is later than --until: nothing can be between them")
    asyncio.run(_list(current(), chosen(criteria), begin, until, limit, source))


async def _list(
    invocation: Invocation,
    criteria: dict[str, tuple[str, ...]],
    begin: Moment | None,
    until: Moment | None,
    limit: int | None,
    source: str | None,
) -> None:
    from distributary.cli.events.opening import opened_log  # noqa: PLC0415 - help must not pay for it
    from distributary.cli.events.printing import EnoughError, Printer  # noqa: PLC0415
    from distributary.cli.events.reaching import reached, wanted  # noqa: PLC0415
    from history.filters import Filter  # noqa: PLC0415

    async with opened_log(invocation, source) as log:
        filter_ = Filter(wanted(criteria, begin, until))
        printer = Printer(invocation.output, filter_, vhost=log.vhost, limit=limit)
        try:
            async with aclosing(log.batches(after=await reached(log, begin))) as batches:
                async for batch in batches:
                    for entry in batch:
                        printer.take(entry)
        except EnoughError:
            pass
    if invocation.output.json:
        invocation.output.line({"type": "done", "listed": printer.printed, "read": printer.read})
    elif not printer.printed:
        invocation.output.note(f"nothing of that is among the {printer.read} entries that were read")
