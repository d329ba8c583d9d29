"""Who is let in: slots, connections and bytes of each grant."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

import pytest

from edge.visits import GRANT_CONNECTIONS_MAX
from events.grants import Grant, IPAddress
from events.names import Digest, MirrorName
from events.schemas import LoadReported
from mirror.serving.load import worth_telling
from mirror.serving.slots import RESERVED_S_MAX, SLOT_KEPT_S, PeerSlots, Refusal, Slots

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


HERE = ip_address("192.0.2.1")


def enter(
    slots: Slots, name: str = "a", *, asked_bytes: int = 1, address: IPAddress = HERE, now_s: float = 0.0
) -> Refusal | None:
    return slots.enter(grant(name), asked_bytes=asked_bytes, address=address, now_s=now_s)


def leave(slots: Slots, name: str = "a", *, sent_bytes: int = 0, now_s: float = 0.0, keep: bool = True) -> None:
    """End a connection that had asked for one byte more than it got."""
    slots.visits.count(grant(name).grant_id, sent_bytes)
    slots.leave(grant(name).grant_id, unsent_bytes=0, address=HERE, now_s=now_s, keep=keep)


def test_a_slot_is_a_grant_and_not_a_connection() -> None:
    slots = Slots(1)
    assert [enter(slots), enter(slots)] == [None, None]
    assert (slots.visits.active, slots.connections) == (1, 2)
    assert enter(slots, "b") is Refusal.SLOTS_FULL


def test_each_excess_has_its_refusal() -> None:
    slots = Slots(10)
    assert enter(slots, asked_bytes=2 * SIZE + 1) is Refusal.BUDGET_SPENT
    assert [enter(slots) for _ in range(GRANT_CONNECTIONS_MAX + 1)][-1] is Refusal.CONNECTIONS_FULL


def test_a_slot_is_kept_for_a_visitor_who_has_more_to_fetch_and_free_when_he_does_not_come() -> None:
    slots = Slots(1)
    enter(slots)
    leave(slots, sent_bytes=1, now_s=10)
    assert (slots.visits.active, slots.kept(10)) == (0, 1)
    assert enter(slots, "b", now_s=10 + SLOT_KEPT_S) is Refusal.SLOTS_FULL
    assert enter(slots, "b", now_s=10.1 + SLOT_KEPT_S) is None


def test_whose_slot_is_kept_finds_it_and_takes_no_second_one() -> None:
    slots = Slots(1)
    enter(slots)
    leave(slots, sent_bytes=1)
    assert enter(slots, now_s=1) is None
    assert (slots.visits.active, slots.kept(1)) == (1, 0)


@pytest.mark.parametrize(
    ("sent_bytes", "keep"),
    [
        pytest.param(SIZE, True, id="all of the file was sent"),
        pytest.param(0, True, id="nothing was sent"),
        pytest.param(1, False, id="he was cut"),
    ],
)
def test_a_slot_is_free_at_once_where_nobody_is_expected_back(sent_bytes: int, keep: bool) -> None:
    slots = Slots(1)
    enter(slots, asked_bytes=SIZE)
    leave(slots, sent_bytes=sent_bytes, keep=keep)
    assert enter(slots, "b") is None


def test_a_slot_is_not_kept_for_hours_where_the_clock_steps_back() -> None:
    slots = Slots(1)
    enter(slots)
    leave(slots, sent_bytes=1, now_s=10_000)
    assert slots.kept(5_000) == 0


def test_a_refused_connection_leaves_no_trace() -> None:
    slots = Slots(1)
    enter(slots)
    enter(slots, "b")
    leave(slots)
    assert (slots.visits.active, slots.connections, slots.kept(0)) == (0, 0, 0)


def test_one_address_has_so_many_connections_whatever_its_grants() -> None:
    slots = Slots(10, connections_per_address=3)
    network = [ip_address(f"2001:db8::{number}") for number in range(1, 5)]
    assert [enter(slots, str(number), address=network[number]) for number in range(3)] == [None] * 3
    assert enter(slots, "d", address=network[3]) is Refusal.ADDRESS_FULL, "a /64 is one visitor"
    assert enter(slots, "d", address=ip_address("2001:db8:0:1::1")) is None
    slots.leave(grant("0").grant_id, unsent_bytes=1, address=network[0], now_s=0)
    assert enter(slots, "e", address=network[3]) is None


def test_fewer_slots_cut_nobody_and_let_nobody_in() -> None:
    slots = Slots(2)
    enter(slots)
    enter(slots, "b")
    slots.visits.slots = 1
    leave(slots, keep=False)
    assert enter(slots, "c") is Refusal.SLOTS_FULL
    leave(slots, "b", keep=False)
    assert enter(slots, "c") is None


def test_an_announced_visitor_reserves_a_slot_until_he_comes_or_is_too_late() -> None:
    slots = Slots(10)
    slots.expect(grant("a").grant_id, start_by_s=1000, now_s=0)
    slots.expect(grant("b").grant_id, start_by_s=5, now_s=0)
    slots.expect(grant("c").grant_id, start_by_s=-1, now_s=0)
    assert slots.reserved(0) == 2
    assert slots.reserved(6) == 1
    enter(slots)
    assert slots.reserved(7) == 0


def test_a_reservation_ends_by_itself() -> None:
    slots = Slots(10)
    slots.expect(grant().grant_id, start_by_s=10_000, now_s=0)
    assert slots.reserved(RESERVED_S_MAX) == 1
    assert slots.reserved(RESERVED_S_MAX + 0.1) == 0


def test_a_notice_that_comes_after_its_visitor_reserves_nothing() -> None:
    slots = Slots(10)
    enter(slots)
    slots.expect(grant().grant_id, start_by_s=1000, now_s=0)
    assert slots.reserved(0) == 0


def test_a_reservation_keeps_nobody_out() -> None:
    slots = Slots(1)
    slots.expect(grant("a").grant_id, start_by_s=1000, now_s=0)
    assert enter(slots, "b") is None


def test_other_mirrors_have_slots_of_their_own() -> None:
    peers = PeerSlots(1)
    assert [peers.enter(), peers.enter()] == [True, False]
    peers.leave()
    assert peers.enter()


def load(
    *, slots: int = 100, active: int = 0, reserved: int = 0, left: int | None = None, sparing: bool = False
) -> LoadReported:
    return LoadReported(
        mirror=MirrorName("ana"),
        slots=slots,
        active=active,
        reserved=reserved,
        transmit_bytes_per_second=0,
        quota_left_bytes=left,
        sparing=sparing,
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
        pytest.param(load(left=10), load(left=9, sparing=True), True, id="the soft limit is reached"),
        pytest.param(load(active=0, reserved=0), load(reserved=5), True, id="visitors were announced"),
    ],
)
def test_load_is_told_when_it_would_change_a_choice(before: LoadReported, now: LoadReported, worth: bool) -> None:
    assert worth_telling(before, now) is worth
