"""What is remembered of the mirrors is what looking at each of them anew would give, whatever happened in between."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from events.names import MirrorName, SelectorName
from events.schemas import Availability, MirrorRuled
from selection.policy.eligible import Eligible
from selection.policy.policy import Policy
from selection.policy.reservations import Reservations
from selection.policy.rules import Rules
from selection.policy.shares import Shares
from selection.policy.terrain import Terrain
from selection.view.fleet import FleetView

if TYPE_CHECKING:
    from conftest import Story

RULES = Rules(silent_after_s=10.0, load_threshold=1.0, near_km=200.0, hops_max=3)
NAMES = ("ana", "bob", "cat", "dia")
OURS, THEIRS = SelectorName("ours"), SelectorName("theirs")
STEPS = 150
SIZE_BYTES = 1000


class Life:
    """A fleet of which one keeps account, and to which all sorts of things happen."""

    def __init__(self, story: Story, rng: Random) -> None:
        self.story, self.rng = story, rng
        for name in NAMES:
            story.serving(name, slots=40)
        story.master(MirrorRuled(mirror=MirrorName("dia"), weight_percent=50))
        self.view, self.reservations, self.sequence = FleetView(), Reservations(), 0
        self.told = 0
        self.lived = self.eligible()
        self.hear()

    def eligible(self) -> Eligible:
        return Eligible(self.view, self.reservations, RULES, Terrain(RULES, Shares()))

    def hear(self) -> None:
        for envelope in self.story.said[self.told :]:
            self.view.apply(envelope, heard_s=0.0)
        self.told = len(self.story.said)
        self.lived.catch_up(0.0)

    def report(self, name: str) -> None:
        slots = self.rng.choice((8, 40))
        quota_left_bytes = self.rng.choice((None, None, self.rng.randrange(20) * SIZE_BYTES))
        active, sparing = self.rng.randrange(slots + 1), self.rng.random() < 0.2
        self.story.load(name, slots=slots, active=active, quota_left_bytes=quota_left_bytes, sparing=sparing)

    def grant(self, name: str) -> None:
        """Send visitors there while that is what a choice may do: often enough to fill it up."""
        mirror = self.view.mirror(MirrorName(name))
        for _ in range(self.rng.choice((1, 5, 40))):
            if self.lived.weights.of[mirror.number]:
                self.sequence += 1
                self.lived.reserve(mirror, selector=OURS, sequence=self.sequence, size_bytes=SIZE_BYTES, expires_s=99.0)

    def another_grants(self, name: str) -> None:
        self.sequence += 1
        self.reservations.add(
            MirrorName(name), selector=THEIRS, sequence=self.sequence, size_bytes=SIZE_BYTES, expires_s=99.0
        )

    def count(self, name: str) -> None:
        selector = self.rng.choice((OURS, THEIRS))
        up_to_sequence = self.rng.randrange(self.sequence + 1)
        self.reservations.counted(MirrorName(name), selector=selector, up_to_sequence=up_to_sequence)

    def open_or_pause(self, name: str) -> None:
        self.story.available(name, self.rng.choice((Availability.OPEN, Availability.OPEN, Availability.PAUSED)))


def figures(eligible: Eligible) -> object:
    weights = eligible.weights
    return weights.of, weights.bounds, eligible.willing, eligible.sparing, eligible.short_of


@pytest.mark.parametrize("seed", range(20))
def test_figures_that_were_kept_through_grants_and_reports_are_those_of_a_look_at_all(story: Story, seed: int) -> None:
    rng = Random(seed)  # noqa: S311 - dice of a test
    life = Life(story, rng)
    steps = (life.report, life.grant, life.grant, life.another_grants, life.count, life.open_or_pause)
    for _ in range(STEPS):
        rng.choice(steps)(rng.choice(NAMES))
        life.hear()
        fresh = life.eligible()
        fresh.catch_up(0.0)
        assert figures(life.lived) == figures(fresh)


def test_report_is_taken_up_when_it_is_heard_and_who_joins_when_somebody_asks(story: Story) -> None:
    story.serving("ana")
    view = story.view()
    policy = Policy(view, Reservations(), RULES)
    policy.prepare(now_s=0.0)

    def hear() -> int:
        """Hear the last word; give how many figures that changed."""
        before = policy.figured.version
        view.apply(story.said[-1], heard_s=0.0)
        policy.heard(0.0)
        return policy.figured.version - before

    story.load("ana", active=5)
    assert hear() == 1
    story.joined("bob", channels=())
    assert hear() == 0, "that may take a look at the whole fleet"
    story.load("ana", active=6)
    assert hear() == 0, "nor is anything taken up before it"
    policy.prepare(now_s=0.0)
    story.load("ana", active=7)
    assert hear() == 1
