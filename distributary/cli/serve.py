"""``distributary serve``: run a role."""

from __future__ import annotations

import sys

import click

from distributary.cli.command import Command
from distributary.cli.invocation import current
from distributary.logs import configure
from distributary.serve import Role, serve


@click.command(cls=Command, name="serve")
@click.argument("role", type=click.Choice([each.value for each in Role]))
def command(role: str) -> None:
    """Run a ROLE until it is told to stop: master, mirror, selector, or all in one process.

    One line on stdout tells when it is ready and where; with --json an object {"ready", "url"}. Logs go to stderr: text
    on a terminal, JSON lines elsewhere.
    """
    invocation = current()
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
