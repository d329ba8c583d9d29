"""What holds of recorded decisions for every fleet, history and visitor: made again from the log they are the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from random import Random
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.memory import MemoryBroker, MemorySite
from events.codec import decode, encode
from events.envelope import Envelope, selector_source
from events.names import ORIGIN, FilePath, MirrorName, SelectorName
from events.schemas import (
    Access,
    Availability,
    Decision,
    DecisionOutcome,
    DecisionsRecorded,
    Figures,
    GrantsRevoked,
    LoadReported,
    Location,
    MirrorCameOnline,
    MirrorJoined,
    MirrorRuled,
    MirrorWentOffline,
    Profile,
    Reach,
    Seen,
    SelectionRules,
    StandingRecorded,
)
from events.schemas.fields import INTEGER_MAX
from selection.answering import announcer as announcing
from selection.answering.announcer import WAITING_MAX, Announcer
from selection.answering.granting import Keys, Terms
from selection.answering.heads import Heads
from selection.answering.recording import Desk, Record, Recorder
from selection.answering.redirector import NoAccessError, NobodyLeftError, Office, Redirector
from selection.answering.visit import guest_of
from selection.following.hearing import HearingClock
from selection.places.geo import Places
from selection.places.place import NOWHERE, Place
from selection.policy import claims
from selection.policy.claims import Claims
from selection.policy.policy import Policy
from selection.policy.reservations import Reservations
from selection.policy.rules import Rules
from selection.policy.visitor import Visitor
from selection.retracing.retraced import Retraced, Verdict
from selection.retracing.retracer import Retracer
from selection.view.fleet import FleetView

if TYPE_CHECKING:
    from conftest import Kit, Story

SELECTOR, OTHER = SelectorName("sel"), SelectorName("other")
FILES = {"a.iso": 0, "b.iso": 1000, "Release": 10, "closed.iso": 2000}
CLOSED = Access(networks=("203.0.113.0/24",))
ADDRESSES = tuple(map(ip_address, ("203.0.113.9", "203.0.113.77", "198.51.100.1", "2001:db8::1")))
PLACES = (
    NOWHERE,
    Place(country="PT", continent="EU"),
    Place(latitude=41.1, longitude=-8.3, country="PT", continent="EU", asn=7),
    Place(latitude=42.9, longitude=-8.3, country="ES", continent="EU", asn=8, precise=False),
    Place(latitude=-9.0, longitude=-51.0, country="BR", continent="SA"),
)
LOCATIONS = (
    None,
    Location(latitude=41.0, longitude=-8.0, country="PT"),
    Location(latitude=38.0, longitude=-9.9, country="ES"),
    Location(latitude=-10.0, longitude=-50.0, country="BR"),
)
NETWORKS = ((), (), (), (), ("203.0.113.0/24",), ("2001:db8::/32", "198.51.100.0/25"))
START_BY_S = 60


@pytest.fixture(autouse=True, scope="module")
def few_claims() -> Iterator[None]:
    """Let visitors have two places at most, so that some of these worlds' have all that they may."""
    with patch.object(claims, "CLAIMS_PER_VISITOR_MAX", 2):
        yield


@dataclass
class Clock:
    now_s: float = 1_763_800_000.25


