"""The operator's days and months: where they begin in his time zone, and what moment lies in which. Pure.

A day is named by its date in the operator's zone, a month by its first day. A month begins on ``reset_day``, or on the
last day of a calendar month that is shorter.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, assert_never
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from events.schemas import QuotaWindow

RESET_DAY_MAX: Final = 31
_ONE_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """How an operator counts his days and months."""

    zone: tzinfo = UTC
    reset_day: int = 1

    def day(self, now_s: float) -> date:
        """Give the day that a moment lies in."""
        return datetime.fromtimestamp(now_s, tz=self.zone).date()

    def first_day(self, window: QuotaWindow, day: date) -> date:
        """Give the first day of the day or month that a day lies in."""
        match window:
            case QuotaWindow.DAY:
                return day
            case QuotaWindow.MONTH:
                begun = self._month_begins(day)
                return begun if begun <= day else self._month_begins(day.replace(day=1) - _ONE_DAY)
            case _:
                assert_never(window)

    def resets_at_s(self, window: QuotaWindow, day: date) -> int:
        """Give the moment at which the day or month ends that a day lies in."""
        following = day + _ONE_DAY
        if window is QuotaWindow.MONTH:
            begun = self.first_day(window, day)
            following = self._month_begins(_last_of_month(begun) + _ONE_DAY)
        return midnight_s(following, self.zone)

    def _month_begins(self, day: date) -> date:
        """Give the day of this calendar month on which a month of the operator's begins."""
        return day.replace(day=min(self.reset_day, _last_of_month(day).day))


def zone_of(name: str) -> tzinfo:
    """Find a time zone by its name in the IANA's data base, like ``Europe/Lisbon``.

    Raises:
        ValueError: there is none.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):  # a name with dots and slashes is one, a folder another
        raise ValueError(f"{name!r} is no time zone; write one like Europe/Lisbon or UTC") from None


def midnight_s(day: date, zone: tzinfo) -> int:
    """Give the moment at which a day begins; where its clocks jump over midnight, that of the jump."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


def _last_of_month(day: date) -> date:
    return day.replace(day=monthrange(day.year, day.month)[1])
