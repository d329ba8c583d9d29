"""The mirrors of the fleet, folded from what the master, each mirror and its telemetry say. Pure.

Two sources speak of one mirror, and no order exists between them, so they never overwrite each other: each fact has
one owner. The master alone says who belongs to the fleet and follows what; the mirror alone says whether it is online.
Both give a profile; the mirror's own holds once it has said one, since its operator may have changed it since joining.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from events.envelope import Version
from events.names import ChannelName, MirrorName
from events.schemas import (
    Availability,
    AvailabilityChanged,
    KeysRotated,
    LoadReported,
    MirrorCameOnline,
    MirrorJoined,
    MirrorLeft,
    MirrorRuled,
    MirrorWentOffline,
    Profile,
    SubscriptionGranted,
    SubscriptionRevoked,
)
from selection.view.changes import Changes


class Load(Struct, frozen=True, kw_only=True, array_like=True):
    """A mirror's last report, and when it was first heard (on the listener's clock)."""

    version: Version
    report: LoadReported
    heard_s: float


class Rotation(Struct, frozen=True, kw_only=True, array_like=True):
    """The master's last word on a mirror's grant keys: the newest epoch, and the oldest that still opens anything."""

    sequence: int = 0
    key_epoch: int = 1
    oldest_epoch: int = 1


class Opening(Struct, frozen=True, kw_only=True, array_like=True):
    """A mirror's last word on whether it takes new visitors. ``until_s`` is when that ends by itself, 0 for never."""

    sequence: int = 0
    availability: Availability = Availability.OPEN
    until_s: int = 0


class Ruling(Struct, frozen=True, kw_only=True, array_like=True):
    """The site's last word on a mirror."""

    sequence: int = 0
    rules: MirrorRuled | None = None


class Leave(Struct, frozen=True, array_like=True):
    """The master's last word on whether a mirror may follow a channel."""

    sequence: int
    granted: bool


_UNROTATED: Final = Rotation()
_OPEN: Final = Opening()
_UNRULED: Final = Ruling()


class Mirror(Struct, frozen=True, kw_only=True, array_like=True):
    """All that is known of a mirror but its replicas. ``…_sequence`` is that of the last such event, 0 for none yet."""

    name: MirrorName
    number: int
    joined_sequence: int = 0
    left_sequence: int = 0
    profile_joined: Profile | None = None
    online_sequence: int = 0
    offline_sequence: int = 0
    offline_reason: str = ""
    profile_said: Profile | None = None
    key_epoch_said: int = 1
    opening: Opening = _OPEN
    rotated: Rotation = _UNROTATED
    ruling: Ruling = _UNRULED
    load: Load | None = None

    @property
    def in_fleet(self) -> bool:
        """Tell whether it joined and has not left since."""
        return self.joined_sequence > self.left_sequence

    @property
    def online(self) -> bool:
        """Tell whether its last word was that it is online."""
        return self.online_sequence > self.offline_sequence

    @property
    def profile(self) -> Profile | None:
        """Give what its operator offers: the mirror's own word before the master's."""
        return self.profile_said or self.profile_joined

    @property
    def rotation(self) -> Rotation:
        """Give what holds of its keys: who left and joined again begins at the first epoch."""
        return self.rotated if self.rotated.sequence > self.left_sequence else _UNROTATED

    @property
    def ruled(self) -> MirrorRuled:
        """Give what the site rules for it: who left and joined again begins without rules."""
        holds = self.ruling.sequence > self.left_sequence
        return self.ruling.rules if holds and self.ruling.rules else MirrorRuled(mirror=self.name)

    @property
    def key_epoch(self) -> int:
        """Give the epoch to mint under: the newest that the master made and the mirror says it has."""
        return min(self.key_epoch_said, self.rotation.key_epoch)

    @property
    def keys_outdated(self) -> bool:
        """Tell whether no key that it has opens anything any more."""
        return self.key_epoch < self.rotation.oldest_epoch


class RosterDump(Struct, array_like=True):
    """The roster, as a snapshot has it."""

    mirrors: list[Mirror]
    leave: dict[MirrorName, dict[ChannelName, Leave]]
    version: int


