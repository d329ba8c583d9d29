"""What holds of the fast choice for every fleet, history, file and visitor: it is the slow one's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import product
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.names import ChannelName, FilePath, MirrorName, SelectorName
from events.schemas import (
    Availability,
    LoadReported,
    Location,
    MirrorCameOnline,
    MirrorJoined,
    MirrorLeft,
    MirrorRuled,
    MirrorWentOffline,
    Profile,
    Reach,
    SubscriptionGranted,
    SubscriptionRevoked,
)
from selection.places.place import NOWHERE, Place
from selection.policy.choice import Choice, RejectReason
from selection.policy.picking import HEAD
from selection.policy.policy import Offer, Policy
from selection.policy.questions import DENSE_SHARE
from selection.policy.reservations import Reservations
from selection.policy.rules import Rules
from selection.policy.visitor import Visitor
from selection.view.fleet import FleetView

if TYPE_CHECKING:
    from conftest import Kit, Question, Story

NAMES = ("ana", "bob", "cat", "dia", "eve", "fay", "gil")
FILES = {"a.iso": 0, "b.iso": 1000, "Release": 10}
ISO = ChannelName("iso")
OWN = SelectorName("sel")
SELECTORS = (OWN, SelectorName("other"))
PASSED_OVER = {RejectReason.SPARING, RejectReason.NOT_CURRENT, RejectReason.SHARE_SPENT}
# Where nobody is sent by it a quota is looked at to its last binary digit alone: 999 bytes may do for 1000.
QUALIFIED = {RejectReason.NEAR_EQUAL, RejectReason.FARTHER, RejectReason.SPARING, RejectReason.QUOTA_SPENT}
RULES = Rules(silent_after_s=10.0, load_threshold=1.0, near_km=200.0, hops_max=3)

COUNTRIES = st.sampled_from(["", "PT", "ES", "BR"])
NETWORKS = st.sampled_from([(), (), (), ("203.0.113.0/24",), ("2001:db8::/32", "198.51.100.0/25")])
REACHES = st.builds(
    Reach,
    countries_only=st.sampled_from([(), (), (), ("PT",)]),
    countries_excluded=st.sampled_from([(), (), ("ES",)]),
    continents_only=st.sampled_from([(), (), ("EU",)]),
    networks_only=NETWORKS,
)
LOCATIONS = st.none() | st.builds(
    Location,
    latitude=st.sampled_from([41.0, 42.3, 38.0, -10.0]),
    longitude=st.sampled_from([-8.0, -9.9, -50.0]),
    country=COUNTRIES,
)


def profiles(reaches: st.SearchStrategy[Reach], **others: st.SearchStrategy[object]) -> st.SearchStrategy[Profile]:
    url = st.sampled_from(["https://a.example", "http://a.example"])
    return st.builds(Profile, url=url, slots=st.just(5), location=LOCATIONS, reach=reaches, **others)


PROFILES = profiles(
    REACHES,
    networks=NETWORKS,
    asn=st.sampled_from([0, 0, 7]),
    ipv4=st.sampled_from([True, True, False]),
    ipv6=st.sampled_from([True, True, False]),
)
PLACES = st.just(NOWHERE) | st.builds(
    Place,
    latitude=st.sampled_from([41.1, 42.9, -9.0]),
    longitude=st.sampled_from([-8.3, -51.0]),
    country=COUNTRIES,
    continent=st.sampled_from(["", "EU", "SA"]),
    asn=st.sampled_from([0, 7, 8]),
    precise=st.booleans(),
)
VISITORS = st.builds(
    Visitor,
    address=st.sampled_from(list(map(ip_address, ("203.0.113.9", "198.51.100.1", "2001:db8::1", "192.0.2.1")))),
    place=PLACES,
    secure=st.sampled_from([None, None, None, True, False]),
    asked_not=st.frozensets(st.sampled_from(NAMES).map(MirrorName), max_size=2),
    only=st.sampled_from([None, None, None, MirrorName("ana"), MirrorName("nobody")]),
    home=st.none() | PLACES,
)


@dataclass
class Life:
    """A selector's life: what it hears and grants, and its policy, which is asked meanwhile."""

    story: Story
    view: FleetView
    reservations: Reservations = field(default_factory=Reservations)
    now_s: float = 0.0
    told: int = 0
    sequence: int = 0
    generations: Counter[str] = field(default_factory=Counter[str])

    def __post_init__(self) -> None:
        self.policy = self.fresh()
        for path in FILES:
            self.publish(path)
        for name in NAMES[:4]:
            self.story.serving(name, FILES)
        self.hear()

    def fresh(self) -> Policy:
        """A policy that knows nothing yet."""
        return Policy(self.view, self.reservations, RULES)

    def hear(self) -> None:
        """Let the view hear what was said since it last did."""
        for envelope in self.story.said[self.told :]:
            self.view.apply(envelope, heard_s=self.now_s)
            if isinstance(envelope.event, LoadReported):
                self.policy.heard(self.now_s)
        self.told = len(self.story.said)

    def come(self, name: str, profile: Profile) -> None:
        self.story.master(MirrorJoined(mirror=MirrorName(name), profile=profile))
        self.story.mirror(name, MirrorCameOnline(mirror=MirrorName(name), profile=profile))

    def go(self, name: str) -> None:
        self.story.mirror(name, MirrorWentOffline(mirror=MirrorName(name), reason=""))

    def leave(self, name: str) -> None:
        self.story.master(MirrorLeft(mirror=MirrorName(name), reason=""))

    def give_leave(self, name: str) -> None:
        self.story.master(SubscriptionGranted(mirror=MirrorName(name), channel=ISO))

    def revoke_leave(self, name: str) -> None:
        self.story.master(SubscriptionRevoked(mirror=MirrorName(name), channel=ISO))

    def publish(self, path: str) -> None:
        self.generations[path] += 1
        tags = ["metadata"] if path == "Release" else []
        self.story.published(path, generation=self.generations[path], size_bytes=FILES[path], tags=tags)

    def publish_again(self, name: str, path: str) -> None:  # noqa: ARG002 - all steps are of some mirror
        """What stood under a path is withdrawn, and stands there again."""
        self.story.withdrawn(path, generation=self.generations[path])
        self.publish(path)

    def follow(self, name: str) -> None:
        self.story.followed(name)

    def lose(self, name: str, path: str) -> None:
        self.story.lost(name, path)

    def fetch(self, name: str, path: str) -> None:
        self.story.ready(name, path)

    def hold(self, name: str, bodies: set[str]) -> None:
        self.story.inventory(name, bodies)

    def report(self, name: str, active: int, quota_left_bytes: int | None, *, sparing: bool) -> None:
        self.story.load(name, slots=5, active=active, quota_left_bytes=quota_left_bytes, sparing=sparing)

    def open(self, name: str, availability: Availability) -> None:
        self.story.available(name, availability)

    def rule(self, name: str, weight_percent: int, reach: Reach, *, enabled: bool) -> None:
        self.story.master(
            MirrorRuled(mirror=MirrorName(name), enabled=enabled, weight_percent=weight_percent, reach=reach)
        )

    def grant(self, name: str, selector: SelectorName) -> None:
        self.sequence += 1
        self.reservations.add(
            MirrorName(name), selector=selector, sequence=self.sequence, size_bytes=1000, expires_s=self.now_s + 5
        )

    def count(self, name: str, selector: SelectorName) -> None:
        self.reservations.counted(MirrorName(name), selector=selector, up_to_sequence=self.sequence)

    def wait(self, name: str, seconds: float) -> None:  # noqa: ARG002 - all steps are of some mirror
        self.now_s += seconds
        self.reservations.expire(self.now_s)

    def be_asked(self, name: str, visitor: Visitor) -> None:  # noqa: ARG002 - all steps are of some mirror
        picked = self.ask(self.policy, "b.iso", visitor, seed=0)
        if picked is not None:
            self.sequence += 1
            mirror, expires_s = self.view.mirror(picked), self.now_s + 5
            self.policy.reserve(mirror, selector=OWN, sequence=self.sequence, size_bytes=1000, expires_s=expires_s)

    def ask(self, policy: Policy, path: str, visitor: Visitor, *, seed: int) -> MirrorName | None:
        mirror = self.offer(policy, path, visitor, 0, seed=seed).mirror
        return mirror and mirror.name

    def offer(self, policy: Policy, path: str, visitor: Visitor, count: int = len(NAMES), *, seed: int = 0) -> Offer:
        file = self.view.file(FilePath(path))
        assert file is not None
        return policy.choose(file, visitor, count, now_s=self.now_s, rng=Random(seed))  # noqa: S311 - dice of a test

    def explain(self, policy: Policy, path: str, visitor: Visitor) -> Choice:
        file = self.view.file(FilePath(path))
        assert file is not None
        return policy.explain(file, visitor, now_s=self.now_s, rng=Random(0))  # noqa: S311 - dice of a test

    def others(self, policy: Policy, path: str, visitor: Visitor) -> list[MirrorName]:
        file = self.view.file(FilePath(path))
        assert file is not None
        return [mirror.name for mirror in policy.others(file, visitor, len(NAMES), now_s=self.now_s)]


