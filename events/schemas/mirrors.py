"""What is said about mirrors: by the master who they are, by themselves what they hold and how they fare."""

from __future__ import annotations

from enum import Enum
from ipaddress import ip_network
from typing import Annotated, Final

from msgspec import Meta, Struct, field

from events.names import check_published_path
from events.schemas.fields import (
    CHANNELS_MAX,
    INVENTORY_PAGE_MAX,
    INVENTORY_PAGES_MAX,
    SELECTORS_MAX,
    AutonomousSystem,
    Bytes,
    Channel,
    Continents,
    Count,
    Countries,
    Country,
    Generation,
    KeyEpoch,
    Latitude,
    Longitude,
    Mirror,
    Networks,
    Path,
    RetryAfterS,
    Selector,
    Sequence,
    Sha256,
    SharePercent,
    Slots,
    TimeNs,
    TimeS,
    Url,
    WeightPercent,
    tidy,
)


class Location(Struct, frozen=True, kw_only=True, array_like=True):
    """Where a server stands: degrees north and east, and the ISO 3166-1 alpha-2 country in upper case."""

    latitude: Latitude
    longitude: Longitude
    country: Country = ""


class Reach(Struct, frozen=True, kw_only=True, array_like=True):
    """Which visitors a mirror takes. Every rule that is set must hold; without any it takes everybody.

    Countries are ISO 3166-1 alpha-2 codes, continents two-letter ones, networks CIDR blocks. A visitor whose place is
    unknown is in no country and on no continent.
    """

    countries_only: Countries = ()
    countries_excluded: Countries = ()
    continents_only: Continents = ()
    networks_only: Networks = ()

    def __post_init__(self) -> None:
        """Check what a pattern cannot."""
        for network in self.networks_only:
            ip_network(network)


EVERYBODY: Final = Reach()


class Profile(Struct, frozen=True, kw_only=True, array_like=True):
    """What a mirror's operator offers.

    ``url`` is the base that visitors reach, without a slash at the end. ``slots`` is the number of downloads
    served at once. ``monthly_bytes`` and ``daily_bytes`` are None where the operator sets no limit. ``location`` is
    None where unknown. ``peers`` tells whether it also serves other mirrors, so that the master need not. ``external``
    tells that another server sends for it: then a transfer that runs cannot be cut. ``reach`` is whom it takes;
    visitors in one of ``networks`` (CIDR blocks) or in its autonomous system ``asn`` (0: not said) come to it first.
    ``ipv4`` and ``ipv6`` tell by which address families visitors reach it.
    """

    url: Url
    slots: Slots
    monthly_bytes: Bytes | None = None
    location: Location | None = None
    software: str = ""
    daily_bytes: Bytes | None = None
    peers: bool = True
    external: bool = False
    reach: Reach = field(default=EVERYBODY)
    networks: Networks = ()
    asn: AutonomousSystem = 0
    ipv4: bool = True
    ipv6: bool = True

    def __post_init__(self) -> None:
        """Keep the text short and plain, whoever wrote it, and check what a pattern cannot."""
        tidy(self, "software")
        for network in self.networks:
            ip_network(network)


class MirrorInvited(Struct, frozen=True, kw_only=True, array_like=True, tag="mirror.invited/1"):
    """The master invited a mirror to these channels. The secret of the invitation is in no event."""

    mirror: Mirror
    channels: Annotated[tuple[Channel, ...], Meta(max_length=CHANNELS_MAX)]
    expires_at_ns: TimeNs


class MirrorJoined(Struct, frozen=True, kw_only=True, array_like=True, tag="mirror.joined/1"):
    """A mirror took up its invitation with this profile. The epochs of its grant keys begin at 1."""

    mirror: Mirror
    profile: Profile


class MirrorLeft(Struct, frozen=True, kw_only=True, array_like=True, tag="mirror.left/1"):
    """A mirror is no longer part of the fleet. Its queue and its broker user are gone."""

    mirror: Mirror
    reason: str

    def __post_init__(self) -> None:
        """Keep the text short and plain, whoever wrote it."""
        tidy(self, "reason")


class MirrorRuled(Struct, frozen=True, kw_only=True, array_like=True, tag="mirror.ruled/1"):
    """What the site rules for a mirror, beside what its operator offers. Said again, whole, whenever it changes.

    Without ``enabled`` it is sent no visitors. ``weight_percent`` multiplies its free slots in the draw among
    near-equals. ``share_percent_max`` is the largest share of a continent's visitors that it is sent while others can
    serve them. ``reach`` narrows its own.
    """

    mirror: Mirror
    enabled: bool = True
    weight_percent: WeightPercent = 100
    share_percent_max: SharePercent = 100
    reach: Reach = field(default=EVERYBODY)