class Roster:
    """The mirrors by name, each with a number for bit sets that it keeps for ever, and who follows which channel."""

    def __init__(self) -> None:
        self._mirrors: dict[MirrorName, Mirror] = {}
        self._numbered: list[Mirror] = []
        self._fleet: tuple[MirrorName, ...] | None = ()
        self._leave: dict[MirrorName, dict[ChannelName, Leave]] = {}
        self._followers: dict[ChannelName, int] = {}
        self.changes = Changes()
        self.version = 0

    def fleet(self) -> tuple[Mirror, ...]:
        """Give the mirrors that belong to the fleet, by name."""
        if self._fleet is None:
            self._fleet = tuple(sorted(mirror.name for mirror in self._numbered if mirror.in_fleet))
        return tuple(self._mirrors[name] for name in self._fleet)

    def known(self) -> Sequence[Mirror]:
        """Give all mirrors that anybody spoke of, by number."""
        return self._numbered

    def mirror(self, name: MirrorName) -> Mirror:
        """Give a mirror; one that nobody spoke of yet is given its number."""
        known = self._mirrors.get(name)
        if known is None:
            known = self._mirrors[name] = Mirror(name=name, number=len(self._mirrors))
            self._numbered.append(known)
        return known

    def by_number(self, number: int) -> Mirror:
        """Give a mirror by its number."""
        return self._numbered[number]

    def note_change(self, number: int) -> None:
        """Note that something of a mirror changed that others keep."""
        self.version += 1
        self.changes.note(number)

    def followers(self, channel: ChannelName) -> int:
        """Give the mirrors with leave to follow a channel, as a bit set."""
        return self._followers.get(channel, 0)

    def channels_of(self, name: MirrorName) -> tuple[ChannelName, ...]:
        """Give the channels that a mirror has leave to follow, by name."""
        bit = 1 << self.mirror(name).number
        return tuple(sorted(channel for channel, followers in self._followers.items() if followers & bit))

    def enrol(self, event: MirrorJoined | MirrorLeft, *, sequence: int) -> None:
        """Fold the master's word on who belongs to the fleet. Who leaves loses the leave to follow anything."""
        mirror = self.mirror(event.mirror)
        if isinstance(event, MirrorLeft):
            self._put(replace(mirror, left_sequence=max(mirror.left_sequence, sequence)))
        elif sequence > mirror.joined_sequence:
            self._put(replace(mirror, joined_sequence=sequence, profile_joined=event.profile))
        self._fleet = None
        for channel in self._leave.get(event.mirror, ()):
            self._recount(event.mirror, channel)

    def subscribe(self, event: SubscriptionGranted | SubscriptionRevoked, *, sequence: int) -> None:
        """Fold the master's word on who may follow what."""
        channels = self._leave.setdefault(event.mirror, {})
        known = channels.get(event.channel)
        if known is None or sequence > known.sequence:
            channels[event.channel] = Leave(sequence, granted=isinstance(event, SubscriptionGranted))
            self._recount(event.mirror, event.channel)

    def attend(self, event: MirrorCameOnline | MirrorWentOffline, *, sequence: int) -> None:
        """Fold a mirror's own word on whether it is there."""
        mirror = self.mirror(event.mirror)
        if isinstance(event, MirrorCameOnline):
            if sequence > mirror.online_sequence:
                said = replace(mirror, profile_said=event.profile, key_epoch_said=event.key_epoch)
                self._put(replace(said, online_sequence=sequence))
        elif sequence > mirror.offline_sequence:
            self._put(replace(mirror, offline_sequence=sequence, offline_reason=event.reason))

    def rotate(self, event: KeysRotated, *, sequence: int) -> None:
        """Fold the master's word on a mirror's grant keys."""
        mirror = self.mirror(event.mirror)
        if sequence > mirror.rotated.sequence:
            rotated = Rotation(sequence=sequence, key_epoch=event.key_epoch, oldest_epoch=event.oldest_epoch)
            self._put(replace(mirror, rotated=rotated))

    def rule(self, event: MirrorRuled, *, sequence: int) -> None:
        """Fold the site's word on a mirror."""
        mirror = self.mirror(event.mirror)
        if sequence > mirror.ruling.sequence:
            self._put(replace(mirror, ruling=Ruling(sequence=sequence, rules=event)))

    def open(self, event: AvailabilityChanged, *, sequence: int) -> None:
        """Fold a mirror's own word on whether it takes new visitors. It outlasts its coming and going."""
        mirror = self.mirror(event.mirror)
        if sequence > mirror.opening.sequence:
            opening = Opening(sequence=sequence, availability=event.availability, until_s=event.until_s)
            self._put(replace(mirror, opening=opening))

    def weigh(self, report: LoadReported, *, version: Version, heard_s: float) -> None:
        """Fold a load report. Telemetry has a numbering of its own, which a mirror begins anew at each start."""
        mirror = self.mirror(report.mirror)
        if mirror.load is None or version > mirror.load.version:
            weighed = replace(mirror, load=Load(version=version, report=report, heard_s=heard_s))
            self._mirrors[mirror.name] = self._numbered[mirror.number] = weighed
            self.changes.note(mirror.number)

    def forget_master(self) -> None:
        """Forget who belongs to the fleet and follows what."""
        self._leave.clear()
        self._followers.clear()
        self._fleet = ()
        for mirror in list(self._numbered):
            unspoken = replace(mirror, joined_sequence=0, left_sequence=0, profile_joined=None)
            self._put(replace(unspoken, rotated=_UNROTATED, ruling=_UNRULED))

    def forget_master_before(self, floor: int) -> None:
        """Forget what the master said under its sequence ``floor``: a restatement took its place."""
        for mirror in list(self._numbered):
            self._put(_without_what_was_said_before(floor, mirror))
        self._fleet = None
        self._followers.clear()
        for name, channels in self._leave.items():
            self._leave[name] = {channel: said for channel, said in channels.items() if said.sequence >= floor}
            for channel in self._leave[name]:
                self._recount(name, channel)

    def forget_mirror(self, name: MirrorName) -> None:
        """Forget what a mirror said of itself in the log."""
        known = replace(self.mirror(name), online_sequence=0, offline_sequence=0, offline_reason="")
        self._put(replace(known, profile_said=None, key_epoch_said=1, opening=_OPEN))

    def dump(self) -> RosterDump:
        """Give all that cannot be derived, as ``load`` takes it. Load reports are of the moment, and left out."""
        return RosterDump([replace(mirror, load=None) for mirror in self._numbered], self._leave, self.version)

    def load(self, dumped: RosterDump) -> None:
        """Take what ``dump`` gave."""
        self._numbered, self._leave, self._fleet = dumped.mirrors, dumped.leave, None
        self._mirrors = {mirror.name: mirror for mirror in dumped.mirrors}
        for name, channels in dumped.leave.items():
            for channel in channels:
                self._recount(name, channel)
        self.version = dumped.version + 1

    def _put(self, mirror: Mirror) -> None:
        self._mirrors[mirror.name] = self._numbered[mirror.number] = mirror
        self.note_change(mirror.number)

    def _recount(self, name: MirrorName, channel: ChannelName) -> None:
        """Set one mirror's bit for one channel. Leave that was granted before the mirror last left is void."""
        mirror = self.mirror(name)
        said = self._leave[name][channel]
        bit = 1 << mirror.number
        followers = self._followers.get(channel, 0) & ~bit
        if said.granted and said.sequence > mirror.left_sequence:
            followers |= bit
        self._followers[channel] = followers
        self.note_change(mirror.number)


def _without_what_was_said_before(floor: int, mirror: Mirror) -> Mirror:
    """Take from a mirror what the master said under its sequence ``floor``."""
    if mirror.joined_sequence < floor:
        mirror = replace(mirror, joined_sequence=0, profile_joined=None)
    if mirror.left_sequence < floor:
        mirror = replace(mirror, left_sequence=0)
    if mirror.rotated.sequence < floor:
        mirror = replace(mirror, rotated=_UNROTATED)
    if mirror.ruling.sequence < floor:
        mirror = replace(mirror, ruling=_UNRULED)
    return mirror
