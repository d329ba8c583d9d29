"""A visitor has a place kept for him once, and few at a time."""

from __future__ import annotations

from ipaddress import ip_address

from events.grants import bind
from events.names import Digest, MirrorName
from selection.policy.claims import CLAIMS_PER_VISITOR_MAX, Claims

ANA = MirrorName("ana")


def claim(claims: Claims, address: str, body: bytes, mirror: MirrorName = ANA, *, now_s: float = 0.0) -> bool:
    digest = Digest(body * 32)
    visitor = int(bind(ip_address(address)).address)
    return claims.claim(visitor, digest, mirror, now_s=now_s, expires_s=now_s + 90)


def test_visitor_has_one_place_for_a_content_at_a_mirror_until_it_expires() -> None:
    claims = Claims()
    assert claim(claims, "203.0.113.9", b"a")
    assert not claim(claims, "203.0.113.9", b"a", now_s=89.9)
    assert claim(claims, "203.0.113.10", b"a")
    assert claim(claims, "203.0.113.9", b"b")
    assert claim(claims, "203.0.113.9", b"a", now_s=90)


def test_addresses_of_one_ipv6_network_are_one_visitor() -> None:
    claims = Claims()
    assert claim(claims, "2001:db8::1", b"a")
    assert not claim(claims, "2001:db8::2", b"a")
    assert claim(claims, "2001:db8:0:1::1", b"a")


def test_visitors_places_are_limited_and_free_again_when_they_expire() -> None:
    claims = Claims()
    made = [claim(claims, "203.0.113.9", bytes([number])) for number in range(CLAIMS_PER_VISITOR_MAX + 1)]
    assert made == [True] * CLAIMS_PER_VISITOR_MAX + [False]
    assert claim(claims, "203.0.113.10", b"a")
    assert claim(claims, "203.0.113.9", b"a", now_s=90)
