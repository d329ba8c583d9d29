"""The view is a function of what was said, not of the order or the number of times in which it arrived."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.envelope import MASTER_SOURCE, Envelope, Version, load_source, mirror_source
from events.names import ORIGIN_CHANNEL, ChannelName, Digest, FilePath, MirrorName
from events.schemas import (
    Access,
    CatalogueRestated,
    DeclineReason,
    FilePublished,
    FileWithdrawn,
    InventoryAnnounced,
    LogOpened,
    LossReason,
    MirrorJoined,
    MirrorLeft,
    MirrorWentOffline,
    Profile,
    ReplicaDeclined,
    ReplicaLost,
    ReplicaReady,
    SubscriptionGranted,
    SubscriptionRevoked,
)
from selection.fleet import FleetView

if TYPE_CHECKING:
    from conftest import Kit, Story

MIRRORS = ("ana", "bob")
PATHS = ("a.iso", "b.iso")
BODIES = ("one", "two", "three")
CHANNELS = ("iso", "beta")
REPETITIONS_MAX = 2

ANA = MirrorName("ana")


@dataclass
class Oracle:
    """The truth, kept by the simplest means: each source's events in the order in which it said them."""

    files: dict[str, tuple[int, Digest]] = field(default_factory=dict[str, tuple[int, Digest]])
    members: dict[tuple[str, str], Digest] = field(default_factory=dict[tuple[str, str], Digest])
    fleet: set[str] = field(default_factory=set[str])
    follows: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    holds: dict[str, set[Digest]] = field(default_factory=dict[str, set[Digest]])
    announced: dict[str, bool] = field(default_factory=dict[str, bool])
    loads: dict[str, int] = field(default_factory=dict[str, int])

    def forget_master(self) -> None:
        self.files, self.members, self.fleet, self.follows = {}, {}, set(), set()

    def forget_mirror(self, name: str) -> None:
        self.holds.pop(name, None)
        self.announced.pop(name, None)


@dataclass(frozen=True)
class History:
    """What was said, the same as it arrived, and the truth."""

    said: list[Envelope]
    arrived: list[Envelope]
    oracle: Oracle


Action = tuple[str, str, str, int]

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "publish",
                "publish",
                "withdraw",
                "enter",
                "leave channel",
                "join",
                "join",
                "leave",
                "grant",
                "revoke",
                "online",
                "online",
                "offline",
                "ready",
                "ready",
                "lost",
                "inventory",
                "inventory",
                "load",
                "log opened",
                "restate",
                "master reset",
                "mirror reset",
            ]
        ),
        st.sampled_from(MIRRORS),
        st.sampled_from(PATHS),
        st.integers(0, 11),
    ),
    max_size=40,
)


