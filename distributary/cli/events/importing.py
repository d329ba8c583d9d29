"""``distributary events import``: an export into a broker that has no log yet."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distributary.cli.command import Command
from distributary.cli.confirm import confirm
from distributary.cli.invocation import Invocation, current
from distributary.errors import CommandError, UnavailableError
from distributary.exits import ExitCode

if TYPE_CHECKING:
    from broker.config import BrokerConfig
    from broker.port import Broker
    from broker.retention import Retentions
    from history.export.importing import Imported, Progress


@click.command(cls=Command, name="import")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="FOLDER")
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(*, folder: Path, yes: bool) -> None:
    """Fill the log of the site's broker, which must not have one yet, from the export in FOLDER.

    The export is proved before. Nobody of the site may run meanwhile.
    """
    confirm(f"Write the export in {folder} into the site's broker?", yes=yes)
    asyncio.run(_import(current(), folder))


async def _import(invocation: Invocation, folder: Path) -> None:
    from distributary.cli.events.opening import as_command_errors, opened_broker, opened_export  # noqa: PLC0415 - help must not pay
    from distributary.cli.events.progress import reading_progress  # noqa: PLC0415
    from distributary.config.services.shared import retentions  # noqa: PLC0415

    output = invocation.output
    with as_command_errors():
        extent = await opened_export(folder).extent()
        async with opened_broker(invocation) as (broker, config):
            with reading_progress(output, "importing", extent) as update:
                kept = retentions(invocation.settings)
                done = await _imported(folder, broker, config, kept, lambda entries: update(entries, None))
    if output.json:
        told = {"entries": done.entries, "left_out": done.left_out, "generations": list(done.generations)}
        output.snapshot("events.import", told)
        return
    names = ", ".join(f"g{generation}" for generation in done.generations)
    output.text(f"{done.entries} entries written, as {names or 'nothing'}")
    if done.left_out:
        output.note(f"{done.left_out} messages were left out: they are no events")
    output.note("start the master: it begins the next generation of the log with all that its database tells")


async def _imported(
    folder: Path, broker: Broker, config: BrokerConfig, kept: Retentions, progress: Progress
) -> Imported:
    """Import; say what went wrong as a command does.

    Raises:
        CommandError: with what to do.
    """
    from broker.port import AccessRefusedError, BrokerError  # noqa: PLC0415 - help must not pay for it
    from broker.rabbitmq import RabbitAdmin  # noqa: PLC0415
    from broker.rabbitmq.restorer import RabbitRestorer  # noqa: PLC0415
    from distributary.cli.events.proving import DamagedExportError  # noqa: PLC0415
    from history.export.faults import FaultFoundError  # noqa: PLC0415
    from history.export.folder import ExportError  # noqa: PLC0415
    from history.export.importing import import_log  # noqa: PLC0415

    try:
        async with RabbitAdmin(config) as admin, RabbitRestorer(config) as restorer:
            return await import_log(
                folder, admin=admin, broker=broker, restorer=restorer, retentions=kept, progress=progress
            )
    except FaultFoundError as error:
        raise DamagedExportError(str(folder), error.fault) from error
    except ExportError as error:
        raise CommandError("import_refused", str(error)) from error
    except AccessRefusedError as error:
        raise CommandError("broker_refused", str(error), exit_code=ExitCode.REFUSED) from error
    except BrokerError as error:
        raise UnavailableError(
            "import_broken_off",
            f"the broker did not take all of it: {error}",
            hint="a part of the log is written: delete the virtual host, make it anew, and import again",
        ) from error
