"""The view is a function of what was said, not of the order or the number of times in which it arrived."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from events.envelope import MASTER_SOURCE, Envelope, load_source, mirror_source
from events.grants import Binding
from events.names import ORIGIN, ORIGIN_CHANNEL, ChannelName, Digest, FilePath, MirrorName
from events.schemas import (
    Access,
    AddressPolicy,
    Availability,
    CatalogueRestated,
    ChannelRemoved,
    FilePublished,
    FileWithdrawn,
    InventoryAnnounced,
    LogOpened,
    LossReason,
    MirrorLeft,
    MirrorWentOffline,
    ReplicaLost,
    ReplicaReady,
    SubscriptionGranted,
    SubscriptionRevoked,
)
from selection.fleet import FleetView

if TYPE_CHECKING:
    from conftest import Kit

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
    policies: dict[str, AddressPolicy] = field(default_factory=dict[str, AddressPolicy])
    rotated: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    has_key: dict[str, int] = field(default_factory=dict[str, int])
    open: dict[str, Availability] = field(default_factory=dict[str, Availability])
    withdrawn: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict[tuple[str, str], tuple[int, int]])
    acted: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict[tuple[str, str], tuple[int, int]])
    loads: dict[str, int] = field(default_factory=dict[str, int])

    def forget_master(self) -> None:
        self.files, self.members, self.fleet, self.follows = {}, {}, set(), set()
        self.policies, self.rotated, self.withdrawn = {}, {}, {}

    def forget_mirror(self, name: str) -> None:
        for said in (self.holds, self.announced, self.has_key, self.open):
            said.pop(name, None)
        self.acted = {(mirror, channel): at for (mirror, channel), at in self.acted.items() if mirror != name}

    def due(self, mirror: str, channel: str, path: str) -> bool:
        """Whether a mirror has yet to act on what was last withdrawn."""
        last, position = self.withdrawn.get((channel, path), (-1, 0)), self.acted.get((mirror, channel), (-1, 0))
        return (mirror, channel) in self.follows and position < last

    def keys(self, mirror: str) -> tuple[int, bool]:
        """The epoch to mint under, and whether the mirror lacks every key that holds."""
        newest, oldest = self.rotated.get(mirror, (1, 1))
        key_epoch = min(newest, self.has_key.get(mirror, 1))
        return key_epoch, key_epoch < oldest

    def binding(self, mirror: str, path: str) -> Binding:
        asked = {
            self.policies.get(channel, AddressPolicy.STRICT)
            for channel in CHANNELS
            if self.members.get((channel, path)) == self.files[path][1]
            and (mirror == ORIGIN or (mirror, channel) in self.follows)
        }
        strictest = next((policy for policy in AddressPolicy if policy in asked), AddressPolicy.STRICT)
        return Binding[strictest.name]


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
                "define",
                "remove channel",
                "rotate",
                "open",
                "follow",
                "follow",
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
        event = FileWithdrawn(
            channel=ChannelName(channel),
            channel_sequence=self._channel_number(channel),
            path=FilePath(path),
            generation=generation,
            sha256=body,
            reason="",
        )
        self.story.master(event)
        self.oracle.withdrawn[channel, path] = self.story.epochs[MASTER_SOURCE], event.channel_sequence

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
        self.oracle.rotated.pop(mirror, None)
        self.oracle.follows = {follow for follow in self.oracle.follows if follow[0] != mirror}

    def grant(self, mirror: str, _path: str, _body: Digest, channel: str) -> None:
        self.story.master(SubscriptionGranted(mirror=MirrorName(mirror), channel=ChannelName(channel)))
        self.oracle.follows.add((mirror, channel))

    def revoke(self, mirror: str, _path: str, _body: Digest, channel: str) -> None:
        self.story.master(SubscriptionRevoked(mirror=MirrorName(mirror), channel=ChannelName(channel)))
        self.oracle.follows.discard((mirror, channel))

    def define(self, _mirror: str, _path: str, body: Digest, channel: str) -> None:
        policy = self.oracle.policies[channel] = list(AddressPolicy)[body[0] % len(AddressPolicy)]
        self.story.defined(channel, policy)

    def remove_channel(self, _mirror: str, _path: str, _body: Digest, channel: str) -> None:
        self.story.master(ChannelRemoved(channel=ChannelName(channel)))
        self.oracle.policies.pop(channel, None)

    def rotate(self, mirror: str, _path: str, body: Digest, _channel: str) -> None:
        newest = self.oracle.rotated.get(mirror, (1, 1))[0] + 1
        oldest = newest - body[0] % 2
        self.oracle.rotated[mirror] = newest, oldest
        self.story.rotated(mirror, key_epoch=newest, oldest_epoch=oldest)

    def open(self, mirror: str, _path: str, body: Digest, _channel: str) -> None:
        availability = self.oracle.open[mirror] = list(Availability)[body[0] % len(Availability)]
        self.story.available(mirror, availability)

    def follow(self, mirror: str, _path: str, body: Digest, channel: str) -> None:
        """It may fall back: its database was restored."""
        behind, epoch = body[0] % 3, self.story.epochs[MASTER_SOURCE]
        self.story.followed(mirror, channel=channel, behind=behind)
        self.oracle.acted[mirror, channel] = epoch, max(0, self.story.channel_numbers[channel] - behind)

    def online(self, mirror: str, _path: str, body: Digest, _channel: str) -> None:
        key_epoch = self.oracle.has_key[mirror] = 1 + body[0] % 3
        self.story.online(mirror, key_epoch=key_epoch)
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
        truth.rotated = {mirror: said for mirror, said in truth.rotated.items() if mirror in truth.fleet}
        truth.withdrawn = {}
        for channel, policy in truth.policies.items():
            self.story.defined(channel, policy)
        for channel, path in [*((ORIGIN_CHANNEL, path) for path in truth.files), *truth.members]:
            self.story.master(self.published[channel, path])
        for mirror in sorted(truth.fleet):
            channels = [channel for follower, channel in sorted(truth.follows) if follower == mirror]
            self.story.joined(mirror, channels=channels)
            if mirror in truth.rotated:
                key_epoch, oldest_epoch = truth.rotated[mirror]
                self.story.rotated(mirror, key_epoch=key_epoch, oldest_epoch=oldest_epoch)
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


def assert_agreed(view: FleetView, truth: Oracle) -> None:
    """Compare what hangs on several facts at once."""
    for mirror in view.mirrors():
        assert (view.key_epoch(mirror.name), mirror.keys_outdated) == truth.keys(mirror.name)
        assert mirror.opening.availability is truth.open.get(mirror.name, Availability.OPEN)
    for file in view.catalogue.files():
        assert view.binding(file, ORIGIN) is truth.binding(ORIGIN, file.path)
        for mirror in view.mirrors():
            assert view.binding(file, mirror.name) is truth.binding(mirror.name, file.path)
            withdrawn = view.withdrawn_from(file)
            due = {channel for channel in withdrawn if view.has_yet_to_withdraw(mirror, file, channel)}
            held = view.channels_of(file)
            assert due == {channel for channel in held if truth.due(mirror.name, channel, file.path)}


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
    assert_agreed(view, truth)
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
    view = kit.view_of(data.draw(st.permutations([*others, *heard, *since_then])))
    found, truth = found_in(view), teller.oracle
    assert_agreed(view, truth)
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
