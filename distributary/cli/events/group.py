"""``distributary events``: follow, list, replay, audit and keep the log."""

from __future__ import annotations

import click

from distributary.cli.command import LazyGroup

COMMANDS = {
    "tail": ("events.tail", "Follow the log."),
    "audit": ("events.audit", "Prove the log, and every decision in it."),
    "export": ("events.export", "Keep the log in a folder, compressed and chained."),
    "import": ("events.importing", "Fill an empty broker's log from an export."),
    "show": ("events.show", "Show one event, or explain one visitor's grant."),
    "replay": ("events.replay", "Show the fleet as it was at a time or place of the log."),
    "ls": ("events.ls", "List what is in the log."),
}

EXAMPLES = """\b
Follow, list, replay, audit and keep the log of all that happened.

\b
Examples:
  distributary events tail --mirror ana
  distributary events ls --type 'file.*' --from 2h
  distributary events show mirror/ana:1:42
  distributary events replay --until '2026-11-22 10:41'
  distributary events export /backup/log            then: events audit --source /backup/log
"""


@click.group(cls=LazyGroup, lazy=COMMANDS, name="events", help=EXAMPLES)
def command() -> None:
    """Hold the sub-commands."""