def step(
    action: Callable[..., None], **arguments: st.SearchStrategy[object]
) -> st.SearchStrategy[Callable[[Life], None]]:
    """Something that happens in a life, with arguments drawn."""
    return st.fixed_dictionaries({"name": st.sampled_from(NAMES), **arguments}).map(
        lambda drawn: lambda life: action(life, **drawn)
    )


def lives(
    profiles: st.SearchStrategy[Profile], reaches: st.SearchStrategy[Reach], visitors: st.SearchStrategy[Visitor]
) -> st.SearchStrategy[list[Callable[[Life], None]]]:
    """Histories of a fleet with such mirrors, which is asked by such visitors."""
    paths = st.sampled_from(list(FILES))
    happenings = (
        step(Life.come, profile=profiles),
        step(Life.go),
        step(Life.leave),
        step(Life.give_leave),
        step(Life.revoke_leave),
        step(Life.publish_again, path=paths),
        step(Life.follow),
        step(Life.lose, path=paths),
        step(Life.fetch, path=paths),
        step(Life.hold, bodies=st.sets(paths)),
        step(
            Life.report,
            active=st.integers(0, 5),
            quota_left_bytes=st.sampled_from([None, None, 0, 9, 999, 5000]),
            sparing=st.booleans(),
        ),
        step(Life.open, availability=st.sampled_from([Availability.OPEN, Availability.PAUSED])),
        step(
            Life.rule,
            enabled=st.sampled_from([True, True, False]),
            weight_percent=st.sampled_from([100, 50, 300]),
            reach=reaches,
        ),
        step(Life.grant, selector=st.sampled_from(SELECTORS)),
        step(Life.count, selector=st.sampled_from(SELECTORS)),
        step(Life.wait, seconds=st.sampled_from([1.0, 6.0, 11.0, -3.0])),
        step(Life.be_asked, visitor=visitors),
    )
    return st.lists(st.one_of(*happenings), max_size=25)


