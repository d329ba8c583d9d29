"""Before something is taken away: ask a person, or want ``--yes`` from a script."""

from __future__ import annotations

import click

from distributary.cli.invocation import current, stdin_is_terminal
from distributary.errors import UsageError


def confirm(question: str, *, yes: bool) -> None:
    """Return where it may go on.

    Raises:
        UsageError: nobody can be asked, and ``--yes`` was not given.
        click.Abort: the person said no.
    """
    if yes:
        return
    if not stdin_is_terminal() or current().json:
        raise UsageError(
            "confirmation_needed", "this needs --yes: nobody can be asked here", hint=f"it would be asked: {question}"
        )
    click.confirm(question, abort=True, err=True)
