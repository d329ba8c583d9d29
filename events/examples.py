"""One example of each event type: what the documentation shows, and what the frozen samples in the tests hold.

An example is never changed, because its sample is kept for ever; a new version of a type gets a new example.
"""

from __future__ import annotations

from typing import Final

from events.envelope import Envelope
from events.names import ChannelName, Digest, FilePath, MirrorName, SelectorName, Tag
from events.routing import address_of
from events.schemas import (
    Access,
    AddressPolicy,
    Availability,
    AvailabilityChanged,
    CatalogueRestated,
    ChannelDefined,
    ChannelFollowed,
    ChannelRemoved,
    Decision,
    DecisionOutcome,
    DecisionsRecorded,
    DeclineReason,
    Download,
    DownloadOutcome,
    DownloadsGranted,
    DownloadsReported,
    Event,
    EventUnreadable,
    Figures,
    FilePublished,
    FileWithdrawn,
    Filter,
    GrantClaimed,
    Granted,
    GrantsRevoked,
    InventoryAnnounced,
    KeysRotated,
    LoadReported,
    Location,
    LogOpened,
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
    Seen,
    SelectionRules,
    SelectorCameOnline,
    SourceBanned,
    SourceFault,
    StandingRecorded,
    SubscriptionGranted,
    SubscriptionRevoked,
    Whereabouts,
    WithdrawMode,
    tag_of,
)

_ISO = ChannelName("iso")
_ANA = MirrorName("ana")
_LISBON = SelectorName("lisbon")
_PATH = FilePath("debian/debian-12.iso")
_SHA256 = Digest(bytes.fromhex("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"))
_OTHER_SHA256 = Digest(bytes.fromhex("60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"))
_GRANT_ID = bytes.fromhex("00112233445566778899aabbccddeeff")
_VISITOR = "203.0.113.9"
_TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_TIME_NS = 1_763_800_000_000_000_000
_PROFILE = Profile(
    url="https://ana.example/mirror",
    slots=40,
    monthly_bytes=50_000_000_000,
    location=Location(latitude=41.1, longitude=-8.6, country="PT"),
    software="distributary 0.1.0",
    daily_bytes=4_000_000_000,
    peers=False,
    external=True,
)

