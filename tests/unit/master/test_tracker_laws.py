"""Laws of the tracker, whatever mirrors do: ask, fetch, fail, fall silent, lie, leave and come back."""

from __future__ import annotations

from collections import Counter, defaultdict
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from events.names import ORIGIN, Digest, MirrorName
from events.schemas import Profile, SourceFault
from master.heard import Announced, Ban
from master.tracker.bits import draw, read_bitmap
from master.tracker.leases import Lease
from master.tracker.stations import (
    FROM_ORIGIN_PER_ASKER_MAX,
    LEASES_PER_ASKER_MAX,
    LEASES_PER_SOURCE_MAX,
    LIVE_S,
    ORIGIN_NUMBER,
    REST_S,
)
from master.tracker.swarm import Content
from master.tracker.tracker import IDLE_S, SWARMS_MAX, Rules, Tracker

PIECES = 6
PIECE_BYTES = 4 << 20
FULL = (1 << PIECES) - 1
SHA256 = Digest(b"1" * 32)
CONTENT = Content(sha256=SHA256, size_bytes=PIECES * PIECE_BYTES, piece_bytes=PIECE_BYTES)
NAMES = tuple(MirrorName(name) for name in ("ana", "bob", "cat", "dan"))
SEEDS_MAX = 2
ESCAPE_AFTER_S = 10.0

mirrors = st.sampled_from(NAMES)
faults = st.sampled_from([fault for fault in SourceFault if fault is not SourceFault.WRONG_BYTES])


def tracker_with(*names: MirrorName, seed: int = 1, rate: int | None = None, peers: bool = True) -> Tracker:
    rules = Rules(seeds_max=SEEDS_MAX, escape_after_s=ESCAPE_AFTER_S, bytes_per_second=rate)
    tracker = Tracker(rules, rng=Random(seed))  # noqa: S311 - seeded on purpose
    tracker.open(CONTENT, holders=(), bans=())
    for name in names:
        tracker.announce(announced(name, peers=peers))
    return tracker


def announced(name: MirrorName, *, online: bool = True, peers: bool = True) -> Announced:
    return Announced(
        mirror=name, online=online, profile=Profile(url=f"http://{name}", slots=1, peers=peers), key_epoch=1
    )