class Teller:
    """Turns actions into what the sources would say, and keeps the truth beside it."""

    def __init__(self, kit: Kit) -> None:
        self.story = kit.Story()
        self.content = kit.content
        self.oracle = Oracle()
        self.generations: dict[str, int] = {}
        self.published: dict[tuple[str, str], FilePublished] = {}

    def tell(self, action: Action) -> None:
        what, mirror, path, number = action
        body = self.content(BODIES[number % len(BODIES)])
        channel = CHANNELS[number % len(CHANNELS)]
        getattr(self, what.replace(" ", "_"))(mirror, path, body, channel)

    def _channel_number(self, channel: str) -> int:
        self.story.channel_numbers[channel] += 1
        return self.story.channel_numbers[channel]

    def _enter(self, channel: str, path: str, generation: int, body: Digest) -> None:
        event = self.published[channel, path] = FilePublished(
            channel=ChannelName(channel),
            channel_sequence=self._channel_number(channel),
            path=FilePath(path),
            generation=generation,
            size_bytes=1,
            sha256=body,
            media_type="text/plain",
            access=Access(),
        )
        self.story.master(event)
        if channel == ORIGIN_CHANNEL:
            self.oracle.files[path] = generation, body
        else:
            self.oracle.members[channel, path] = body

    def _leave(self, channel: str, path: str, generation: int, body: Digest) -> None:
        self.story.master(
            FileWithdrawn(
                channel=ChannelName(channel),
                channel_sequence=self._channel_number(channel),
                path=FilePath(path),
                generation=generation,
                sha256=body,
                reason="",
            )
        )

    def publish(self, _mirror: str, path: str, body: Digest, channel: str) -> None:
        _, present = self.oracle.files.get(path, (0, None))
        if body == present:
            return
        generation = self.generations[path] = self.generations.get(path, 0) + 1
        self._enter(ORIGIN_CHANNEL, path, generation, body)
        self._enter(channel, path, generation, body)

    def withdraw(self, _mirror: str, path: str, _body: Digest, _channel: str) -> None:
        if path not in self.oracle.files:
            return
        generation, body = self.oracle.files.pop(path)
        for channel in CHANNELS:
            if self.oracle.members.pop((channel, path), None):
                self._leave(channel, path, generation, body)
        self._leave(ORIGIN_CHANNEL, path, generation, body)

    def enter(self, _mirror: str, path: str, _body: Digest, channel: str) -> None:
        if path in self.oracle.files:
            self._enter(channel, path, *self.oracle.files[path])

    def leave_channel(self, _mirror: str, path: str, _body: Digest, channel: str) -> None:
        if self.oracle.members.pop((channel, path), None):
            self._leave(channel, path, *self.oracle.files[path])

    def join(self, mirror: str, _path: str, _body: Digest, _channel: str) -> None:
        self.story.joined(mirror, channels=[])
        self.oracle.fleet.add(mirror)

    def leave(self, mirror: str, _path: str, _body: Digest, _channel: str) -> None:
        self.story.master(MirrorLeft(mirror=MirrorName(mirror), reason=""))
        self.oracle.fleet.discard(mirror)
        self.oracle.follows = {follow for follow in self.oracle.follows if follow[0] != mirror}

    def grant(self, mirror: str, _path: str, _body: Digest, channel: str) -> None:
        self.story.master(SubscriptionGranted(mirror=MirrorName(mirror), channel=ChannelName(channel)))
        self.oracle.follows.add((mirror, channel))

    def revoke(self, mirror: str, _path: str, _body: Digest, channel: str) -> None:
        self.story.master(SubscriptionRevoked(mirror=MirrorName(mirror), channel=ChannelName(channel)))
        self.oracle.follows.discard((mirror, channel))

    def online(self, mirror: str, _path: str, _body: Digest, _channel: str) -> None:
        self.story.online(mirror)
        self.oracle.announced[mirror] = False

    def offline(self, mirror: str, _path: str, _body: Digest, _channel: str) -> None:
        self.story.mirror(mirror, MirrorWentOffline(mirror=MirrorName(mirror), reason=""))
        self.oracle.announced.pop(mirror, None)

    def ready(self, mirror: str, path: str, body: Digest, _channel: str) -> None:
        event = ReplicaReady(mirror=MirrorName(mirror), sha256=body, size_bytes=1, path=FilePath(path), generation=1)
        self.story.mirror(mirror, event)
        self.oracle.holds.setdefault(mirror, set()).add(body)

    def lost(self, mirror: str, path: str, body: Digest, _channel: str) -> None:
        event = ReplicaLost(mirror=MirrorName(mirror), sha256=body, path=FilePath(path), reason=LossReason.MISSING)
        self.story.mirror(mirror, event)
        self.oracle.holds.setdefault(mirror, set()).discard(body)

    def inventory(self, mirror: str, _path: str, body: Digest, _channel: str) -> None:
        """It may contradict what was said before: a disk was exchanged."""
        held = [body, self.content("kept")]
        as_of = self.story.next_number(mirror)
        for page, sha256 in enumerate(held, start=1):
            event = InventoryAnnounced(mirror=MirrorName(mirror), as_of=as_of, page=page, pages=2, sha256s=(sha256,))
            self.story.mirror(mirror, event)
        self.oracle.holds[mirror] = set(held)
        if mirror in self.oracle.announced:
            self.oracle.announced[mirror] = True

    def load(self, mirror: str, _path: str, _body: Digest, _channel: str) -> None:
        active = self.story.numbers[load_source(MirrorName(mirror)), 0] + 1
        self.story.load(mirror, active=active)
        self.oracle.loads[mirror] = active

    def log_opened(self, _mirror: str, _path: str, _body: Digest, _channel: str) -> None:
        self.story.master(LogOpened(generation=2))

    def restate(self, _mirror: str, _path: str, _body: Digest, _channel: str) -> None:
        """All that holds is said again under the numbers that it has in its channels, and that this was all."""
        truth, since = self.oracle, self.story.numbers[MASTER_SOURCE, self.story.epochs[MASTER_SOURCE]] + 1
        truth.members = {
            (channel, path): body
            for (channel, path), body in truth.members.items()
            if body == truth.files.get(path, (0, None))[1]
        }
        truth.follows = {follow for follow in truth.follows if follow[0] in truth.fleet}
        for channel, path in [*((ORIGIN_CHANNEL, path) for path in truth.files), *truth.members]:
            self.story.master(self.published[channel, path])
        for mirror in sorted(truth.fleet):
            channels = [channel for follower, channel in sorted(truth.follows) if follower == mirror]
            self.story.joined(mirror, channels=channels)
        self.story.master(CatalogueRestated(generation=1, since=since))

    def master_reset(self, _mirror: str, _path: str, _body: Digest, _channel: str) -> None:
        self.story.epochs[MASTER_SOURCE] += 1
        self.story.channel_numbers.clear()
        self.generations.clear()
        self.oracle.forget_master()
        self.story.master(LogOpened(generation=1))

    def mirror_reset(self, mirror: str, path: str, body: Digest, channel: str) -> None:
        self.story.epochs[mirror_source(MirrorName(mirror))] += 1
        self.oracle.forget_mirror(mirror)
        self.online(mirror, path, body, channel)


