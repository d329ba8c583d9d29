"""The view is a function of what was said, not of the order or the number of times in which it arrived."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import to_builtins
from msgspec.structs import replace

from events.codec import encode
from events.envelope import MASTER_SOURCE, Envelope, load_source, mirror_source
from events.names import ORIGIN_CHANNEL, ChannelName, Digest, FilePath, MirrorName, Tag
from events.proven import ProvenReader
from events.schemas import (
    Access,
    CatalogueRestated,
    DeclineReason,
    DownloadsReported,
    FilePublished,
    FileWithdrawn,
    InventoryAnnounced,
    LogOpened,
    LossReason,
    MirrorInvited,
    MirrorLeft,
    MirrorWentOffline,
    ReplicaDeclined,
    ReplicaLost,
    ReplicaReady,
    SubscriptionGranted,
    SubscriptionRevoked,
)
from selection.view.fleet import FleetView
from selection.view.folding import EXCERPTS, FOLDED
from selection.view.snapshot import dump, load

if TYPE_CHECKING:
    from conftest import Kit

MIRRORS = ("ana", "bob")
PATHS = ("a.iso", "b.iso")
BODIES = ("one", "two", "three")
CHANNELS = ("iso", "beta")
REPETITIONS_MAX = 2
BATCH_MAX = 60  # more than half of a history, as drawn here
WAITS = (0, 0, 0, 0, 0, 10)  # after how many more events one arrives

ANA = MirrorName("ana")
READER = ProvenReader()
READER_OF_FOLDED = ProvenReader(FOLDED, EXCERPTS)
METADATA = Tag("metadata")


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
                "lost",
                "decline",
                "inventory",
                "inventory",
                "load",
                "invite",
                "report downloads",
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
            tags=(METADATA,) if path == PATHS[0] else (),
            access=Access(),
            md5=body[:16],
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

    def decline(self, mirror: str, path: str, body: Digest, _channel: str) -> None:
        event = ReplicaDeclined(
            mirror=MirrorName(mirror),
            sha256=body,
            path=FilePath(path),
            generation=1,
            reason=DeclineReason.DISK_FULL,
            detail="",
            retry_after_s=1.0,
        )
        self.story.mirror(mirror, event)

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

    def invite(self, mirror: str, _path: str, _body: Digest, channel: str) -> None:
        event = MirrorInvited(mirror=MirrorName(mirror), channels=(ChannelName(channel),), expires_at_ns=1)
        self.story.master(event)

    def report_downloads(self, mirror: str, _path: str, _body: Digest, _channel: str) -> None:
        self.story.mirror(mirror, DownloadsReported(mirror=MirrorName(mirror), downloads=()))

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
        for channel in file.channels:
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


def named(view: FleetView, bits: int) -> list[MirrorName]:
    """The mirrors of a bit set by name: two views may number them differently."""
    return sorted(mirror.name for mirror in view.parts.roster.known() if bits >> mirror.number & 1)


def seen(view: FleetView, kit: Kit) -> object:
    """All that anybody can ask of a view, but load reports: those are no part of the log."""
    found = found_in(view)
    found.loads.clear()
    bodies = [kit.content(body) for body in (*BODIES, "kept")]
    files = [
        (replace(file, number=0, content=0), named(view, view.servers(file)), view.digests(file))
        for file in view.catalogue.files()
    ]
    mirrors = [(mirror.profile, mirror.ruled, mirror.opening, view.copies(mirror)) for mirror in view.mirrors()]
    return (
        found,
        to_builtins((files, mirrors)),  # a twin of a struct is equal to twins alone
        [(named(view, view.holders(body)), [view.loss(mirror, body) for mirror in view.mirrors()]) for body in bodies],
        [to_builtins([view.declined(mirror, body) for mirror in view.mirrors()]) for body in bodies],
        [named(view, view.metadata_holders(ChannelName(channel), {METADATA})) for channel in CHANNELS],
        len(view.catalogue.withdrawn),
        view.missing_events(),
        view.log_generation,
    )


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_snapshot_and_the_tail_of_the_log_make_the_view_that_the_whole_log_makes(data: st.DataObject, kit: Kit) -> None:
    arrived = data.draw(histories(kit)).arrived
    cut = data.draw(st.integers(0, len(arrived)))
    view = load(dump(kit.view_of(arrived[:cut])))
    for envelope in arrived[cut:]:
        view.apply(READER.decode(encode(envelope)), heard_s=0.0)
    assert seen(view, kit) == seen(kit.view_of(arrived), kit)


def in_batches(said: Sequence[Envelope], sizes: Sequence[int]) -> Iterator[Sequence[Envelope]]:
    """The same, cut into pieces of these sizes, again and again."""
    start = 0
    for size in cycle(sizes):
        if start >= len(said):
            return
        yield said[start : start + size]
        start += size


@st.composite
def arrivals(draw: st.DrawFn, kit: Kit) -> list[Envelope]:
    """A history as it was said, with some of it late, or in any order with repetitions."""
    history = draw(histories(kit))
    said = history.said
    waits = draw(st.lists(st.sampled_from(WAITS), min_size=len(said), max_size=len(said)))
    late = [said[at] for at in sorted(range(len(said)), key=lambda at: at + waits[at])]
    return draw(st.sampled_from([said, late, history.arrived]))


@settings(max_examples=200, deadline=None)
@given(data=st.data(), sizes=st.lists(st.integers(1, BATCH_MAX), min_size=1, max_size=5))
def test_batches_make_the_view_that_single_events_make_of_any_history(
    data: st.DataObject, sizes: list[int], kit: Kit
) -> None:
    arrived = data.draw(arrivals(kit))
    view = FleetView()
    for batch in in_batches(arrived, sizes):
        view.apply_all(READER_OF_FOLDED.decode_all([encode(envelope) for envelope in batch]))
    assert seen(view, kit) == seen(kit.view_of(arrived), kit)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_what_was_heard_before_changes_nothing(data: st.DataObject, kit: Kit) -> None:
    arrived = data.draw(histories(kit)).arrived
    view = kit.view_of(arrived)
    before = dump(view)
    for envelope in data.draw(st.permutations(arrived)):
        view.apply(envelope, heard_s=0.0)
    assert dump(view) == before
