"""A visitor has a place kept for him once, and few at a time."""

from __future__ import annotations

import gc
from ipaddress import ip_address

import pytest

from events.grants import bind
from events.names import ORIGIN, Digest, MirrorName
from selection.policy.claims import CLAIMS_PER_VISITOR_MAX, FORGOTTEN_AT_ONCE_MAX, Claims

ANA, BOB, CAT = MirrorName("ana"), MirrorName("bob"), MirrorName("cat")


def claim(claims: Claims, address: str, body: bytes, mirror: MirrorName = ANA, *, now_s: float = 0.0) -> bool:
    digest = Digest(body * 32)
    visitor = int(bind(ip_address(address)).address)
    return claims.claim(visitor, digest, mirror, now_s=now_s, expires_s=int(now_s) + 90)


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


@pytest.mark.parametrize("body", [b"a", b"\n", b"\0"])
def test_mirrors_that_keep_a_place_are_told_with_the_oldest_first_until_each_expires(body: bytes) -> None:
    claims, visitor, digest = Claims(), int(bind(ip_address("203.0.113.9")).address), Digest(body * 32)

    def kept(now_s: float) -> list[str]:
        return [*claims.mirrors(visitor, digest, now_s=now_s)]

    assert kept(0) == []
    for second, mirror in enumerate((BOB, ORIGIN, ANA)):
        assert claim(claims, "203.0.113.9", body, mirror, now_s=second)
        assert claim(claims, "203.0.113.9", b"x", mirror, now_s=second)
        assert claim(claims, "203.0.113.10", body, CAT, now_s=second) is (second == 0)
    assert kept(3) == [BOB, ORIGIN, ANA]
    assert kept(90) == [ORIGIN, ANA]
    assert kept(91) == [ANA]
    assert kept(92) == []


def test_collector_of_garbage_has_nothing_to_look_at_among_claims() -> None:
    claims, digest = Claims(), Digest(bytes(32))
    before = len(gc.get_objects())
    for visitor in range(1000):
        assert claims.claim(visitor, digest, ANA, now_s=0, expires_s=90)
    assert len(gc.get_objects()) - before < 10


def test_visitors_places_are_limited_and_free_again_when_they_expire() -> None:
    claims = Claims()
    made = [claim(claims, "203.0.113.9", bytes([number])) for number in range(CLAIMS_PER_VISITOR_MAX + 1)]
    assert made == [True] * CLAIMS_PER_VISITOR_MAX + [False]
    assert claim(claims, "203.0.113.10", b"a")
    assert claim(claims, "203.0.113.9", b"a", now_s=90)


def test_what_expired_claims_nothing_and_is_forgotten_a_few_with_each_claim() -> None:
    claims, digest = Claims(), Digest(bytes(32))
    crowd = 10 * FORGOTTEN_AT_ONCE_MAX
    for visitor in range(crowd):
        assert claims.claim(visitor, digest, ANA, now_s=0, expires_s=90)
    assert claims.mirrors(0, digest, now_s=89.9) == [ANA]
    assert not claims.mirrors(0, digest, now_s=90)
    assert len(claims) == crowd
    for newcomer in range(1, 11):
        assert claims.claim(crowd + newcomer, digest, ANA, now_s=90, expires_s=180)
        assert len(claims) == crowd - newcomer * FORGOTTEN_AT_ONCE_MAX + newcomer
    assert claims.claim(0, digest, ANA, now_s=90, expires_s=180)
    assert len(claims) == 11


def test_claims_that_expired_leave_room_for_others_before_they_are_forgotten() -> None:
    claims, visitor = Claims(), 7
    digests = [Digest(bytes([number] * 32)) for number in range(CLAIMS_PER_VISITOR_MAX)]
    made = [claims.claim(visitor, digest, ANA, now_s=0, expires_s=90) for digest in digests]
    assert all(made)
    crowd = 10 * FORGOTTEN_AT_ONCE_MAX  # who came behind him are forgotten first
    for other in range(100, 100 + crowd):
        assert claims.claim(other, digests[0], ANA, now_s=0, expires_s=90)
    assert not claims.claim(visitor, digests[0], ANA, now_s=89, expires_s=179)
    made = [claims.claim(visitor, digest, ANA, now_s=90, expires_s=180) for digest in digests]
    assert all(made)
    assert len(claims) > 2 * CLAIMS_PER_VISITOR_MAX
    for _ in range(crowd):
        assert not claims.claim(visitor, digests[0], BOB, now_s=91, expires_s=181)
    assert len(claims) == CLAIMS_PER_VISITOR_MAX
    assert claims.mirrors(visitor, digests[0], now_s=91) == [ANA]


def test_claims_of_all_seconds_are_forgotten_in_their_time() -> None:
    claims, digest = Claims(), Digest(bytes(32))
    for second in range(5):
        for visitor in (second, 100 + second):
            assert claims.claim(visitor, digest, ANA, now_s=second, expires_s=second + 90)
    for second in range(5):
        assert claims.claim(1000 + second, digest, ANA, now_s=second + 90, expires_s=second + 180)
        assert len(claims) == 2 * (4 - second) + second + 1


def test_claim_that_expired_never_holds_again_though_the_clock_is_set_back() -> None:
    claims, digest = Claims(), Digest(bytes(32))
    for visitor in range(2 * FORGOTTEN_AT_ONCE_MAX):
        assert claims.claim(visitor, digest, ANA, now_s=0, expires_s=90)
    assert claims.claim(1000, digest, ANA, now_s=90.2, expires_s=180)
    assert len(claims) > 1
    for visitor in range(2 * FORGOTTEN_AT_ONCE_MAX):
        assert not claims.mirrors(visitor, digest, now_s=89.7)
    assert claims.claim(0, digest, BOB, now_s=89.7, expires_s=179)
    assert claims.mirrors(0, digest, now_s=179.9) == [BOB]  # with those that were made before it
    assert not claims.mirrors(0, digest, now_s=180)


def test_no_more_claims_hold_than_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selection.policy.claims.CLAIMS_MAX", 2)
    claims, digest = Claims(), Digest(bytes(32))
    assert [claims.claim(visitor, digest, ANA, now_s=0, expires_s=90) for visitor in range(3)] == [True, True, False]
    assert claims.claim(3, digest, ANA, now_s=90, expires_s=180)
