"""What the master knows of a mirror, and of an invitation. Plain records; the store keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct, field

from events.grants import KEY_EPOCH_MAX, derive_key
from events.names import ChannelName, MirrorName
from events.schemas import EVERYBODY, KeysRotated, MirrorJoined, MirrorRuled, Profile, Reach
from events.schemas.fields import SharePercent, WeightPercent


class MirrorState(Enum):
    """Whether a mirror is part of the fleet; ``REMOVED`` once it has nothing in the broker any more, too."""

    JOINED = "joined"
    LEFT = "left"
    REMOVED = "removed"


class KeyEpochs(NamedTuple):
    """The epochs of a mirror's grant keys that hold, from the oldest to the newest."""

    oldest: int
    newest: int

    def rotated(self, *, cut: bool) -> KeyEpochs | None:
        """Begin a new epoch. The one before holds on beside it, or with ``cut`` none; None: no epoch is left."""
        if self.newest >= KEY_EPOCH_MAX:
            return None
        newest = self.newest + 1
        return KeyEpochs(newest if cut else self.newest, newest)

    def keys(self, secret: bytes, mirror: MirrorName) -> dict[int, bytes]:
        """Give the key of each epoch."""
        return {epoch: derive_key(secret, mirror, epoch) for epoch in range(self.oldest, self.newest + 1)}


FIRST_KEY: Final = KeyEpochs(1, 1)


class Rule(Struct, frozen=True, kw_only=True):
    """What the site rules for a mirror: see ``MirrorRuled``."""

    enabled: bool = True
    weight_percent: WeightPercent = 100
    share_percent_max: SharePercent = 100
    reach: Reach = field(default=EVERYBODY)


NO_RULE: Final = Rule()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A mirror that joined. ``joins`` counts how often it was given credentials; each time they are new.

    The epochs of its ``keys`` go on when it joins again: a key that was withdrawn never comes back. Its
    ``rule`` ends when it leaves the fleet.
    """

    name: MirrorName
    profile: Profile
    state: MirrorState
    token_hash: bytes
    joins: int
    joined_at_ns: int
    keys: KeyEpochs = FIRST_KEY
    rule: Rule = NO_RULE

    def introduction(self) -> list[MirrorJoined | KeysRotated | MirrorRuled]:
        """Give the events that say who it is."""
        joined = MirrorJoined(mirror=self.name, profile=self.profile)
        rotated = [] if self.keys == FIRST_KEY else [self.rotation()]
        return [joined, *rotated, *([] if self.rule == NO_RULE else [self.ruling()])]

    def rotation(self) -> KeysRotated:
        """Give the event that says which of its keys hold."""
        return KeysRotated(mirror=self.name, key_epoch=self.keys.newest, oldest_epoch=self.keys.oldest)

    def ruling(self) -> MirrorRuled:
        """Give the event that says what the site rules for it."""
        return MirrorRuled(mirror=self.name, **msgspec.structs.asdict(self.rule))


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenInvitation:
    """The last invitation of a mirror, used or not. A new one replaces it."""

    mirror: MirrorName
    secret_hash: bytes
    channels: tuple[ChannelName, ...]
    expires_at_ns: int
    used: bool
