"""What becomes of visitors' addresses in what the log keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args, get_type_hints

import pytest
from msgspec import Struct
from msgspec.structs import replace

from events.codec import decode, encode
from events.envelope import Envelope
from events.examples import EXAMPLES
from events.schemas import (
    EVENT_TYPES,
    DecisionsRecorded,
    Download,
    DownloadsGranted,
    DownloadsReported,
    Event,
    GrantClaimed,
    GrantsRevoked,
)
from events.schemas.fields import Address, AddressOrNone
from history.privacy import Addresses, without_addresses

ENVELOPES = [pytest.param(envelope, id=tag) for tag, envelope in EXAMPLES.items()]
IPV4, IPV6 = "203.0.113.77", "2001:db8:1:2:3::4"
CARRIERS = (DownloadsGranted, DownloadsReported, DecisionsRecorded, GrantClaimed)


def envelope_of(kind: type[Event]) -> Envelope:
    return next(envelope for envelope in EXAMPLES.values() if isinstance(envelope.event, kind))


def with_address(envelope: Envelope, address: str) -> Envelope:
    """The envelope with this address wherever it has one."""
    event = envelope.event
    match event:
        case DownloadsGranted():
            event = replace(event, grants=tuple(replace(each, address=address) for each in event.grants))
        case DownloadsReported():
            event = replace(event, downloads=tuple(replace(each, address=address) for each in event.downloads))
        case DecisionsRecorded():
            event = replace(event, decisions=tuple(replace(each, address=address) for each in event.decisions))
        case GrantClaimed():
            event = replace(event, address=address)
        case _:
            raise AssertionError(event)
    return replace(envelope, event=event)


def structs_of(kind: type[Struct]) -> Iterator[type[Struct]]:
    """The struct, and all that its fields hold."""
    yield kind
    for hint in get_type_hints(kind).values():
        for part in (hint, *parts_of(hint)):
            if isinstance(part, type) and issubclass(part, Struct):
                yield from structs_of(part)


def parts_of(hint: object) -> Iterator[object]:
    for part in get_args(hint):
        yield part
        yield from parts_of(part)


def carries_addresses(kind: type[Struct]) -> bool:
    return any(
        hint in (Address, AddressOrNone)
        for struct in structs_of(kind)
        for hint in get_type_hints(struct, include_extras=True).values()
    )


def test_no_type_that_carries_addresses_is_forgotten() -> None:
    assert {kind for kind in EVENT_TYPES if carries_addresses(kind)} == set(CARRIERS)


@pytest.mark.parametrize("kind", CARRIERS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(("address", "cut"), [(IPV4, "203.0.113.0"), (IPV6, "2001:db8:1::")], ids=["IPv4", "IPv6"])
def test_shortened_address_keeps_its_network_and_nothing_else_changes(
    kind: type[Event], address: str, cut: str
) -> None:
    body = encode(with_address(envelope_of(kind), address))
    assert decode(without_addresses(body, Addresses.SHORTEN)) == with_address(envelope_of(kind), cut)


@pytest.mark.parametrize("kind", [DownloadsReported, DecisionsRecorded], ids=lambda kind: kind.__name__)
def test_dropped_address_is_gone(kind: type[Event]) -> None:
    body = encode(with_address(envelope_of(kind), IPV4))
    assert decode(without_addresses(body, Addresses.DROP)) == with_address(envelope_of(kind), "")


@pytest.mark.parametrize("kind", [DownloadsGranted, GrantClaimed], ids=lambda kind: kind.__name__)
def test_dropped_address_that_an_event_needs_is_nobodys(kind: type[Event]) -> None:
    body = encode(with_address(envelope_of(kind), IPV4))
    assert decode(without_addresses(body, Addresses.DROP)) == with_address(envelope_of(kind), "::")


@pytest.mark.parametrize("how", [Addresses.SHORTEN, Addresses.DROP])
@pytest.mark.parametrize("envelope", ENVELOPES)
def test_every_event_can_be_read_afterwards_and_doing_it_again_changes_nothing(
    envelope: Envelope, how: Addresses
) -> None:
    once = without_addresses(encode(envelope), how)
    assert type(decode(once).event) is type(envelope.event)
    assert without_addresses(once, how) == once


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_kept_bytes_are_the_same_bytes(envelope: Envelope) -> None:
    body = encode(envelope)
    assert without_addresses(body, Addresses.KEEP) is body


def test_an_address_that_was_not_told_stays_untold() -> None:
    reported = envelope_of(DownloadsReported)
    assert isinstance(reported.event, DownloadsReported)
    untold: list[Download] = [replace(each, address="") for each in reported.event.downloads]
    body = encode(replace(reported, event=replace(reported.event, downloads=tuple(untold))))
    assert without_addresses(body, Addresses.SHORTEN) is body


@pytest.mark.parametrize(
    ("network", "how", "left"),
    [
        pytest.param("203.0.113.77/32", Addresses.SHORTEN, "203.0.113.0/32", id="an address is cut"),
        pytest.param("2001:db8:1:2::/64", Addresses.SHORTEN, "2001:db8:1::/64", id="a line is cut"),
        pytest.param("203.0.113.77/32", Addresses.DROP, "::/128", id="an address is dropped"),
        pytest.param("203.0.112.0/22", Addresses.DROP, "203.0.112.0/22", id="a wide network names nobody"),
    ],
)
def test_a_revocation_by_network_never_takes_in_more_visitors(network: str, how: Addresses, left: str) -> None:
    revoked = envelope_of(GrantsRevoked)
    assert isinstance(revoked.event, GrantsRevoked)
    body = encode(replace(revoked, event=replace(revoked.event, network=network)))
    cut = decode(without_addresses(body, how)).event
    assert isinstance(cut, GrantsRevoked)
    assert cut.network == left


@pytest.mark.parametrize("body", [b"", b"no event of 203.0.113.77"], ids=["nothing", "garbage"])
@pytest.mark.parametrize("how", [Addresses.SHORTEN, Addresses.DROP])
def test_what_cannot_be_read_is_emptied(body: bytes, how: Addresses) -> None:
    assert without_addresses(body, how) == b""
