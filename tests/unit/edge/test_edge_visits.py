"""Visits: one download and not one request, within connections, budget and slots."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from edge import visits
from edge.visits import BUDGET_FACTOR, GRANT_CONNECTIONS_MAX, Excess, Visits
from events.errors import ForeignGrantError
from events.grants import Grant, bind
from events.names import Digest

NOW_S = 1000.0
SIZE_BYTES = 100


def grant(number: int = 1, *, finish_by_s: int = 2000) -> Grant:
    bound = bind(ip_address("192.0.2.1"))
    return Grant(
        grant_id=number.to_bytes(16),
        sha256=Digest(b"1" * 32),
        size_bytes=SIZE_BYTES,
        start_by_s=1060,
        finish_by_s=finish_by_s,
        address=bound.address,
        prefix_bits=bound.prefix_bits,
    )


def enter(seen: Visits, one: Grant, asked_bytes: int = 1) -> Excess | None:
    return seen.enter(one, asked_bytes=asked_bytes, now_s=NOW_S)


def test_a_download_in_segments_takes_one_slot_and_no_more_than_its_connections() -> None:
    seen = Visits(1)
    assert [enter(seen, grant()) for _ in range(GRANT_CONNECTIONS_MAX + 1)] == [None] * 4 + [Excess.CONNECTIONS]
    assert seen.active == 1
    assert enter(seen, grant(2)) is Excess.SLOTS
    for _ in range(GRANT_CONNECTIONS_MAX):
        seen.leave(grant().grant_id, unsent_bytes=1)
    assert (seen.active, enter(seen, grant(2))) == (0, None)


def test_many_ranges_take_no_more_than_the_budget_and_what_never_left_is_given_back() -> None:
    seen, one = Visits(1), grant()
    assert enter(seen, one, BUDGET_FACTOR * SIZE_BYTES) is None
    assert enter(seen, one, 1) is Excess.BUDGET, "what was asked for counts before it left"
    seen.count(one.grant_id, 50)
    seen.leave(one.grant_id, unsent_bytes=150)
    assert enter(seen, one, 151) is Excess.BUDGET
    assert enter(seen, one, 150) is None


def test_a_grant_has_started_with_its_first_byte() -> None:
    seen, one = Visits(1), grant()
    enter(seen, one, SIZE_BYTES)
    assert (seen.knows(one.grant_id), seen.started(one.grant_id)) == (True, False)
    seen.count(one.grant_id, 1)
    assert seen.started(one.grant_id)


def test_a_claim_is_kept_with_its_grant() -> None:
    seen, one = Visits(1), grant()
    assert seen.claimed(one.grant_id) is None
    address, claim = ip_address("2001:db8::1"), bind(ip_address("2001:db8::1"))
    assert not seen.prove(one, ip_address("192.0.2.1"), now_s=NOW_S), "it is his already"
    assert [seen.prove(one, address, now_s=NOW_S) for _ in range(2)] == [True, False]
    assert (seen.claimed(one.grant_id), seen.claimed(grant(2).grant_id)) == (claim, None)
    with pytest.raises(ForeignGrantError):
        seen.prove(one, ip_address("2001:db8:1::1"), now_s=NOW_S)


def test_what_is_remembered_is_bounded_and_what_is_under_way_is_never_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(visits, "GRANTS_REMEMBERED_MAX", 20)
    seen, busy = Visits(1000), grant(1, finish_by_s=1)
    enter(seen, busy)
    for number in range(2, 200):
        one = grant(number, finish_by_s=2000 + number)
        enter(seen, one)
        seen.leave(one.grant_id, unsent_bytes=1)
    known = [number for number in range(1, 200) if seen.knows(grant(number).grant_id)]
    assert len(known) <= 20
    assert (known[0], known[-1]) == (1, 199)
