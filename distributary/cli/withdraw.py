"""``distributary withdraw``: out of the catalogue, and so off every mirror."""

from __future__ import annotations

import click

from distributary.answers import objects
from distributary.cli.command import Command
from distributary.cli.confirm import confirm
from distributary.cli.invocation import current
from distributary.errors import CommandError
from distributary.exits import ExitCode


@click.command(cls=Command, name="withdraw")
@click.argument("path")
@click.option("--reason", required=True, help="Why; mirrors and the log are told.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(path: str, reason: str, *, dry_run: bool, yes: bool) -> None:
    """Withdraw the file at PATH of the catalogue. Mirrors stop to serve it and delete their copies."""
    invocation = current()
    master = invocation.master()
    found = find_file(path)
    if not dry_run:
        confirm(f"Withdraw {path} (generation {found.get('generation')}) from every mirror?", yes=yes)
        master.delete("/-/api/v1/files", {"path": path, "reason": reason})
    output = invocation.output
    if output.json:
        output.snapshot("withdraw", {"path": path, "reason": reason, "dry_run": dry_run, "file": found})
    else:
        output.text(f"{'would withdraw' if dry_run else 'withdrawn'}  {path}")


def find_file(path: str) -> dict[str, object]:
    """Find a file in the master's catalogue.

    Raises:
        CommandError: there is none at this path.
    """
    for file in objects(current().master().get("/-/api/v1/files"), "files"):
        if file.get("path") == path:
            return file
    raise CommandError(
        "file_unknown",
        f"no file is published as {path!r}",
        exit_code=ExitCode.NOT_FOUND,
        hint="`distributary ls` lists what is",
    )
