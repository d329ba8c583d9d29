"""From what a person asks for to a filter, and to where reading begins."""

from __future__ import annotations

from collections.abc import Mapping

from distributary.cli.events.moments import Moment
from events.schemas.fields import NS_PER_S
from history.entry import Position
from history.filters import Wanted
from history.sources.port import Dated, Source


def wanted(criteria: Mapping[str, tuple[str, ...]], begin: Moment | None, until: Moment | None) -> Wanted:
    """Give what is wanted. A place to begin at is reached by reading (``reached``) and needs no filter."""
    return Wanted(
        types=criteria["types"],
        mirrors=criteria["mirrors"],
        files=criteria["files"],
        channels=criteria["channels"],
        sources=criteria["sources"],
        from_ns=begin if isinstance(begin, int) else None,
        until_ns=until if isinstance(until, int) else None,
        last=until if isinstance(until, Position) else None,
    )


async def reached(source: Source, begin: Moment | None) -> Position | None:
    """Give the place to read behind.

    Raises:
        SourceError: the source cannot be read.
    """
    if isinstance(begin, Position):
        return Position(begin.generation, begin.offset - 1)
    if begin is None or not isinstance(source, Dated):
        return None
    return await source.place_before(begin / NS_PER_S)
