"""A release day on a virtual clock: nobody is left without an answer, and what leaves takes nobody with it."""

from __future__ import annotations

import pytest

from bench.releaseday import MIRRORS, REFUSED_GOAL_PERCENT, RULES, SLOTS, simulate
from events.names import MirrorName
from selection.policy.reservations import Reservations

LEFT = 3


@pytest.mark.parametrize(
    ("load", "seed"),
    [
        pytest.param(0.8, 1, id="at the limit"),
        pytest.param(0.8, 2, id="at the limit, others"),
        pytest.param(2.0, 1, id="far too much"),
    ],
)
def test_every_visitor_has_an_answer_and_no_mirror_that_stays_is_overrun(load: float, seed: int) -> None:
    day = simulate(load=load, seed=seed)
    assert day.answered == day.visitors
    assert len(day.most_active) == MIRRORS - LEFT
    assert max(day.most_active.values()) <= SLOTS
    assert day.refused_percent < REFUSED_GOAL_PERCENT
    assert day.longest_way <= RULES.hops_max + 1, "so many mirrors, then the master"


def test_master_serves_next_to_nobody_while_the_mirrors_that_stay_suffice() -> None:
    day = simulate(load=0.5)
    assert day.by_master < 0.01 * day.visitors
    assert min(day.served.values()) > 0


def test_same_seed_gives_the_same_day() -> None:
    assert simulate(load=0.3, seed=7) == simulate(load=0.3, seed=7)


def test_selectors_that_did_not_count_their_grants_would_overrun_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(_reservations: Reservations, _mirror: MirrorName, **_grant: object) -> None:
        pass

    counted = simulate(load=1.0, seed=1).refused_percent
    monkeypatch.setattr(Reservations, "add", forget)
    assert simulate(load=1.0, seed=1).refused_percent > 3 * counted
