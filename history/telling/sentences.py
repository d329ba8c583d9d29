"""What an event says, in a sentence for people. Who says it stands beside it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, assert_never

from events.names import HELD_PREFIX, ORIGIN
from events.schemas import (
    AvailabilityChanged,
    CatalogueEvent,
    CatalogueRestated,
    ChannelDefined,
    ChannelFollowed,
    ChannelRemoved,
    DecisionOutcome,
    DecisionsRecorded,
    DownloadOutcome,
    DownloadsGranted,
    DownloadsReported,
    Event,
    EventUnreadable,
    FilePublished,
    FileWithdrawn,
    GrantClaimed,
    GrantsRevoked,
    InventoryAnnounced,
    KeysRotated,
    LoadReported,
    LogOpened,
    MirrorCameOnline,
    MirrorInvited,
    MirrorJoined,
    MirrorLeft,
    MirrorRuled,
    MirrorWentOffline,
    QuotaReached,
    ReplicaDeclined,
    ReplicaLost,
    ReplicaReady,
    SelectorCameOnline,
    SourceBanned,
    StandingRecorded,
    SubscriptionGranted,
    SubscriptionRevoked,
)
from events.schemas.fields import NS_PER_S
from selection.answering.surface.words import moment, moment_text, size_text

NAMES_MAX: Final = 3  # of a list; `events show` has all of them
SHA256_SHOWN: Final = 12  # hexadecimal digits, enough to compare by eye
FAR_NS: Final = 2**63  # the year 2262; a mirror may name times that no calendar has

_PARTICIPLES: Final = {
    DecisionOutcome.SENT: "sent",
    DecisionOutcome.KEPT: "kept",
    DecisionOutcome.ORIGIN: "left to the master",
    DecisionOutcome.REFUSED: "refused",
    DecisionOutcome.NOBODY: "without anybody to serve them",
    DecisionOutcome.OTHER: "decided as a newer version does",
}


def sentence_of(event: Event) -> str:  # noqa: C901, PLR0911, PLR0912 - one case for each kind of event
    """Say in a sentence what an event says."""
    match event:
        case ChannelDefined() | ChannelRemoved() | FilePublished() | FileWithdrawn():
            return _of_catalogue(event)
        case MirrorInvited():
            return f"{event.mirror} is invited to {_listed(event.channels)}, {_until(event.expires_at_ns)}"
        case MirrorJoined():
            return f"{event.mirror} joins: {event.profile.url}, {_counted(event.profile.slots, 'slot')}"
        case MirrorLeft():
            return f"{event.mirror} is no longer of the fleet{_because(event.reason)}"
        case MirrorRuled():
            return _ruled(event)
        case KeysRotated():
            return f"{event.mirror} gets grant key {event.key_epoch}; those before {event.oldest_epoch} open nothing"
        case SubscriptionGranted():
            return f"{event.mirror} may follow {event.channel}"
        case SubscriptionRevoked():
            return f"{event.mirror} may not follow {event.channel} any more"
        case MirrorCameOnline():
            return f"{event.mirror} is here: {event.profile.url}, {_counted(event.profile.slots, 'slot')}"
        case MirrorWentOffline():
            return f"{event.mirror} stops{_because(event.reason)}"
        case AvailabilityChanged():
            until = f", {_until(event.until_s * NS_PER_S)}" if event.until_s else ""
            return f"{event.mirror} is {event.availability.value} to new visitors{until}"
        case ChannelFollowed():
            return f"{event.mirror} has acted on {event.channel} up to its number {event.channel_sequence}"
        case InventoryAnnounced():
            page = f", page {event.page} of {event.pages}" if event.pages > 1 else ""
            return f"{event.mirror} holds {_counted(len(event.sha256s), 'content')}{page}"
        case ReplicaReady():
            return f"{event.mirror} has {_path(event.path)} ({size_text(event.size_bytes)})"
        case ReplicaLost():
            return f"{event.mirror} no longer has {_path(event.path)}: {event.reason.value}"
        case ReplicaDeclined():
            detail = f" ({event.detail})" if event.detail else ""
            return f"{event.mirror} could not fetch {_path(event.path)}: {event.reason.text}{detail}"
        case SourceBanned():
            detail = f" ({event.detail})" if event.detail else ""
            what = event.sha256.hex()[:SHA256_SHOWN]
            return f"{event.mirror} fetches {what}… no more from {event.source}: {event.fault.value}{detail}"
        case QuotaReached():
            used = f"{size_text(event.used_bytes)} of {size_text(event.limit_bytes)} this {event.window.value}"
            return f"{event.mirror} is at its {event.level.value} limit: {used}"
        case LoadReported():
            return f"{event.mirror} has {event.active + event.reserved} of {_counted(event.slots, 'slot')} taken"
        case DownloadsGranted():
            visitors = _counted(len(event.grants), "visitor")
            return f"{visitors} to {_server(event.mirror)}: {_tallied(each.path for each in event.grants)}"
        case DownloadsReported():
            return _reported(event)
        case GrantClaimed():
            return f"{event.address} takes up grant {event.grant_id.hex()} at {_server(event.mirror)}"
        case GrantsRevoked():
            return _revoked(event)
        case StandingRecorded():
            return f"standing of {_counted(len(event.figures), 'mirror')} at {event.selector}, and its rules"
        case DecisionsRecorded():
            return _decided(event)
        case LogOpened():
            return f"generation {event.generation} of the log begins"
        case CatalogueRestated():
            return f"the whole catalogue is said again, from the master's number {event.since} on"
        case SelectorCameOnline():
            return f"{event.selector} is here"
        case EventUnreadable():
            return f"{event.reader} cannot use {event.message_id or 'a message'} of {event.user_id}: {event.reason}"
        case _:
            assert_never(event)


def _of_catalogue(event: CatalogueEvent) -> str:
    match event:
        case ChannelDefined():
            return f"channel {event.channel}" + (f": {event.description}" if event.description else "")
        case ChannelRemoved():
            return f"channel {event.channel} is gone"
        case FilePublished():
            is_held = event.path.startswith(HELD_PREFIX)
            size = f"{size_text(event.size_bytes)}, generation {event.generation}"
            return f"{_path(event.path)} ({size}) {'is held' if is_held else 'is'} in {event.channel}"
        case FileWithdrawn():
            return f"{_path(event.path)} is no longer in {event.channel}{_because(event.reason)}"
        case _:
            assert_never(event)


def _ruled(event: MirrorRuled) -> str:
    if not event.enabled:
        return f"{event.mirror} is sent no visitors for now"
    share = f", at most {event.share_percent_max} % of a continent" if event.share_percent_max < 100 else ""  # noqa: PLR2004 - per cent
    return f"{event.mirror} is sent visitors by weight {event.weight_percent} %{share}"


def _reported(event: DownloadsReported) -> str:
    outcomes = Counter(each.outcome for each in event.downloads)
    told = ", ".join(f"{outcomes[each]} {each.value}" for each in DownloadOutcome if outcomes[each])
    sent = sum(each.sent_bytes for each in event.downloads)
    return f"downloads at {_server(event.mirror)}: {told or 'none'}; {size_text(sent)} sent"


def _revoked(event: GrantsRevoked) -> str:
    whose = (
        f"grant {event.grant_id.hex()}" if event.grant_id else "",
        f"content {event.sha256.hex()[:SHA256_SHOWN]}…" if event.sha256 else "",
        f"at {_server(event.mirror)}" if event.mirror else "",
        f"from {event.network}" if event.network else "",
    )
    return f"links given before are void: {' '.join(each for each in whose if each)}{_because(event.reason)}"


def _decided(event: DecisionsRecorded) -> str:
    outcomes = Counter(each.outcome for each in event.decisions)
    told = ", ".join(f"{outcomes[each]} {_PARTICIPLES[each]}" for each in DecisionOutcome if outcomes[each])
    return f"{_counted(len(event.decisions), 'visitor')}: {told}; {_tallied(each.path for each in event.decisions)}"


def _path(path: str) -> str:
    return path.removeprefix(HELD_PREFIX)


def _server(mirror: str) -> str:
    return "the master" if mirror == ORIGIN else mirror


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _until(at_ns: int) -> str:
    return f"until {moment_text(moment(at_ns))}" if at_ns < FAR_NS else "for ever"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - NAMES_MAX} more" if len(shown) > NAMES_MAX else ""
    return (", ".join(shown[:NAMES_MAX]) or "nothing") + more


def _tallied(names: Iterable[str]) -> str:
    counted = Counter(names).most_common()
    return _listed(name if count == 1 else f"{name} x{count}" for name, count in counted)