class KeysRotated(Struct, frozen=True, kw_only=True, array_like=True, tag="keys.rotated/1"):
    """A mirror's grants are minted under a new key, of ``key_epoch``, as soon as the mirror says that it has it.

    The mirror asks the master for its keys. Those of epochs below ``oldest_epoch`` open nothing any more.
    """

    mirror: Mirror
    key_epoch: KeyEpoch
    oldest_epoch: KeyEpoch


class SubscriptionGranted(Struct, frozen=True, kw_only=True, array_like=True, tag="subscription.granted/1"):
    """A mirror has leave to follow a channel."""

    mirror: Mirror
    channel: Channel


class SubscriptionRevoked(Struct, frozen=True, kw_only=True, array_like=True, tag="subscription.revoked/1"):
    """A mirror's leave to follow a channel ended."""

    mirror: Mirror
    channel: Channel


class MirrorCameOnline(Struct, frozen=True, kw_only=True, array_like=True, tag="mirror.online/1"):
    """A mirror has (re)connected. It may be chosen once an inventory with a later ``as_of`` is complete.

    ``key_epoch`` is that of the newest grant key that it has. It is said again, with the inventory, when one of these
    changes.
    """

    mirror: Mirror
    profile: Profile
    key_epoch: KeyEpoch = 1


class MirrorWentOffline(Struct, frozen=True, kw_only=True, array_like=True, tag="mirror.offline/1"):
    """A mirror stopped in an orderly way. One that fell silent is noticed by its missing load reports."""

    mirror: Mirror
    reason: str

    def __post_init__(self) -> None:
        """Keep the text short and plain, whoever wrote it."""
        tidy(self, "reason")


class Availability(Enum):
    """Whether a mirror takes new visitors.

    ``OPEN`` does. ``PAUSED``: its operator wants none for a while. ``DRAINING``: it is on its way to a stop.
    ``CLOSED``: it is outside its hours. What a newer version knows is read as ``PAUSED``.
    """

    OPEN = "open"
    PAUSED = "paused"
    DRAINING = "draining"
    CLOSED = "closed"

    @classmethod
    def _missing_(cls, value: object) -> Availability | None:
        return cls.PAUSED if isinstance(value, str) else None


class AvailabilityChanged(Struct, frozen=True, kw_only=True, array_like=True, tag="availability.changed/1"):
    """A mirror takes new visitors from now on, or none. Said on change, and whenever it announces itself.

    ``until_s`` is when it changes by itself, 0 where it does not.
    """

    mirror: Mirror
    availability: Availability
    until_s: TimeS = 0


class ChannelFollowed(Struct, frozen=True, kw_only=True, array_like=True, tag="channel.followed/1"):
    """A mirror has acted on all facts of a channel up to ``channel_sequence``: what they withdrew it serves no more.

    ``epoch`` is the master's whose numbers these are: a position in one numbering acknowledges nothing of the next.
    Said after withdrawals, and for each channel when it announces itself.
    """

    mirror: Mirror
    channel: Channel
    channel_sequence: Count
    epoch: Count


class InventoryAnnounced(Struct, frozen=True, kw_only=True, array_like=True, tag="inventory.announced/1"):
    """One page of all that a mirror holds.

    ``as_of`` is the mirror's event sequence at which the inventory was taken, the same on each of its
    ``pages``; ``page`` counts from 1. A complete inventory replaces whatever the mirror said about its
    replicas before that.
    """

    mirror: Mirror
    as_of: Sequence
    page: Annotated[int, Meta(ge=1, le=INVENTORY_PAGES_MAX)]
    pages: Annotated[int, Meta(ge=1, le=INVENTORY_PAGES_MAX)]
    sha256s: Annotated[tuple[Sha256, ...], Meta(max_length=INVENTORY_PAGE_MAX)]

    def __post_init__(self) -> None:
        """Check what a pattern cannot."""
        if self.page > self.pages:
            raise ValueError(f"page {self.page} of {self.pages}")


class ReplicaReady(Struct, frozen=True, kw_only=True, array_like=True, tag="replica.ready/1"):
    """A mirror holds a verified copy of this content and will serve it.

    The content (``sha256``) is what counts; ``path`` and ``generation`` name the file it was fetched for.
    """

    mirror: Mirror
    sha256: Sha256
    size_bytes: Bytes
    path: Path
    generation: Generation

    def __post_init__(self) -> None:
        """Check what a pattern cannot."""
        check_published_path(self.path)


class LossReason(Enum):
    """Why a mirror no longer holds a copy. Read as ``OTHER`` where a newer version knows more: a loss is a loss."""

    WITHDRAWN = "withdrawn"
    UNSUBSCRIBED = "unsubscribed"
    MISSING = "missing"
    CORRUPT = "corrupt"
    EVICTED = "evicted"
    OTHER = "other"

    @classmethod
    def _missing_(cls, value: object) -> LossReason | None:
        return cls.OTHER if isinstance(value, str) else None


