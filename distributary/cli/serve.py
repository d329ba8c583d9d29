"""``distributary serve``: run a role."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from distributary.cli.command import Command
from distributary.cli.invocation import current
from distributary.errors import UsageError
from distributary.logs import configure
from distributary.running import Role
from distributary.serve import serve

_WITH_MIRROR: Final = {Role.MIRROR.value, Role.ALL.value}
_WITH_SELECTOR: Final = {Role.SELECTOR.value, Role.ALL.value}


@click.command(cls=Command, name="serve")
@click.argument("role", type=click.Choice([each.value for each in Role]))
@click.option(
    "--serve",
    "sends",
    type=click.Choice(["builtin", "external"]),
    help="Who sends a mirror's files: it itself, or nginx (docs/external.md). Default: as mirror.serve says.",
)
@click.option(
    "--geoip",
    "databases",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="A selector's database of places in MaxMind's format (GeoLite2, DB-IP); several: the first is believed most.",
)
def command(role: str, sends: str | None, databases: tuple[Path, ...]) -> None:
    """Run a ROLE until it is told to stop: master, selector, archiver, mirror, or all in one process.

    One line on stdout tells when it is ready and where; with --json an object {"ready", "url"}. Logs go to stderr: text
    on a terminal, JSON lines elsewhere.
    """
    invocation = current()
    if sends is not None:
        if role not in _WITH_MIRROR:
            raise UsageError("option_misplaced", f"--serve is a mirror's, and a {role} is none", hint="leave it out")
        invocation.overrides.append(f"mirror.serve={sends}")
    if databases:
        if role not in _WITH_SELECTOR:
            raise UsageError("option_misplaced", f"--geoip is a selector's, and a {role} is none", hint="leave it out")
        invocation.overrides.append(f"selector.geoip_files={','.join(map(str, databases))}")
    configure(role=role, console=sys.stderr.isatty(), colours=invocation.wants_colour(sys.stderr))
    serve(Role(role), invocation.settings, announce)


def announce(role: str, url: str) -> None:
    """Tell whoever started us that a role is ready, at once."""
    output = current().output
    if output.json:
        output.line({"ready": role, "url": url})
    else:
        click.echo(f"{role} is ready at {url}")
        sys.stdout.flush()
