"""``distributary events replay``: the fleet as it was."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import click

from distributary.cli.command import Command
from distributary.cli.events.moments import Moment
from distributary.cli.events.options import source_option, until_option
from distributary.cli.invocation import Invocation, current
from distributary.errors import CommandError
from distributary.exits import ExitCode

if TYPE_CHECKING:
    from distributary.cli.output import Output
    from distributary.client import JsonObject
    from history.replay.replayer import Replayer, Until
    from history.sources.port import Source

CONFIGURED: Final = "configured"
FILES_SHOWN: Final = 50  # a screen or two; --json has all of them
SHA256_SHOWN: Final = 12


@click.command(cls=Command, name="replay")
@until_option
@click.option(
    "--diff",
    is_flag=False,
    flag_value=CONFIGURED,
    metavar="[SELECTOR_URL]",
    help="Compare with what a live selector knows, up to the entry that it has read; default: the site's.",
)
@source_option
def command(*, until: Moment | None, diff: str | None, source: str | None) -> ExitCode:
    """Fold the log into the fleet as it was at a time or place, or as it is now, and print it.

    Exit code 6: a live selector knows something else than the log tells.
    """
    if diff is not None and until is not None:
        raise click.UsageError("--diff compares at the place where the selector is; leave --until out")
    invocation = current()
    if diff is None:
        asyncio.run(_replay(invocation, until, source))
        return ExitCode.OK
    return asyncio.run(_compare(invocation, diff, source))


async def _replay(invocation: Invocation, until: Moment | None, source: str | None) -> None:
    from distributary.cli.events.opening import opened_log  # noqa: PLC0415 - help must not pay for it

    async with opened_log(invocation, source) as log:
        replayer = await _replayed(invocation.output, log, until)
        if replayer.position is None and until is not None:
            raise CommandError(
                "log_begins_later",
                f"{log.name} has nothing up to there",
                exit_code=ExitCode.NOT_FOUND,
                hint="`events ls --limit 1` shows where it begins; an archive or an export may reach back further",
            )
        _print(invocation.output, log, replayer)


async def _compare(invocation: Invocation, diff: str, source: str | None) -> ExitCode:
    from distributary.cli.events.comparing import fetched_snapshot, print_differences  # noqa: PLC0415 - see above
    from distributary.cli.events.opening import opened_log  # noqa: PLC0415
    from history.entry import Position  # noqa: PLC0415
    from selection.view.differences import differences  # noqa: PLC0415

    snapshot = fetched_snapshot(invocation, None if diff == CONFIGURED else diff)
    place = Position(snapshot.mark.generation, snapshot.mark.offset)
    async with opened_log(invocation, source) as log:
        replayer = await _replayed(invocation.output, log, place)
    return print_differences(invocation.output, replayer, snapshot, list(differences(replayer.view, snapshot.view)))


async def _replayed(output: Output, log: Source, until: Until | None) -> Replayer:
    from distributary.cli.events.progress import reading_progress  # noqa: PLC0415 - help must not pay for it
    from history.replay.replayer import replay  # noqa: PLC0415

    with reading_progress(output, "replaying", await log.extent()) as update:
        return await replay(log, until=until, progress=lambda found: update(found.entries, found.position))


def _print(output: Output, log: Source, replayer: Replayer) -> None:
    from history.telling.fleet import fleet_of  # noqa: PLC0415 - help must not pay for it
    from history.telling.records import position_text, time_text  # noqa: PLC0415

    fleet = fleet_of(replayer.view)
    place = None if replayer.position is None else position_text(replayer.position)
    at = time_text(replayer.log_time_ns)
    if output.json:
        told = {"source": log.name, "position": place, "log_time": at, "entries": replayer.entries}
        refused = {"refused": replayer.refused, "unknown_types": replayer.unknown_types}
        output.snapshot("events.replay", {**told, **refused, **fleet})
        return
    if place is None:
        output.note("the log is empty")
    output.text(f"the fleet at {place or 'the beginning'}, {at}, after {replayer.entries} entries")
    _print_fleet(output, fleet)
    if replayer.refused:
        output.note(f"{replayer.refused} entries were refused, as every reader does: `events audit` tells which")
    if replayer.unknown_types:
        output.note(f"{replayer.unknown_types} entries are of a newer version and were passed over")


def _print_fleet(output: Output, fleet: JsonObject) -> None:
    from distributary.answers import number, objects, text, words  # noqa: PLC0415 - help must not pay for it
    from distributary.cli.shortfall import held_of_wanted, reason_sentence  # noqa: PLC0415
    from distributary.units import format_size  # noqa: PLC0415

    output.text()
    output.table(
        ("mirror", "state", "reason", "channels", "copies"),
        [
            (
                text(each, "mirror"),
                text(each, "state"),
                reason_sentence(each) or "-",
                ", ".join(words(each, "channels")) or "-",
                held_of_wanted(each),
            )
            for each in objects(fleet, "mirrors")
        ],
        right=("copies",),
    )
    output.text()
    output.table(
        ("channel", "files", "mirrors"),
        [
            (text(each, "channel"), text(each, "files"), ", ".join(words(each, "mirrors")) or "-")
            for each in objects(fleet, "channels")
        ],
        right=("files",),
    )
    files = objects(fleet, "files")
    output.text()
    output.table(
        ("path", "size", "gen", "sha256", "channels", "mirrors"),
        [
            (
                text(each, "path"),
                format_size(number(each, "size_bytes")),
                text(each, "generation"),
                text(each, "sha256")[:SHA256_SHOWN],
                ", ".join(words(each, "channels")),
                ", ".join(words(each, "mirrors")) or "-",
            )
            for each in files[:FILES_SHOWN]
        ],
        right=("size", "gen"),
    )
    if len(files) > FILES_SHOWN:
        output.text(f"… and {len(files) - FILES_SHOWN} more: --json has all of them")