@dataclass
class World:
    """A selector that lives through whatever the dice say, and the records that it leaves behind.

    ``log`` is what a log would hold: no load report is in it. ``records`` come with how many of its entries the view
    had read.
    """

    story: Story
    rng: Random
    names: tuple[str, ...]
    percent: int = 100
    is_even: bool = False
    log: list[Envelope] = field(default_factory=list[Envelope])
    records: list[Record] = field(default_factory=list[Record])
    has_room: bool = True
    notices_max: int = WAITING_MAX
    sequence: int = 0
    told: int = 0

    def __post_init__(self) -> None:
        self.clock, self.hearing, self.view, self.reservations = Clock(), HearingClock(), FleetView(), Reservations()
        rng, self.heads = self.rng, Heads(None)
        rules = Rules(
            silent_after_s=10.0,
            load_threshold=rng.choice([1.0, 0.8]),
            near_km=rng.choice([0.0, 200.0]),
            hops_max=3,
            share_percent_max=rng.choice([100, 100, 40]),
        )
        recorded = SelectionRules(
            silent_after_s=rules.silent_after_s,
            load_threshold=rules.load_threshold,
            near_km=rules.near_km,
            hops_max=rules.hops_max,
            share_percent_max=rules.share_percent_max,
            sticky_tags=rules.sticky_tags,
            start_by_s=START_BY_S,
            recorded_percent=max(1, self.percent),
        )
        policy = self.policy = Policy(self.view, self.reservations, rules)
        desk = Desk(
            selector=SELECTOR,
            view=self.view,
            policy=policy,
            reservations=self.reservations,
            rules=recorded,
            seen=self.seen,
            has_room=lambda _: self.has_room,
            say=self.say,
            on_gathered=lambda: None,
        )
        self._seen = Seen(generation=1, offset=-1, message_id="")
        self.recorder = Recorder(desk, percent=self.percent)
        office = Office(
            selector=SELECTOR,
            master_url="http://master.example",
            policy=policy,
            terms=Terms(start_by_s=START_BY_S, finish_within_s=3600, finish_bytes_per_second=50_000),
            keys=Keys(b"s" * 32),
            view=self.view,
            reservations=self.reservations,
            claims=Claims(),
            recorder=self.recorder,
            heads=self.heads,
            hearing=self.hearing,
            places=Places(),
            rng=rng,
            clock_s=lambda: self.clock.now_s,
        )
        announcer = Announcer(MemoryBroker(MemorySite()), SELECTOR, clock_ns=lambda: 5_000_000)
        self.redirector = Redirector(office, announcer)
        for path, size_bytes in FILES.items():
            tags = ["metadata"] if path == "Release" else []
            access = CLOSED if path == "closed.iso" else Access()
            self.story.published(path, size_bytes=size_bytes, tags=tags, access=access)
        for name in self.names:
            self.story.serving(name, FILES)
            self.come(name)
            self.story.inventory(name, FILES)
        self.hear()

    def seen(self) -> Seen:
        if self._seen.offset != len(self.log) - 1:
            self._seen = Seen(generation=1, offset=len(self.log) - 1, message_id=self.log[-1].id)
        return self._seen

    @property
    def lost(self) -> int:
        """Count the decisions that were not recorded for want of room."""
        return self.recorder.dropped

    def say(self, record: Record, _decisions: int) -> bool:
        """The records go over the wire, if there is room."""
        if not self.has_room:
            return False
        envelope = Envelope(
            source=selector_source(SELECTOR), epoch=1, sequence=1, time_ns=0, traceparent="", event=record
        )
        event = decode(encode(envelope)).event
        assert isinstance(event, StandingRecorded | DecisionsRecorded)
        self.records.append(event)
        return True

    def hear(self) -> None:
        for envelope in self.story.said[self.told :]:
            is_report = isinstance(envelope.event, LoadReported)
            self.view.apply(envelope, heard_s=self.hearing.heard() if is_report else 0.0)
            if is_report:
                self.policy.heard(self.hearing.now_s)
            else:
                self.log.append(envelope)
        self.told = len(self.story.said)

    def live(self, steps: int) -> None:
        for _ in range(steps):
            for _ in range(self.rng.choice([0, 0, 1, 3])):
                self.rng.choice(EVENTS)(self, self.rng.choice(self.names))
            self.hear()
            self.be_asked()
        self.has_room = True
        self.recorder.flush()

    def be_asked(self) -> None:
        rng = self.rng
        asked_not = tuple(
            dict.fromkeys(MirrorName(rng.choice([*self.names, ORIGIN])) for _ in range(rng.choice((0, 0, 0, 2))))
        )
        visitor = Visitor(
            address=rng.choice(ADDRESSES),
            place=rng.choice(PLACES),
            secure=rng.choice([None, None, None, True, False]),
            asked_not=frozenset(asked_not),
            only=rng.choice([None] * 5 + [MirrorName(rng.choice(self.names)), MirrorName("nobody")]),
            home=rng.choice([None, None, None, *PLACES]),
        )
        file = self.view.file(FilePath(rng.choice(list(FILES))))
        if file is None:
            return
        with patch.object(announcing, "WAITING_MAX", self.notices_max):
            try:
                self.redirector.redirect(self.heads.sheet(file), guest_of(visitor), asked_not, looks=rng.random() < 0.1)
            except NoAccessError:
                self.redirector.refused(file, visitor, asked_not)
            except NobodyLeftError:
                pass

    def come(self, name: str) -> None:
        rng = self.rng
        networks = ((),) if self.is_even else NETWORKS
        profile = Profile(
            url=rng.choice(["https://a.example", "http://a.example"]),
            slots=5,
            location=rng.choice(LOCATIONS),
            reach=Reach(countries_excluded=rng.choice([(), (), ("ES",)]), networks_only=rng.choice(networks)),
            networks=rng.choice(networks),
            asn=rng.choice([0, 0, 7]),
            ipv4=self.is_even or rng.random() < 0.9,
        )
        self.story.master(MirrorJoined(mirror=MirrorName(name), profile=profile))
        self.story.mirror(name, MirrorCameOnline(mirror=MirrorName(name), profile=profile))
        self.story.inventory(name, FILES)

    def go(self, name: str) -> None:
        self.story.mirror(name, MirrorWentOffline(mirror=MirrorName(name), reason=""))

    def report(self, name: str) -> None:
        rng = self.rng
        self.story.load(
            name,
            slots=5,
            active=rng.randint(0, 5),
            quota_left_bytes=rng.choice([None, None, 0, 9, 999, 5000]),
            sparing=rng.random() < 0.2,
        )

    def report_of_a_stranger(self, name: str) -> None:
        """A report may be heard of a mirror that the log does not tell of yet."""
        self.story.load(f"{name}-new", slots=3)

    def open(self, name: str) -> None:
        self.story.available(name, self.rng.choice([Availability.OPEN, Availability.OPEN, Availability.PAUSED]))

    def rule(self, name: str) -> None:
        rng = self.rng
        rules = MirrorRuled(
            mirror=MirrorName(name),
            enabled=rng.random() < 0.9,
            weight_percent=rng.choice([100, 50, 300]),
            share_percent_max=rng.choice([100, 100, 10]),
        )
        self.story.master(rules)

    def lack(self, name: str) -> None:
        self.story.inventory(name, self.rng.sample(list(FILES), 3))

    def revoke(self, name: str) -> None:
        moment = int(self.clock.now_s) + START_BY_S + 2
        event = GrantsRevoked(
            revocation=self.sequence, start_by_s_max=moment, until_s=moment + 3600, reason="", mirror=MirrorName(name)
        )
        self.story.master(event)

    def grant(self, name: str) -> None:
        self.sequence += 1
        expires_s = self.clock.now_s + 5
        self.reservations.add(
            MirrorName(name), selector=OTHER, sequence=self.sequence, size_bytes=1000, expires_s=expires_s
        )

    def count(self, name: str) -> None:
        """A report counts what was granted; some count what never was."""
        selector, upto = self.rng.choice([(OTHER, self.sequence), (SELECTOR, 2**40), (SELECTOR, 0)])
        self.reservations.counted(MirrorName(name), selector=selector, up_to_sequence=upto)

    def wait(self, name: str) -> None:
        del name
        self.clock.now_s += self.rng.choice([0.3, 4.0, 80.0])
        self.hearing.tick(self.rng.choice([0.3, 0.9]), hearing=self.rng.random() < 0.9)
        self.reservations.expire(self.clock.now_s)

    def fall_silent(self, name: str) -> None:
        del name
        for _ in range(11):
            self.hearing.tick(1.0, hearing=True)
            self.clock.now_s += 1

    def lose_room(self, name: str) -> None:
        del name
        self.has_room = not self.has_room or self.rng.random() < 0.5

    def lose_room_for_notices(self, name: str) -> None:
        """No mirror can be told of its visitors for a while; their places are reserved all the same."""
        del name
        self.notices_max = 0 if self.notices_max else WAITING_MAX

    def flush(self, name: str) -> None:
        del name
        self.recorder.flush()