STEPS = lives(PROFILES, REACHES, VISITORS)
# Those whom most fleets have: mirrors that take visitors whatever network they are in, and visitors who want a file.
PLAIN_VISITORS = st.builds(
    Visitor,
    address=st.just(ip_address("192.0.2.1")),
    place=PLACES,
    secure=st.sampled_from([None, None, True]),
)
EVEN_REACHES = st.builds(Reach, countries_excluded=st.sampled_from([(), (), ("ES",)]))
EVEN_STEPS = lives(profiles(EVEN_REACHES), EVEN_REACHES, PLAIN_VISITORS)


def lived(kit: Kit, steps: list[Callable[[Life], None]]) -> Life:
    life = Life(kit.Story(), FleetView())
    for happen in steps:
        happen(life)
        life.hear()
    return life


def first_group(choice: Choice) -> set[MirrorName]:
    near_equal = {name for name, told in choice.rejected.items() if told.reason is RejectReason.NEAR_EQUAL}
    return near_equal | ({choice.best.mirror} if choice.best else set())


def short_of_quota(choice: Choice) -> set[MirrorName]:
    return {name for name, told in choice.rejected.items() if told.reason is RejectReason.QUOTA_SPENT}


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, path=st.sampled_from(list(FILES)), visitor=VISITORS)
def test_policy_that_lived_through_a_history_picks_of_the_group_that_a_fresh_one_explains(
    kit: Kit, steps: list[Callable[[Life], None]], path: str, visitor: Visitor
) -> None:
    life = lived(kit, steps)
    choice = life.explain(life.fresh(), path, visitor)
    picked = {life.ask(life.policy, path, visitor, seed=seed) for seed in range(12)}
    if choice.best is None:
        assert picked == {None}
    elif path == "Release":
        assert picked == {choice.best.mirror}
    else:
        assert picked <= first_group(choice)


