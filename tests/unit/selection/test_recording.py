"""What is told of decisions, when, and what happens where there is no room for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from broker.memory import MemoryBroker, MemorySite
from events.codec import BODY_BYTES_MAX, decode, encode_proven
from events.envelope import Envelope, selector_source
from events.names import PATH_BYTES_MAX, MirrorName, SelectorName
from events.schemas import (
    DecisionOutcome,
    DecisionsRecorded,
    Figures,
    MirrorRuled,
    Seen,
    SelectionRules,
    SelectorCameOnline,
    StandingRecorded,
)
from events.schemas.fields import INTEGER_MAX, NS_PER_S
from selection.answering import announcer as announcing
from selection.answering import recording
from selection.answering.announcer import Announcer
from selection.answering.recording import (
    DECISIONS_PER_RECORD_MAX,
    STANDING_EVERY_NS,
    Desk,
    Record,
    Recorder,
)
from selection.answering.visit import Visit, guest_of
from selection.policy.policy import Policy
from selection.policy.reservations import Reservations
from selection.policy.rules import Rules
from selection.policy.visitor import Visitor

if TYPE_CHECKING:
    from conftest import Story

SELECTOR = SelectorName("sel")
RULES = Rules(silent_after_s=10.0, load_threshold=1.0, near_km=200.0, hops_max=3)
SENT = DecisionOutcome.SENT
SEEN = Seen(generation=1, offset=7, message_id="master:0:7")


@dataclass
class Bench:
    """A recorder over a fleet that was told by hand."""

    story: Story
    path: str = "a.iso"
    percent: int = 100
    is_room: bool = True
    at_ns: int = 0
    said: list[Record] = field(default_factory=list[Record])

    def __post_init__(self) -> None:
        self.view, self.reservations = self.story.view(), Reservations()
        self.policy = Policy(self.view, self.reservations, RULES)
        self.seen = SEEN
        desk = Desk(
            selector=SELECTOR,
            view=self.view,
            policy=self.policy,
            reservations=self.reservations,
            rules=SelectionRules(
                silent_after_s=10.0,
                load_threshold=1.0,
                near_km=200.0,
                hops_max=3,
                share_percent_max=100,
                sticky_tags=(),
                start_by_s=60,
                recorded_percent=self.percent,
            ),
            seen=lambda: self.seen,
            has_room=lambda _: self.is_room,
            say=self.say,
            on_gathered=lambda: None,
        )
        self.recorder = Recorder(desk, percent=self.percent)
        self.file = self.story.file(self.path)

    def say(self, record: Record, decisions: int) -> bool:
        assert decisions >= 1
        if self.is_room:
            envelope = Envelope(
                source=selector_source(SELECTOR), epoch=1, sequence=1, time_ns=0, traceparent="", event=record
            )
            body = encode_proven(envelope)
            assert len(body) <= BODY_BYTES_MAX
            event = decode(body).event
            assert isinstance(event, StandingRecorded | DecisionsRecorded)
            self.said.append(event)
        return self.is_room

    def decide(self, mirror: str | None = None, *, is_reserved: bool = False, number: int = 1) -> None:
        visitor = Visitor(ip_address("2001:db8::1"))
        self.policy.choose(self.file, visitor, 0, now_s=0.0, rng=_Rng())
        sent_to = None if mirror is None else self.view.mirror(MirrorName(mirror))
        visit = Visit(self.file, guest_of(visitor), (), number.to_bytes(16), self.at_ns, now_s=0.0, heard_s=0.0)
        outcome = SENT if mirror else DecisionOutcome.ORIGIN
        self.recorder.decided(visit, outcome, sent_to, is_reserved=is_reserved)
        if sent_to is not None and is_reserved:
            size_bytes = self.file.size_bytes
            self.policy.reserve(sent_to, selector=SELECTOR, sequence=1, size_bytes=size_bytes, expires_s=1e12)

    def load(self, name: str, *, slots: int = 10, active: int = 0) -> None:
        self.story.load(name, slots=slots, active=active)
        self.view.apply(self.story.said[-1], heard_s=0.0)

    def standings(self) -> list[StandingRecorded]:
        return [each for each in self.said if isinstance(each, StandingRecorded)]

    def records(self) -> list[DecisionsRecorded]:
        return [each for each in self.said if isinstance(each, DecisionsRecorded)]


class _Rng:
    def random(self) -> float:
        return 0.5


def bench(story: Story, *names: str, path: str = "a.iso", size_bytes: int = 1000) -> Bench:
    story.published(path, size_bytes=size_bytes)
    for name in names:
        story.serving(name, [path])
    return Bench(story, path)


def test_first_decision_comes_after_how_all_mirrors_stood(story: Story) -> None:
    site = bench(story, "ana", "bob")
    site.decide("ana")
    site.recorder.flush()
    (standing,), (record,) = site.standings(), site.records()
    assert site.said == [standing, record]
    assert [(each.mirror, each.slots, each.is_silent) for each in standing.figures] == [
        ("ana", 10, False),
        ("bob", 10, False),
    ]
    assert (standing.is_first, standing.missed) == (True, 0)
    assert [decision.figures for decision in record.decisions] == [()]


def test_what_follows_from_the_decisions_before_is_not_told_and_what_differs_is(story: Story) -> None:
    site = bench(story, "ana", "bob")
    for number in range(3):
        site.decide("ana", is_reserved=True, number=number)
    site.load("bob", active=4)
    site.load("ana")
    site.decide("bob")
    site.recorder.flush()
    (record,) = site.records()
    told = [[(each.mirror, each.active, each.granted) for each in one.figures] for one in record.decisions]
    assert told == [[], [], [], [("bob", 4, 0)]]


def test_grant_that_a_report_counted_before_it_was_told_of_is_told_as_a_figure(story: Story) -> None:
    site = bench(story, "ana")
    site.reservations.counted(MirrorName("ana"), selector=SELECTOR, up_to_sequence=99)
    site.decide("ana", is_reserved=True)
    site.decide("ana")
    site.recorder.flush()
    (record,) = site.records()
    assert [[each.granted for each in one.figures] for one in record.decisions] == [[], [0]]


def test_visitors_of_whom_nothing_is_recorded_show_in_the_next_record(story: Story) -> None:
    site = bench(story, "ana", "bob")
    site.percent = 50
    site.__post_init__()
    left_out = 0xFFFF  # the last two bytes of the grant's id, which a sample goes by
    site.decide("ana")
    for name in ("ana", "bob", "ana"):
        site.decide(name, is_reserved=True, number=left_out)
    site.decide("ana")
    site.decide("ana")
    site.recorder.flush()
    (record,) = site.records()
    told = [{(each.mirror, each.granted) for each in one.figures} for one in record.decisions]
    assert told == [set(), {("ana", 2), ("bob", 1)}, set()]


def test_how_far_the_log_was_read_is_told_where_it_changes(story: Story) -> None:
    site = bench(story, "ana")
    first = site.seen
    site.decide()
    site.decide()
    site.seen = Seen(generation=1, offset=8, message_id="master:0:8")
    site.decide()
    site.decide()
    site.recorder.flush()
    (record,) = site.records()
    assert record.seen == first
    assert [decision.seen for decision in record.decisions] == [None, None, site.seen, None]


@pytest.mark.parametrize(
    "seen",
    [
        Seen(generation=2, offset=3, message_id="master:0:9"),
        pytest.param(Seen(generation=1, offset=-1, message_id=""), id="none"),
    ],
)
def test_how_all_stand_is_told_again_where_another_log_tells_the_view(story: Story, seen: Seen) -> None:
    site = bench(story, "ana")
    for each in (site.seen, seen, seen, site.seen):
        site.seen = each
        site.decide()
    site.recorder.flush()
    assert [standing.seen for standing in site.standings()] == [SEEN, seen, SEEN]
    assert [len(record.decisions) for record in site.records()] == [1, 2, 1]


def test_record_is_full_at_its_most_decisions_and_fits_into_an_event(story: Story) -> None:
    path = "/".join(["ä" * 50] * (PATH_BYTES_MAX // 102))
    site = bench(story, "ana", path=path, size_bytes=INTEGER_MAX)
    for number in range(DECISIONS_PER_RECORD_MAX):
        assert site.records() == []
        site.decide("ana", is_reserved=True, number=number)
    assert [len(record.decisions) for record in site.records()] == [DECISIONS_PER_RECORD_MAX]


def test_how_all_stand_is_told_again_each_minute_in_which_somebody_comes(story: Story) -> None:
    site = bench(story, "ana")
    for at_ns in (0, STANDING_EVERY_NS - 1, STANDING_EVERY_NS, STANDING_EVERY_NS + 1, 10 * STANDING_EVERY_NS):
        site.at_ns = at_ns
        site.decide()
    site.recorder.flush()
    assert len(site.standings()) == 3
    assert [standing.is_first for standing in site.standings()] == [True, False, False]
    assert sum(len(record.decisions) for record in site.records()) == 5


def test_all_is_told_instead_of_very_many_differences(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "FIGURES_PER_DECISION_MAX", 2)
    names = [f"m{number}" for number in range(4)]
    site = bench(story, *names)
    site.decide()
    for name in names[:2]:
        site.load(name, active=1)
    site.decide()
    for name in names[:3]:
        site.load(name, active=2)
    site.decide()
    site.recorder.flush()
    assert [len(standing.figures) for standing in site.standings()] == [4, 4]
    assert [[len(one.figures) for one in record.decisions] for record in site.records()] == [[0, 2], [0]]


def test_very_many_differences_for_which_there_is_no_room_are_told_when_there_is(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "FIGURES_PER_DECISION_MAX", 1)
    site = bench(story, "ana", "bob")
    site.decide()
    site.recorder.flush()
    for name in ("ana", "bob"):
        site.load(name, active=2)
    site.is_room = False
    site.decide()
    site.is_room = True
    site.decide()
    site.recorder.flush()
    last = site.standings()[-1]
    assert (last.missed, [each.active for each in last.figures]) == (1, [2, 2])


def test_after_a_record_without_room_all_is_told_first_and_how_many_decisions_were_missed(story: Story) -> None:
    site = bench(story, "ana")
    site.decide()
    site.is_room = False
    site.recorder.flush()
    site.decide()
    site.is_room = True
    site.at_ns = NS_PER_S
    site.decide()
    site.recorder.flush()
    assert [standing.missed for standing in site.standings()] == [0, 2]
    assert [standing.is_first for standing in site.standings()] == [True, False]
    assert sum(len(record.decisions) for record in site.records()) == 1
    assert site.recorder.dropped == 2


def test_while_there_is_no_room_nobody_works_out_how_all_mirrors_stand(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = bench(story, "ana")
    made: list[Figures] = []

    def make(**fields: Any) -> Figures:  # noqa: ANN401 - it passes on what it is given
        made.append(Figures(**fields))
        return made[-1]

    monkeypatch.setattr(recording, "Figures", make)
    site.is_room = False
    for _ in range(3):
        site.decide()
    assert (made, site.said, site.recorder.dropped) == ([], [], 3)
    site.is_room = True
    site.decide()
    assert [figures.mirror for figures in made] == ["ana"]
    assert [standing.missed for standing in site.standings()] == [3]


def test_each_standing_counts_the_places_that_were_reserved_before(story: Story) -> None:
    site = bench(story, "ana", "bob")
    for number in range(3):
        site.decide("ana", is_reserved=True, number=number)
    site.at_ns = 60 * NS_PER_S
    site.decide("bob")
    first, second = (
        {figures.mirror: (figures.granted, figures.granted_bytes) for figures in standing.figures}
        for standing in site.standings()
    )
    assert first == {"ana": (0, 0), "bob": (0, 0)}
    assert second == {"ana": (3, 3 * site.file.size_bytes), "bob": (0, 0)}


def test_what_was_decided_without_room_shows_in_the_next_standing(story: Story) -> None:
    site = bench(story, "ana", "bob")
    site.decide("ana", is_reserved=True)
    site.is_room = False
    site.recorder.flush()
    site.decide("bob", is_reserved=True)
    site.load("ana", active=4)
    site.is_room = True
    site.decide()
    figures = {each.mirror: (each.active, each.granted) for each in site.standings()[-1].figures}
    assert figures == {"ana": (4, 1), "bob": (0, 1)}


def test_mirrors_that_had_their_share_are_told(story: Story) -> None:
    site = bench(story, "ana", "bob")
    story.master(MirrorRuled(mirror=MirrorName("ana"), share_percent_max=10))
    site.view.apply(story.said[-1], heard_s=0.0)
    visitor = Visitor(ip_address("2001:db8::1"))
    for _ in range(3):
        site.policy.choose(site.file, visitor, 0, now_s=0.0, rng=_Rng())
        site.policy.sent(site.view.mirror(MirrorName("ana")), visitor, now_s=0.0)
    site.decide("bob")
    site.recorder.flush()
    (record,) = site.records()
    assert record.decisions[0].spent == ("ana",)


def test_grants_that_gather_leave_room_for_records(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "RECORDS_WAITING_MAX", 3)
    announcer = Announcer(MemoryBroker(MemorySite()), SELECTOR, clock_ns=lambda: 5_000_000)
    for _ in range(4):
        announcer.say(SelectorCameOnline(selector=SELECTOR))
    assert announcer.has_room_for(3)
    assert not announcer.has_room_for(4)
    site = bench(story, "ana")
    site.decide()
    assert announcer.record(site.said[0], 3)
    assert not announcer.has_room_for(1)


def test_records_leave_room_for_notices(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "RECORDS_WAITING_MAX", 3)
    announcer = Announcer(MemoryBroker(MemorySite()), SELECTOR, clock_ns=lambda: 5_000_000)
    site = bench(story, "ana")
    for _ in range(2):
        site.decide()
    site.recorder.flush()
    standing, record = site.said
    assert isinstance(record, DecisionsRecorded)
    assert isinstance(standing, StandingRecorded)
    assert announcer.record(standing, 1)
    assert announcer.record(record, 2)
    assert not announcer.record(record, 2)
    assert announcer.waiting == 3
    announcer.say(SelectorCameOnline(selector=SELECTOR))
    assert (announcer.waiting, announcer.dropped) == (4, 0)