EVENTS = (
    World.come,
    World.go,
    *[World.report] * 6,
    World.report_of_a_stranger,
    World.open,
    World.rule,
    World.lack,
    World.revoke,
    *[World.grant] * 3,
    World.count,
    *[World.wait] * 2,
    World.fall_silent,
    World.lose_room,
    World.lose_room_for_notices,
    *[World.flush] * 2,
)


def new_world(kit: Kit, seed: int, *, percent: int = 100, is_even: bool = False) -> World:
    rng = Random(seed)  # noqa: S311 - dice of a test
    count = rng.choice([2, 4, 7, 25])
    names = tuple(f"m{number:02}" for number in range(count))
    return World(kit.Story(), rng, names, percent, is_even)


def lived(kit: Kit, seed: int, *, percent: int = 100, is_even: bool = False, steps: int = 40) -> World:
    world = new_world(kit, seed, percent=percent, is_even=is_even)
    world.live(steps)
    return world


def decisions_of(world: World) -> list[Decision]:
    return [one for record in world.records if isinstance(record, DecisionsRecorded) for one in record.decisions]


def retraced(world: World, records: list[Record], *, is_cut: bool = False) -> Iterator[tuple[Decision, Retraced]]:
    """Make all decisions again from the log, each by as much of it as its selector had read."""
    view, read = FleetView(), 0
    retracer = Retracer(view)
    for record in records:
        if isinstance(record, StandingRecorded):
            retracer.standing(record)
            continue
        seen = record.seen
        for decision in record.decisions:
            seen = decision.seen or seen
            for envelope in world.log[read : seen.offset + 1]:
                view.apply(envelope, heard_s=0.0)
            read = seen.offset + 1
            assert world.log[read - 1].id == seen.message_id
            yield decision, retracer.retrace(decision, is_cut=is_cut)


