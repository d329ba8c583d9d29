"""Connections are let in up to a limit for each address, and up to one in all."""

from __future__ import annotations

from edge.gate import ConnectionLimits, Gate
from edge.visitors import parse_proxies


def test_one_address_keeps_no_other_out() -> None:
    gate = Gate(ConnectionLimits(total=10, per_address=2))
    assert [gate.enter("192.0.2.1") is not None for _ in range(3)] == [True, True, False]
    assert gate.enter("192.0.2.2") is not None
    assert len(gate) == 3


def test_place_is_free_again_when_a_connection_ended() -> None:
    gate = Gate(ConnectionLimits(per_address=1))
    place = gate.enter("192.0.2.1")
    assert place is not None
    assert gate.enter("::ffff:192.0.2.1") is None  # the same visitor
    gate.leave(place)
    assert gate.enter("192.0.2.1") is not None


def test_ipv6_is_counted_by_its_network() -> None:
    gate = Gate(ConnectionLimits(per_address=1))
    assert gate.enter("2001:db8::1") is not None
    assert gate.enter("2001:db8::2") is None
    assert gate.enter("2001:db8:0:1::1") is not None


def test_proxy_of_ours_has_a_limit_of_its_own() -> None:
    gate = Gate(ConnectionLimits(per_address=1, per_proxy=3, proxies=parse_proxies(["127.0.0.0/8"])))
    assert [gate.enter("127.0.0.1") is not None for _ in range(4)] == [True, True, True, False]


def test_nobody_is_let_in_past_the_whole() -> None:
    gate = Gate(ConnectionLimits(total=2))
    assert [gate.enter(f"192.0.2.{host}") is not None for host in range(3)] == [True, True, False]


def test_process_keeps_descriptors_for_its_work_however_many_connect() -> None:
    limits = ConnectionLimits(per_address=7)
    assert limits.within(100_000) == limits
    assert limits.within(1024) == ConnectionLimits(total=384, per_address=7)
    assert limits.within(64).total == 1
