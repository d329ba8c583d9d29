"""What is said about mirrors: by the master who they are, by themselves what they hold and how they fare."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from events.names import ChannelName, Digest, FilePath, MirrorName, SelectorName


class Location(Struct, frozen=True, kw_only=True, array_like=True):
    """Where a server stands: degrees north and east, and the ISO 3166-1 alpha-2 country in upper case."""

    latitude: float
    longitude: float
    country: str = ""


class Profile(Struct, frozen=True, kw_only=True, array_like=True):
    """What a mirror's operator offers.

    ``url`` is the base that visitors reach, without a slash at the end. ``slots`` is the number of downloads
    served at once. ``monthly_bytes`` is None where the operator sets no limit. ``location`` is None where unknown.
    """

    url: str
    slots: int
    monthly_bytes: int | None = None
    location: Location | None = None
    software: str = ""


class MirrorInvited(Struct, frozen=True, kw_only=True, array_like=True, tag="mirror.invited/1"):
    """The master invited a mirror to these channels. The secret of the invitation is in no event."""

    mirror: MirrorName
    channels: tuple[ChannelName, ...]
    expires_at_ns: int


class MirrorJoined(Struct, frozen=True, kw_only=True, array_like=True, tag="mirror.joined/1"):
    """A mirror took up its invitation with this profile. Key epochs of its grants begin at 1."""

    mirror: MirrorName
    profile: Profile


class MirrorLeft(Struct, frozen=True, kw_only=True, array_like=True, tag="mirror.left/1"):
    """A mirror is no longer part of the fleet. Its queue and its broker user are gone."""

    mirror: MirrorName
    reason: str


class SubscriptionGranted(Struct, frozen=True, kw_only=True, array_like=True, tag="subscription.granted/1"):
    """A mirror has leave to follow a channel."""

    mirror: MirrorName
    channel: ChannelName


class SubscriptionRevoked(Struct, frozen=True, kw_only=True, array_like=True, tag="subscription.revoked/1"):
    """A mirror's leave to follow a channel ended."""

    mirror: MirrorName
    channel: ChannelName


class MirrorCameOnline(Struct, frozen=True, kw_only=True, array_like=True, tag="mirror.online/1"):
    """A mirror has (re)connected. It may be chosen once an inventory with a later ``as_of`` is complete."""

    mirror: MirrorName
    profile: Profile


class MirrorWentOffline(Struct, frozen=True, kw_only=True, array_like=True, tag="mirror.offline/1"):
    """A mirror stopped in an orderly way. One that fell silent is noticed by its missing load reports."""

    mirror: MirrorName
    reason: str


class InventoryAnnounced(Struct, frozen=True, kw_only=True, array_like=True, tag="inventory.announced/1"):
    """One page of all that a mirror holds.

    ``as_of`` is the mirror's event sequence at which the inventory was taken, the same on each of its
    ``pages``. A complete inventory replaces whatever the mirror said about its replicas before that.
    """

    mirror: MirrorName
    as_of: int
    page: int
    pages: int
    sha256s: tuple[Digest, ...]


class ReplicaReady(Struct, frozen=True, kw_only=True, array_like=True, tag="replica.ready/1"):
    """A mirror holds a verified copy of this content and will serve it.

    The content (``sha256``) is what counts; ``path`` and ``generation`` name the file it was fetched for.
    """

    mirror: MirrorName
    sha256: Digest
    size_bytes: int
    path: FilePath
    generation: int


class LossReason(Enum):
    """Why a mirror no longer holds a copy."""

    WITHDRAWN = "withdrawn"
    UNSUBSCRIBED = "unsubscribed"
    MISSING = "missing"
    CORRUPT = "corrupt"


class ReplicaLost(Struct, frozen=True, kw_only=True, array_like=True, tag="replica.lost/1"):
    """A mirror no longer serves a copy. Said before the bytes go."""

    mirror: MirrorName
    sha256: Digest
    path: FilePath
    reason: LossReason


class DeclineReason(Enum):
    """Why a mirror has not fetched a file that it was told of."""

    DISK_FULL = "the mirror's disk is full"
    DIGEST_MISMATCH = "the source sent other bytes than were published"
    SOURCE_UNAVAILABLE = "the source cannot be reached"
    SOURCE_REFUSED = "the source refused to send the file"


class ReplicaDeclined(Struct, frozen=True, kw_only=True, array_like=True, tag="replica.declined/1"):
    """A mirror could not fetch a file. It tries again after ``retry_after_s`` seconds; nothing is forgotten."""

    mirror: MirrorName
    sha256: Digest
    path: FilePath
    generation: int
    reason: DeclineReason
    detail: str
    retry_after_s: float


class LoadReported(Struct, frozen=True, kw_only=True, array_like=True, tag="load.reported/1"):
    """How a mirror fares now. Sent on change and as heartbeat; telemetry, kept out of the log.

    ``active`` slots have a live transfer, ``reserved`` ones a grant whose visitor has not come yet.
    ``quota_left_bytes`` is None without a limit. ``grants_seen`` gives, for each selector, the highest
    sequence of its events that this report already counts.
    """

    mirror: MirrorName
    slots: int
    active: int
    reserved: int
    transmit_bytes_per_second: int
    quota_left_bytes: int | None = None
    grants_seen: dict[SelectorName, int] = {}
