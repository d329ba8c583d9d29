"""Paths in order, while they come and go: a page of a list must not cost a sort of all of it. Pure.

Short sorted runs, each wholly before the next: to add or drop a path moves a thousand at most, to find one takes two
binary searches.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from typing import Final

from events.names import FilePath

RUN_MAX: Final = 1000  # moved in a microsecond; half a million paths are a thousand runs


class Paths:
    """A sorted set of paths."""

    def __init__(self) -> None:
        self._runs: list[list[FilePath]] = []
        self._lasts: list[FilePath] = []

    @classmethod
    def of(cls, paths: Sequence[FilePath]) -> Paths:
        """Make a set of paths that are in order."""
        made = cls()
        size = RUN_MAX // 2
        made._runs = [list(paths[start : start + size]) for start in range(0, len(paths), size)]
        made._lasts = [run[-1] for run in made._runs]
        return made

    def add(self, path: FilePath) -> None:
        """Put a path in that is not there."""
        if not self._runs:
            self._runs, self._lasts = [[path]], [path]
            return
        place = min(bisect_left(self._lasts, path), len(self._runs) - 1)
        run = self._runs[place]
        insort(run, path)
        if len(run) > RUN_MAX:
            half = len(run) // 2
            self._runs[place : place + 1] = [run[:half], run[half:]]
            self._lasts.insert(place, run[half - 1])
            place += 1
        self._lasts[place] = self._runs[place][-1]

    def drop(self, path: FilePath) -> None:
        """Take a path out that is there."""
        place = bisect_left(self._lasts, path)
        run = self._runs[place]
        del run[bisect_left(run, path)]
        if run:
            self._lasts[place] = run[-1]
        else:
            del self._runs[place], self._lasts[place]

    def after(self, path: str) -> Iterator[FilePath]:
        """Give the paths after this one (which need not be there), in order."""
        for place in range(bisect_left(self._lasts, path), len(self._runs)):
            run = self._runs[place]
            yield from run[bisect_right(run, path) :]

    def first(self, path: str) -> FilePath | None:
        """Give the first path that is this one or comes after it."""
        place = bisect_left(self._lasts, path)
        if place == len(self._runs):
            return None
        run = self._runs[place]
        return run[bisect_left(run, path)]
