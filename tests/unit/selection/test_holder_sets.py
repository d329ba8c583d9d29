"""Sets of mirrors are kept once, whether they stay or are there for a moment."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selection.view.holders import HolderSets

THINGS = 30
MIRRORS = 5


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), idle_max=st.integers(0, 10), lately_max=st.integers(1, 10))
def test_each_thing_has_its_set_and_equal_sets_are_one_however_few_are_kept(
    seed: int, idle_max: int, lately_max: int
) -> None:
    rng = Random(seed)  # noqa: S311 - dice of a test
    sets, held, wanted = HolderSets(), [0] * THINGS, [0] * THINGS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selection.view.holders.IDLE_MAX", idle_max)
        patch.setattr("selection.view.holders.LATELY_MAX", lately_max)
        for _ in range(300):
            thing = rng.randrange(THINGS)
            wanted[thing] = rng.getrandbits(MIRRORS)
            held[thing] = sets.exchange(held[thing], wanted[thing])
            assert [sets.values[number] for number in held] == wanted
        assert len(set(held)) == len(set(wanted))
        again = HolderSets()
        again.load(sets.dump())
        assert [again.values[number] for number in held] == wanted
        assert [again.exchange(0, value) for value in wanted] == held
