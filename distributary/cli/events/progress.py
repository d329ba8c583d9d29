"""How far a long reading of the log is: a bar on a terminal, a line every few seconds, or objects among the others."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeAlias

from distributary.cli.output import Output
from distributary.cli.progress import LINE_EVERY_S
from history.entry import Position
from history.sources.port import Extent
from history.telling.records import position_text

Update: TypeAlias = Callable[[int, Position | None], None]
"""Takes how many entries are done, and the place of the last, where there is one."""

OBJECT_EVERY_S: Final = 1.0  # a program that shows it to a person needs no more


@contextmanager
def reading_progress(output: Output, title: str, extent: Extent) -> Generator[Update]:
    """Show how far reading is while the block runs."""
    if output.json:
        yield _every(OBJECT_EVERY_S, lambda count, at: output.line(_object(title, extent, count, at)))
    elif sys.stderr.isatty():
        with _bar(output, title, extent) as update:
            yield update
    else:
        yield _every(LINE_EVERY_S, lambda count, at: output.note(_line(title, extent, count, at)))


def share(extent: Extent, count: int, at: Position | None) -> float | None:
    """Tell which part of the log is done, by places or else by the count; None where that cannot be told."""
    first, last = extent.first, extent.last
    if at is None:
        return min(1.0, count / extent.entries) if extent.entries else None
    if first is None or last is None or last <= first:
        return None
    generations = last.generation - first.generation + 1
    if generations > 1 and at.generation < last.generation:
        return (at.generation - first.generation) / generations  # how long older ones are nobody has told us
    begin = first.offset if generations == 1 else 0
    within = min(1.0, (at.offset - begin) / max(1, last.offset - begin))
    return (last.generation - first.generation + within) / generations


@contextmanager
def _bar(output: Output, title: str, extent: Extent) -> Generator[Update]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=output.console(sys.stderr), transient=True) as bars:
        task = bars.add_task(title, total=None)

        def update(count: int, at: Position | None) -> None:
            part = share(extent, count, at)
            total = None if part is None else 1.0
            bars.update(task, description=f"{title}: {_far(count, at)}", completed=part, total=total)

        yield update


def _every(seconds: float, tell: Update) -> Update:
    last_s = time.monotonic()

    def update(count: int, at: Position | None) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= seconds:
            last_s = time.monotonic()
            tell(count, at)

    return update


def _far(count: int, at: Position | None) -> str:
    return f"{count:,} entries" + (f", {position_text(at)}" if at else "")


def _line(title: str, extent: Extent, count: int, at: Position | None) -> str:
    part = share(extent, count, at)
    percent = "" if part is None else f", {part:.0%}"
    return f"{title}: {_far(count, at)}{percent}"


def _object(title: str, extent: Extent, count: int, at: Position | None) -> dict[str, object]:
    part = share(extent, count, at)
    return {
        "type": "progress",
        "doing": title,
        "entries": count,
        "position": None if at is None else position_text(at),
        "share": None if part is None else round(part, 4),
    }