SEEDS = st.integers(0, 2**32)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_each_recorded_decision_made_again_from_the_log_is_the_same(kit: Kit, seed: int) -> None:
    world = lived(kit, seed)
    for decision, again in retraced(world, world.records):
        is_doubtful = world.lost and decision.outcome is DecisionOutcome.KEPT
        assert again.agrees or (is_doubtful and again.verdict is Verdict.UNVERIFIABLE), (again.why_not, decision)
        if again.agrees:
            assert (again.outcome, again.mirror) == (decision.outcome, decision.mirror)


def test_worlds_of_these_laws_see_all_outcomes_and_all_that_is_recorded(kit: Kit) -> None:
    outcomes: Counter[DecisionOutcome] = Counter()
    kinds: Counter[str] = Counter()
    for seed in range(25):
        world = lived(kit, seed)
        for decision in decisions_of(world):
            outcomes[decision.outcome] += 1
            kinds.update(
                name for name in ("figures", "spent", "asked_not", "only", "home", "seen") if getattr(decision, name)
            )
            kinds["silent"] += any(figures.is_silent for figures in decision.figures)
            kinds["reserved"] += decision.is_reserved
            kinds["not reserved"] += decision.outcome is DecisionOutcome.SENT and not decision.is_reserved
        kinds["lost"] += world.lost
        kinds["standings"] += sum(isinstance(record, StandingRecorded) for record in world.records)
    assert set(outcomes) == set(DecisionOutcome) - {DecisionOutcome.OTHER}
    assert min(kinds.values()) > 0, kinds
    assert len(kinds) == 11


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, percent=st.sampled_from([20, 60]))
def test_sampled_decisions_made_again_are_the_same(kit: Kit, seed: int, percent: int) -> None:
    world = lived(kit, seed, percent=percent)
    for decision, again in retraced(world, world.records):
        is_doubtful = decision.outcome is DecisionOutcome.KEPT
        assert again.agrees or (is_doubtful and again.verdict is Verdict.UNVERIFIABLE), (again.why_not, decision)


