"""A log in memory: for tests, and for a part of a log that was read before. Pure."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from itertools import dropwhile
from typing import Final

from history.entry import Entry, Position
from history.sources.port import BATCH_MAX, Extent

VHOST: Final = "memory"


class MemorySource:
    """Entries in the log's order; implements ``history.sources.port.Source``."""

    def __init__(
        self, entries: Sequence[Entry], *, vhost: str = VHOST, name: str = "memory", batch_max: int = BATCH_MAX
    ) -> None:
        self._entries = tuple(entries)
        self.vhost = vhost
        self.name = name
        self._batch_max = batch_max

    async def extent(self) -> Extent:
        """Tell what there is."""
        places = [entry.position for entry in self._entries]
        return Extent(first=places[0] if places else None, last=places[-1] if places else None, entries=len(places))

    async def batches(self, *, after: Position | None = None) -> AsyncGenerator[Sequence[Entry]]:
        """Give the entries behind a place."""
        wanted = self._entries
        if after is not None:
            wanted = tuple(dropwhile(lambda entry: entry.position <= after, wanted))
        for start in range(0, len(wanted), self._batch_max):
            yield wanted[start : start + self._batch_max]
