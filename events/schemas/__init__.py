"""Every event type that exists. A fact, past tense, frozen, versioned in its tag, whole state and not a delta.

On the wire each struct is an array: the tag first, then the fields in the order of the class. A field may be
added at the end with a default; anything else is a new version of the tag beside the old one.
"""

from __future__ import annotations

from typing import Final, TypeAlias, get_args

from events.schemas.decisions import (
    Decision,
    DecisionOutcome,
    DecisionsRecorded,
    Figures,
    Seen,
    SelectionRules,
    StandingRecorded,
    Whereabouts,
)
from events.schemas.downloads import (
    Download,
    DownloadOutcome,
    DownloadsGranted,
    DownloadsReported,
    GrantClaimed,
    Granted,
    GrantsRevoked,
)
from events.schemas.files import (
    PUBLIC,
    Access,
    AccessMode,
    AddressPolicy,
    ChannelDefined,
    ChannelRemoved,
    FilePublished,
    FileWithdrawn,
    Filter,
    WithdrawMode,
)
from events.schemas.mirrors import (
    EVERYBODY,
    Availability,
    AvailabilityChanged,
    ChannelFollowed,
    DeclineReason,
    InventoryAnnounced,
    KeysRotated,
    LoadReported,
    Location,
    LossReason,
    MirrorCameOnline,
    MirrorInvited,
    MirrorJoined,
    MirrorLeft,
    MirrorRuled,
    MirrorWentOffline,
    Profile,
    QuotaLevel,
    QuotaReached,
    QuotaWindow,
    Reach,
    ReplicaDeclined,
    ReplicaLost,
    ReplicaReady,
    SourceBanned,
    SourceFault,
    SubscriptionGranted,
    SubscriptionRevoked,
)
from events.schemas.system import CatalogueRestated, EventUnreadable, LogOpened, SelectorCameOnline

CatalogueEvent: TypeAlias = ChannelDefined | ChannelRemoved | FilePublished | FileWithdrawn
FleetEvent: TypeAlias = (
    MirrorInvited
    | MirrorJoined
    | MirrorLeft
    | MirrorRuled
    | KeysRotated
    | SubscriptionGranted
    | SubscriptionRevoked
    | MirrorCameOnline
    | MirrorWentOffline
    | AvailabilityChanged
    | ChannelFollowed
    | InventoryAnnounced
    | ReplicaReady
    | ReplicaLost
    | ReplicaDeclined
    | SourceBanned
    | QuotaReached
    | LoadReported
)
DecisionEvent: TypeAlias = StandingRecorded | DecisionsRecorded
DownloadEvent: TypeAlias = DownloadsGranted | DownloadsReported | GrantClaimed | GrantsRevoked
SystemEvent: TypeAlias = LogOpened | CatalogueRestated | SelectorCameOnline | EventUnreadable
Event: TypeAlias = CatalogueEvent | FleetEvent | DownloadEvent | DecisionEvent | SystemEvent

EVENT_TYPES: Final[tuple[type[Event], ...]] = get_args(Event)
TAGS: Final[dict[str, type[Event]]] = {str(kind.__struct_config__.tag): kind for kind in EVENT_TYPES}


def tag_of(event: Event) -> str:
    """Give the event's type with its version, as it stands on the wire: ``file.published/1``."""
    return str(event.__struct_config__.tag)


__all__ = [
    "EVENT_TYPES",
    "EVERYBODY",
    "PUBLIC",
    "TAGS",
    "Access",
    "AccessMode",
    "AddressPolicy",
    "Availability",
    "AvailabilityChanged",
    "CatalogueEvent",
    "CatalogueRestated",
    "ChannelDefined",
    "ChannelFollowed",
    "ChannelRemoved",
    "Decision",
    "DecisionEvent",
    "DecisionOutcome",
    "DecisionsRecorded",
    "DeclineReason",
    "Download",
    "DownloadEvent",
    "DownloadOutcome",
    "DownloadsGranted",
    "DownloadsReported",
    "Event",
    "EventUnreadable",
    "Figures",
    "FilePublished",
    "FileWithdrawn",
    "Filter",
    "FleetEvent",
    "GrantClaimed",
    "Granted",
    "GrantsRevoked",
    "InventoryAnnounced",
    "KeysRotated",
    "LoadReported",
    "Location",
    "LogOpened",
    "LossReason",
    "MirrorCameOnline",
    "MirrorInvited",
    "MirrorJoined",
    "MirrorLeft",
    "MirrorRuled",
    "MirrorWentOffline",
    "Profile",
    "QuotaLevel",
    "QuotaReached",
    "QuotaWindow",
    "Reach",
    "ReplicaDeclined",
    "ReplicaLost",
    "ReplicaReady",
    "Seen",
    "SelectionRules",
    "SelectorCameOnline",
    "SourceBanned",
    "SourceFault",
    "StandingRecorded",
    "SubscriptionGranted",
    "SubscriptionRevoked",
    "SystemEvent",
    "Whereabouts",
    "WithdrawMode",
    "tag_of",
]