def test_sample_is_as_large_as_it_is_asked_to_be(kit: Kit) -> None:
    whole = sum(len(decisions_of(lived(kit, seed))) for seed in range(10))
    sampled = sum(len(decisions_of(lived(kit, seed, percent=30))) for seed in range(10))
    assert sampled / whole == pytest.approx(0.3, abs=0.15)
    assert not lived(kit, 1, percent=0).records


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_decision_whose_address_is_gone_agrees_or_is_said_to_be_untellable(kit: Kit, seed: int) -> None:
    world = lived(kit, seed, is_even=True)
    records = [_without_addresses(record) for record in world.records]
    verdicts: Counter[Verdict] = Counter()
    for decision, again in retraced(world, records):
        verdicts[again.verdict] += 1
        needs_address = decision.outcome is DecisionOutcome.KEPT or decision.path in {"Release", "closed.iso"}
        assert again.verdict is (Verdict.UNVERIFIABLE if needs_address else Verdict.AGREES), (again.why_not, decision)


def _without_addresses(record: Record, *, of: Container[bytes] | None = None) -> Record:
    """Cut the addresses of all decisions, or ``of`` some grants."""
    if isinstance(record, StandingRecorded):
        return record
    decisions = tuple(
        replace(decision, address="") if of is None or decision.grant_id in of else decision
        for decision in record.decisions
    )
    return replace(record, decisions=decisions)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_changed_mirror_or_outcome_is_found_at_the_very_decision(kit: Kit, seed: int) -> None:
    world = lived(kit, seed)
    if world.lost:
        return
    decisions = decisions_of(world)
    place = world.rng.randrange(len(decisions))
    found = verdicts_with(world, place, _forged(decisions[place], world.rng, world.names))
    assert found[:place] == [Verdict.AGREES] * place
    assert found[place] is Verdict.DIFFERS


def _forged(decision: Decision, rng: Random, names: tuple[str, ...]) -> Decision:
    others = [MirrorName(name) for name in names if name != decision.mirror]
    return replace(decision, mirror=rng.choice(others), outcome=DecisionOutcome.SENT)


def verdicts_with(world: World, place: int, forged: Decision) -> list[Verdict]:
    """Make all decisions again with a forged one in the place of another."""
    decision = decisions_of(world)[place]
    records = [
        record
        if isinstance(record, StandingRecorded)
        else replace(record, decisions=tuple(forged if one is decision else one for one in record.decisions))
        for record in world.records
    ]
    return [again.verdict for _, again in retraced(world, records)]


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_false_word_of_a_new_place_is_found_at_the_very_decision_and_nothing_behind_it(kit: Kit, seed: int) -> None:
    world = lived(kit, seed)
    if world.lost:
        return
    decisions = decisions_of(world)
    place = world.rng.randrange(len(decisions))
    found = verdicts_with(world, place, replace(decisions[place], is_reserved=not decisions[place].is_reserved))
    assert found[place] is Verdict.DIFFERS
    assert set(found[:place] + found[place + 1 :]) <= {Verdict.AGREES}


