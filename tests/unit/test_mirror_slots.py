"""Who is let in: slots, connections and bytes of each grant."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest

from events.grants import Grant
from events.names import Digest, MirrorName
from events.schemas import LoadReported
from mirror.load import worth_telling
from mirror.slots import GRANT_CONNECTIONS_MAX, RESERVED_S_MAX, Refusal, Slots

SIZE = 100


def grant(name: str = "a") -> Grant:
    return Grant(
        grant_id=name.encode().ljust(16, b"-"),
        sha256=Digest(bytes(32)),
        size_bytes=SIZE,
        start_by_s=1000,
        finish_by_s=5000,
        address=IPv6Address(0),
        prefix_bits=0,
    )


def test_a_slot_is_a_grant_and_not_a_connection() -> None:
    slots = Slots(1)
    assert slots.enter(grant(), asked_bytes=10) is None
    assert slots.enter(grant(), asked_bytes=10) is None
    assert slots.active == 1
    assert slots.enter(grant("b"), asked_bytes=10) is Refusal.SLOTS_FULL


def test_a_slot_is_free_when_the_last_connection_ended() -> None:
    slots = Slots(1)
    for _ in range(2):
        slots.enter(grant(), asked_bytes=10)
    slots.leave(grant().grant_id, unsent_bytes=10, now_s=0)
    assert slots.enter(grant("b"), asked_bytes=10) is Refusal.SLOTS_FULL
    slots.leave(grant().grant_id, unsent_bytes=10, now_s=0)
    assert slots.enter(grant("b"), asked_bytes=10) is None


def test_a_fifth_connection_of_one_grant_is_refused() -> None:
    slots = Slots(10)
    found = [slots.enter(grant(), asked_bytes=1) for _ in range(GRANT_CONNECTIONS_MAX + 1)]
    assert found == [None] * GRANT_CONNECTIONS_MAX + [Refusal.CONNECTIONS_FULL]


def test_a_grant_gives_twice_its_size_and_not_a_byte_more() -> None:
    slots = Slots(10)
    for _ in range(2):
        assert slots.enter(grant(), asked_bytes=SIZE) is None
        slots.count(grant().grant_id, SIZE)
        slots.leave(grant().grant_id, unsent_bytes=0, now_s=0)
    assert slots.enter(grant(), asked_bytes=1) is Refusal.BUDGET_SPENT


def test_bytes_that_parallel_connections_asked_for_count_until_they_are_given_back() -> None:
    slots = Slots(10)
    slots.enter(grant(), asked_bytes=SIZE)
    slots.enter(grant(), asked_bytes=SIZE)
    assert slots.enter(grant(), asked_bytes=1) is Refusal.BUDGET_SPENT
    slots.leave(grant().grant_id, unsent_bytes=SIZE, now_s=0)
    assert slots.enter(grant(), asked_bytes=SIZE) is None


def test_a_refused_connection_leaves_no_trace() -> None:
    slots = Slots(1)
    slots.enter(grant(), asked_bytes=1)
    slots.enter(grant("b"), asked_bytes=1)
    slots.leave(grant().grant_id, unsent_bytes=1, now_s=0)
    assert slots.active == 0
    assert not slots.started(grant("b").grant_id)


def test_an_announced_visitor_reserves_a_slot_until_he_comes_or_is_too_late() -> None:
    slots = Slots(10)
    slots.expect(grant("a").grant_id, start_by_s=1000, now_s=0)
    slots.expect(grant("b").grant_id, start_by_s=5, now_s=0)
    slots.expect(grant("c").grant_id, start_by_s=-1, now_s=0)
    assert slots.reserved(0) == 2
    assert slots.reserved(6) == 1
    slots.enter(grant("a"), asked_bytes=1)
    assert slots.reserved(7) == 0


def test_a_reservation_ends_by_itself() -> None:
    slots = Slots(10)
    slots.expect(grant().grant_id, start_by_s=10_000, now_s=0)
    assert slots.reserved(RESERVED_S_MAX) == 1
    assert slots.reserved(RESERVED_S_MAX + 0.1) == 0


def test_a_notice_that_comes_after_its_visitor_reserves_nothing() -> None:
    slots = Slots(10)
    slots.enter(grant(), asked_bytes=1)
    slots.expect(grant().grant_id, start_by_s=1000, now_s=0)
    assert slots.reserved(0) == 0


def test_a_reservation_keeps_nobody_out() -> None:
    slots = Slots(1)
    slots.expect(grant("a").grant_id, start_by_s=1000, now_s=0)
    assert slots.enter(grant("b"), asked_bytes=1) is None


def load(*, slots: int = 100, active: int = 0, reserved: int = 0, left: int | None = None) -> LoadReported:
    return LoadReported(
        mirror=MirrorName("ana"),
        slots=slots,
        active=active,
        reserved=reserved,
        transmit_bytes_per_second=0,
        quota_left_bytes=left,
    )


@pytest.mark.parametrize(
    ("before", "now", "worth"),
    [
        pytest.param(load(active=10), load(active=12), False, id="a few of many slots"),
        pytest.param(load(active=10), load(active=15), True, id="a twentieth of the slots"),
        pytest.param(load(active=99), load(active=100), True, id="the last slot was taken"),
        pytest.param(load(slots=2), load(slots=2, active=1), True, id="one of two slots"),
        pytest.param(load(left=10), load(left=0), True, id="the quota is spent"),
        pytest.param(load(left=10), load(left=9), False, id="some bytes left"),
        pytest.param(load(active=0, reserved=0), load(reserved=5), True, id="visitors were announced"),
    ],
)
def test_load_is_told_when_it_would_change_a_choice(before: LoadReported, now: LoadReported, worth: bool) -> None:
    assert worth_telling(before, now) is worth
