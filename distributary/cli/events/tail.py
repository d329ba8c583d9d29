"""``distributary events tail``: the log as it grows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NoReturn

import click

from distributary.cli.command import Command
from distributary.cli.events.moments import Moment
from distributary.cli.events.options import chosen, filter_options, from_option
from distributary.cli.invocation import Invocation, current
from distributary.cli.output import WARNING, Output

if TYPE_CHECKING:
    from broker.port import Broker

LOOK_EVERY_S: Final = 0.5  # whether the broker is there: a person notices no sooner


@click.command(cls=Command, name="tail")
@filter_options
@from_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="End after so many.")
def command(*, begin: Moment | None, limit: int | None, **criteria: tuple[str, ...]) -> None:
    """Follow the log: print each event as it is said, from now on or --from.

    It goes on by itself when the broker was away. Ctrl-C ends it.
    """
    asyncio.run(_follow(current(), chosen(criteria), begin, limit))


async def _follow(
    invocation: Invocation, criteria: dict[str, tuple[str, ...]], begin: Moment | None, limit: int | None
) -> None:
    from distributary.cli.events.opening import as_command_errors, broker_log, opened_broker  # noqa: PLC0415 - help must not pay for it
    from distributary.cli.events.printing import EnoughError, Printer  # noqa: PLC0415
    from distributary.cli.events.reaching import reached, wanted  # noqa: PLC0415
    from history.entry import BEGINNING, Position  # noqa: PLC0415
    from history.filters import Filter  # noqa: PLC0415
    from history.sources.live import LiveLog  # noqa: PLC0415

    with as_command_errors():
        async with opened_broker(invocation) as (broker, config):
            log = broker_log(broker, config)
            output = invocation.output
            printer = Printer(output, Filter(wanted(criteria, begin, None)), vhost=log.vhost, limit=limit)
            after = None if begin is None else await reached(log, begin) or Position(1, BEGINNING)
            output.note(f"following {log.name}; Ctrl-C ends it")
            watching = asyncio.create_task(_watch(broker, output))
            try:
                await LiveLog(broker, log, take=printer.take, complain=output.note).run(after=after)
            except EnoughError:
                return
            finally:
                watching.cancel()


async def _watch(broker: Broker, output: Output) -> NoReturn:
    """Say when the broker is away, and when it is back."""
    was_connected = True
    while True:
        health = broker.health
        if health.connected != was_connected:
            lost = f"the broker is away ({health.last_error}); it goes on when it is back"
            output.note("the broker is back" if health.connected else lost, style=WARNING)
        was_connected = health.connected
        await asyncio.sleep(LOOK_EVERY_S)
