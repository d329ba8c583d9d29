"""Visitors' addresses in what the log keeps: kept, cut to a network, or dropped. Pure.

What carries them: grants, claims, reports of downloads, recorded decisions, and revocations of what an address was
granted. Of a cut address the last bits are zero; one that an event cannot do without is dropped to ``::``, which is
nobody's. A revocation keeps the length of its prefix: it must not take in more visitors than it did.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, ip_network
from typing import Final, TypeVar

from msgspec.structs import replace

from events.codec import decode, encode_proven
from events.errors import UnknownEventTypeError, UnreadableEventError
from events.grants import IPAddress, normalise
from events.schemas import (
    Decision,
    DecisionsRecorded,
    Download,
    DownloadsGranted,
    DownloadsReported,
    Event,
    GrantClaimed,
    Granted,
    GrantsRevoked,
)

IPV4_BITS: Final = 24  # a few streets
IPV6_BITS: Final = 48  # what a provider gives to one site
NOBODY: Final = "::"  # the unspecified address (RFC 4291 §2.5.2)
CUTS_REMEMBERED_MAX: Final = 4096  # a visitor's address stands in several events, one soon after the other


Told = TypeVar("Told", Download, Decision)


class Addresses(Enum):
    """What becomes of visitors' addresses."""

    KEEP = "keep"
    SHORTEN = "shorten"
    DROP = "drop"


def without_addresses(body: bytes, how: Addresses) -> bytes:
    """Write an envelope's bytes again with its visitors' addresses shortened or dropped; the same where it has none.

    Doing it again changes nothing. What cannot be read is emptied, since nobody knows what it tells of visitors.
    """
    if how is Addresses.KEEP:
        return body
    try:
        envelope = decode(body)
    except (UnknownEventTypeError, UnreadableEventError):
        return b""
    event = _cut_event(envelope.event, how)
    return body if event == envelope.event else encode_proven(replace(envelope, event=event))


def _cut_event(event: Event, how: Addresses) -> Event:
    """Give the event without what the caller does not want of addresses; a test holds that no type is forgotten."""
    match event:
        case DownloadsGranted():
            return replace(event, grants=tuple(_cut_grant(each, how) for each in event.grants))
        case DownloadsReported():
            return replace(event, downloads=tuple(_cut_one(each, how) for each in event.downloads))
        case DecisionsRecorded():
            return replace(event, decisions=tuple(_cut_one(each, how) for each in event.decisions))
        case GrantClaimed():
            return replace(event, address=_cut(event.address, how) or NOBODY)
        case GrantsRevoked() if event.network is not None:
            return replace(event, network=_cut_network(event.network, how))
        case _:
            return event


def _cut_grant(grant: Granted, how: Addresses) -> Granted:
    return replace(grant, address=_cut(grant.address, how) or NOBODY)


def _cut_one(told: Told, how: Addresses) -> Told:
    return replace(told, address=_cut(told.address, how)) if told.address else told


@lru_cache(maxsize=CUTS_REMEMBERED_MAX)
def _cut(address: str, how: Addresses) -> str:
    return "" if how is Addresses.DROP else _shortened(normalise(address))


def _cut_network(text: str, how: Addresses) -> str:
    network = ip_network(text)
    if network.prefixlen <= _bits(network.network_address):
        return text  # it names no visitor
    if how is Addresses.DROP:
        return f"{NOBODY}/128"
    return f"{_shortened(network.network_address)}/{network.prefixlen}"


def _shortened(address: IPAddress) -> str:
    return str(ip_network((address, _bits(address)), strict=False).network_address)


def _bits(address: IPAddress) -> int:
    return IPV4_BITS if isinstance(address, IPv4Address) else IPV6_BITS