@settings(max_examples=100, deadline=None)
@given(steps=EVEN_STEPS, visitors=st.lists(PLAIN_VISITORS, min_size=1, max_size=2))
def test_plain_visitors_are_sent_to_the_group_that_a_fresh_policy_explains_at_each_moment_of_a_history(
    kit: Kit, steps: list[Callable[[Life], None]], visitors: list[Visitor]
) -> None:
    life = Life(kit.Story(), FleetView())
    for happen in steps:
        happen(life)
        life.hear()
        for path, visitor in product(("a.iso", "b.iso"), visitors):
            choice = life.explain(life.fresh(), path, visitor)
            offer = life.offer(life.policy, path, visitor)
            assert offer.mirror.name in first_group(choice) if offer.mirror else choice.best is None
            reasons = {choice.rejected[one.name].reason for one in offer.others if one.name in choice.rejected}
            assert reasons <= QUALIFIED


@settings(max_examples=75, deadline=None)
@given(steps=STEPS, path=st.sampled_from(list(FILES)), visitor=VISITORS)
def test_policy_that_lived_through_a_history_explains_and_ranks_like_a_fresh_one(
    kit: Kit, steps: list[Callable[[Life], None]], path: str, visitor: Visitor
) -> None:
    life = lived(kit, steps)
    choice = life.explain(life.fresh(), path, visitor)
    assert life.explain(life.policy, path, visitor) == choice
    others = life.others(life.policy, path, visitor)
    assert others == life.others(life.fresh(), path, visitor)
    # Where nobody is sent by it a quota is looked at to its last binary digit alone: 999 bytes may do for 1000.
    others = [name for name in others if name not in short_of_quota(choice)]
    preferred = {candidate.mirror for candidate in choice.ranked}
    assert preferred == set(others[: len(preferred)])
    assert set(others[: len(first_group(choice))]) == first_group(choice)


@settings(max_examples=75, deadline=None)
@given(steps=STEPS, path=st.sampled_from(list(FILES)), visitor=VISITORS, count=st.integers(0, len(NAMES)))
def test_choice_with_others_is_what_is_picked_and_who_is_best_besides(
    kit: Kit, steps: list[Callable[[Life], None]], path: str, visitor: Visitor, count: int
) -> None:
    life = lived(kit, steps)
    file = life.view.file(FilePath(path))
    assert file is not None
    chosen = life.policy.choose(file, visitor, count, now_s=life.now_s, rng=Random(3))  # noqa: S311 - dice of a test
    fresh = life.fresh()
    choice = life.explain(fresh, path, visitor)
    assert chosen.access
    assert chosen.mirror.name in first_group(choice) if chosen.mirror else choice.best is None
    besides = fresh.others(file, visitor, count, now_s=life.now_s, besides=chosen.mirror)
    assert chosen.others == besides


