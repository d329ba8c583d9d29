"""Whether a mirror takes new visitors, by what its operator said last and by his hours. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from typing import Final, NamedTuple

from events.schemas import Availability
from events.schemas.fields import TIMESTAMP_S_MAX

_HOURS: Final = re.compile(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Hours:
    """When a mirror is open each day: from ``opens`` to ``closes`` by the clock on its wall, over midnight or not."""

    opens: time
    closes: time

    def __str__(self) -> str:
        """Write them as they are read."""
        return f"{self.opens:%H:%M}-{self.closes:%H:%M}"


class State(NamedTuple):
    """What is said of a mirror; ``until_s`` is when it changes by itself, 0 where it does not."""

    availability: Availability
    until_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What the operator said: ``paused_until_s`` is None where he did not pause, 0 where he did without an end.

    ``drains_until_s`` is when a drain stops the process at the latest, None where he wants none.
    """

    paused_until_s: int | None = None
    drains_until_s: int | None = None


def parse_hours(text: str) -> Hours:
    """Read ``22:00-07:00``.

    Raises:
        ValueError: not hours; the message says how to write them.
    """
    matched = _HOURS.fullmatch(text.strip())
    if matched is None:
        raise ValueError(f"{text!r} are no hours; write them like 22:00-07:00")
    begin_h, begin_m, end_h, end_m = map(int, matched.groups())
    try:
        hours = Hours(time(begin_h, begin_m), time(end_h, end_m))
    except ValueError as error:
        raise ValueError(f"{text!r} are no hours: {error}") from None
    if hours.opens == hours.closes:
        raise ValueError(f"{text!r} begin when they end; leave hours out to be open all day")
    return hours


def pause_until(for_s: float | None, now_s: float) -> int:
    """Give until when a pause of so long lasts; 0 for one without an end."""
    return 0 if for_s is None else moment_after(for_s, now_s)


def moment_after(for_s: float, now_s: float) -> int:
    """Give the first whole second by which so long has passed."""
    return min(int(now_s + for_s) + 1, TIMESTAMP_S_MAX)


def state_at(now_s: float, will: Will, hours: Hours | None, zone: tzinfo) -> State:
    """Tell how a mirror stands at a moment."""
    if will.drains_until_s is not None:
        return State(Availability.DRAINING, will.drains_until_s)
    if will.paused_until_s is not None and (will.paused_until_s == 0 or now_s < will.paused_until_s):
        return State(Availability.PAUSED, will.paused_until_s)
    return State(Availability.OPEN, 0) if hours is None else _by_hours(now_s, hours, zone)


def _by_hours(now_s: float, hours: Hours, zone: tzinfo) -> State:
    today = datetime.fromtimestamp(now_s, tz=zone).date()
    for days in (-1, 0, 1, 2):  # yesterday's opening may still hold; where clocks jump, today's may fall out
        day = today + timedelta(days=days)
        closing_day = day + timedelta(days=hours.closes < hours.opens)
        opens_s = datetime.combine(day, hours.opens, tzinfo=zone).timestamp()
        closes_s = datetime.combine(closing_day, hours.closes, tzinfo=zone).timestamp()
        if now_s < opens_s < closes_s:
            return State(Availability.CLOSED, int(opens_s))
        if opens_s <= now_s < closes_s:
            return State(Availability.OPEN, int(closes_s))
    raise AssertionError("one of four days lies ahead")
