"""The bytes of day and month: never more than the operator gave, whatever crashes and whatever the clock does."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.schemas import QuotaLevel, QuotaWindow
from mirror.serving.periods import Calendar
from mirror.serving.quota import Ledger, Limits, Quota

DAY, MONTH = QuotaWindow.DAY, QuotaWindow.MONTH
SOFT, HARD = QuotaLevel.SOFT, QuotaLevel.HARD
NOVEMBER_22_S: Final = 1_795_305_600.0
DAY_S: Final = 86_400.0


def fresh(
    monthly_bytes: int | None = None,
    daily_bytes: int | None = None,
    *,
    peer_share: float = 0.1,
    ledgers: Iterable[Ledger] = (),
    now_s: float = NOVEMBER_22_S,
) -> Quota:
    limits = Limits(monthly_bytes=monthly_bytes, daily_bytes=daily_bytes, peer_share=peer_share)
    return Quota(limits, Calendar(), ledgers, now_s=now_s)


def send(quota: Quota, size_bytes: int) -> None:
    assert quota.reserve(size_bytes)
    quota.spend(size_bytes)


def test_what_is_reserved_cannot_be_promised_again() -> None:
    quota = fresh(100)
    assert quota.reserve(60)
    assert not quota.reserve(41)
    assert quota.reserve(40)
    assert quota.left_bytes == 0


def test_what_did_not_leave_is_given_back() -> None:
    quota = fresh(100)
    quota.reserve(100)
    quota.spend(30)
    quota.release(70)
    assert (quota.used_bytes(MONTH), quota.left_bytes) == (30, 70)


def test_without_a_limit_everything_may_leave_and_is_counted() -> None:
    quota = fresh()
    send(quota, 10**18)
    assert (quota.used_bytes(MONTH), quota.left_bytes, quota.must_book) == (10**18, None, False)


def test_the_smaller_of_what_day_and_month_leave_counts() -> None:
    quota = fresh(100, 60)
    assert not quota.reserve(61)
    send(quota, 60)
    assert (quota.left(DAY), quota.left(MONTH), quota.left_bytes) == (0, 40, 0)
    assert quota.turn(NOVEMBER_22_S + DAY_S)
    assert (quota.left(DAY), quota.left(MONTH), quota.left_bytes) == (60, 40, 40)


def test_a_new_month_begins_with_all_bytes_but_those_under_way() -> None:
    quota = fresh(100)
    quota.reserve(80)
    quota.spend(50)
    assert quota.turn(NOVEMBER_22_S + 9 * DAY_S)
    assert (quota.used_bytes(MONTH), quota.left_bytes) == (0, 70)
    assert not quota.turn(NOVEMBER_22_S), "a clock that steps back begins nothing"
    assert quota.day == date(2026, 12, 1)


def test_the_days_of_a_month_add_up_over_restarts_and_those_of_others_do_not_count() -> None:
    on_disk = [
        Ledger(day=date(2026, 10, 31), used_bytes=1000, booked_bytes=1000),
        Ledger(day=date(2026, 11, 1), used_bytes=5, booked_bytes=7),
        Ledger(day=date(2026, 11, 22), used_bytes=10, booked_bytes=20),
        Ledger(day=date(2026, 12, 1), used_bytes=2000, booked_bytes=2000),
    ]
    quota = fresh(100, 50, ledgers=on_disk)
    assert (quota.used_bytes(DAY), quota.used_bytes(MONTH)) == (20, 27), "what was booked may have left"
    assert (quota.left(DAY), quota.left(MONTH)) == (30, 73)


def test_another_reset_day_groups_the_same_days_anew() -> None:
    on_disk = [Ledger(day=date(2026, 11, day), used_bytes=10, booked_bytes=10) for day in (1, 14, 15, 20)]
    limits = Limits(monthly_bytes=100)
    assert Quota(limits, Calendar(reset_day=15), on_disk, now_s=NOVEMBER_22_S).used_bytes(MONTH) == 20
    assert Quota(limits, Calendar(reset_day=1), on_disk, now_s=NOVEMBER_22_S).used_bytes(MONTH) == 40


def test_a_clean_stop_books_nothing_ahead() -> None:
    quota = fresh(1000)
    quota.reserve(10)
    quota.booked(quota.ledgers())
    quota.spend(10)
    assert quota.closing_ledgers() == (Ledger(day=date(2026, 11, 22), used_bytes=10, booked_bytes=10),)


def test_a_day_that_ended_is_written_with_what_it_used_until_that_is_done() -> None:
    quota = fresh(1000)
    send(quota, 10)
    quota.booked(quota.ledgers())
    quota.turn(NOVEMBER_22_S + DAY_S)
    ended, today = quota.ledgers()
    assert ended == Ledger(day=date(2026, 11, 22), used_bytes=10, booked_bytes=10)
    assert (today.day, today.used_bytes) == (date(2026, 11, 23), 0)
    quota.booked((ended, today))
    assert [ledger.day for ledger in quota.ledgers()] == [date(2026, 11, 23)]


def test_a_limit_that_is_lowered_below_what_left_leaves_nothing_and_one_that_is_raised_leaves_more() -> None:
    quota = fresh(100)
    send(quota, 80)
    quota.limits = Limits(monthly_bytes=50)
    assert (quota.left_bytes, quota.reserve(1)) == (0, False)
    quota.limits = Limits(monthly_bytes=100)
    assert quota.left_bytes == 20


def test_other_mirrors_take_their_share_and_no_more_and_it_counts_as_all_bytes_do() -> None:
    quota = fresh(1000, 500, peer_share=0.1)
    assert not quota.reserve(51, for_peer=True)
    assert quota.reserve(50, for_peer=True)
    quota.spend(50, for_peer=True)
    assert (quota.peer_left_bytes, quota.left(DAY), quota.left(MONTH)) == (0, 450, 950)
    quota.turn(NOVEMBER_22_S + DAY_S)
    assert quota.peer_left_bytes == 50
    again = fresh(1000, 500, ledgers=quota.ledgers(), now_s=NOVEMBER_22_S)
    assert again.peer_left_bytes == 0, "a restart forgets nothing"


def test_no_share_is_nothing_for_other_mirrors_also_without_a_limit() -> None:
    quota = fresh(peer_share=0)
    assert not quota.reserve(1, for_peer=True)
    assert quota.reserve(1)
    assert fresh(peer_share=0.1).reserve(1, for_peer=True)


def test_other_mirrors_cannot_take_what_visitors_took() -> None:
    quota = fresh(1000, peer_share=1)
    send(quota, 990)
    assert not quota.reserve(11, for_peer=True)
    assert quota.reserve(10, for_peer=True)


def test_a_soft_limit_is_told_once_in_each_window() -> None:
    quota = fresh(1000, 500)
    assert not quota.sparing
    send(quota, 450)
    assert quota.sparing
    (reached,) = quota.reached()
    assert (reached.window, reached.level, reached.used_bytes, reached.limit_bytes) == (DAY, SOFT, 450, 500)
    assert reached.resets_at_s == NOVEMBER_22_S + DAY_S
    told = quota.told(reached)
    assert quota.reached() == []
    limits = Limits(monthly_bytes=1000, daily_bytes=500)
    again = Quota(limits, Calendar(), quota.closing_ledgers(), now_s=NOVEMBER_22_S, told=told)
    assert again.reached() == [], "not after a restart either"
    again.turn(NOVEMBER_22_S + DAY_S)
    send(again, 450)
    assert {(each.window, each.level) for each in again.reached()} == {(DAY, SOFT), (MONTH, SOFT)}


def test_the_hard_limit_is_told_when_it_keeps_a_visitor_out_and_once() -> None:
    quota = fresh(1000)
    send(quota, 950)
    quota.told(*quota.reached())
    assert not quota.reserve(51)
    (reached,) = quota.reached()
    assert (reached.window, reached.level) == (MONTH, HARD)
    quota.told(reached)
    assert not quota.reserve(51)
    assert quota.reached() == []


def test_another_limit_is_reached_anew() -> None:
    quota = fresh(100)
    send(quota, 100)
    quota.told(*quota.reached())
    quota.limits = Limits(monthly_bytes=200)
    assert quota.reached() == []
    send(quota, 100)
    assert {each.level for each in quota.reached()} == {SOFT, HARD}


def test_a_limit_that_was_raised_is_not_reached_because_the_former_one_kept_a_visitor_out() -> None:
    quota = fresh(1000)
    send(quota, 500)
    assert not quota.reserve(600)
    quota.told(*quota.reached())
    quota.limits = Limits(monthly_bytes=10_000)
    assert quota.reached() == []


@pytest.mark.parametrize("started_s", [0.0, NOVEMBER_22_S - DAY_S], ids=["in 1970", "yesterday"])
def test_a_clock_that_was_behind_at_the_start_and_is_set_makes_nothing_forgotten(started_s: float) -> None:
    on_disk = [Ledger(day=date(2026, 11, day), used_bytes=30, booked_bytes=40, peer_booked_bytes=4) for day in (20, 22)]
    quota = fresh(100, 50, ledgers=on_disk, now_s=started_s)
    assert quota.reserve(5)
    assert quota.turn(NOVEMBER_22_S)
    assert (quota.used_bytes(DAY), quota.used_bytes(MONTH)) == (40, 80)
    assert (quota.left(DAY), quota.left(MONTH), quota.peer_left_bytes) == (5, 15, 1)
    today = quota.ledgers()[-1]
    assert (today.day, today.used_bytes) == (date(2026, 11, 22), 40)


steps = st.lists(
    st.tuples(
        st.integers(0, 300),
        st.floats(0, 1),
        st.booleans(),
        st.sampled_from(["end", "crash", "stop"]),
        st.sampled_from([0.0, 0.0, 3600.0, DAY_S, 20 * DAY_S, -3600.0]),
    ),
    max_size=40,
)


@given(st.integers(0, 1000), st.integers(0, 400), st.floats(0, 1), steps)
def test_no_sequence_of_transfers_turns_and_crashes_exceeds_a_limit(
    monthly_bytes: int, daily_bytes: int, peer_share: float, transfers: list[tuple[int, float, bool, str, float]]
) -> None:
    """Each transfer asks for bytes, sends a part of them, and may end with a crash or a clean stop of the mirror.

    What is on the disk at any moment, and nothing else, is what a mirror knows after a crash.
    """
    now_s, on_disk = NOVEMBER_22_S, dict[date, Ledger]()
    quota = fresh(monthly_bytes, daily_bytes, peer_share=peer_share)
    left_on: dict[date, int] = {}
    peers_left_on: dict[date, int] = {}
    for asked_bytes, fraction, for_peer, ending, later_s in transfers:
        now_s += later_s
        quota.turn(now_s)
        if quota.reserve(asked_bytes, for_peer=for_peer):
            if quota.must_book:
                on_disk |= {ledger.day: ledger for ledger in quota.ledgers()}
                quota.booked(quota.ledgers())
            sent_bytes = int(asked_bytes * fraction)
            quota.spend(sent_bytes, for_peer=for_peer)
            left_on[quota.day] = left_on.get(quota.day, 0) + sent_bytes
            if for_peer:
                peers_left_on[quota.day] = peers_left_on.get(quota.day, 0) + sent_bytes
            if ending != "crash":
                quota.release(asked_bytes - sent_bytes, for_peer=for_peer)
        if ending == "stop":
            on_disk |= {ledger.day: ledger for ledger in quota.closing_ledgers()}
        if ending != "end":
            quota = fresh(monthly_bytes, daily_bytes, peer_share=peer_share, ledgers=on_disk.values(), now_s=now_s)
        assert quota.used_bytes(DAY) >= left_on.get(quota.day, 0)
    _assert_within(left_on, daily_bytes, monthly_bytes)
    _assert_within(peers_left_on, int(daily_bytes * peer_share), int(monthly_bytes * peer_share))


def _assert_within(left_on: dict[date, int], daily_bytes: int, monthly_bytes: int) -> None:
    months: dict[tuple[int, int], int] = {}
    for day, left_bytes in left_on.items():
        assert left_bytes <= daily_bytes
        months[day.year, day.month] = months.get((day.year, day.month), 0) + left_bytes
    assert all(left_bytes <= monthly_bytes for left_bytes in months.values())