@settings(max_examples=75, deadline=None)
@given(steps=STEPS, path=st.sampled_from(list(FILES)), visitor=VISITORS)
def test_equal_dice_choose_equal_mirrors_whatever_a_policy_lived_through(
    kit: Kit, steps: list[Callable[[Life], None]], path: str, visitor: Visitor
) -> None:
    life = lived(kit, steps)
    file = life.view.file(FilePath(path))
    assert file is not None
    for seed in range(6):
        chosen = [
            policy.choose(file, visitor, 2, now_s=life.now_s, rng=Random(seed)).mirror  # noqa: S311 - dice of a test
            for policy in (life.policy, life.fresh())
        ]
        assert chosen[0] == chosen[1]


@pytest.mark.parametrize("count", [17, 60])
def test_equal_dice_choose_equal_mirrors_of_many_whose_load_changed_meanwhile(kit: Kit, count: int) -> None:
    story, rng = kit.Story(), Random(7)  # noqa: S311 - dice of a test
    file = story.published("a.iso")
    names = [f"m{number:02}" for number in range(count)]
    for name in names:
        story.serving(name, slots=100)
    question = kit.Question(story.view(), file)
    lived_policy = question.policy()
    for seed in range(400):
        story.load(rng.choice(names), slots=100, active=rng.choice([0, 60, 74, 76, 93, 95, 99, 100]))
        question.view.apply(story.said[-1], heard_s=0.0)
        question.seed = seed
        assert chosen_by(question, lived_policy) == chosen_by(question, question.policy())


@pytest.mark.parametrize("near", [1, 5, 15, 16, 17, 18, 21, 22, 40])
def test_equal_dice_choose_equal_mirrors_however_many_others_are_wanted(kit: Kit, near: int) -> None:
    story, rng = kit.Story(), Random(7)  # noqa: S311 - dice of a test
    file = story.published("a.iso")
    for number in rng.sample(range(near + 20), near + 20):
        is_near = number < near
        location = Location(latitude=41.0 if is_near else -41.0, longitude=-8.0, country="PT" if is_near else "AR")
        story.serving(f"m{number:02}", location=location, slots=100)
        story.load(f"m{number:02}", slots=100, active=rng.randrange(100))
    place = Place(latitude=41.1, longitude=-8.3, country="PT")
    question = kit.Question(story.view(), file, place=place)
    policy = question.policy()
    for question.seed in range(60):
        chosen = {chosen_by(question, policy, count) for count in (0, 1, 5, 8)}
        assert chosen == {chosen_by(question, question.policy(), 5)}


def test_near_equals_past_the_head_of_a_ranking_are_drawn_too(kit: Kit) -> None:
    story = kit.Story()
    file = story.published("a.iso")
    story.published("b.iso")
    location = Location(latitude=41.0, longitude=-8.0, country="PT")
    holders = {f"m{number:03}" for number in range(0, HEAD + 40, DENSE_SHARE)}
    for number in range(HEAD + 40):
        name = f"m{number:03}"
        story.serving(name, ["a.iso" if name in holders else "b.iso"], location=location, slots=100)
    question = kit.Question(story.view(), file, place=Place(latitude=41.1, longitude=-8.3, country="PT"))
    policy = question.policy()
    drawn: set[str | None] = set()
    for question.seed in range(400):
        (name,) = {chosen_by(question, policy, count) for count in (0, 1, 5, 8)}
        drawn.add(name)
    assert drawn == holders


