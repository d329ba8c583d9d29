"""What the master knows of a mirror, and of an invitation. Plain records; the store keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from events.names import ChannelName, MirrorName
from events.schemas import Profile


class MirrorState(Enum):
    """Whether a mirror is part of the fleet; ``REMOVED`` once it has nothing in the broker any more, too."""

    JOINED = "joined"
    LEFT = "left"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A mirror that joined. ``joins`` counts how often it was given credentials; each time they are new."""

    name: MirrorName
    profile: Profile
    state: MirrorState
    token_hash: bytes
    joins: int
    joined_at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenInvitation:
    """The last invitation of a mirror, used or not. A new one replaces it."""

    mirror: MirrorName
    secret_hash: bytes
    channels: tuple[ChannelName, ...]
    expires_at_ns: int
    used: bool
