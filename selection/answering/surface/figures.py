"""What is told of the statistics: as mirrorbits tells it of a file, and in the selector's own API. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Generator
from datetime import date
from itertools import islice
from typing import Final

from events.names import FilePath
from selection.answering.surface.mirrorbits import Counts, PeriodCount
from selection.answering.surface.pages import Served
from selection.answering.surface.schemas import FigureTold, HistoryTold, LargestTold, Subject
from selection.view.statistics import Statistics
from selection.view.tallies import Tally, date_of

_PERIOD: Final = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", re.ASCII)
_MONTHS_PER_YEAR: Final = 12
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_LOOKED_AT_MAX: Final = 10_000  # some that may not be told stand among the largest


class PeriodError(ValueError):
    """This is no year, month or day. Say so to who asked."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is no period")
        self.text = text


def counts_of(statistics: Statistics, path: FilePath, *, today: int) -> Counts:
    """Give a file's downloads as ``?stats`` tells them."""
    sums = statistics.files.sums(path, today)
    return Counts(today=sums.day, month=sums.month, year=sums.year, total=sums.total)


def period_count_of(statistics: Statistics, path: FilePath, period: str) -> PeriodCount:
    """Give a file's downloads in a day, a month or a year, as ``?stats=2026-11`` tells them.

    Raises:
        PeriodError: it is none.
    """
    found = _PERIOD.fullmatch(period)
    if found is None:
        raise PeriodError(period)
    year, month, day = (int(part) if part else 0 for part in found.groups())
    try:
        wanted = date(year, month or 1, day or 1)
    except ValueError:
        raise PeriodError(period) from None
    files = statistics.files
    if day:
        downloads = files.days(path).get(wanted.toordinal() - _EPOCH_ORDINAL, 0)
    elif month:
        downloads = files.months(path).get(year * _MONTHS_PER_YEAR + month - 1, 0)
    else:
        downloads = files.years(path).get(year, 0)
    return PeriodCount(period=period, downloads=downloads)


def served_by(statistics: Statistics, *, today: int) -> dict[str, Served]:
    """Give what each mirror served today and this month, of those that served anything."""
    first = date_of(today).replace(day=1).toordinal() - _EPOCH_ORDINAL
    downloads, sent = statistics.mirrors, statistics.sent_bytes
    of_day, of_month = _all(downloads, today, today), _all(downloads, first, today)
    bytes_of_day, bytes_of_month = _all(sent, today, today), _all(sent, first, today)
    return {
        name: Served(
            today=of_day[name],
            today_bytes=bytes_of_day[name],
            month=of_month[name],
            month_bytes=bytes_of_month[name],
        )
        for name in of_month.keys() | bytes_of_month.keys()
    }


def history_of(statistics: Statistics, subject: Subject, key: str, *, today: int) -> HistoryTold:
    """Give the downloads by one key: sums, and each day, month and year that has any."""
    tally = _tally(statistics, subject)
    sums = tally.sums(key, today)
    return HistoryTold(
        by=subject.value,
        key=key,
        today=sums.day,
        month=sums.month,
        year=sums.year,
        total=sums.total,
        days=_days(tally, key),
        months=_months(tally, key),
        years={str(year): count for year, count in sorted(tally.years(key).items())},
        sent_bytes_by_day=_days(statistics.sent_bytes, key) if subject is Subject.MIRROR else None,
        sent_bytes_by_month=_months(statistics.sent_bytes, key) if subject is Subject.MIRROR else None,
    )


def largest_of(
    statistics: Statistics,
    subject: Subject,
    first: date,
    last: date,
    *,
    limit: int,
    may_tell: Callable[[str], bool],
) -> Generator[None, None, LargestTold]:
    """Find the keys with the most downloads over some days, of those that may be told, in steps of milliseconds."""
    tally = _tally(statistics, subject)
    days = (first.toordinal() - _EPOCH_ORDINAL, last.toordinal() - _EPOCH_ORDINAL)
    found = yield from tally.largest(*days, count=_LOOKED_AT_MAX)
    told = (FigureTold(key=key, downloads=count) for key, count in found if may_tell(key))
    return LargestTold(
        by=subject.value, first=first.isoformat(), last=last.isoformat(), figures=list(islice(told, limit))
    )


def _all(tally: Tally, first: int, last: int) -> Counter[str]:
    """Add up all figures of some days: for tallies of few keys, as mirrors are."""
    found: Counter[str] = Counter()
    for part in tally.parts(first, last):
        found.update(dict(part))
    return found


def _tally(statistics: Statistics, subject: Subject) -> Tally:
    tallies = {
        Subject.SITE: statistics.site,
        Subject.FILE: statistics.files,
        Subject.MIRROR: statistics.mirrors,
        Subject.COUNTRY: statistics.countries,
    }
    return tallies[subject]


def _days(tally: Tally, key: str) -> dict[str, int]:
    return {date_of(day).isoformat(): count for day, count in sorted(tally.days(key).items())}


def _months(tally: Tally, key: str) -> dict[str, int]:
    return {
        f"{month // _MONTHS_PER_YEAR:04}-{month % _MONTHS_PER_YEAR + 1:02}": count
        for month, count in sorted(tally.months(key).items())
    }
