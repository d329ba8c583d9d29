"""A revocation takes back what it names, from whom it names, and nothing that was given afterwards."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from events.grants import Binding, Grant, bind
from events.names import ORIGIN, Digest, MirrorName
from events.revocation import revokes
from events.schemas import GrantsRevoked
from events.schemas.fields import TIMESTAMP_S_MAX
from events.terms import FINISH_WITHIN_S, START_BY_S, finish_by_s, last_start_by_s

NOW_S = 1_000_000.5
ANA = MirrorName("ana")
SHA256 = Digest(b"1" * 32)


def grant(address: str = "203.0.113.9", binding: Binding = Binding.STRICT, *, given_s: float = NOW_S) -> Grant:
    bound = bind(ip_address(address), binding)
    start_by_s = int(given_s) + START_BY_S
    return Grant(
        grant_id=b"g" * 16,
        sha256=SHA256,
        size_bytes=1000,
        start_by_s=start_by_s,
        finish_by_s=finish_by_s(start_by_s, 1000),
        address=bound.address,
        prefix_bits=bound.prefix_bits,
    )


def revoked(**criteria: object) -> GrantsRevoked:
    start_by_s_max = last_start_by_s(NOW_S)
    return GrantsRevoked(
        revocation=1,
        start_by_s_max=start_by_s_max,
        until_s=finish_by_s(start_by_s_max, 1000),
        reason="",
        **criteria,  # pyright: ignore[reportArgumentType] - each case names its own
    )


@pytest.mark.parametrize(
    ("criteria", "taken"),
    [
        pytest.param({"mirror": ANA}, True, id="its mirror"),
        pytest.param({"mirror": ORIGIN}, False, id="another mirror"),
        pytest.param({"grant_id": b"g" * 16}, True, id="its id"),
        pytest.param({"grant_id": b"h" * 16}, False, id="another id"),
        pytest.param({"sha256": SHA256}, True, id="its content"),
        pytest.param({"sha256": Digest(b"2" * 32)}, False, id="another content"),
        pytest.param({"network": "203.0.113.0/24"}, True, id="its network"),
        pytest.param({"network": "203.0.113.9/32"}, True, id="its address"),
        pytest.param({"network": "203.0.113.10/32"}, False, id="its neighbour"),
        pytest.param({"network": "::/0"}, False, id="the other family"),
        pytest.param({"sha256": SHA256, "mirror": ORIGIN}, False, id="its content at another mirror"),
        pytest.param({"sha256": SHA256, "network": "203.0.113.9/32"}, True, id="its content and address"),
    ],
)
def test_a_revocation_takes_back_what_agrees_with_all_that_it_names(criteria: dict[str, object], taken: bool) -> None:
    assert revokes(revoked(**criteria), grant(), mirror=ANA) is taken


@pytest.mark.parametrize(
    ("bound_to", "binding", "visitor", "network", "taken"),
    [
        pytest.param("203.0.113.9", Binding.PREFIX, "203.0.113.9", "203.0.113.9/32", True, id="one of a /24"),
        pytest.param("203.0.113.9", Binding.PREFIX, "203.0.113.8", "203.0.113.9/32", False, id="his neighbour"),
        pytest.param("203.0.113.9", Binding.PREFIX, None, "203.0.113.0/24", True, id="the whole /24"),
        pytest.param("203.0.113.9", Binding.OFF, "203.0.113.9", "203.0.113.9/32", True, id="bound to nobody"),
        pytest.param("203.0.113.9", Binding.OFF, None, "::/0", False, id="bound to nobody, of nobody"),
        pytest.param("203.0.113.9", Binding.STRICT, "2001:db8::1", "203.0.113.9/32", True, id="claimed by IPv6"),
        pytest.param("203.0.113.9", Binding.STRICT, "2001:db8::1", "2001:db8::/32", True, id="by what claimed it"),
        pytest.param("2001:db8::1", Binding.STRICT, None, "2001:db8::/64", True, id="a /64"),
        pytest.param("2001:db8::1", Binding.STRICT, "2001:db8::2", "2001:db8::1/128", False, id="another of the /64"),
    ],
)
def test_by_network_it_reaches_the_visitor_and_not_his_neighbours(
    bound_to: str, binding: Binding, visitor: str | None, network: str, taken: bool
) -> None:
    address = None if visitor is None else ip_address(visitor)
    assert revokes(revoked(network=network), grant(bound_to, binding), mirror=ANA, address=address) is taken


@pytest.mark.parametrize(("given_s", "taken"), [(NOW_S - 50, True), (NOW_S + 1, True), (NOW_S + 3, False)])
def test_what_is_granted_afterwards_holds(given_s: float, taken: bool) -> None:
    assert revokes(revoked(mirror=ANA), grant(given_s=given_s), mirror=ANA) is taken


def test_no_grant_outlives_the_end_of_time_that_a_token_can_write() -> None:
    assert finish_by_s(100, 0) == 100 + FINISH_WITHIN_S
    assert finish_by_s(TIMESTAMP_S_MAX - 1, 2**62) == last_start_by_s(float(TIMESTAMP_S_MAX)) == TIMESTAMP_S_MAX
