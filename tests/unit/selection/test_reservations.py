"""What a selector granted counts as load, until the mirror counts it itself."""

from __future__ import annotations

import heapq
from random import Random

import pytest

from events.names import MirrorName, SelectorName
from selection.policy.reservations import NOTHING, Account, Reservations, Reserved

SEL = SelectorName("sel")
ANA = MirrorName("ana")
BOB = MirrorName("bob")


def test_reservations_count_until_a_report_counts_them() -> None:
    reservations = Reservations()
    for sequence in (5, 6, 7):
        reservations.add(ANA, selector=SEL, sequence=sequence, size_bytes=100, expires_s=60)
    assert reservations.of(ANA) == Reserved(3, 300)
    reservations.counted(ANA, selector=SEL, up_to_sequence=6)
    assert reservations.of(ANA) == Reserved(1, 100)
    reservations.counted(ANA, selector=SEL, up_to_sequence=4)
    assert reservations.of(ANA) == Reserved(1, 100)
    assert reservations.of(BOB) == NOTHING


def test_reservation_ends_when_its_visitor_can_no_longer_come() -> None:
    reservations = Reservations()
    reservations.add(ANA, selector=SEL, sequence=1, size_bytes=100, expires_s=60)
    reservations.add(ANA, selector=SEL, sequence=2, size_bytes=200, expires_s=61)
    reservations.expire(59.9)
    assert reservations.of(ANA).grants == 2
    reservations.expire(60)
    assert reservations.of(ANA) == Reserved(1, 200)


def test_every_grant_ends_in_its_time_whoever_gave_it_and_whatever_was_counted_before() -> None:
    rng, reservations = Random(7), Reservations()  # noqa: S311 - dice of a test
    mirrors, selectors = [MirrorName(f"m{number}") for number in range(5)], [SEL, SelectorName("other")]
    open_grants: list[tuple[MirrorName, SelectorName, int, float]] = []
    last_s = dict.fromkeys(selectors, 0.0)
    for sequence in range(400):
        mirror, selector, now_s = rng.choice(mirrors), rng.choice(selectors), float(sequence // 4)
        last_s[selector] = max(last_s[selector], now_s + rng.randrange(1, 60))
        reservations.add(mirror, selector=selector, sequence=sequence, size_bytes=1, expires_s=last_s[selector])
        open_grants.append((mirror, selector, sequence, last_s[selector]))
        if not rng.randrange(10):
            seen = rng.randrange(sequence + 1)
            reservations.counted(mirror, selector=selector, up_to_sequence=seen)
            open_grants = [one for one in open_grants if one[:2] != (mirror, selector) or one[2] > seen]
        if not rng.randrange(3):
            reservations.expire(now_s)
            open_grants = [one for one in open_grants if one[3] > now_s]
            for name in mirrors:
                assert reservations.of(name).grants == sum(one[0] == name for one in open_grants)


def test_only_accounts_with_a_grant_that_expires_change(monkeypatch: pytest.MonkeyPatch) -> None:
    reservations, looked_at = Reservations(), list[int]()
    for number in range(100):
        name = MirrorName(f"m{number}")
        reservations.add(name, selector=SEL, sequence=number, size_bytes=1, expires_s=100.0 + number)
    reservations.expire(0.0)
    expire = Account.expire

    def look(account: Account, now_s: float) -> bool:
        looked_at.append(account.number)
        return expire(account, now_s)

    monkeypatch.setattr(Account, "expire", look)
    before = reservations.changes.version
    reservations.expire(102.0)
    assert looked_at == [0, 1, 2]
    assert reservations.changes.since(before) == [0, 1, 2]


def test_accounts_are_awaited_once_or_so_however_long_several_selectors_share_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    awaited = 0

    def push(heap: list[tuple[float, int]], due: tuple[float, int]) -> None:
        nonlocal awaited
        heapq.heappush(heap, due)
        awaited = len(heap)

    monkeypatch.setattr("selection.policy.reservations.heappush", push)
    rng, reservations, most_awaited = Random(7), Reservations(), 0  # noqa: S311 - dice of a test
    mirrors, lasts_s = [MirrorName(f"m{number}") for number in range(5)], {SEL: 65, SelectorName("other"): 20}
    for sequence in range(6000):
        now_s, selector = sequence / 5, rng.choice([*lasts_s])
        expires_s = now_s + lasts_s[selector]
        reservations.add(rng.choice(mirrors), selector=selector, sequence=sequence, size_bytes=1, expires_s=expires_s)
        if not rng.randrange(5):
            reservations.counted(rng.choice(mirrors), selector=selector, up_to_sequence=sequence)
        reservations.expire(now_s)
        most_awaited = max(most_awaited, awaited)
    assert most_awaited <= 4 * len(mirrors)
