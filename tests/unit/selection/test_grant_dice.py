"""The dice of one decision: those of its grant's id, each time it is thrown."""

from __future__ import annotations

import pytest

from selection.policy.dice import GrantDice


def test_dice_of_a_grant_fall_the_same_each_time_and_fairly() -> None:
    thrown = [[dice.random() for _ in range(30)] for dice in (GrantDice(bytes(range(16))), GrantDice(bytes(range(16))))]
    assert thrown[0] == thrown[1]
    assert len(set(thrown[0])) == 30
    assert thrown[0][:2] == [(int.from_bytes(bytes(range(at, at + 7))) >> 3) / 2**53 for at in (0, 7)]
    later = [[dice.random() for _ in range(12)][-1] for dice in (GrantDice(bytes([n]) * 16) for n in range(200))]
    assert all(0 <= number < 1 for number in [*thrown[0], *later])
    assert sum(later) / len(later) == pytest.approx(0.5, abs=0.1)
