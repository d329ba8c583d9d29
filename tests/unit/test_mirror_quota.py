"""The month's bytes: never more than the operator gave, whatever crashes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mirror.quota import Ledger, Quota, month_of


def fresh(monthly_bytes: int | None) -> Quota:
    return Quota(monthly_bytes, Ledger(month="2026-11"))


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
    assert (quota.used_bytes, quota.left_bytes) == (30, 70)


def test_without_a_limit_everything_may_leave_and_is_counted() -> None:
    quota = fresh(None)
    assert quota.reserve(10**18)
    quota.spend(10**18)
    assert (quota.used_bytes, quota.left_bytes, quota.must_book) == (10**18, None, False)


def test_a_new_month_begins_with_all_bytes_but_those_under_way() -> None:
    quota = fresh(100)
    quota.reserve(80)
    quota.spend(50)
    assert quota.turn("2026-12")
    assert (quota.used_bytes, quota.left_bytes) == (0, 70)
    assert not quota.turn("2026-11"), "a clock that steps back begins no month"


def test_months_turn_in_utc() -> None:
    assert [month_of(at_s) for at_s in (0.0, 2_678_399.0, 2_678_400.0)] == ["1970-01", "1970-01", "1970-02"]


def test_a_clean_stop_books_nothing_ahead() -> None:
    quota = fresh(1000)
    quota.reserve(10)
    quota.booked(quota.ledger())
    quota.spend(10)
    assert quota.closing_ledger() == Ledger(month="2026-11", used_bytes=10, booked_bytes=10)


@given(
    st.integers(0, 1000),
    st.lists(st.tuples(st.integers(0, 300), st.floats(0, 1), st.booleans()), max_size=30),
)
def test_no_sequence_of_transfers_and_crashes_exceeds_the_month(
    monthly_bytes: int, transfers: list[tuple[int, float, bool]]
) -> None:
    """Each transfer asks for bytes, sends a part of them, and may end in a crash of the mirror."""
    quota, on_disk, really_left = fresh(monthly_bytes), Ledger(month="2026-11"), 0
    for asked_bytes, fraction, crashes in transfers:
        if not quota.reserve(asked_bytes):
            continue
        if quota.must_book:
            on_disk = quota.ledger()
            quota.booked(on_disk)
        sent_bytes = int(asked_bytes * fraction)
        quota.spend(sent_bytes)
        really_left += sent_bytes
        if crashes:
            quota = Quota(monthly_bytes, on_disk)
        else:
            quota.release(asked_bytes - sent_bytes)
        assert really_left <= quota.used_bytes <= max(monthly_bytes, on_disk.booked_bytes)
    assert really_left <= monthly_bytes
