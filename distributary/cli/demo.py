"""``distributary demo``: everything once, on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from distributary.cli.command import Command
from distributary.cli.invocation import current
from distributary.demo.run import NAMES, DemoPlan, run_demo
from distributary.exits import ExitCode


@click.command(cls=Command, name="demo")
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--exit", "leave", is_flag=True, help="Leave after the download.")
@click.option("--mirrors", type=click.IntRange(1, len(NAMES)), default=3, show_default=True, help="How many mirrors.")
def command(folder: Path | None, mirrors: int, *, leave: bool) -> ExitCode:
    """Run a whole fleet on this machine, publish FOLDER, and download from it by redirect.

    Without FOLDER: real release files, the wheels of Distributary's own dependencies. Everything runs as real
    processes on loopback, and is gone when the demo ends.
    """
    invocation = current()
    return run_demo(DemoPlan(folder=folder, mirrors=mirrors, leave=leave), invocation.output, invocation.environ)