class ReplicaLost(Struct, frozen=True, kw_only=True, array_like=True, tag="replica.lost/1"):
    """A mirror no longer serves a copy. Said before the bytes go."""

    mirror: Mirror
    sha256: Sha256
    path: Path
    reason: LossReason

    def __post_init__(self) -> None:
        """Check what a pattern cannot."""
        check_published_path(self.path)


class DeclineReason(Enum):
    """Why a mirror has not fetched a file that it was told of. On the wire a code; ``text`` says it to people.

    A code that a newer version knows is read as ``OTHER``.
    """

    DISK_FULL = "disk_full"
    DIGEST_MISMATCH = "digest_mismatch"
    SOURCE_UNAVAILABLE = "source_unavailable"
    SOURCE_REFUSED = "source_refused"
    OTHER = "other"

    @classmethod
    def _missing_(cls, value: object) -> DeclineReason | None:
        return cls.OTHER if isinstance(value, str) else None

    @property
    def text(self) -> str:
        """Say it to a person."""
        return _DECLINE_TEXTS[self]


_DECLINE_TEXTS: Final = {
    DeclineReason.DISK_FULL: "the mirror's disk is full",
    DeclineReason.DIGEST_MISMATCH: "the source sent other bytes than were published",
    DeclineReason.SOURCE_UNAVAILABLE: "the source cannot be reached",
    DeclineReason.SOURCE_REFUSED: "the source refused to send the file",
    DeclineReason.OTHER: "for a reason that this version does not know",
}


class ReplicaDeclined(Struct, frozen=True, kw_only=True, array_like=True, tag="replica.declined/1"):
    """A mirror could not fetch a file. It tries again after ``retry_after_s`` seconds; nothing is forgotten."""

    mirror: Mirror
    sha256: Sha256
    path: Path
    generation: Generation
    reason: DeclineReason
    detail: str
    retry_after_s: RetryAfterS

    def __post_init__(self) -> None:
        """Check what a pattern cannot."""
        check_published_path(self.path)
        tidy(self, "detail")


class SourceFault(Enum):
    """What a source did wrong. A code that a newer version knows is read as ``OTHER``."""

    WRONG_BYTES = "wrong_bytes"
    WRONG_RANGE = "wrong_range"
    WRONG_ENCODING = "wrong_encoding"
    ENDLESS = "endless"
    BROKEN_OFF = "broken_off"
    TOO_SLOW = "too_slow"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    FORBIDDEN_ADDRESS = "forbidden_address"
    OTHER = "other"

    @classmethod
    def _missing_(cls, value: object) -> SourceFault | None:
        return cls.OTHER if isinstance(value, str) else None


class SourceBanned(Struct, frozen=True, kw_only=True, array_like=True, tag="source.banned/1"):
    """A mirror fetches this content no more from ``source`` (a mirror, or ``origin``): it lied, or failed too often.

    ``piece`` is the one that proved it, None where the fault was none of a piece's bytes.
    """

    mirror: Mirror
    source: Mirror
    sha256: Sha256
    fault: SourceFault
    piece: Count | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        """Keep the text short and plain, whoever wrote it."""
        tidy(self, "detail")


class QuotaWindow(Enum):
    """What a limit of bytes is for."""

    DAY = "day"
    MONTH = "month"


class QuotaLevel(Enum):
    """``SOFT``: others are to be chosen first. ``HARD``: nothing is left for new visitors."""

    SOFT = "soft"
    HARD = "hard"


class QuotaReached(Struct, frozen=True, kw_only=True, array_like=True, tag="quota.reached/1"):
    """A mirror came to a limit of its operator. Said once for each level and window."""

    mirror: Mirror
    window: QuotaWindow
    level: QuotaLevel
    used_bytes: Bytes
    limit_bytes: Bytes
    resets_at_s: TimeS


class LoadReported(Struct, frozen=True, kw_only=True, array_like=True, tag="load.reported/1"):
    """How a mirror fares now. Sent on change and as heartbeat; telemetry, kept out of the log.

    ``active`` slots have a live transfer, ``reserved`` ones a grant whose visitor has not come yet.
    ``quota_left_bytes`` is None without a limit. ``grants_seen`` gives, for each selector, the highest
    sequence of its events that this report already counts. ``sparing``: a soft limit is reached, choose others first.
    """

    mirror: Mirror
    slots: Slots
    active: Slots
    reserved: Slots
    transmit_bytes_per_second: Bytes
    quota_left_bytes: Bytes | None = None
    grants_seen: Annotated[dict[Selector, Count], Meta(max_length=SELECTORS_MAX)] = {}
    sparing: bool = False