@st.composite
def histories(draw: st.DrawFn, kit: Kit) -> History:
    """What sources said, and the same in any order with repetitions."""
    teller = Teller(kit)
    for action in draw(ACTIONS):
        teller.tell(action)
    said = teller.story.said
    repeated = draw(st.lists(st.sampled_from(said), max_size=REPETITIONS_MAX * len(said))) if said else []
    return History(said, draw(st.permutations([*said, *repeated])), teller.oracle)


def found_in(view: FleetView) -> Oracle:
    """Ask a view for everything that the truth knows."""
    found = Oracle()
    for file in view.catalogue.files():
        found.files[file.path] = file.generation, file.sha256
        for channel in view.channels_of(file):
            found.members[channel, file.path] = file.sha256
    for mirror in view.mirrors():
        found.fleet.add(mirror.name)
        found.follows |= {(mirror.name, channel) for channel in view.followed_by(mirror)}
        if mirror.online:
            found.announced[mirror.name] = view.announced(mirror)
        if mirror.load:
            found.loads[mirror.name] = mirror.load.report.active
    return found


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_order_and_repetition_of_events_do_not_change_the_view(data: st.DataObject, kit: Kit) -> None:
    history = data.draw(histories(kit))
    view, truth = kit.view_of(history.arrived), history.oracle
    found = found_in(view)
    assert found.files == truth.files
    assert found.members == {
        (channel, path): body
        for (channel, path), body in truth.members.items()
        if path in truth.files and body == truth.files[path][1]
    }
    assert found.fleet == truth.fleet
    assert found.follows == {follow for follow in truth.follows if follow[0] in truth.fleet}
    assert found.announced == {name: said for name, said in truth.announced.items() if name in truth.fleet}
    assert found.loads == {name: active for name, active in truth.loads.items() if name in truth.fleet}
    for mirror in view.mirrors():
        held = {kit.content(body) for body in (*BODIES, "kept") if view.holders(kit.content(body)) & 1 << mirror.number}
        assert held == truth.holds.get(mirror.name, set())
        assert view.copies(mirror) == len(held)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_restatement_makes_up_for_whatever_of_the_masters_facts_was_lost_before(data: st.DataObject, kit: Kit) -> None:
    teller = Teller(kit)
    for action in data.draw(ACTIONS):
        teller.tell(action)
    before = [envelope for envelope in teller.story.said if envelope.source == MASTER_SOURCE]
    others = [envelope for envelope in teller.story.said if envelope.source != MASTER_SOURCE]
    teller.tell(("restate", "", "", 0))
    since_then = teller.story.said[len(before) + len(others) :]
    heard = data.draw(st.lists(st.sampled_from(before), unique_by=lambda envelope: envelope.id)) if before else []
    found = found_in(kit.view_of(data.draw(st.permutations([*others, *heard, *since_then]))))
    truth = teller.oracle
    assert (found.files, found.members, found.fleet, found.follows) == (
        truth.files,
        truth.members,
        truth.fleet,
        truth.follows,
    )


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_whole_history_leaves_no_event_missing(data: st.DataObject, kit: Kit) -> None:
    history = data.draw(histories(kit))
    assert kit.view_of(history.arrived).missing_events() == {}