def test_places_of_visitors_whose_addresses_were_cut_are_in_doubt_until_they_expire(kit: Kit) -> None:
    doubted = 0
    for seed in range(25):
        world = lived(kit, seed, is_even=True)
        decisions = decisions_of(world)
        cut = {one.grant_id for one in decisions[: len(decisions) // 2]}
        for decision, again in retraced(world, [_without_addresses(record, of=cut) for record in world.records]):
            assert again.verdict is not Verdict.DIFFERS, (again.why_not, decision)
            doubted += decision.grant_id not in cut and again.verdict is Verdict.UNVERIFIABLE
    assert doubted > 0


def test_decisions_agree_though_the_clock_was_set_back_over_the_end_of_places(kit: Kit) -> None:
    world = World(kit.Story(), Random(1), ("m00", "m01"), is_even=True)  # noqa: S311 - dice of a test
    for name in world.names:
        world.story.load(name, slots=1000)
    world.hear()
    file = world.view.file(FilePath("a.iso"))
    assert file is not None
    crowd = [Visitor(ip_address(f"198.51.100.{number}")) for number in range(100)]

    def come(visitors: list[Visitor]) -> None:
        for visitor in visitors:
            world.redirector.redirect(world.heads.sheet(file), guest_of(visitor))

    come(crowd)
    world.clock.now_s += 91
    come([Visitor(ip_address("203.0.113.1"))])
    world.clock.now_s -= 1.5
    come(crowd)
    world.recorder.flush()
    found = [again.why_not for _, again in retraced(world, world.records) if not again.agrees]
    assert (len(decisions_of(world)), found) == (201, [])


def test_outcome_that_a_newer_version_knows_is_untellable_whatever_else_its_record_says(kit: Kit) -> None:
    world = lived(kit, 3)
    forged = replace(decisions_of(world)[0], outcome=DecisionOutcome.OTHER, is_reserved=True)
    assert verdicts_with(world, 0, forged)[0] is Verdict.UNVERIFIABLE


def test_rules_that_nobody_can_have_are_no_reason_to_stop(kit: Kit) -> None:
    world = lived(kit, 3)
    records = [
        replace(record, rules=replace(record.rules, start_by_s=INTEGER_MAX))
        if isinstance(record, StandingRecorded)
        else record
        for record in world.records
    ]
    assert [again.verdict for _, again in retraced(world, records)]


FORGED = {
    "no slots": {"slots": 0},
    "all slots taken": {"active": 5},
    "all slots granted": {"granted": 5},
    "no quota": {"quota_left_bytes": 1},
    "silent": {"is_silent": True},
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
def test_changed_figure_that_matters_is_found(kit: Kit, forged: dict[str, int]) -> None:
    found: Counter[Verdict] = Counter()
    for seed in range(6):
        world = lived(kit, seed)
        for place, decision in enumerate(decisions_of(world)):
            if decision.outcome is DecisionOutcome.SENT and decision.path == "b.iso" and not world.lost:
                found[verdicts_with(world, place, _with_figures(decision, forged))[place]] += 1
                break
    assert found[Verdict.DIFFERS] > 0
    assert set(found) == {Verdict.DIFFERS}


def _with_figures(decision: Decision, forged: dict[str, int]) -> Decision:
    assert decision.mirror is not None
    figures = replace(Figures(mirror=decision.mirror, slots=5, active=0, reserved=0), **forged)
    others = [each for each in decision.figures if each.mirror != decision.mirror]
    return replace(decision, figures=(*others, figures))


def test_missing_record_makes_what_follows_untellable_until_the_next_standing(kit: Kit) -> None:
    world = lived(kit, 3)
    retracer = Retracer(world.view)
    decision = decisions_of(world)[0]
    assert retracer.retrace(decision).verdict is Verdict.UNVERIFIABLE
    standing = next(record for record in world.records if isinstance(record, StandingRecorded))
    retracer.standing(standing)
    assert retracer.retrace(decision).verdict is not Verdict.UNVERIFIABLE
    retracer.missed()
    assert "missing" in retracer.retrace(decision).why_not
