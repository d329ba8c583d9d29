"""Where an event goes: exchanges by who speaks, routing keys by whom it concerns.

``files``   the master: ``file.<channel>.<action>``, ``channel.<channel>.<action>``, ``mirror.<mirror>.<action>``,
            ``subscription.<mirror>.<action>``, ``grants.revoked``, ``log.opened``, ``log.restated``, ``origin.<kind>``
``fleet``   mirrors, each under its own name: ``mirror.<mirror>.<kind>``
``load``    mirrors, telemetry: ``mirror.<mirror>.load``
``grants``  selectors: ``grant.<mirror>.<kind>``, ``selector.<selector>.<kind>``

An event has one address, so a reader can tell a forgery by working the address out again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, assert_never

from events.envelope import MASTER_SOURCE, Envelope, load_source, mirror_source, selector_source
from events.errors import ForgedEventError
from events.names import ORIGIN, ChannelName, MirrorName
from events.schemas import (
    AvailabilityChanged,
    CatalogueRestated,
    ChannelDefined,
    ChannelFollowed,
    ChannelRemoved,
    DecisionsRecorded,
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
    tag_of,
)

FILES: Final = "files"
FLEET: Final = "fleet"
LOAD: Final = "load"
GRANTS: Final = "grants"
EXCHANGES: Final = (FILES, FLEET, LOAD, GRANTS)
LOGGED_EXCHANGES: Final = (FILES, FLEET, GRANTS)


@dataclass(frozen=True, slots=True)
class Address:
    """The one place where an event belongs, and the only source that may put it there."""

    exchange: str
    routing_key: str
    source: str


@dataclass(frozen=True, slots=True)
class Binding:
    """What a queue takes from an exchange; ``pattern`` is AMQP's, with ``*`` for a word and ``#`` for any number."""

    exchange: str
    pattern: str


def address_of(event: Event) -> Address:  # noqa: C901, PLR0911, PLR0912 - one case for each kind of event
    """Give the exchange, routing key and source of an event."""
    match event:
        case FilePublished() | FileWithdrawn():
            return _by_master(f"file.{event.channel}.{_action(event)}")
        case ChannelDefined() | ChannelRemoved():
            return _by_master(f"channel.{event.channel}.{_action(event)}")
        case MirrorInvited() | MirrorJoined() | MirrorLeft() | MirrorRuled() | KeysRotated():
            return _by_master(f"mirror.{event.mirror}.{_action(event)}")
        case SubscriptionGranted() | SubscriptionRevoked():
            return _by_master(f"subscription.{event.mirror}.{_action(event)}")
        case GrantsRevoked():
            return _by_master("grants.revoked")
        case LogOpened():
            return _by_master("log.opened")
        case CatalogueRestated():
            return _by_master("log.restated")
        case MirrorCameOnline() | MirrorWentOffline() | InventoryAnnounced() | ReplicaReady() | ReplicaLost():
            return _by_mirror(event.mirror, _action(event))
        case ReplicaDeclined() | SourceBanned() | QuotaReached() | AvailabilityChanged() | ChannelFollowed():
            return _by_mirror(event.mirror, _action(event))
        case DownloadsReported() | GrantClaimed():
            if event.mirror == ORIGIN:
                return _by_master(f"{ORIGIN}.{_action(event)}")
            return _by_mirror(event.mirror, _action(event))
        case LoadReported():
            return Address(LOAD, f"mirror.{event.mirror}.load", load_source(event.mirror))
        case DownloadsGranted():
            return Address(GRANTS, f"grant.{event.mirror}.granted", selector_source(event.selector))
        case StandingRecorded():
            return Address(GRANTS, f"selector.{event.selector}.standing", selector_source(event.selector))
        case DecisionsRecorded():
            return Address(GRANTS, f"selector.{event.selector}.decisions", selector_source(event.selector))
        case SelectorCameOnline():
            return Address(GRANTS, f"selector.{event.selector}.online", selector_source(event.selector))
        case EventUnreadable():
            return _by_reader(event.reader)
        case _:
            assert_never(event)


def mirror_bindings(mirror: MirrorName, channels: tuple[ChannelName, ...]) -> tuple[Binding, ...]:
    """Give all that a mirror's queue takes: its channels, what concerns itself, and notices of grants."""
    return (
        *(Binding(FILES, f"file.{channel}.#") for channel in channels),
        Binding(FILES, f"mirror.{mirror}.#"),
        Binding(FILES, f"subscription.{mirror}.#"),
        Binding(FILES, "log.#"),
        Binding(FILES, "grants.#"),
        Binding(GRANTS, f"grant.{mirror}.#"),
    )


def verify_address(envelope: Envelope, *, exchange: str, routing_key: str) -> None:
    """Check that an event was found where it belongs and is said by the only source that may say it.

    The broker authenticates who writes to an exchange under which key; this check binds the body to that.

    Raises:
        ForgedEventError: exchange, routing key, source and body do not agree.
    """
    expected = address_of(envelope.event)
    found = Address(exchange, routing_key, envelope.source)
    if expected != found:
        raise ForgedEventError(f"{tag_of(envelope.event)} belongs at {expected}, was found at {found}")


def _by_master(routing_key: str) -> Address:
    return Address(FILES, routing_key, MASTER_SOURCE)


def _by_mirror(mirror: MirrorName, action: str) -> Address:
    return Address(FLEET, f"mirror.{mirror}.{action}", mirror_source(mirror))


def _by_reader(reader: str) -> Address:
    role, _, name = reader.partition("/")
    match role:
        case "mirror":
            return _by_mirror(MirrorName(name), "unreadable")
        case "selector":
            return Address(GRANTS, f"selector.{name}.unreadable", reader)
        case _:
            return _by_master(f"{ORIGIN}.unreadable")


def _action(event: Event) -> str:
    """Turn ``file.published/1`` into ``published``."""
    return tag_of(event).partition("/")[0].rpartition(".")[2]