def test_withdrawal_that_arrives_before_the_publication_wins(kit: Kit, story: Story) -> None:
    story.published("a.iso")
    story.withdrawn("a.iso")
    assert kit.view_of(reversed(story.said)).file(FilePath("a.iso")) is None


def test_withdrawal_of_a_replaced_generation_leaves_the_new_one(kit: Kit, story: Story) -> None:
    story.published("a.iso", body="old")
    story.published("a.iso", generation=2, body="new")
    story.withdrawn("a.iso", generation=1, body="old")
    file = story.view().file(FilePath("a.iso"))
    assert file is not None
    assert file.sha256 == kit.content("new")
    assert story.view().channels_of(file) == ("iso",)


def test_withdrawn_file_can_be_published_again(story: Story) -> None:
    story.published("a.iso")
    story.withdrawn("a.iso")
    story.published("a.iso")
    assert story.view().file(FilePath("a.iso")) is not None


def test_late_ready_does_not_undo_newer_loss(kit: Kit, story: Story) -> None:
    story.joined("ana")
    story.ready("ana", "a.iso")
    story.lost("ana", "a.iso")
    assert kit.view_of(reversed(story.said)).holders(kit.content("a.iso")) == 0


def test_inventory_replaces_what_was_said_before_and_not_what_was_said_after(kit: Kit, story: Story) -> None:
    story.joined("ana")
    story.ready("ana", "before")
    story.inventory("ana", ["listed", "lost after"], page_size=1)
    story.ready("ana", "after")
    story.lost("ana", "lost after")
    for said in (story.said, [*reversed(story.said)]):
        view = kit.view_of(said)
        held = {name for name in ("before", "listed", "lost after", "after") if view.holders(kit.content(name))}
        assert held == {"listed", "after"}


def test_incomplete_inventory_replaces_nothing(kit: Kit, story: Story) -> None:
    story.joined("ana")
    story.ready("ana", "before")
    story.inventory("ana", ["one", "two"], page_size=1, skip_page=2)
    view = story.view()
    assert view.holders(kit.content("before"))
    assert not view.holders(kit.content("one"))


def test_inventories_that_never_complete_do_not_pile_up(kit: Kit, story: Story) -> None:
    story.joined("ana")
    for _ in range(50):
        story.inventory("ana", ["one", "two"], page_size=1, skip_page=2)
    story.inventory("ana", ["two"])
    assert story.view().holders(kit.content("two"))


