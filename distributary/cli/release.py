"""``distributary release``: let visitors have what was held."""

from __future__ import annotations

from collections.abc import Sequence

import click

from distributary.answers import number, objects, text, words
from distributary.cli.command import Command
from distributary.cli.invocation import current
from distributary.cli.printable import printable
from distributary.errors import UsageError
from distributary.units import format_size


@click.command(cls=Command, name="release")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--all", "everything", is_flag=True, help="All that is held.")
def command(paths: Sequence[str], *, everything: bool) -> None:
    """Release what is held for each PATH of the catalogue: a file, or all files in a folder.

    All of it is released at once; visitors are sent to the mirrors that have it already.
    """
    if everything == bool(paths):
        hint = "`distributary hold ls` lists it"
        raise UsageError("release_empty", "name what is to be released, or --all", hint=hint)
    body = {"all": True} if everything else {"paths": [path.rstrip("/") for path in paths]}
    invocation = current()
    answer = invocation.master().post("/-/api/v1/releases", body)
    output = invocation.output
    if output.json:
        output.snapshot("release", answer)
        return
    released = objects(answer, "released")
    for file in released:
        names = ", ".join(words(file, "channels")) or "no channel"
        size = format_size(number(file, "size_bytes"))
        output.text(
            f"released   {printable(text(file, 'path'))}  {size}  generation {text(file, 'generation')}  {names}"
        )
    output.note(f"{len(released)} released" if released else "nothing was held")