def chosen_by(question: Question, policy: Policy, count: int = 5) -> MirrorName | None:
    mirror = policy.choose(question.published(), question.visitor, count, now_s=0.0, rng=question.dice()).mirror
    return mirror and mirror.name


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, path=st.sampled_from(list(FILES)), visitor=VISITORS)
def test_mirror_that_may_be_returned_to_is_one_that_qualifies_or_is_full_by_reservations(
    kit: Kit, steps: list[Callable[[Life], None]], path: str, visitor: Visitor
) -> None:
    life = lived(kit, steps)
    file = life.view.file(FilePath(path))
    assert file is not None
    choice = life.explain(life.fresh(), path, visitor)
    for name in map(MirrorName, NAMES):
        returned = life.policy.may_return(file, visitor, name, now_s=life.now_s)
        reason = choice.rejected[name].reason if name in choice.rejected else None
        if reason is RejectReason.FULL:
            load = life.view.mirror(name).load
            assert load is not None
            assert (returned is not None) is (load.report.active < load.report.slots)
        else:
            is_known = name in choice.rejected or any(one.mirror == name for one in choice.ranked)
            qualifies = reason is None or reason.criterion == 6 or reason in PASSED_OVER
            assert (returned is not None) is (is_known and qualifies)


@pytest.mark.parametrize("count", [3, 60], ids=["few are looked at", "many are drawn by a table"])
def test_near_equals_are_picked_as_often_as_their_free_slots_and_weights_say(kit: Kit, count: int) -> None:
    story = kit.Story()
    file = story.published("a.iso")
    names = [f"m{number:02}" for number in range(count)]
    for name in names:
        story.serving(name)
    story.load("m00", slots=100, active=40)
    story.load("m01", slots=100, active=90)
    story.master(MirrorRuled(mirror=MirrorName("m01"), weight_percent=300))
    question = kit.Question(story.view(), file)
    policy, rng = question.policy(), Random(1)  # noqa: S311 - dice of a test
    chosen: Counter[str] = Counter()
    for _ in range(20_000):
        mirror = policy.choose(question.published(), question.visitor, 5, now_s=0.0, rng=rng).mirror
        assert mirror is not None
        chosen[mirror.name] += 1
    total = 60 + 30 + 10 * (count - 2)
    assert chosen["m00"] == pytest.approx(20_000 * 60 / total, rel=0.1)
    assert chosen["m01"] == pytest.approx(20_000 * 30 / total, rel=0.1)
    rest = sum(chosen[name] for name in names[2:])
    assert rest == pytest.approx(20_000 * 10 * (count - 2) / total, rel=0.1)
    assert min(chosen[name] for name in names) > 0


def test_frequencies_follow_the_load_where_weights_rise_past_what_the_table_was_made_for(kit: Kit) -> None:
    story = kit.Story()
    file = story.published("a.iso")
    names = [f"m{number:02}" for number in range(30)]
    for name in names:
        story.serving(name, slots=200)
        story.load(name, slots=200, active=198)
    question = kit.Question(story.view(), file)
    policy, rng = question.policy(), Random(1)  # noqa: S311 - dice of a test

    def share_of_first() -> float:
        asked = question.published(), question.visitor
        chosen = [policy.choose(*asked, 5, now_s=0.0, rng=rng).mirror for _ in range(6000)]
        return sum(mirror is not None and mirror.name == "m00" for mirror in chosen) / len(chosen)

    assert share_of_first() == pytest.approx(1 / 30, rel=0.25)
    story.load("m00", slots=200, active=58)
    question.view.apply(story.said[-1], heard_s=0.0)
    assert share_of_first() == pytest.approx(142 / 200, rel=0.05)
    story.load("m00", slots=200, active=198)
    question.view.apply(story.said[-1], heard_s=0.0)
    assert share_of_first() == pytest.approx(1 / 30, rel=0.25)
