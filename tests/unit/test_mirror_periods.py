"""Days and months as the operator counts them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.schemas import QuotaWindow
from mirror.serving.periods import RESET_DAY_MAX, Calendar, zone_of

DAY, MONTH = QuotaWindow.DAY, QuotaWindow.MONTH
ZONES = ("UTC", "Europe/Lisbon", "America/Santiago", "Asia/Kathmandu", "Pacific/Apia", "Africa/Cairo")


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def test_a_day_begins_at_the_operators_midnight() -> None:
    lisbon = Calendar(zone=zone_of("Europe/Lisbon"))
    assert lisbon.day(at("2026-06-30T22:59:59")) == date(2026, 6, 30)
    assert lisbon.day(at("2026-06-30T23:00:00")) == date(2026, 7, 1)


@pytest.mark.parametrize(
    ("reset_day", "day", "first"),
    [
        pytest.param(1, date(2026, 11, 22), date(2026, 11, 1), id="on the first"),
        pytest.param(15, date(2026, 11, 15), date(2026, 11, 15), id="on the day itself"),
        pytest.param(15, date(2026, 11, 14), date(2026, 10, 15), id="before the day"),
        pytest.param(15, date(2026, 1, 3), date(2025, 12, 15), id="over the year"),
        pytest.param(31, date(2026, 4, 30), date(2026, 4, 30), id="31 in a month of 30 days"),
        pytest.param(31, date(2026, 4, 29), date(2026, 3, 31), id="before 31 in a month of 30 days"),
        pytest.param(30, date(2026, 2, 28), date(2026, 2, 28), id="30 in February"),
        pytest.param(29, date(2028, 2, 29), date(2028, 2, 29), id="29 in a leap year"),
        pytest.param(31, date(2026, 3, 1), date(2026, 2, 28), id="31 after February"),
    ],
)
def test_a_month_begins_on_its_reset_day_or_the_last_day_before(reset_day: int, day: date, first: date) -> None:
    assert Calendar(reset_day=reset_day).first_day(MONTH, day) == first


def test_a_day_is_shorter_or_longer_where_clocks_are_changed() -> None:
    lisbon = Calendar(zone=zone_of("Europe/Lisbon"))
    begins_s = at("2026-03-29T00:00:00", "Europe/Lisbon")
    assert lisbon.resets_at_s(DAY, date(2026, 3, 29)) - begins_s == 23 * 3600
    begins_s = at("2026-10-25T00:00:00", "Europe/Lisbon")
    assert lisbon.resets_at_s(DAY, date(2026, 10, 25)) - begins_s == 25 * 3600


def test_a_day_begins_with_the_jump_where_clocks_jump_over_midnight() -> None:
    cairo = Calendar(zone=zone_of("Africa/Cairo"))
    begins_s = cairo.resets_at_s(DAY, date(2026, 4, 23))
    assert (cairo.day(begins_s - 1), cairo.day(begins_s)) == (date(2026, 4, 23), date(2026, 4, 24))


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
    st.sampled_from(ZONES),
    st.integers(1, RESET_DAY_MAX),
)
def test_each_day_and_month_ends_where_the_next_begins(now: datetime, zone: str, reset_day: int) -> None:
    calendar = Calendar(zone=zone_of(zone), reset_day=reset_day)
    day = calendar.day(now.timestamp())
    for window in QuotaWindow:
        first, ends_s = calendar.first_day(window, day), calendar.resets_at_s(window, day)
        assert first <= day
        assert now.timestamp() < ends_s
        following = calendar.day(ends_s)
        assert calendar.first_day(window, following) == following, "it is the first day of the next one"
        assert calendar.first_day(window, calendar.day(ends_s - 1)) == first


@pytest.mark.parametrize("name", ["", "Lisbon", "../etc/passwd", "/etc/localtime", "Europe", "Europe/Lisbon\0"])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="write one like Europe/Lisbon"):
        zone_of(name)