_EVENTS: tuple[Event, ...] = (
    ChannelDefined(
        channel=_ISO,
        filter=Filter(
            size_bytes_min=1_000_000,
            size_bytes_max=8_000_000_000,
            tags_any=(Tag("arch=amd64"),),
            tags_none=(Tag("confidential"),),
            paths_any=("debian/**",),
            paths_none=("**/*.tmp",),
            media_types=("application/*",),
        ),
        description="images to install from",
        address_policy=AddressPolicy.PREFIX,
    ),
    ChannelRemoved(channel=_ISO),
    FilePublished(
        channel=_ISO,
        channel_sequence=7,
        path=_PATH,
        generation=2,
        size_bytes=8_388_609,
        sha256=_SHA256,
        media_type="application/x-iso9660-image",
        tags=(Tag("arch=amd64"),),
        access=Access(networks=("192.0.2.0/24", "2001:db8::/32")),
        published_at_ns=_TIME_NS,
        piece_bytes=4_194_304,
        piece_digests=_SHA256 + _OTHER_SHA256 + _SHA256,
    ),
    FileWithdrawn(
        channel=_ISO,
        channel_sequence=8,
        path=_PATH,
        generation=2,
        sha256=_SHA256,
        reason="replaced by 12.1",
        mode=WithdrawMode.CUT,
    ),
    MirrorInvited(mirror=_ANA, channels=(_ISO,), expires_at_ns=_TIME_NS),
    MirrorJoined(mirror=_ANA, profile=_PROFILE),
    MirrorLeft(mirror=_ANA, reason="the server moves"),
    MirrorRuled(
        mirror=_ANA,
        weight_percent=50,
        share_percent_max=40,
        reach=Reach(countries_excluded=("US",), continents_only=("EU",)),
    ),
    KeysRotated(mirror=_ANA, key_epoch=3, oldest_epoch=2),
    SubscriptionGranted(mirror=_ANA, channel=_ISO),
    SubscriptionRevoked(mirror=_ANA, channel=_ISO),
    MirrorCameOnline(mirror=_ANA, profile=_PROFILE, key_epoch=3),
    AvailabilityChanged(mirror=_ANA, availability=Availability.PAUSED, until_s=1_763_807_200),
    ChannelFollowed(mirror=_ANA, channel=_ISO, channel_sequence=8, epoch=1),
    MirrorWentOffline(mirror=_ANA, reason="stopped by its operator"),
    InventoryAnnounced(mirror=_ANA, as_of=12, page=1, pages=1, sha256s=(_SHA256, _OTHER_SHA256)),
    ReplicaReady(mirror=_ANA, sha256=_SHA256, size_bytes=658_505_728, path=_PATH, generation=2),
    ReplicaLost(mirror=_ANA, sha256=_SHA256, path=_PATH, reason=LossReason.CORRUPT),
    ReplicaDeclined(
        mirror=_ANA,
        sha256=_SHA256,
        path=_PATH,
        generation=2,
        reason=DeclineReason.DISK_FULL,
        detail="600 MB free, 659 MB wanted",
        retry_after_s=900.0,
    ),
    SourceBanned(
        mirror=_ANA,
        source=MirrorName("bob"),
        sha256=_SHA256,
        fault=SourceFault.WRONG_BYTES,
        piece=17,
        detail="sha256 60303ae2…",
    ),
    QuotaReached(
        mirror=_ANA,
        window=QuotaWindow.MONTH,
        level=QuotaLevel.SOFT,
        used_bytes=45_000_000_000,
        limit_bytes=50_000_000_000,
        resets_at_s=1_764_547_200,
    ),
    LoadReported(
        mirror=_ANA,
        slots=40,
        active=3,
        reserved=1,
        transmit_bytes_per_second=12_500_000,
        quota_left_bytes=31_200_000_000,
        grants_seen={_LISBON: 41},
        sparing=True,
    ),
    DownloadsGranted(
        selector=_LISBON,
        mirror=_ANA,
        grants=(
            Granted(
                grant_id=_GRANT_ID,
                path=_PATH,
                generation=2,
                sha256=_SHA256,
                size_bytes=658_505_728,
                address=_VISITOR,
                country="PT",
                granted_at_ns=_TIME_NS,
                start_by_s=1_763_800_120,
                finish_by_s=1_763_806_600,
                traceparent=_TRACEPARENT,
            ),
        ),
    ),
    DownloadsReported(
        mirror=_ANA,
        downloads=(
            Download(
                grant_id=_GRANT_ID,
                sha256=_SHA256,
                outcome=DownloadOutcome.STARTED,
                at_ns=_TIME_NS,
                address=_VISITOR,
                traceparent=_TRACEPARENT,
            ),
            Download(
                grant_id=_GRANT_ID,
                sha256=_SHA256,
                outcome=DownloadOutcome.ABORTED,
                at_ns=_TIME_NS,
                first_byte=4_194_304,
                wanted_bytes=654_311_424,
                sent_bytes=1_343_488,
                reason="the visitor left",
                traceparent=_TRACEPARENT,
            ),
        ),
    ),
    GrantClaimed(mirror=_ANA, grant_id=_GRANT_ID, address="2001:db8::9"),
    GrantsRevoked(
        revocation=1,
        start_by_s_max=1_763_800_120,
        until_s=1_763_806_600,
        reason="the file was published by mistake",
        sha256=_SHA256,
        network="203.0.113.0/24",
    ),
    StandingRecorded(
        selector=_LISBON,
        seen=Seen(generation=3, offset=811, message_id="mirror/ana:1:9"),
        rules=SelectionRules(
            silent_after_s=10.0,
            load_threshold=1.0,
            near_km=200.0,
            hops_max=3,
            share_percent_max=100,
            sticky_tags=(Tag("metadata"),),
            start_by_s=60,
            recorded_percent=100,
        ),
        figures=(
            Figures(mirror=_ANA, slots=40, active=3, reserved=1, quota_left_bytes=31_200_000_000, granted=1),
            Figures(mirror=MirrorName("bob"), slots=20, active=0, reserved=0, is_silent=True),
        ),
        missed=3,
        is_first=True,
    ),
    DecisionsRecorded(
        selector=_LISBON,
        seen=Seen(generation=3, offset=811, message_id="mirror/ana:1:9"),
        decisions=(
            Decision(
                grant_id=_GRANT_ID,
                at_ns=_TIME_NS,
                path=_PATH,
                generation=2,
                address=_VISITOR,
                place=Whereabouts(latitude=38.7, longitude=-9.1, country="PT", continent="EU"),
                outcome=DecisionOutcome.SENT,
                mirror=_ANA,
                is_reserved=True,
            ),
            Decision(
                grant_id=_GRANT_ID[::-1],
                at_ns=_TIME_NS + 90_000_000,
                path=_PATH,
                generation=2,
                address="2001:db8::9",
                place=Whereabouts(country="DE", continent="EU", is_precise=False),
                outcome=DecisionOutcome.ORIGIN,
                seen=Seen(generation=3, offset=812, message_id="mirror/ana:1:10"),
                figures=(Figures(mirror=_ANA, slots=40, active=40, reserved=0, quota_left_bytes=31_100_000_000),),
                asked_not=(_ANA,),
            ),
        ),
    ),
    LogOpened(generation=3),
    CatalogueRestated(generation=3, since=5),
    SelectorCameOnline(selector=_LISBON),
    EventUnreadable(
        reader="selector/lisbon",
        message_id="mirror/ana:1:9",
        exchange="fleet",
        routing_key="mirror.ana.ready",
        user_id="site.ana",
        reason="Expected `array` of length 6",
    ),
)


def _said(event: Event) -> Envelope:
    return Envelope(
        source=address_of(event).source,
        epoch=2,
        sequence=17,
        time_ns=_TIME_NS,
        traceparent=_TRACEPARENT,
        event=event,
    )


EXAMPLES: Final[dict[str, Envelope]] = {tag_of(event): _said(event) for event in _EVENTS}
"""An envelope for each tag."""
