"""Rankings that are made before anybody asks, and what is told of a place whose ranking is not there yet."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

import pytest

from events.schemas import EVERYBODY, Location, Profile, Reach
from selection.answering.preparing import prepare_rankings
from selection.following.hearing import HearingClock
from selection.places.countries import COUNTRY_CODES
from selection.places.place import Place
from selection.policy import ranking as rankings_module
from selection.policy.answers import Few
from selection.policy.atlas import OUT_OF_REACH, Atlas, Spot, spot_of
from selection.policy.drawing import FEW
from selection.policy.eligible import Eligible
from selection.policy.picking import Picker
from selection.policy.policy import Policy
from selection.policy.questions import Questions
from selection.policy.ranking import MOVES_MAX, NEIGHBOURS, Ranking, Rankings
from selection.policy.reservations import Reservations
from selection.policy.rules import Rules
from selection.policy.shares import Shares
from selection.policy.terrain import Terrain
from selection.view.fleet import FleetView

if TYPE_CHECKING:
    from conftest import Kit, Story

RULES = Rules(silent_after_s=10.0, load_threshold=1.0, near_km=200.0, hops_max=3)
STEPS_MAX = 10_000
ALL_OF_40 = (1 << 40) - 1
COUNTRIES = ("", "DE", "FR", "PT")


def spot(rng: Random) -> Spot:
    location = Location(latitude=rng.uniform(35, 55), longitude=rng.uniform(-9, 15), country=rng.choice(COUNTRIES))
    reach = Reach(countries_excluded=(rng.choice(("DE", "FR")),)) if rng.random() < 0.2 else EVERYBODY
    asn = rng.choice((0, 0, 64500))
    is_placed = rng.random() < 0.9
    return spot_of(
        Profile(url="http://a.example", slots=1, location=location if is_placed else None, asn=asn, reach=reach),
        EVERYBODY,
    )


def atlas_of(mirrors: int, rng: Random) -> Atlas:
    atlas = Atlas(near_km=200.0)
    for number in range(mirrors):
        atlas.put(number, spot(rng))
    return atlas


def place(rng: Random) -> Place:
    return Place(
        latitude=rng.uniform(35, 55),
        longitude=rng.uniform(-9, 15),
        country=rng.choice(COUNTRIES),
        asn=rng.choice((0, 64500)),
        precise=rng.random() < 0.7,
    )


def levels(ranking: Ranking, mirrors: int) -> list[int]:
    return [ranking.level_of(number) for number in range(mirrors)]


def prepared(rankings: Rankings) -> int:
    """Do all the work there is; give the number of slices."""
    steps = 1
    while rankings.prepare():
        steps += 1
        assert steps < STEPS_MAX
    return steps


@pytest.mark.parametrize("seed", range(20))
def test_ranking_of_a_few_mirrors_decides_among_them_as_that_of_all_does(seed: int) -> None:
    rng = Random(seed)  # noqa: S311 - dice of a test
    atlas = atlas_of(40, rng)
    for _ in range(20):
        where = place(rng)
        pool = sum(1 << number for number in rng.sample(range(40), rng.randrange(1, FEW + 1)))
        neighbours = rng.choice((0, 0, rng.getrandbits(40)))
        whole, few = Rankings(atlas).of(where), Rankings(atlas).for_pools(where, [pool])
        assert whole.turn == few.turn
        left = pool
        while left:
            _, nearest = whole.nearest(left, neighbours)
            assert few.nearest(left, neighbours)[1] == nearest
            if not nearest:
                break
            left ^= nearest
        assert [found for _, found in few.groups([pool], neighbours)] == repeated(whole, [pool], neighbours)
        asked = Few.of(tuple(numbers_in(pool)))
        ordered, near = whole.in_order(asked)
        assert (ordered, near) == few.in_order(asked)
        assert ordered[:near] == [number for number in ordered if number in whole.nearest_of(asked)]


@pytest.mark.parametrize("seed", range(20))
def test_groups_of_some_pools_are_what_is_nearest_of_those_who_are_left(seed: int) -> None:
    rng = Random(seed)  # noqa: S311 - dice of a test
    atlas = atlas_of(40, rng)
    for _ in range(20):
        ranking = Rankings(atlas).of(place(rng))
        first = rng.getrandbits(40) & rng.getrandbits(40)
        pools = [first, 0, rng.getrandbits(40) & ~first]
        neighbours = rng.choice((0, 0, rng.getrandbits(40)))
        groups = list(ranking.groups(pools, neighbours))
        assert [found for _, found in groups] == repeated(ranking, pools, neighbours)
        assert all(not found & ~ranking.group(at) for at, found in groups if at != NEIGHBOURS)


@pytest.mark.parametrize("seed", range(20))
def test_few_and_many_are_put_in_order_by_their_levels_and_nobody_out_of_reach_among_them(seed: int) -> None:
    rng = Random(seed)  # noqa: S311 - dice of a test
    atlas = atlas_of(40, rng)
    terrain = Terrain(RULES, Shares())
    eligible = Eligible(FleetView(), Reservations(), RULES, terrain)
    eligible.weights.grow(40)
    eligible.weights.order = rng.sample(range(40), 40)
    for size in (1, FEW, FEW + 1, 39):
        rankings = Rankings(atlas)
        ranking = rankings.of(place(rng))
        pool = sum(1 << number for number in rng.sample(range(40), size))
        question = Questions(FleetView(), eligible, terrain).of((pool, ALL_OF_40 ^ pool), 0, 39)
        answer = Picker(eligible, terrain, rankings).answer(ranking, question)
        drawn_from = answer.few or numbers_in(answer.many[1])
        reached = [number for number in range(40) if ranking.level_of(number) != OUT_OF_REACH]
        ranks = [(not pool >> number & 1, ranking.level_of(number)) for number in answer.best]
        assert (ranks, sorted(answer.best)) == (sorted(ranks), reached)
        assert set(drawn_from) == {number for number, rank in zip(answer.best, ranks, strict=True) if rank == ranks[0]}
        assert list(answer.few) == sorted(answer.few, key=eligible.weights.order.__getitem__)
        for wanted in range(9):
            question = Questions(FleetView(), eligible, terrain).of((pool, ALL_OF_40 ^ pool), 0, wanted)
            found = Picker(eligible, terrain, rankings).answer(ranking, question)
            assert list(found.few) == list(answer.few)
            assert found.many == answer.many
            if wanted:
                found_levels = [ranking.level_of(number) for number in found.best]
                assert found_levels == [level for _, level in ranks[: wanted + 1]]
                assert len({*found.best}) == len(found.best)


def repeated(ranking: Ranking, pools: list[int], neighbours: int) -> list[int]:
    """Ask for the nearest until nobody is left."""
    found: list[int] = []
    for pool in pools:
        left = pool
        while candidates := ranking.nearest(left, neighbours)[1]:
            found.append(candidates)
            left ^= candidates
    return found


def numbers_in(pool: int) -> list[int]:
    return [number for number in range(40) if pool >> number & 1]


def test_place_that_was_asked_for_is_ranked_before_anybody_asks_again() -> None:
    rng = Random(1)  # noqa: S311 - dice of a test
    atlas, where = atlas_of(40, rng), place(rng)
    rankings = Rankings(atlas)
    rankings.for_pools(where, [0b111])
    assert len(rankings) == 0
    prepared(rankings)
    found = rankings.for_pools(where, [0b111])
    assert levels(found, 40) == levels(Rankings(atlas).of(where), 40)
    assert rankings.size_bytes == found.size_bytes


def test_who_may_be_sent_to_many_mirrors_waits_for_the_ranking() -> None:
    rng = Random(2)  # noqa: S311 - dice of a test
    rankings = Rankings(atlas_of(40, rng))
    rankings.for_pools(place(rng), [0, ALL_OF_40])
    assert len(rankings) == 1


def test_ranking_is_made_in_slices_while_mirrors_go_on_moving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rankings_module, "SLICE_MIRRORS", 7)
    rng = Random(3)  # noqa: S311 - dice of a test
    atlas, where = atlas_of(40, rng), place(rng)
    rankings = Rankings(atlas)
    rankings.expect(where)
    for number in (0, 39, 40):  # one that is in the slice behind, one ahead, and a new one
        assert rankings.prepare()
        atlas.put(number, spot(rng))
    assert prepared(rankings) > 40 // 7 - 3
    assert len(rankings) == 1
    assert levels(rankings.for_pools(where, [1]), 41) == levels(Rankings(atlas).of(where), 41)


@pytest.mark.parametrize("moves", [1, MOVES_MAX + 1])
def test_rankings_are_put_right_ahead_however_many_mirrors_moved(moves: int) -> None:
    rng = Random(4)  # noqa: S311 - dice of a test
    atlas, where = atlas_of(40, rng), place(rng)
    rankings = Rankings(atlas)
    rankings.of(where)
    for _ in range(moves):
        atlas.put(rng.randrange(40), spot(rng))
    prepared(rankings)
    assert not rankings.prepare()
    found = rankings.for_pools(where, [1])
    assert found.version == atlas.changes.version
    assert levels(found, 40) == levels(Rankings(atlas).of(where), 40)
    assert rankings.size_bytes == found.size_bytes


def test_places_that_are_asked_for_are_put_right_before_all_others() -> None:
    rng = Random(6)  # noqa: S311 - dice of a test
    atlas = atlas_of(40, rng)
    rankings = Rankings(atlas)
    kept = [rankings.of(Place(latitude=float(latitude), longitude=0.5)) for latitude in range(0, 20, 2)]
    for asked in (kept[3], kept[7], kept[0]):
        atlas.put(0, spot(rng))
        prepared(rankings)
        rankings.of(Place(latitude=2.0 * kept.index(asked), longitude=0.5))
        atlas.put(0, spot(rng))
        while asked.version != atlas.changes.version:
            assert rankings.prepare()
        assert [ranking for ranking in kept if ranking.version == atlas.changes.version] == [asked]


def test_places_that_are_wanted_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rankings_module, "WANTED_MAX", 5)
    rankings = Rankings(atlas_of(3, Random(5)))  # noqa: S311 - dice of a test
    for latitude in range(-60, 60, 2):
        rankings.expect(Place(latitude=float(latitude), longitude=0.5))
    prepared(rankings)
    assert len(rankings) == 5


class WatchedPolicy(Policy):
    """Counts its slices, and tells when there is nothing left to do."""

    slices = 0
    is_done: asyncio.Event

    def prepare(self, *, now_s: float) -> bool:
        self.slices += 1
        is_more = super().prepare(now_s=now_s)
        if not is_more:
            self.is_done.set()
        return is_more


async def test_selector_ranks_for_all_countries_before_anybody_asks(kit: Kit, story: Story) -> None:
    story.serving("ana")
    policy = WatchedPolicy(kit.view_of(story.said), Reservations(), RULES)
    policy.is_done = asyncio.Event()
    preparing = asyncio.create_task(prepare_rankings(policy, HearingClock()))
    try:
        async with asyncio.timeout(60):
            await policy.is_done.wait()
    finally:
        preparing.cancel()
        await asyncio.wait([preparing])
    assert policy.slices > len(COUNTRY_CODES)
