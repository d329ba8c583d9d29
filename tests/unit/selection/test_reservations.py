"""What a selector granted counts as load, until the mirror counts it itself."""

from __future__ import annotations

from events.names import MirrorName, SelectorName
from selection.policy.reservations import NOTHING, Reservations, Reserved

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
