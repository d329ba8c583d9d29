"""Whether a mirror takes new visitors."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.schemas import Availability
from mirror.operating.availability import State, Will, parse_hours, pause_until, state_at

OPEN, PAUSED, DRAINING, CLOSED = Availability
NIGHT = parse_hours("22:00-07:00")
LISBON = ZoneInfo("Europe/Lisbon")


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("now", "state", "until"),
    [
        pytest.param("2026-11-22T21:59:59", CLOSED, "2026-11-22T22:00:00", id="a second before"),
        pytest.param("2026-11-22T22:00:00", OPEN, "2026-11-23T07:00:00", id="at the beginning"),
        pytest.param("2026-11-23T00:30:00", OPEN, "2026-11-23T07:00:00", id="after midnight"),
        pytest.param("2026-11-23T07:00:00", CLOSED, "2026-11-23T22:00:00", id="at the end"),
    ],
)
def test_hours_over_midnight(now: str, state: Availability, until: str) -> None:
    assert state_at(at(now), Will(), NIGHT, UTC) == State(state, int(at(until)))


def test_hours_are_those_of_the_clock_on_the_wall() -> None:
    day = parse_hours("09:00-17:00")
    assert state_at(at("2026-07-01T08:00:00"), Will(), day, LISBON) == State(OPEN, int(at("2026-07-01T16:00:00")))
    assert state_at(at("2026-12-01T08:59:59"), Will(), day, LISBON).availability is CLOSED


def test_a_pause_beats_the_hours_and_ends_by_itself() -> None:
    until_s = pause_until(7200, at("2026-11-22T23:00:00"))
    paused = Will(paused_until_s=until_s)
    assert state_at(at("2026-11-23T00:59:59"), paused, NIGHT, UTC) == State(PAUSED, until_s)
    assert state_at(until_s, paused, NIGHT, UTC).availability is OPEN


def test_a_pause_without_an_end_lasts() -> None:
    assert state_at(4e9, Will(paused_until_s=pause_until(None, 0)), None, UTC) == State(PAUSED, 0)


def test_a_drain_beats_all() -> None:
    assert state_at(0, Will(paused_until_s=0, drains_until_s=9), NIGHT, UTC) == State(DRAINING, 9)


def test_without_hours_it_is_always_open() -> None:
    assert state_at(0, Will(), None, UTC) == State(OPEN, 0)


@given(st.integers(0, 2**32 - 1), st.times(), st.times(), st.sampled_from([UTC, LISBON, ZoneInfo("Africa/Cairo")]))
def test_a_state_lasts_until_it_says_and_then_it_is_another(
    now_s: int, opens: object, closes: object, zone: object
) -> None:
    text = f"{opens:%H:%M}-{closes:%H:%M}"
    if text[:5] == text[6:]:
        return
    assert isinstance(zone, ZoneInfo | type(UTC))
    hours = parse_hours(text)
    state = state_at(now_s, Will(), hours, zone)
    assert state.until_s > now_s
    assert state_at(state.until_s - 1, Will(), hours, zone).availability is state.availability
    assert state_at(state.until_s, Will(), hours, zone) != state


@pytest.mark.parametrize("text", ["", "22-07", "24:00-07:00", "22:00", "22:00-22:00", "22:60-07:00", "٢٢:00-07:00"])
def test_what_are_no_hours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="hours"):
        parse_hours(text)