def test_what_one_mirror_claims_is_bounded(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selection.replicas.CONTENTS_MAX", 10)
    for name in ("ana", "bob"):
        story.joined(name)
    for number in range(30):
        story.ready("ana", f"{number}")
    story.ready("bob", "11")
    view = story.view()
    assert [view.copies(mirror) for mirror in view.mirrors()] == [10, 1]


def test_loss_is_believed_however_much_a_mirror_has_claimed(
    kit: Kit, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selection.replicas.CONTENTS_MAX", 3)
    story.joined("ana")
    story.inventory("ana", ["kept", "lost"])
    for number in range(5):
        story.ready("ana", f"{number}")
    story.lost("ana", "lost")
    assert not story.view().holders(kit.content("lost"))
    assert story.view().holders(kit.content("kept"))


def test_inventory_that_is_too_large_is_dropped_and_the_next_one_counts(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selection.replicas.CONTENTS_MAX", 10)
    story.joined("ana")
    story.inventory("ana", [f"{number}" for number in range(6)], page_size=1)
    assert story.view().copies(story.view().mirrors()[0]) == 0
    story.inventory("ana", ["small"])
    assert story.view().copies(story.view().mirrors()[0]) == 1


def declined(story: Story, kit: Kit, body: str) -> None:
    event = ReplicaDeclined(
        mirror=ANA,
        sha256=kit.content(body),
        path=FilePath(body),
        generation=1,
        reason=DeclineReason.DISK_FULL,
        detail="",
        retry_after_s=1.0,
    )
    story.mirror("ana", event)


def test_refusal_to_fetch_is_forgotten_when_the_mirror_says_anything_newer(kit: Kit, story: Story) -> None:
    story.joined("ana")
    declined(story, kit, "ready later")
    declined(story, kit, "before the inventory")
    story.inventory("ana", [])
    declined(story, kit, "ready later")
    story.ready("ana", "ready later")
    story.lost("ana", "ready later")
    declined(story, kit, "still")
    for said in (story.said, [*reversed(story.said)]):
        view = kit.view_of(said)
        (mirror,) = view.mirrors()
        names = ("ready later", "before the inventory", "still")
        assert [name for name in names if view.declined(mirror, kit.content(name))] == ["still"]


def test_refusals_to_fetch_are_bounded(kit: Kit, story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selection.replicas.DECLINED_MAX", 2)
    story.joined("ana")
    for name in ("one", "two", "three"):
        declined(story, kit, name)
    view = story.view()
    (mirror,) = view.mirrors()
    assert [bool(view.declined(mirror, kit.content(name))) for name in ("one", "two", "three")] == [False, True, True]


def test_mirrors_own_profile_holds_before_the_masters_whatever_comes_last(kit: Kit, story: Story) -> None:
    story.online("ana", url="http://new.example")
    story.joined("ana")
    for said in (story.said, [*reversed(story.said)]):
        (mirror,) = kit.view_of(said).mirrors()
        assert mirror.profile is not None
        assert mirror.profile.url == "http://new.example"


def test_new_generation_of_the_log_takes_nothing_away(kit: Kit, story: Story) -> None:
    story.published("a.iso")
    story.serving("ana")
    before = found_in(story.view())
    story.master(LogOpened(generation=7))
    view = story.view()
    assert found_in(view) == before
    assert view.holders(kit.content("a.iso"))
    assert view.log_generation == 7


def test_what_the_master_does_not_say_again_holds_no_longer(kit: Kit, story: Story) -> None:
    story.published("gone.iso")
    story.published("kept.iso")
    story.serving("ana", ["gone.iso", "kept.iso"])
    story.joined("bob")
    since = len([envelope for envelope in story.said if envelope.source == MASTER_SOURCE]) + 1
    story.published("kept.iso")
    story.joined("ana")
    before = story.view()
    story.master(CatalogueRestated(generation=2, since=since))
    for said in (story.said, [*reversed(story.said)]):
        view = kit.view_of(said)
        assert view.file(FilePath("gone.iso")) is None
        assert [file.path for file in view.catalogue.files()] == ["kept.iso"]
        assert len(view.catalogue) == 1
        assert [(mirror.name, view.followed_by(mirror)) for mirror in view.mirrors()] == [("ana", ("iso",))]
        assert view.holders(kit.content("kept.iso"))
    assert before.file(FilePath("gone.iso")) is not None


def test_mirror_that_left_and_joined_again_has_to_be_granted_its_channels_anew(story: Story) -> None:
    story.serving("ana")
    story.master(MirrorLeft(mirror=ANA, reason="moved"))
    story.master(MirrorJoined(mirror=ANA, profile=Profile(url="http://ana.example", slots=1)))
    (mirror,) = story.view().mirrors()
    assert story.view().followed_by(mirror) == ()


def test_missing_events_are_counted_until_they_arrive(kit: Kit, story: Story) -> None:
    story.joined("ana")
    for body in ("one", "two", "three", "four", "five"):
        story.ready("ana", body)
    late = [envelope for envelope in story.said if envelope.source == "mirror/ana" and envelope.sequence in {2, 3}]
    in_time = [envelope for envelope in story.said if envelope not in late]
    assert kit.view_of(in_time).missing_events() == {"mirror/ana": 2}
    assert kit.view_of([*in_time, late[0]]).missing_events() == {"mirror/ana": 1}
    assert kit.view_of([*in_time, *late]).missing_events() == {}


def test_load_reports_of_a_restarted_mirror_replace_the_old_ones(kit: Kit, story: Story) -> None:
    story.joined("ana")
    story.load("ana", active=5)
    story.load("ana", active=6)
    story.epochs[load_source(ANA)] += 1
    story.load("ana", active=0)
    for said in (story.said, [*reversed(story.said)]):
        (mirror,) = kit.view_of(said).mirrors()
        assert mirror.load is not None
        assert mirror.load.version == Version(1, 1)
        assert mirror.load.report.active == 0


@pytest.mark.parametrize("repeated", [False, True])
def test_report_that_is_heard_again_does_not_make_a_silent_mirror_loud(story: Story, *, repeated: bool) -> None:
    story.joined("ana")
    story.load("ana")
    view = story.view()
    if repeated:
        view.apply(story.said[-1], heard_s=99.0)
    (mirror,) = view.mirrors()
    assert mirror.load is not None
    assert mirror.load.heard_s == 0.0
