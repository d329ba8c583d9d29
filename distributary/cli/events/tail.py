"""``distributary events tail``: the log as it grows."""

from __future__ import annotations

import asyncio
import errno
import io
import select
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO

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
            following = LiveLog(broker, log, take=printer.take, complain=output.note).run(after=after)
            with suppress(EnoughError):
                await _until_either_ends(following, _watch(broker, output))


async def _until_either_ends(*endless: Coroutine[Any, Any, NoReturn]) -> None:
    """Run what ends by an error alone, until one of them does; raise that."""
    tasks = [asyncio.create_task(each) for each in endless]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _watch(broker: Broker, output: Output) -> NoReturn:
    """Say when the broker is away, and when it is back.

    Raises:
        BrokenPipeError: whoever read what is printed has gone; on a quiet log nothing would be written to notice it by.
    """
    was_connected = True
    while True:
        if is_reader_gone(sys.stdout):
            raise BrokenPipeError(errno.EPIPE, "nobody reads")
        health = broker.health
        if health.connected != was_connected:
            lost = f"the broker is away ({health.last_error}); it goes on when it is back"
            output.note("the broker is back" if health.connected else lost, style=WARNING)
        was_connected = health.connected
        await asyncio.sleep(LOOK_EVERY_S)


def is_reader_gone(stream: TextIO) -> bool:
    """Tell whether a stream is a pipe that nobody reads any more."""
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:  # no file at all
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
