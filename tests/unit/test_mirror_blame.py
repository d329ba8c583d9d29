"""Who is left out for what, for how long, and when it is told."""

from __future__ import annotations

import pytest

from events.names import ORIGIN, Digest, MirrorName
from events.schemas import DeclineReason, SourceFault
from mirror.fetching.blame import FAILED_BAN_S, LIAR_BAN_S, LIES, STRIKES_MAX, Blame, Fault, SourcesBadError

BOB = MirrorName("bob")
A, B = Digest(b"a" * 32), Digest(b"b" * 32)
ORIGIN_BAN_S = 30.0


@pytest.fixture
def blame() -> Blame:
    return Blame(origin_ban_s=ORIGIN_BAN_S)


def fault(kind: SourceFault) -> Fault:
    return Fault(kind, "seen")


@pytest.mark.parametrize("lie", [kind for kind in SourceFault if kind in LIES])
def test_a_liar_is_banned_at_once_for_this_content_alone(blame: Blame, lie: SourceFault) -> None:
    assert blame.note(BOB, A, fault(lie), now_s=0)
    assert blame.banned(BOB, A, now_s=LIAR_BAN_S - 1) == fault(lie)
    assert blame.banned(BOB, B, now_s=0) is None
    assert blame.banned(MirrorName("eve"), A, now_s=0) is None
    assert blame.banned(BOB, A, now_s=LIAR_BAN_S) is None


def test_who_merely_fails_is_banned_after_some_failures_in_a_row(blame: Blame) -> None:
    for _ in range(3):
        told = [blame.note(BOB, A, fault(SourceFault.BROKEN_OFF), now_s=0) for _ in range(STRIKES_MAX - 1)]
        assert not any(told)
        assert blame.banned(BOB, A, now_s=0) is None
        blame.praise(BOB, A)
    told = [blame.note(BOB, A, fault(SourceFault.UNREACHABLE), now_s=0) for _ in range(STRIKES_MAX)]
    assert told == [False] * (STRIKES_MAX - 1) + [True]
    assert blame.banned(BOB, A, now_s=FAILED_BAN_S - 1) is not None
    assert blame.banned(BOB, A, now_s=FAILED_BAN_S) is None


def test_a_source_is_told_of_once_however_often_it_is_banned(blame: Blame) -> None:
    assert blame.note(BOB, A, fault(SourceFault.WRONG_BYTES), now_s=0)
    assert not blame.note(BOB, A, fault(SourceFault.WRONG_BYTES), now_s=LIAR_BAN_S)
    assert blame.banned(BOB, A, now_s=LIAR_BAN_S) is not None
    assert blame.note(BOB, B, fault(SourceFault.WRONG_BYTES), now_s=0), "of another content it is news"


def test_the_master_is_tried_again_sooner(blame: Blame) -> None:
    blame.note(ORIGIN, A, fault(SourceFault.WRONG_BYTES), now_s=0)
    assert blame.banned(ORIGIN, A, now_s=ORIGIN_BAN_S - 1) is not None
    assert blame.banned(ORIGIN, A, now_s=ORIGIN_BAN_S) is None


@pytest.mark.parametrize(
    ("kinds", "reason"),
    [
        pytest.param([SourceFault.WRONG_BYTES, SourceFault.ENDLESS], DeclineReason.DIGEST_MISMATCH, id="liars alone"),
        pytest.param([SourceFault.FORBIDDEN_ADDRESS], DeclineReason.SOURCE_REFUSED, id="not allowed to ask there"),
        pytest.param([SourceFault.WRONG_BYTES, SourceFault.REFUSED], DeclineReason.SOURCE_REFUSED, id="one refuses"),
        pytest.param(
            [SourceFault.REFUSED, SourceFault.TOO_SLOW], DeclineReason.SOURCE_UNAVAILABLE, id="one may be back soon"
        ),
    ],
)
def test_the_mildest_fault_says_why_and_all_are_named(kinds: list[SourceFault], reason: DeclineReason) -> None:
    error = SourcesBadError(A, {MirrorName(f"m{number}"): fault(kind) for number, kind in enumerate(kinds)})
    assert error.reason is reason
    assert all(f"m{number}: {kind.value} (seen)" in str(error) for number, kind in enumerate(kinds))
