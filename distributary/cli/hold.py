"""``distributary hold``: what mirrors fetch already and visitors do not get yet."""

from __future__ import annotations

from collections.abc import Iterator

import click

from distributary.answers import number, objects, text, words
from distributary.cli.command import LazyGroup
from distributary.cli.invocation import current
from distributary.client import JsonObject
from distributary.units import format_size


@click.group(cls=LazyGroup, name="hold")
def command() -> None:
    """Held files: published to mirrors, and to visitors once they are released."""


@command.command(name="ls")
def ls() -> None:
    """List what is held.

    How many mirrors have each file, and when it is released.
    """
    invocation = current()
    holds = objects(invocation.master().get("/-/api/v1/holds"), "holds")
    output = invocation.output
    if output.json:
        output.snapshot("holds", {"holds": holds})
        return
    if not holds:
        output.note("nothing is held")
        return
    columns = ("hold", "path", "size", "gen", "channels", "mirrors", "released")
    rows = [row for hold in holds for row in _rows(hold)]
    output.table(columns, rows, right=("hold", "size", "gen", "mirrors"))


def _rows(hold: JsonObject) -> Iterator[tuple[str, ...]]:
    for file in objects(hold, "files"):
        yield (
            text(hold, "hold"),
            text(file, "path"),
            format_size(number(file, "size_bytes")),
            text(file, "generation"),
            ", ".join(words(file, "channels")) or "-",
            text(file, "copies"),
            _when(hold),
        )


def _when(hold: JsonObject) -> str:
    """Say when the files of a hold are released."""
    if hold.get("state") == "open":
        return "by hand: not all of it is held yet, or its publishing broke off"
    return f"when {progress_of(hold)}" if hold.get("wait") else "by hand"


def progress_of(hold: JsonObject) -> str:
    """Say how far a hold is: ``2 mirrors have all of it (1 of the 3 that may have it does)``."""
    needed, complete, followers = number(hold, "needed"), words(hold, "complete"), words(hold, "followers")
    have = "mirror has" if needed == 1 else "mirrors have"
    does = "does" if len(complete) == 1 else "do"
    return f"{needed} {have} all of it ({len(complete)} of the {len(followers)} that follow its channels {does})"
