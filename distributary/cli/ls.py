"""``distributary ls``: files, and which mirrors hold them."""

from __future__ import annotations

from typing import Final

import click

from distributary.answers import number, text, words
from distributary.cli.command import Command
from distributary.cli.invocation import current
from distributary.units import format_size

SHA256_SHOWN: Final = 12  # enough to compare by eye; --json has all of it


@click.command(cls=Command, name="ls")
@click.option("-c", "--channel", help="Only the files in this channel.")
def command(channel: str | None) -> None:
    """List the published files as the selector sees them, with the mirrors that hold each."""
    invocation = current()
    files = invocation.selector().get_all("/-/api/v1/files", "files")
    if channel is not None:
        files = [each for each in files if channel in words(each, "channels")]
    output = invocation.output
    if output.json:
        output.snapshot("files", {"files": files})
        return
    rows = [
        (
            text(each, "path"),
            format_size(number(each, "size_bytes")),
            text(each, "generation"),
            text(each, "sha256")[:SHA256_SHOWN],
            ", ".join(words(each, "channels")),
            ", ".join(words(each, "mirrors")) or "-",
        )
        for each in files
    ]
    output.table(("path", "size", "gen", "sha256", "channels", "mirrors"), rows, right=("size", "gen"))
