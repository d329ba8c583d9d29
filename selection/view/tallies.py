"""How often something happened: by key and day, of old days by month, of the oldest months by year. Pure.

Days are counted from 1970-01-01, UTC. A day keeps its own figures for ``days_kept`` days; then they are added to those
of its month. Where a site has more keys than there is room for, the oldest days give way before their time, then the
oldest months, then years, and at last small figures: those are added up under ``OTHERS``.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from datetime import date
from enum import Enum
from itertools import islice
from sys import intern
from typing import Final, NamedTuple, TypeVar

from msgspec import Struct

OTHERS: Final = "-"  # no path, mirror or country is called so
SECONDS_PER_DAY: Final = 86_400
CELLS_MAX: Final = 1_000_000  # figures in one tally, 50 MB beside the keys; ten thousand files a day for three months
AT_ONCE: Final = 10_000  # some milliseconds
_MONTHS_PER_YEAR: Final = 12
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_LAST_DAY: Final = date.max.toordinal() - _EPOCH_ORDINAL

_K = TypeVar("_K")


class Span(Enum):
    """For how long a figure stands."""

    DAY = "day"
    MONTH = "month"
    YEAR = "year"
    EVER = "ever"


class Sums(NamedTuple):
    """What was counted on a day, in its month and in its year until now, and in all."""

    day: int
    month: int
    year: int
    total: int


class DumpedTally(Struct, frozen=True, array_like=True):
    """A tally as it is written down: for each bucket the places of its keys in ``keys``, and their figures."""

    keys: list[str]
    buckets: list[tuple[str, int, list[int], list[int]]]


def day_of(time_s: float) -> int:
    """Give the day of a Unix time."""
    return int(time_s // SECONDS_PER_DAY)


def date_of(day: int) -> date:
    """Give the date of a day."""
    return date.fromordinal(min(day, _LAST_DAY) + _EPOCH_ORDINAL)


def month_of(day: int) -> int:
    """Give the month of a day, counted from the year 0: 12 for each year."""
    found = date_of(day)
    return found.year * _MONTHS_PER_YEAR + found.month - 1


class Tally:
    """Figures by key and time. The order in which they are added does not matter."""

    def __init__(self, *, cells_max: int = CELLS_MAX) -> None:
        self._cells_max = cells_max
        self._buckets: dict[Span, dict[int, dict[str, int]]] = {span: {} for span in Span}

    def of_day(self, day: int) -> dict[str, int]:
        """Give the figures of a day, to add to."""
        return self._buckets[Span.DAY].setdefault(day, {})

    def add(self, day: int, key: str, count: int) -> None:
        """Count."""
        figures = self.of_day(day)
        figures[key] = figures.get(key, 0) + count

    def count(self, day: int, keys: Iterable[str]) -> None:
        """Count each of some keys, as often as it is among them."""
        figures = self.of_day(day)
        for key in keys:
            if key in figures:
                figures[key] += 1
            else:
                figures[intern(key)] = 1  # one string for all its days

    def sums(self, key: str, today: int) -> Sums:
        """Sum up a key's figures, as they are on a day."""
        month, year = month_of(today), date_of(today).year
        days, months, years = self.days(key), self.months(key), self.years(key)
        return Sums(
            days.get(today, 0),
            months.get(month, 0),
            years.get(year, 0),
            sum(years.values()) + self._of(Span.EVER, key).get(0, 0),
        )

    def days(self, key: str) -> dict[int, int]:
        """Give a key's figure for each of the days that are kept and that it has one for."""
        return self._of(Span.DAY, key)

    def months(self, key: str) -> dict[int, int]:
        """Give a key's figure for each month (see ``month_of``)."""
        return _added(self._of(Span.MONTH, key), ((month_of(day), n) for day, n in self.days(key).items()))

    def years(self, key: str) -> dict[int, int]:
        """Give a key's figure for each year."""
        months = ((month // _MONTHS_PER_YEAR, n) for month, n in self.months(key).items())
        return _added(self._of(Span.YEAR, key), months)

    def parts(self, first_day: int, last_day: int) -> Iterator[list[tuple[str, int]]]:
        """Give the figures of some days that are kept, in parts that take some milliseconds.

        What is added between two parts may be missing, and so may a day that became part of its month meanwhile.
        """
        days = self._buckets[Span.DAY]
        for day in [day for day in days if first_day <= day <= last_day]:
            figures = iter(days.get(day, {}).copy().items())  # a dict that grew cannot be gone on with
            while part := list(islice(figures, AT_ONCE)):
                yield part

    def largest(self, first_day: int, last_day: int, *, count: int) -> Generator[None, None, list[tuple[str, int]]]:
        """Find the keys with the largest figures over some days that are kept, in steps of some milliseconds.

        Returns:
            Keys and figures, the largest figure first, and by key where figures are equal.
        """
        found: dict[str, int] = {}
        for part in self.parts(first_day, last_day):
            for key, figure in part:
                found[key] = found.get(key, 0) + figure
            yield
        best: list[tuple[int, str]] = []
        figures = iter(found.items())
        while some := list(islice(figures, AT_ONCE)):
            least = best[-1][0] if len(best) == count else 0
            best = sorted([*best, *((-figure, key) for key, figure in some if -figure <= least)])[:count]
            yield
        return [(key, -figure) for figure, key in best]

    def tidy(self, today: int, *, days_kept: int) -> bool:
        """Let a day that is over become part of its month, or do another step; tell whether one was due.

        A day that is yet to come was told of by a wrong clock, and is forgotten.
        """
        days = self._buckets[Span.DAY]
        for day in days:
            if day > today + 1:
                del days[day]
                return True
            if day <= today - days_kept:
                self._roll(Span.DAY, day)
                return True
        return self._cells() > self._cells_max and (self._roll_oldest() or self._cut())

    def dumped(self) -> DumpedTally:
        """Write the tally down."""
        places: dict[str, int] = {}
        buckets = [
            (span.value, bucket, [places.setdefault(key, len(places)) for key in figures], list(figures.values()))
            for span, found in self._buckets.items()
            for bucket, figures in found.items()
        ]
        return DumpedTally(list(places), buckets)

    @classmethod
    def read(cls, dumped: DumpedTally) -> Tally:
        """Read what ``dumped`` wrote.

        Raises:
            ValueError: it is none of ours.
            IndexError: likewise.
        """
        tally = cls()
        for span, bucket, places, figures in dumped.buckets:
            keys = [dumped.keys[place] for place in places]
            tally._buckets[Span(span)][bucket] = dict(zip(keys, figures, strict=True))
        return tally

    def _of(self, span: Span, key: str) -> dict[int, int]:
        return {bucket: figures[key] for bucket, figures in self._buckets[span].items() if key in figures}

    def _cells(self) -> int:
        return sum(len(figures) for found in self._buckets.values() for figures in found.values())

    def _roll_oldest(self) -> bool:
        """Give the oldest bucket of the finest span up; tell whether there was one."""
        for span in (Span.DAY, Span.MONTH, Span.YEAR):
            if found := self._buckets[span]:
                self._roll(span, min(found))
                return True
        return False

    def _roll(self, span: Span, bucket: int) -> None:
        """Add a bucket's figures to those of the longer span that it lies in."""
        longer, place = _longer(span, bucket)
        figures = self._buckets[span].pop(bucket)
        into = self._buckets[longer].setdefault(place, {})
        for key, count in figures.items():
            into[key] = into.get(key, 0) + count

    def _cut(self) -> bool:
        """Add up small figures, where even one for each key is too many: of some keys those below the middle."""
        ever = self._buckets[Span.EVER][0]
        some = list(islice(ever.items(), AT_ONCE))
        middle = sorted(count for _, count in some)[len(some) // 2]
        for key, count in some:
            del ever[key]
            name = key if count > middle else OTHERS
            ever[name] = ever.get(name, 0) + count  # at the end: the next cut looks at others
        return True


def _longer(span: Span, bucket: int) -> tuple[Span, int]:
    match span:
        case Span.DAY:
            return Span.MONTH, month_of(bucket)
        case Span.MONTH:
            return Span.YEAR, bucket // _MONTHS_PER_YEAR
        case Span.YEAR | Span.EVER:
            return Span.EVER, 0


def _added(figures: Mapping[_K, int], more: Iterable[tuple[_K, int]]) -> dict[_K, int]:
    found = dict(figures)
    for key, count in more:
        found[key] = found.get(key, 0) + count
    return found
