"""What hangs on the word of two sources is the same whatever the order in which their words arrive.

Keys, address policies, availability and acknowledged withdrawals, in a fleet that has one file, in all channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from events.envelope import MASTER_SOURCE, mirror_source
from events.grants import Binding
from events.names import ORIGIN, ChannelName, FilePath, MirrorName
from events.schemas import AddressPolicy, Availability, CatalogueRestated, ChannelRemoved, MirrorLeft
from selection.view.fleet import FleetView

if TYPE_CHECKING:
    from conftest import Kit

CHANNELS = (ChannelName("beta"), ChannelName("iso"))
FOLLOWED = {MirrorName("ana"): CHANNELS, MirrorName("bob"): CHANNELS[1:], ORIGIN: CHANNELS}
MIRRORS = (MirrorName("ana"), MirrorName("bob"))
PATH = FilePath("a.iso")
ACTIONS_MIN, ACTIONS_MAX, REPETITIONS_MAX = 10, 25, 10
NOWHERE = (-1, 0)

Action = tuple[str, MirrorName, ChannelName, int]


@dataclass
class Truth:
    """What holds, kept by the simplest means: in the order in which each source said it."""

    policies: dict[str, AddressPolicy] = field(default_factory=dict[str, AddressPolicy])
    rotated: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    withdrawn: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    has_key: dict[str, int] = field(default_factory=dict[str, int])
    open: dict[str, Availability] = field(default_factory=dict[str, Availability])
    acted: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict[tuple[str, str], tuple[int, int]])

    def binding(self, mirror: MirrorName) -> Binding:
        """The strictest that a channel asks for."""
        asked = {self.policies.get(channel, AddressPolicy.STRICT) for channel in FOLLOWED[mirror]}
        return Binding[next(policy for policy in AddressPolicy if policy in asked).name]

    def keys(self, mirror: str) -> tuple[int, bool]:
        """The epoch to mint under, and whether the mirror lacks every key that holds."""
        newest, oldest = self.rotated.get(mirror, (1, 1))
        key_epoch = min(newest, self.has_key.get(mirror, 1))
        return key_epoch, key_epoch < oldest

    def due(self, mirror: MirrorName) -> list[str]:
        """The channels whose last withdrawal a mirror has yet to act on."""
        return [
            channel
            for channel in FOLLOWED[mirror]
            if self.acted.get((mirror, channel), NOWHERE) < self.withdrawn.get(channel, NOWHERE)
        ]


class Teller:
    """Turns actions into what the sources would say, and keeps the truth beside it."""

    def __init__(self, kit: Kit) -> None:
        self.story = kit.Story()
        self.truth = Truth()
        self._introduce()

    def tell(self, action: Action) -> None:
        what, mirror, channel, number = action
        getattr(self, what)(mirror, channel, number)

    def define(self, _mirror: MirrorName, channel: ChannelName, number: int) -> None:
        policy = self.truth.policies[channel] = list(AddressPolicy)[number % len(AddressPolicy)]
        self.story.defined(channel, policy)

    def remove(self, _mirror: MirrorName, channel: ChannelName, _number: int) -> None:
        self.story.master(ChannelRemoved(channel=channel))
        self.truth.policies.pop(channel, None)

    def come_back(self, _mirror: MirrorName, channel: ChannelName, _number: int) -> None:
        """The file leaves a channel and enters it again."""
        self.story.withdrawn(PATH, channels=[channel])
        self.truth.withdrawn[channel] = self.story.epochs[MASTER_SOURCE], self.story.channel_numbers[channel]
        self.story.published(PATH, channels=[channel])

    def rotate(self, mirror: MirrorName, _channel: ChannelName, number: int) -> None:
        newest = self.truth.rotated.get(mirror, (1, 1))[0] + 1
        self.truth.rotated[mirror] = newest, newest - number % 2
        self._say_rotation(mirror)

    def come_online(self, mirror: MirrorName, _channel: ChannelName, number: int) -> None:
        self.truth.has_key[mirror] = 1 + number
        self.story.online(mirror, key_epoch=1 + number)

    def open(self, mirror: MirrorName, _channel: ChannelName, number: int) -> None:
        availability = self.truth.open[mirror] = list(Availability)[number % len(Availability)]
        self.story.available(mirror, availability)

    def follow(self, mirror: MirrorName, channel: ChannelName, number: int) -> None:
        """It may fall back: its database was restored."""
        behind, last = number % 3, self.story.channel_numbers[channel]
        self.story.followed(mirror, channel=channel, behind=behind)
        self.truth.acted[mirror, channel] = self.story.epochs[MASTER_SOURCE], max(0, last - behind)

    def leave_and_join(self, mirror: MirrorName, _channel: ChannelName, _number: int) -> None:
        self.story.master(MirrorLeft(mirror=mirror, reason=""))
        self.story.joined(mirror, channels=FOLLOWED[mirror])
        self.truth.rotated.pop(mirror, None)

    def restate(self, _mirror: MirrorName, _channel: ChannelName, _number: int) -> None:
        since = self.story.numbers[MASTER_SOURCE, self.story.epochs[MASTER_SOURCE]] + 1
        self._introduce()
        for channel, policy in self.truth.policies.items():
            self.story.defined(channel, policy)
        for mirror in self.truth.rotated:
            self._say_rotation(MirrorName(mirror))
        self.story.master(CatalogueRestated(generation=1, since=since))
        self.truth.withdrawn = {}

    def reset_master(self, _mirror: MirrorName, _channel: ChannelName, _number: int) -> None:
        self.story.epochs[MASTER_SOURCE] += 1
        self.story.channel_numbers.clear()
        self._introduce()
        self.truth.policies, self.truth.rotated, self.truth.withdrawn = {}, {}, {}

    def reset_mirror(self, mirror: MirrorName, _channel: ChannelName, _number: int) -> None:
        self.story.epochs[mirror_source(mirror)] += 1
        self.story.ready(mirror, "b.iso")
        self.truth.has_key.pop(mirror, None)
        self.truth.open.pop(mirror, None)
        self.truth.acted = {key: at for key, at in self.truth.acted.items() if key[0] != mirror}

    def _introduce(self) -> None:
        self.story.published(PATH, channels=CHANNELS)
        for mirror in MIRRORS:
            self.story.joined(mirror, channels=FOLLOWED[mirror])

    def _say_rotation(self, mirror: MirrorName) -> None:
        key_epoch, oldest_epoch = self.truth.rotated[mirror]
        self.story.rotated(mirror, key_epoch=key_epoch, oldest_epoch=oldest_epoch)


OFTEN = ("define", "come_back", "rotate", "come_online", "open", "follow", "follow")
SELDOM = ("remove", "leave_and_join", "restate", "reset_master", "reset_mirror")
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from([*OFTEN, *OFTEN, *SELDOM]),
        st.sampled_from(MIRRORS),
        st.sampled_from(CHANNELS),
        st.integers(0, 3),
    ),
    min_size=ACTIONS_MIN,
    max_size=ACTIONS_MAX,
)


def assert_agreed(view: FleetView, truth: Truth) -> None:
    file = view.file(PATH)
    assert file is not None
    for name in FOLLOWED:
        assert view.binding(file, name) is truth.binding(name)
    for mirror in view.mirrors():
        assert (view.key_epoch(mirror.name), mirror.keys_outdated) == truth.keys(mirror.name)
        assert mirror.opening.availability is truth.open.get(mirror.name, Availability.OPEN)
        withdrawn_from = view.withdrawn_from(file)
        due = [channel for channel in withdrawn_from if view.has_yet_to_withdraw(mirror, file, channel)]
        assert due == truth.due(mirror.name)
    assert [mirror.name for mirror in view.mirrors()] == list(MIRRORS)


@settings(max_examples=100, deadline=None)
@given(actions=ACTIONS, data=st.data())
def test_order_and_repetition_do_not_change_what_hangs_on_several_words(
    kit: Kit, actions: list[Action], data: st.DataObject
) -> None:
    teller = Teller(kit)
    for action in actions:
        teller.tell(action)
    said = teller.story.said
    assert_agreed(kit.view_of(said), teller.truth)
    repeated = data.draw(st.lists(st.sampled_from(said), max_size=REPETITIONS_MAX))
    assert_agreed(kit.view_of(data.draw(st.permutations([*said, *repeated]))), teller.truth)
