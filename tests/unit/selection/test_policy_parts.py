"""The parts of the fast choice: reach, networks, schemes, families, shares, sticky metadata and bounded rankings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from random import Random
from typing import TYPE_CHECKING

import pytest

from events.names import MirrorName
from events.schemas import EVERYBODY, Location, MirrorCameOnline, MirrorRuled, Profile, Reach
from selection.places.place import Place
from selection.policy import answers
from selection.policy import ranking as ranking_module
from selection.policy.atlas import Atlas, spot_of
from selection.policy.eligible import Eligible
from selection.policy.networks import NetworkTable
from selection.policy.picking import Picker
from selection.policy.policy import Policy
from selection.policy.questions import Questions
from selection.policy.ranking import RANKINGS_BYTES_MAX, Ranking, Rankings
from selection.policy.reservations import Reservations
from selection.policy.rules import Rules
from selection.policy.shares import SAMPLE_MIN, Shares
from selection.policy.terrain import Terrain
from selection.policy.visitor import Visitor
from selection.view.fleet import FleetView

if TYPE_CHECKING:
    from conftest import Kit, Question, Story

RULES = Rules(silent_after_s=10.0, load_threshold=1.0, near_km=200.0, hops_max=3)
ANA, BOB = MirrorName("ana"), MirrorName("bob")
IN_PORTO = Place(latitude=41.15, longitude=-8.61, country="PT", continent="EU")
PORTO = Location(latitude=41.15, longitude=-8.61, country="PT")
OSLO = Location(latitude=59.91, longitude=10.75, country="NO")


def serve(story: Story, name: str, profile: Profile) -> None:
    story.serving(name)
    story.mirror(name, MirrorCameOnline(mirror=MirrorName(name), profile=profile))
    story.inventory(name, ["a.iso"])


def two(kit: Kit, **of_ana: object) -> Question:
    """Ana, with something of her own, and bob, who is as near."""
    story = kit.Story()
    file = story.published("a.iso")
    serve(story, "ana", Profile(**{"url": "http://ana.example", "slots": 10, **of_ana}))  # pyright: ignore[reportArgumentType] - given by name
    serve(story, "bob", Profile(url="http://bob.example", slots=10))
    return kit.Question(story.view(), file)


@pytest.mark.parametrize(
    ("reach", "reason"),
    [
        pytest.param(Reach(countries_only=("ES",)), "not_for_place", id="another country alone"),
        pytest.param(Reach(countries_excluded=("PT",)), "not_for_place", id="not this country"),
        pytest.param(Reach(continents_only=("SA",)), "not_for_place", id="another continent alone"),
        pytest.param(Reach(networks_only=("198.51.100.0/24",)), "not_for_place", id="another network alone"),
    ],
)
def test_visitor_is_not_sent_to_a_mirror_whose_reach_does_not_take_him(kit: Kit, reach: Reach, reason: str) -> None:
    question = two(kit, reach=reach)
    question.place = IN_PORTO
    assert question.reason("ana") == reason
    assert {question.picked() for question.seed in range(20)} == {BOB}


def test_mirror_that_names_the_visitors_network_comes_first_however_far(kit: Kit) -> None:
    story = kit.Story()
    file = story.published("a.iso")
    serve(story, "ana", Profile(url="http://a.example", slots=1, location=OSLO, networks=("203.0.113.0/24",)))
    serve(story, "bob", Profile(url="http://b.example", slots=1, location=PORTO))
    question = kit.Question(story.view(), file, place=IN_PORTO)
    assert question.picked() == ANA
    assert "network" in question.choice().rejected[BOB].detail
    question.address = "192.0.2.1"
    assert question.picked() == BOB


def test_mirror_in_the_visitors_autonomous_system_comes_first_however_far(kit: Kit) -> None:
    story = kit.Story()
    file = story.published("a.iso")
    serve(story, "ana", Profile(url="http://a.example", slots=1, location=OSLO, asn=64500))
    serve(story, "bob", Profile(url="http://b.example", slots=1, location=PORTO))
    place = Place(latitude=41.15, longitude=-8.61, country="PT", asn=64500)
    assert kit.Question(story.view(), file, place=place).picked() == ANA
    assert kit.Question(story.view(), file, place=IN_PORTO).picked() == BOB


@pytest.mark.parametrize(("secure", "reason"), [(True, "not_secure"), (False, "not_plain")])
def test_visitor_who_asks_for_a_scheme_is_sent_to_no_other(kit: Kit, reason: str, *, secure: bool) -> None:
    question = two(kit, url="http://ana.example" if secure else "https://ana.example")
    question.secure = secure
    assert question.reason("ana") == reason
    assert {question.picked() for question.seed in range(20)} == ({None} if secure else {BOB})


@pytest.mark.parametrize(("address", "family"), [("203.0.113.9", "ipv4"), ("2001:db8::1", "ipv6")])
def test_visitor_is_not_sent_to_a_mirror_that_his_address_family_does_not_reach(
    kit: Kit, address: str, family: str
) -> None:
    question = two(kit, **{family: False})
    question.address = address
    assert question.reason("ana") == "other_family"
    assert {question.picked() for question.seed in range(20)} == {BOB}


def test_visitor_who_asks_for_one_mirror_gets_that_or_none(kit: Kit) -> None:
    question = two(kit)
    question.only = BOB
    assert {question.picked() for question.seed in range(20)} == {BOB}
    assert question.reason("ana") == "asked_other"
    question.only = MirrorName("nobody")
    assert question.picked() is None


def test_mirror_that_the_site_disabled_is_sent_nobody_until_it_is_enabled(kit: Kit) -> None:
    question = two(kit)
    policy, story = question.policy(), kit.Story()
    for enabled, expected in ((False, {BOB}), (True, {ANA, BOB})):
        story.numbers["master", 0] = 1000 + enabled
        question.view.apply(story.master(MirrorRuled(mirror=ANA, enabled=enabled)), heard_s=0.0)
        assert {question.picked(policy) for question.seed in range(40)} == expected


def test_mirror_that_had_its_share_comes_after_all_that_had_not_until_a_minute_is_over(kit: Kit) -> None:
    question = two(kit)
    rules = Rules(silent_after_s=1000.0, load_threshold=1.0, near_km=200.0, hops_max=3, share_percent_max=60)
    policy = Policy(question.view, Reservations(), rules)
    question.place = IN_PORTO
    ana = question.view.mirror(ANA)
    question.picked(policy)
    for _ in range(SAMPLE_MIN):
        policy.sent(ana, question.visitor, now_s=0.0)
    assert {question.picked(policy) for question.seed in range(20)} == {BOB}
    assert question.choice(policy).rejected[ANA].reason.code == "share_spent"
    question.asked_not = frozenset({BOB})
    assert question.picked(policy) == ANA
    question.asked_not, question.now_s = frozenset(), 71.0
    assert {question.picked(policy) for question.seed in range(40)} == {ANA, BOB}


def test_others_are_told_as_they_are_now_though_the_best_are_the_same(kit: Kit) -> None:
    story = kit.Story()
    story.published("a.iso")
    for name in ("ana", "bob"):
        serve(story, name, Profile(url=f"http://{name}.example", slots=10, location=PORTO))
    file, view = story.file("a.iso"), story.view()
    policy = Policy(view, Reservations(), RULES)
    visitor = Visitor(ip_address("192.0.2.1"), IN_PORTO)

    policy.expect(IN_PORTO)
    while policy.prepare(now_s=0.0):
        pass

    def urls() -> set[str]:
        """Ask often enough for the answer to be kept."""
        chosen = [policy.choose(file, visitor, 2, now_s=0.0, rng=Random(seed)) for seed in range(20)]  # noqa: S311 - dice of a test
        return {mirror.profile.url for offer in chosen for mirror in offer.others if mirror.profile}

    assert urls() == {"http://ana.example", "http://bob.example"}
    moved = Profile(url="http://elsewhere.example", slots=10, location=PORTO)
    story.mirror("ana", MirrorCameOnline(mirror=ANA, profile=moved))
    story.inventory("ana", ["a.iso"])
    for envelope in story.said[-2:]:
        view.apply(envelope, heard_s=0.0)
    assert urls() == {"http://elsewhere.example", "http://bob.example"}


def test_share_of_one_continent_is_not_spent_by_another() -> None:
    shares = Shares()
    shares.cap(0, 40)
    for _ in range(SAMPLE_MIN):
        shares.note(0, "EU", now_s=0.0)
    assert shares.spent("EU", now_s=0.0) == 1
    assert shares.spent("SA", now_s=0.0) == 0


def metadata_site(kit: Kit) -> tuple[Question, Story]:
    story = kit.Story()
    names = [f"m{number}" for number in range(8)]
    file = story.published("Release", tags=["metadata"])
    story.published("Packages", tags=["metadata"])
    for name in names:
        story.serving(name, ["Release", "Packages"])
    return kit.Question(story.view(), file), story


def test_visitor_has_a_channels_metadata_always_from_one_mirror_and_visitors_are_spread(kit: Kit) -> None:
    question, _ = metadata_site(kit)
    policy = question.policy()
    chosen: Counter[MirrorName | None] = Counter()
    for number in range(400):
        question.address = f"198.51.{number // 200}.{number % 200}"
        (mirror,) = {question.picked(policy) for question.seed in range(3)}
        chosen[mirror] += 1
    assert len(chosen) == 8
    assert max(chosen.values()) < 3 * min(chosen.values())


def test_only_those_who_had_metadata_from_a_mirror_move_when_it_is_gone(kit: Kit) -> None:
    question, _ = metadata_site(kit)
    policy = question.policy()
    for number in range(40):
        question.address, question.asked_not = f"198.51.100.{number}", frozenset()
        before = question.picked(policy)
        question.asked_not = frozenset({MirrorName("m3")})
        after = question.picked(policy)
        assert (before != after) is (before == "m3")


def test_mirror_that_lacks_some_of_a_channels_metadata_serves_none_of_it_while_others_have_all(kit: Kit) -> None:
    question, story = metadata_site(kit)
    story.lost("m3", "Packages")
    question.view.apply(story.said[-1], heard_s=0.0)
    policy = question.policy()
    picked = set[object]()
    for number in range(60):
        question.address = f"198.51.100.{number}"
        picked.add(question.picked(policy))
    assert "m3" not in picked
    assert question.choice(policy).rejected[MirrorName("m3")].reason.code == "not_current"
    question.only = MirrorName("m3")
    assert question.picked(policy) == "m3"


def test_address_is_found_in_networks_of_either_family_whatever_their_length() -> None:
    table = NetworkTable({0: ("203.0.113.0/24", "2001:db8::/32"), 1: ("203.0.113.9/32",), 2: ("0.0.0.0/0",), 3: ()})
    assert table.containing(ip_address("203.0.113.9")) == 0b111
    assert table.containing(ip_address("203.0.113.8")) == 0b101
    assert table.containing(ip_address("2001:db8:1::1")) == 0b001
    assert table.mirrors == 0b111


PLACES = [Place(latitude=latitude, longitude=0.5) for latitude in range(-60, 61, 2)]
FEW_RANKINGS_BYTES = 20_000


def atlas_of_50() -> Atlas:
    atlas = Atlas(near_km=200.0)
    rng = Random(1)  # noqa: S311 - dice of a test
    for number in range(50):
        location = Location(latitude=rng.uniform(-60, 60), longitude=rng.uniform(-180, 180))
        atlas.put(number, spot_of(Profile(url="http://a.example", slots=1, location=location), EVERYBODY))
    return atlas


def test_rankings_never_take_more_memory_than_they_may() -> None:
    rankings = Rankings(atlas_of_50(), bytes_max=FEW_RANKINGS_BYTES)
    for place in PLACES:
        rankings.of(place)
        assert rankings.size_bytes <= FEW_RANKINGS_BYTES
    assert 1 < len(rankings) < len(PLACES)
    assert rankings.of(PLACES[-1]) is rankings.of(PLACES[-1])


def for_one(rankings: Rankings, place: Place) -> Ranking:
    return rankings.for_pools(place, [1])


@pytest.mark.parametrize("ask", [Rankings.of, for_one])
def test_place_that_is_asked_for_in_between_keeps_its_ranking(ask: Callable[[Rankings, Place], Ranking]) -> None:
    rankings = Rankings(atlas_of_50(), bytes_max=FEW_RANKINGS_BYTES)
    kept = rankings.of(PLACES[0])
    for place in PLACES[1:]:
        rankings.of(place)
        assert ask(rankings, PLACES[0]) is kept


def test_memory_of_rankings_is_counted_right_however_many_had_a_second_chance() -> None:
    rankings = Rankings(atlas_of_50(), bytes_max=1)
    for place in PLACES:
        found = rankings.of(place)
        assert rankings.of(place) is found, "and so it has one"
        assert rankings.size_bytes == found.size_bytes


def test_so_many_places_have_a_second_chance_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking_module, "CHANCES_MAX", 3)
    rankings = Rankings(atlas_of_50())
    kept = [rankings.of(place) for place in PLACES]
    for place in PLACES:
        rankings.of(place)
    rankings.grew(kept[3], RANKINGS_BYTES_MAX)  # the oldest but three: all are too much beside it
    assert len(rankings) == 1
    assert [ranking.was_asked for ranking in kept[:6]] == [False] * 4 + [True] * 2


def test_answers_of_a_place_are_bounded_and_their_memory_is_that_of_its_ranking() -> None:
    atlas = Atlas(near_km=200.0)
    view, reservations = FleetView(), Reservations()
    rankings = Rankings(atlas)
    terrain = Terrain(RULES, Shares())
    eligible = Eligible(view, reservations, RULES, terrain)
    picker, questions = Picker(eligible, terrain, rankings), Questions(view, eligible, terrain)
    ranking = rankings.of(IN_PORTO)
    for wanted in range(3 * answers.ANSWERS_KEPT + 2):
        question = questions.of((0, 0), 0, wanted)
        assert picker.answer(ranking, question) is not picker.answer(ranking, question), "one may be the only one"
        assert picker.answer(ranking, question) is picker.answer(ranking, question)
        assert picker.answer(ranking, question).others is not None
        assert len(ranking.answers) <= answers.ANSWERS_KEPT
        assert rankings.size_bytes == ranking.size_bytes
    assert len(ranking.answers) == 2


def test_answers_are_not_kept_where_each_asks_something_else() -> None:
    eligible = Eligible(FleetView(), Reservations(), RULES, terrain := Terrain(RULES, Shares()))
    rankings = Rankings(Atlas(near_km=200.0))
    picker, questions = Picker(eligible, terrain, rankings), Questions(FleetView(), eligible, terrain)
    ranking = rankings.of(IN_PORTO)
    for _ in range(3):
        for wanted in range(2):
            assert picker.answer(ranking, questions.of((0, 0), 0, wanted)).others is None
    assert not ranking.answers


def test_ranking_of_which_a_mirror_moved_is_that_of_an_atlas_where_it_always_stood_there() -> None:
    moved, fresh = Atlas(near_km=200.0), Atlas(near_km=200.0)
    profiles = [
        Profile(url="http://a.example", slots=1, location=Location(latitude=n, longitude=1.0)) for n in range(40)
    ]
    for number, profile in enumerate(profiles):
        moved.put(number, spot_of(profile, EVERYBODY))
        fresh.put(number, spot_of(profiles[(number + 7) % 40], EVERYBODY))
    rankings, place = Rankings(moved), Place(latitude=10.0, longitude=1.0)
    rankings.of(place)
    for number in range(40):
        moved.put(number, spot_of(profiles[(number + 7) % 40], EVERYBODY))
    renewed, anew = rankings.of(place), Rankings(fresh).of(place)
    assert [renewed.level_of(number) for number in range(40)] == [anew.level_of(number) for number in range(40)]
    everybody = (1 << 40) - 1
    groups = [[found for _, found in ranking.groups([everybody], 0)] for ranking in (renewed, anew)]
    assert groups[0] == groups[1]
