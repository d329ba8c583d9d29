"""Progress of something long: a bar on a terminal, else a line every few seconds. Always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeAlias

from distributary.cli.output import Output
from distributary.cli.printable import printable
from distributary.units import format_size

LINE_EVERY_S: Final = 5.0  # a log of a long job stays readable, and a person sees that it lives

Update: TypeAlias = Callable[[str, int, int], None]
"""Takes what is worked on, the bytes that are done and the bytes in all."""


@contextmanager
def progress(output: Output, title: str) -> Generator[Update]:
    """Show progress while the block runs; nothing in JSON mode, where the stream itself tells."""
    if output.json:
        yield lambda _what, _done, _total: None
    elif sys.stderr.isatty():
        with _bar(output, title) as update:
            yield update
    else:
        yield _lines(output, title, time.monotonic)


@contextmanager
def _bar(output: Output, title: str) -> Generator[Update]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=output.console(sys.stderr), transient=True) as bars:
        task = bars.add_task(title, total=None)

        def update(what: str, done_bytes: int, total_bytes: int) -> None:
            bars.update(task, description=printable(f"{title} {what}"), completed=done_bytes, total=total_bytes)

        yield update


def _lines(output: Output, title: str, clock: Callable[[], float]) -> Update:
    last_s = clock()

    def update(what: str, done_bytes: int, total_bytes: int) -> None:
        nonlocal last_s
        if clock() - last_s >= LINE_EVERY_S:
            last_s = clock()
            output.note(f"{title} {printable(what)}: {format_size(done_bytes)} of {format_size(total_bytes)}")

    return update
