"""``distributary events export``: the log in a folder, compressed and chained."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distributary.cli.command import Command
from distributary.cli.events.options import source_option
from distributary.cli.invocation import Invocation, current
from distributary.cli.output import WARNING
from distributary.errors import CommandError

if TYPE_CHECKING:
    from distributary.cli.output import Output
    from history.export.exporting import Exported


@click.command(cls=Command, name="export")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER")
@click.option(
    "--addresses",
    type=click.Choice(["keep", "shorten", "drop"]),
    default="keep",
    show_default=True,
    help="What becomes of visitors' addresses. Decisions that hang on one can then not be audited.",
)
@source_option
def command(*, folder: Path, addresses: str, source: str | None) -> None:
    """Write the log into FOLDER, in compressed segments of which each record is chained to the one before.

    Into a folder with an earlier export only what is new goes. Keep the chain's end that is told somewhere else:
    `events audit --source FOLDER --chain HEX` then also finds what is missing at the end.
    """
    asyncio.run(_export(current(), folder, addresses, source))


async def _export(invocation: Invocation, folder: Path, addresses: str, source: str | None) -> None:
    from distributary.cli.events.opening import opened_log  # noqa: PLC0415 - help must not pay for it
    from distributary.cli.events.progress import reading_progress  # noqa: PLC0415
    from history.export.exporting import export_log  # noqa: PLC0415
    from history.export.folder import ExportError  # noqa: PLC0415
    from history.privacy import Addresses  # noqa: PLC0415

    output = invocation.output
    async with opened_log(invocation, source) as log:
        try:
            with reading_progress(output, "exporting", await log.extent()) as update:
                done = await export_log(log, folder, addresses=Addresses(addresses), progress=update)
        except ExportError as error:
            raise CommandError(
                "export_failed",
                f"{folder}: {error}",
                hint=f"`events audit --source {folder}` tells what is wrong with an export that is there already",
            ) from error
    _print(output, folder, done)


def _print(output: Output, folder: Path, done: Exported) -> None:
    from history.telling.records import position_text  # noqa: PLC0415 - help must not pay for it

    last = None if done.last is None else position_text(done.last)
    if output.json:
        output.snapshot(
            "events.export",
            {
                "folder": str(folder),
                "entries": done.entries,
                "segments": done.segments,
                "last": last,
                "chain": done.chain.hex(),
                "is_adjoining": done.is_adjoining,
            },
        )
        return
    output.text(f"{done.entries} entries added; {folder} has {done.segments} segments, up to {last or 'nothing yet'}")
    output.text(f"chain  {done.chain.hex()}")
    if not done.is_adjoining:
        output.note(
            "the log does not reach back to the end of the last export: entries between are gone", style=WARNING
        )