class Fleet(RuleBasedStateMachine):
    """Four mirrors and one content. The model keeps what each mirror has, which leases run and what left the master."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.tracker = tracker_with(*NAMES)
        self.have: dict[MirrorName, int] = dict.fromkeys(NAMES, 0)
        self.running: dict[bytes, tuple[MirrorName, Lease]] = {}
        self.spent = Counter[int]()
        self.liars: dict[MirrorName, set[MirrorName]] = defaultdict(set)
        self.offering = set(NAMES)

    @rule(mirror=mirrors, want_max=st.integers(0, 4))
    def ask(self, mirror: MirrorName, want_max: int) -> None:
        self.forget_expired()
        leases = self.tracker.ask(mirror, SHA256, have=self.have[mirror], want_max=want_max, now_s=self.now_s)
        assert len(leases) <= want_max
        for lease in leases:
            self.check(mirror, lease)
            self.running[lease.lease_id] = (mirror, lease)

    def check(self, mirror: MirrorName, lease: Lease) -> None:
        source = self.tracker.stations.name(lease.source)
        assert not self.have[mirror] >> lease.piece & 1, "nobody is sent for what he has"
        assert all((asker, other.piece) != (mirror, lease.piece) for asker, other in self.running.values()), (
            "no piece twice at once to one mirror"
        )
        assert source != mirror
        assert mirror not in self.liars[source], "never again to a source that lied to this mirror"
        assert len(self.liars[source]) < 2, "never to anybody once two were lied to"
        if source == ORIGIN:
            self.spent[lease.piece] += 1
            under_way = any(other.piece == lease.piece for _, other in self.running.values())
            assert self.spent[lease.piece] <= SEEDS_MAX or not under_way, "beyond the budget only what nobody fetches"
        else:
            assert source in self.offering, "who left, is offline or does not want to is no source"
            assert self.have[source] >> lease.piece & 1, "a source has what it is leased for"

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def fetch(self, data: st.DataObject) -> None:
        mirror, lease = self.pick(data)
        self.send(lease)
        self.have[mirror] |= 1 << lease.piece
        self.tracker.settle(mirror, lease.lease_id, None, now_s=self.now_s)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), fault=faults, began=st.booleans())
    def fail(self, data: st.DataObject, fault: SourceFault, *, began: bool) -> None:
        mirror, lease = self.pick(data)
        if began:
            self.send(lease)
        elif lease.source == ORIGIN_NUMBER:
            self.spent[lease.piece] -= 1
        self.tracker.settle(mirror, lease.lease_id, fault, now_s=self.now_s)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def be_lied_to(self, data: st.DataObject) -> None:
        mirror, lease = self.pick(data)
        self.send(lease)
        self.liars[self.tracker.stations.name(lease.source)].add(mirror)
        self.tracker.settle(mirror, lease.lease_id, SourceFault.WRONG_BYTES, now_s=self.now_s)

    @rule(mirror=mirrors)
    def settle_what_is_anothers(self, mirror: MirrorName) -> None:
        for asker, lease in self.running.values():
            if asker != mirror:
                self.tracker.settle(mirror, lease.lease_id, None, now_s=self.now_s)

    @rule(mirror=mirrors, online=st.booleans(), peers=st.booleans())
    def announce(self, mirror: MirrorName, *, online: bool, peers: bool) -> None:
        self.tracker.announce(announced(mirror, online=online, peers=peers))
        (self.offering.add if online and peers else self.offering.discard)(mirror)

    @rule(mirror=mirrors)
    def leave(self, mirror: MirrorName) -> None:
        self.tracker.leave(mirror)
        self.offering.discard(mirror)
        number = self.tracker.stations.number(mirror)
        for lease_id, (asker, lease) in list(self.running.items()):
            if mirror == asker or lease.source == number:
                self.give_back(lease)
                del self.running[lease_id]
        self.have[mirror] = 0

    @rule(seconds=st.sampled_from([0.5, 5.0, 11.0, 61.0, 1000.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.forget_expired()

    @invariant()
    def nobody_serves_more_than_two_at_once(self) -> None:
        loads = Counter(lease.source for _, lease in self.running.values() if lease.source != ORIGIN_NUMBER)
        assert all(load <= LEASES_PER_SOURCE_MAX for load in loads.values())

    def pick(self, data: st.DataObject) -> tuple[MirrorName, Lease]:
        lease_id = data.draw(st.sampled_from(sorted(self.running)))
        return self.running.pop(lease_id)

    def send(self, lease: Lease) -> None:
        if lease.source == ORIGIN_NUMBER:
            lease.sent_bytes += lease.piece_bytes

    def give_back(self, lease: Lease) -> None:
        if lease.source == ORIGIN_NUMBER and not lease.sent_bytes:
            self.spent[lease.piece] -= 1

    def forget_expired(self) -> None:
        self.tracker.expire(self.now_s)
        for lease_id, (_, lease) in list(self.running.items()):
            if lease.expires_at_s <= self.now_s:
                self.give_back(lease)
                del self.running[lease_id]


Fleet.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestFleet = Fleet.TestCase


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16), failing=st.floats(0, 0.5), lying=st.sets(st.sampled_from(NAMES), max_size=2))
def test_everybody_is_done_in_the_end_whoever_fails_or_lies(seed: int, failing: float, lying: set[MirrorName]) -> None:
    """The master is a whole source that lives: with it every mirror becomes whole, however bad the others are."""
    rng = Random(seed)  # noqa: S311 - seeded on purpose
    tracker, have, now_s = tracker_with(*NAMES, seed=seed), dict.fromkeys(NAMES, 0), 0.0
    for _ in range(2000):
        if all(pieces == FULL for pieces in have.values()):
            return
        now_s += 1.0
        for name in rng.sample(NAMES, len(NAMES)):
            for lease in tracker.ask(name, SHA256, have=have[name], want_max=2, now_s=now_s):
                source = tracker.stations.name(lease.source)
                if source in lying:
                    tracker.settle(name, lease.lease_id, SourceFault.WRONG_BYTES, now_s=now_s)
                elif source != ORIGIN and rng.random() < failing:
                    tracker.settle(name, lease.lease_id, SourceFault.BROKEN_OFF, now_s=now_s)
                else:
                    lease.sent_bytes = lease.piece_bytes if source == ORIGIN else 0
                    have[name] |= 1 << lease.piece
                    tracker.settle(name, lease.lease_id, None, now_s=now_s)
    raise AssertionError(f"not done after {now_s:.0f} s: {have}")


def test_a_ban_of_the_log_counts_as_one_that_was_reported() -> None:
    tracker = tracker_with(*NAMES)
    tracker.hold(MirrorName("ana"), SHA256, held=True)
    for accuser in ("bob", "cat"):
        tracker.ban(Ban(SHA256, MirrorName("ana"), MirrorName(accuser)))
    leases = tracker.ask(MirrorName("dan"), SHA256, have=0, want_max=4, now_s=0.0)
    assert {tracker.stations.name(lease.source) for lease in leases} == {ORIGIN}


def test_a_piece_that_nobody_can_give_leaves_the_master_once_more_and_not_sooner_than_it_must() -> None:
    tracker = tracker_with(*NAMES, peers=False)
    for name in NAMES[:SEEDS_MAX]:
        for piece in range(PIECES):
            (lease,) = tracker.ask(name, SHA256, have=FULL & ~(1 << piece), want_max=1, now_s=0.0)
            lease.sent_bytes = lease.piece_bytes
            tracker.settle(name, lease.lease_id, None, now_s=0.0)

    def ask(name: MirrorName, now_s: float) -> list[Lease]:
        return tracker.ask(name, SHA256, have=FULL & ~1, want_max=4, now_s=now_s)

    cat, dan = NAMES[SEEDS_MAX:]
    assert ask(cat, 1.0) == []
    assert ask(dan, 2.0) == []
    assert ask(cat, 1.0 + ESCAPE_AFTER_S - 0.1) == []
    (lease,) = ask(cat, 1.0 + ESCAPE_AFTER_S)
    assert (lease.piece, lease.source) == (0, ORIGIN_NUMBER)
    assert ask(dan, 2.0 + ESCAPE_AFTER_S) == []  # it is under way


def test_the_master_leases_no_faster_than_its_rate() -> None:
    tracker = tracker_with(*NAMES, rate=PIECE_BYTES)
    leased = [
        sum(len(tracker.ask(name, SHA256, have=0, want_max=4, now_s=now_s)) for name in NAMES)
        for now_s in (0.0, 0.5, 1.5)
    ]
    assert leased == [2, 1, 1]


def test_a_silent_mirror_is_no_source_unless_it_is_whole() -> None:
    tracker, (ana, bob, cat, _) = tracker_with(*NAMES), NAMES
    tracker.ask(ana, SHA256, have=1, want_max=0, now_s=0.0)

    def sources(asker: MirrorName, now_s: float) -> set[MirrorName]:
        leases = tracker.ask(asker, SHA256, have=FULL & ~1, want_max=4, now_s=now_s)
        for lease in leases:
            tracker.settle(asker, lease.lease_id, SourceFault.OTHER, now_s=now_s)
        return {tracker.stations.name(lease.source) for lease in leases}

    assert sources(bob, 1.0) == {ana}
    assert sources(bob, 1.0 + 2 * LIVE_S) == {ORIGIN}
    tracker.hold(ana, SHA256, held=True)
    assert sources(cat, 2.0 + 2 * LIVE_S) == {ana}


def test_a_source_that_failed_two_rests_for_all_until_it_serves_again() -> None:
    tracker, (ana, bob, cat, dan) = tracker_with(*NAMES), NAMES
    tracker.hold(ana, SHA256, held=True)
    for asker in (bob, cat):
        lease = tracker.ask(asker, SHA256, have=FULL & ~1, want_max=1, now_s=0.0)[0]
        assert tracker.stations.name(lease.source) == ana
        tracker.settle(asker, lease.lease_id, SourceFault.UNREACHABLE, now_s=0.0)
    (lease,) = tracker.ask(dan, SHA256, have=FULL & ~1, want_max=1, now_s=1.0)
    assert lease.source == ORIGIN_NUMBER
    tracker.settle(dan, lease.lease_id, SourceFault.OTHER, now_s=1.0)
    (lease,) = tracker.ask(dan, SHA256, have=FULL & ~1, want_max=1, now_s=1.0 + REST_S)
    assert tracker.stations.name(lease.source) == ana


def test_what_the_master_has_sent_is_remembered_when_a_swarm_ends() -> None:
    tracker = tracker_with(*NAMES, peers=False)
    for name in NAMES[:SEEDS_MAX]:
        (lease,) = tracker.ask(name, SHA256, have=FULL & ~1, want_max=1, now_s=0.0)
        lease.sent_bytes = lease.piece_bytes
        tracker.settle(name, lease.lease_id, None, now_s=0.0)
    tracker.put_away(2 * IDLE_S)
    assert not tracker.has(SHA256)
    tracker.open(CONTENT, holders=(), bans=())
    assert tracker.ask(NAMES[-1], SHA256, have=FULL & ~1, want_max=1, now_s=2 * IDLE_S) == []


def test_piece_0_is_the_highest_bit_of_the_first_byte() -> None:
    assert read_bitmap(bytes([0b1000_0001, 0b0100_0000])) == 1 << 0 | 1 << 7 | 1 << 9


@given(st.integers(1, 2**80), st.integers(0, 2**16))
def test_what_is_drawn_is_a_member(members: int, seed: int) -> None:
    drawn = draw(members, Random(seed))  # noqa: S311 - seeded on purpose
    assert members >> drawn & 1


def test_a_mirror_that_left_and_came_back_is_not_sent_again_to_who_lied_to_it() -> None:
    tracker, (ana, bob, *_) = tracker_with(*NAMES), NAMES
    tracker.hold(ana, SHA256, held=True)
    lease = tracker.ask(bob, SHA256, have=FULL & ~1, want_max=1, now_s=0.0)[0]
    assert tracker.stations.name(lease.source) == ana
    tracker.settle(bob, lease.lease_id, SourceFault.WRONG_BYTES, now_s=0.0)
    tracker.leave(bob)
    tracker.announce(announced(bob))
    (lease,) = tracker.ask(bob, SHA256, have=FULL & ~1, want_max=1, now_s=0.0)
    assert lease.source == ORIGIN_NUMBER


def content(number: int, *, pieces: int = 2) -> Content:
    sha256 = Digest(number.to_bytes(32, "big"))
    return Content(sha256=sha256, size_bytes=pieces * PIECE_BYTES, piece_bytes=PIECE_BYTES)


def ask_for_everything(tracker: Tracker, asker: MirrorName, *holders: MirrorName) -> list[Lease]:
    """Ask for more contents than anybody fetches at once, and fetch nothing."""
    leases: list[Lease] = []
    for number in range(LEASES_PER_ASKER_MAX):
        some = content(number)
        tracker.open(some, holders=holders, bans=())
        leases += tracker.ask(asker, some.sha256, have=0, want_max=16, now_s=0.0)
    return leases


def test_a_mirror_that_asks_for_everything_leaves_each_source_a_place_for_others() -> None:
    tracker, (ana, bob, cat, dan) = tracker_with(*NAMES), NAMES
    tracker.ask(bob, SHA256, have=0, want_max=0, now_s=0.0)
    hoarded = ask_for_everything(tracker, ana, cat, dan)
    assert Counter(tracker.stations.name(lease.source) for lease in hoarded)[cat] == 1
    for holder in (cat, dan):
        tracker.replace(holder, {SHA256})
    leases = tracker.ask(bob, SHA256, have=0, want_max=4, now_s=0.0)
    assert {cat, dan} <= {tracker.stations.name(lease.source) for lease in leases}


def test_a_mirror_that_asks_for_everything_leaves_others_the_masters_rate() -> None:
    tracker, (ana, bob, *_) = tracker_with(*NAMES, rate=10 * PIECE_BYTES), NAMES
    assert len(ask_for_everything(tracker, ana)) == FROM_ORIGIN_PER_ASKER_MAX
    assert tracker.ask(bob, SHA256, have=0, want_max=4, now_s=0.0) != []


def test_a_mirror_that_asks_alone_has_both_places_of_a_source() -> None:
    tracker, (ana, bob, *_) = tracker_with(*NAMES), NAMES
    tracker.hold(bob, SHA256, held=True)
    leases = tracker.ask(ana, SHA256, have=0, want_max=2, now_s=0.0)
    assert [tracker.stations.name(lease.source) for lease in leases] == [bob, bob]


def test_a_mirror_that_begins_anew_gets_at_once_what_was_leased_to_it_before() -> None:
    tracker = tracker_with(*NAMES[:2])
    tracker.resume(NAMES[0], "first")
    ours = tracker.ask(NAMES[0], SHA256, have=0, want_max=PIECES, now_s=0.0)
    theirs = tracker.ask(NAMES[1], SHA256, have=0, want_max=PIECES, now_s=0.0)
    tracker.resume(NAMES[0], "first")
    assert tracker.leases == len(ours) + len(theirs), "it asks on"
    tracker.resume(NAMES[0], "second")
    assert tracker.leases == len(theirs)
    again = tracker.ask(NAMES[0], SHA256, have=0, want_max=PIECES, now_s=0.0)
    assert len(again) == len(ours) > 0


def test_mirrors_that_hold_a_file_are_its_seeds_after_a_restart() -> None:
    tracker, (ana, bob, cat, dan) = tracker_with(), NAMES
    for name in NAMES:
        tracker.announce(announced(name))
    tracker.open(CONTENT, holders=[ana, bob], bans=())
    leases = [lease for asker in (cat, dan) for lease in tracker.ask(asker, SHA256, have=0, want_max=4, now_s=0.0)]
    assert {tracker.stations.name(lease.source) for lease in leases} == {ana, bob}


def test_a_lease_that_outlives_its_swarm_is_ended_with_it() -> None:
    tracker, ana = tracker_with(*NAMES), NAMES[0]
    large = Content(sha256=Digest(b"2" * 32), size_bytes=200 << 20, piece_bytes=100 << 20)
    tracker.open(large, holders=(), bans=())
    before = tracker.ask(ana, large.sha256, have=0, want_max=2, now_s=0.0)
    assert all(lease.expires_at_s > IDLE_S + 2 for lease in before)
    tracker.put_away(IDLE_S + 1)
    assert tracker.leases == 0
    tracker.open(large, holders=(), bans=())
    after = tracker.ask(ana, large.sha256, have=0, want_max=2, now_s=IDLE_S + 2)
    for lease in (*before, *after):
        tracker.settle(ana, lease.lease_id, None, now_s=IDLE_S + 3)
    assert (len(after), tracker.leases) == (2, 0)


def test_of_too_many_swarms_the_one_longest_not_asked_for_is_put_away() -> None:
    tracker, ana = tracker_with(*NAMES), NAMES[0]
    for number in range(SWARMS_MAX):
        some = content(number, pieces=1)
        tracker.put_away(float(number))
        tracker.open(some, holders=(), bans=())
        tracker.ask(ana, some.sha256, have=1, want_max=0, now_s=float(number))
        tracker.ask(ana, content(0).sha256, have=1, want_max=0, now_s=float(number))
        assert len(tracker.contents) <= SWARMS_MAX
    assert (tracker.has(content(0).sha256), tracker.has(content(1).sha256)) == (True, False)
