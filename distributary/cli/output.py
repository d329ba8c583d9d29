"""Where a command writes: data on stdout, all else on stderr; text for people or JSON for programs.

A snapshot is one object with ``schema`` (``distributary/<command>/<version>``); a stream is one object a line with
``type``. Rich is loaded when a table or bar is drawn. Control characters never get through: names and
messages are others' words, and a terminal would obey them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

import click

from distributary.cli.printable import printable, printable_json, printable_lines

if TYPE_CHECKING:
    from rich.console import Console

# Without a terminal nothing is wrapped or cut: whoever greps a line wants all of it.
WIDTH_WITHOUT_TERMINAL: Final = 10_000

GOOD: Final = "green"
WARNING: Final = "yellow"
BAD: Final = "red"


@dataclass(frozen=True, kw_only=True)
class Output:
    """One command's output."""

    json: bool
    colour: Callable[[IO[str]], bool]

    def snapshot(self, schema: str, content: Mapping[str, object]) -> None:
        """Print one JSON object under its schema."""
        click.echo(_json({"schema": f"distributary/{schema}/1", **content}))

    def line(self, content: Mapping[str, object]) -> None:
        """Print one JSON object of a stream, at once."""
        click.echo(_json(content))
        sys.stdout.flush()

    def text(self, text: str = "", *, style: str | None = None) -> None:
        """Print a line of data for people."""
        self._print(sys.stdout, text, style)

    def note(self, text: str, *, style: str | None = None) -> None:
        """Print a remark to stderr; nothing in JSON mode."""
        if not self.json:
            self._print(sys.stderr, text, style)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
        """Print a table; the columns named in ``right`` hold numbers."""
        from rich.table import Table  # noqa: PLC0415 - help must not pay for it
        from rich.text import Text  # noqa: PLC0415

        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, justify="right" if column in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(cell), style=_style(cell)) for cell in row))
        self.console(sys.stdout).print(table)

    def _print(self, stream: IO[str], text: str, style: str | None) -> None:
        shown = printable_lines(text)
        if style is None or not self.colour(stream):
            click.echo(shown, file=stream)
            return
        self.console(stream).print(shown, style=style, markup=False, highlight=False, soft_wrap=True)

    def console(self, stream: IO[str]) -> Console:
        """Make a console for stdout or stderr that keeps the rules of colour."""
        from rich.console import Console  # noqa: PLC0415 - help must not pay for it

        colour = self.colour(stream)
        return Console(
            file=stream,
            force_terminal=colour or None,
            color_system="auto" if colour else None,  # None: bold and the like are left out, too
            highlight=False,
            width=None if stream.isatty() else WIDTH_WITHOUT_TERMINAL,
        )


def _json(content: Mapping[str, object]) -> str:
    return printable_json(json.dumps(content, ensure_ascii=False))


_STYLES: Final = {
    **dict.fromkeys(("ready", "ok", "serving", "online", "yes"), GOOD),
    **dict.fromkeys(("waiting", "fetching", "joining", "invited", "limited"), WARNING),
    **dict.fromkeys(("offline", "failed", "no", "silent", "differs"), BAD),
}


def _style(cell: str) -> str:
    """Colour a word of state. The word says it; the colour only helps the eye."""
    return _STYLES.get(cell, "")
