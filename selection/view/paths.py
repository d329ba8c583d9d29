"""Paths in order, while they come and go: a page of a list must not cost a sort of all of it. Pure.

Short sorted runs, each wholly before the next: to drop a path moves a thousand at most, to find one takes two binary
searches. Paths that came lately wait until somebody asks, or until they are many, and are put into the runs together.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from typing import Final

from events.names import FilePath

NEW_MAX: Final = 1000  # put into the runs in a millisecond or two
FEW_MAX: Final = 4  # one by one they are faster in their places than by sorting the run
RUN_MAX: Final = 1000  # moved in a microsecond; half a million paths are a thousand runs


class Paths:
    """A sorted set of paths."""

    def __init__(self) -> None:
        self._runs: list[list[FilePath]] = []
        self._lasts: list[FilePath] = []
        self._new: list[FilePath] = []

    @classmethod
    def of(cls, paths: Sequence[FilePath]) -> Paths:
        """Make a set of paths that are in order."""
        made = cls()
        made._runs = _runs_of(paths)
        made._lasts = [run[-1] for run in made._runs]
        return made

    def add(self, path: FilePath) -> None:
        """Put a path in that is not there."""
        self._new.append(path)
        if len(self._new) > NEW_MAX:
            self._settle()

    def drop(self, path: FilePath) -> None:
        """Take a path out that is there."""
        self._settle()
        place = bisect_left(self._lasts, path)
        run = self._runs[place]
        del run[bisect_left(run, path)]
        if run:
            self._lasts[place] = run[-1]
        else:
            del self._runs[place], self._lasts[place]

    def after(self, path: str) -> Iterator[FilePath]:
        """Give the paths after this one (which need not be there), in order."""
        self._settle()
        for place in range(bisect_left(self._lasts, path), len(self._runs)):
            run = self._runs[place]
            yield from run[bisect_right(run, path) :]

    def first(self, path: str) -> FilePath | None:
        """Give the first path that is this one or comes after it."""
        self._settle()
        place = bisect_left(self._lasts, path)
        if place == len(self._runs):
            return None
        run = self._runs[place]
        return run[bisect_left(run, path)]

    def _settle(self) -> None:
        """Put the new paths into the runs, all of those that one run takes at once."""
        if not self._new:
            return
        new, self._new = sorted(self._new), []
        runs, lasts = self._runs, self._lasts
        if not runs:
            runs.append([])
            lasts.append(new[0])
        start = 0
        while start < len(new):
            place = bisect_left(lasts, new[start])
            if place >= len(runs) - 1:  # the last run takes all that follows
                place, end = len(runs) - 1, len(new)
            else:
                end = bisect_right(new, lasts[place])
            self._extend(place, new[start:end])
            start = end

    def _extend(self, place: int, new: list[FilePath]) -> None:
        """Put paths into one run; cut it where it grew too long."""
        run = self._runs[place]
        if len(new) > FEW_MAX:
            run = run + new  # in place it would keep room for more
            run.sort()
        else:
            for path in new:
                insort(run, path)
        pieces = _runs_of(run) if len(run) > RUN_MAX else [run]
        self._runs[place : place + 1], self._lasts[place : place + 1] = pieces, [piece[-1] for piece in pieces]


def _runs_of(paths: Sequence[FilePath]) -> list[list[FilePath]]:
    size = RUN_MAX // 2
    return [list(paths[start : start + size]) for start in range(0, len(paths), size)]
