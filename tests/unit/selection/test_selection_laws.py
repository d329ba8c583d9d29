"""What holds for every fleet, file and visitor."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from events.names import FilePath, MirrorName, SelectorName
from events.schemas import Access, Availability, Location, MirrorWentOffline
from selection.places.place import NOWHERE, Place, cell_centre, cell_of, great_circle_km
from selection.policy.choice import Choice, RejectReason

if TYPE_CHECKING:
    from conftest import Kit, Question, Story

SELECTOR = SelectorName("sel")
NAMES = ("ana", "bob", "cat", "dia", "eve")
SIZE_BYTES = 1000
NOW_S = 11.0


@st.composite
def mirror_traits(draw: st.DrawFn) -> dict[str, object]:
    return {
        "follows": draw(st.sampled_from([True, True, True, False])),
        "holds": draw(st.sampled_from([True, True, True, False])),
        "offline": draw(st.sampled_from([False, False, False, True])),
        "heard_s": draw(st.sampled_from([0.0, 5.0, 11.0])),
        "slots": draw(st.integers(0, 4)),
        "active": draw(st.integers(0, 4)),
        "granted": draw(st.integers(0, 2)),
        "sparing": draw(st.booleans()),
        "open": draw(st.sampled_from([True, True, True, False])),
        "quota_left_bytes": draw(st.sampled_from([None, None, 0, 999, 1000, 5000])),
        "location": draw(
            st.none()
            | st.builds(
                Location,
                latitude=st.floats(-90, 90),
                longitude=st.floats(-180, 180),
                country=st.sampled_from(["", "PT", "ES"]),
            )
        ),
    }


FLEETS = st.dictionaries(st.sampled_from(NAMES), mirror_traits())
PLACES = st.just(NOWHERE) | st.builds(
    Place, latitude=st.floats(-90, 90), longitude=st.floats(-180, 180), country=st.sampled_from(["", "PT", "ES"])
)


def ask(kit: Kit, fleet: dict[str, dict[str, object]], *, networks: tuple[str, ...] = ()) -> Question:
    """Tell a fleet in the order of the dictionary, and put a question to it."""
    story: Story = kit.Story()
    file = story.published("a.iso", size_bytes=SIZE_BYTES, access=Access(networks=networks))
    question = kit.Question(story.view(), file, now_s=NOW_S)
    heard: dict[str, float] = {}
    for name, traits in fleet.items():
        location = traits["location"]
        assert location is None or isinstance(location, Location)
        story.joined(name, channels=["iso"] if traits["follows"] else [])
        story.online(name, location=location)
        story.inventory(name, ["a.iso"] if traits["holds"] else [])
        quota = traits["quota_left_bytes"]
        assert quota is None or isinstance(quota, int)
        story.load(
            name,
            slots=_int(traits, "slots"),
            active=_int(traits, "active"),
            quota_left_bytes=quota,
            sparing=bool(traits["sparing"]),
        )
        story.available(name, Availability.OPEN if traits["open"] else Availability.PAUSED)
        if traits["offline"]:
            story.mirror(name, MirrorWentOffline(mirror=MirrorName(name), reason=""))
        heard_s = traits["heard_s"]
        assert isinstance(heard_s, float)
        heard[name] = heard_s
        for sequence in range(_int(traits, "granted")):
            question.reservations.add(
                MirrorName(name), selector=SELECTOR, sequence=sequence, size_bytes=SIZE_BYTES, expires_s=99
            )
    for envelope in story.said:
        question.view.apply(
            envelope, heard_s=heard.get(envelope.source.split("/")[1], 0.0) if "/" in envelope.source else 0
        )
    return question


def _int(traits: dict[str, object], name: str) -> int:
    value = traits[name]
    assert isinstance(value, int)
    return value


@settings(max_examples=60, deadline=None)
@given(fleet=FLEETS, place=PLACES, seed=st.integers(0, 99), asked_not=st.sets(st.sampled_from(NAMES), max_size=4))
def test_no_ranked_mirror_fails_a_criterion_and_every_other_has_a_reason(
    kit: Kit, fleet: dict[str, dict[str, object]], place: Place, seed: int, asked_not: set[str]
) -> None:
    question = ask(kit, fleet)
    question.place, question.seed = place, seed
    question.asked_not = frozenset(map(MirrorName, asked_not))
    choice = question.choice()
    for candidate in choice.ranked:
        traits = fleet[candidate.mirror]
        assert len(asked_not) < 3
        assert candidate.mirror not in asked_not
        assert traits["follows"]
        assert traits["holds"]
        assert traits["open"]
        assert not traits["offline"]
        assert traits["heard_s"] != 0.0  # 11 s ago
        assert candidate.free_slots == _int(traits, "slots") - _int(traits, "active") - _int(traits, "granted") > 0
        quota, granted_bytes = traits["quota_left_bytes"], _int(traits, "granted") * SIZE_BYTES
        assert quota is None or (isinstance(quota, int) and quota - granted_bytes >= SIZE_BYTES)
    chosen = {choice.best.mirror} if choice.best else set[MirrorName]()
    assert set(choice.rejected) == set(fleet) - chosen
    assert {candidate.mirror for candidate in choice.ranked} - chosen == {
        name
        for name, rejection in choice.rejected.items()
        if rejection.reason.criterion == 6 or rejection.reason is RejectReason.SPARING
    }
    sparing = [bool(fleet[candidate.mirror]["sparing"]) for candidate in choice.ranked]
    assert sparing == sorted(sparing)
    assert choice.fallback is (not chosen)


@settings(max_examples=40, deadline=None)
@given(fleet=FLEETS, place=PLACES, seed=st.integers(0, 99), data=st.data())
def test_choice_does_not_depend_on_the_order_in_which_mirrors_became_known(
    kit: Kit, fleet: dict[str, dict[str, object]], place: Place, seed: int, data: st.DataObject
) -> None:
    shuffled = {name: fleet[name] for name in data.draw(st.permutations(list(fleet)))}
    choices: list[Choice] = []
    picks: list[MirrorName | None] = []
    for told in (fleet, shuffled):
        question = ask(kit, told)
        question.place, question.seed = place, seed
        choices.append(question.choice())
        picks.append(question.picked())
    assert choices[0] == choices[1]
    assert picks[0] == picks[1]


@settings(max_examples=40, deadline=None)
@given(fleet=FLEETS, place=PLACES, seed=st.integers(0, 99))
def test_no_mirror_is_chosen_while_another_is_in_a_nearer_ring(
    kit: Kit, fleet: dict[str, dict[str, object]], place: Place, seed: int
) -> None:
    question = ask(kit, fleet)
    question.place, question.seed = place, seed
    choice = question.choice()
    if choice.best is None:
        return
    if place.latitude is None or place.longitude is None:
        return
    latitude, longitude = cell_centre(cell_of(place.latitude, place.longitude))
    as_willing = [one for one in choice.ranked if fleet[one.mirror]["sparing"] == fleet[choice.best.mirror]["sparing"]]
    locations = [fleet[one.mirror]["location"] for one in as_willing]
    distances = [
        great_circle_km(latitude, longitude, location.latitude, location.longitude)
        for location in locations
        if isinstance(location, Location)
    ]
    if distances:
        assert isinstance(locations[0], Location)
        assert distances[0] <= max(question.rules.near_km, 1.5 * min(distances)) + 0.001


@settings(max_examples=25, deadline=None)
@given(fleet=FLEETS, address=st.ip_addresses(v=4))
def test_access_comes_before_everything_else(kit: Kit, fleet: dict[str, dict[str, object]], address: object) -> None:
    question = ask(kit, fleet, networks=("192.0.2.0/24",))
    question.address = str(address)
    choice = question.choice()
    assert choice.access is (ip_address(question.address) in ip_network("192.0.2.0/24"))
    if not choice.access:
        assert choice.ranked == ()
        assert {rejection.reason for rejection in choice.rejected.values()} <= {RejectReason.NO_ACCESS}


def test_view_knows_no_file_that_nobody_published(kit: Kit) -> None:
    assert kit.view_of([]).file(FilePath("a.iso")) is None
