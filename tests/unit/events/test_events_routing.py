"""Addresses: each event belongs in one place, said by one source, and is refused anywhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from events.codec import decode, encode
from events.describe import addresses_of
from events.envelope import Envelope
from events.errors import ForgedEventError
from events.examples import EXAMPLES
from events.names import ORIGIN, ChannelName, MirrorName
from events.routing import EXCHANGES, LOGGED_EXCHANGES, Address, Binding, address_of, mirror_bindings, verify_address
from events.schemas import EVENT_TYPES, DownloadsReported, GrantClaimed, GrantsRevoked

ROUTING_KEY_BYTES_MAX = 255  # AMQP 0-9-1's short string

_ADDRESSES = [address_of(envelope.event) for envelope in EXAMPLES.values()]
_TAGS = st.sampled_from(sorted(EXAMPLES))


@pytest.mark.parametrize("tag", sorted(EXAMPLES))
def test_event_is_accepted_where_it_belongs(tag: str) -> None:
    said = decode(encode(EXAMPLES[tag]))
    address = address_of(said.event)
    assert address.exchange in EXCHANGES
    verify_address(said, exchange=address.exchange, routing_key=address.routing_key)


@given(_TAGS, st.sampled_from(_ADDRESSES), st.sampled_from(_ADDRESSES), st.sampled_from(_ADDRESSES))
def test_event_is_refused_in_any_other_combination(tag: str, by: Address, at: Address, under: Address) -> None:
    said = replace(EXAMPLES[tag], source=by.source)
    if address_of(said.event) == Address(at.exchange, under.routing_key, by.source):
        verify_address(said, exchange=at.exchange, routing_key=under.routing_key)
    else:
        with pytest.raises(ForgedEventError):
            verify_address(said, exchange=at.exchange, routing_key=under.routing_key)


@given(_TAGS, st.text(), st.sampled_from(["source", "exchange", "routing_key"]))
def test_event_is_refused_under_any_other_word(tag: str, word: str, part: str) -> None:
    said = EXAMPLES[tag]
    address = address_of(said.event)
    parts = {"source": address.source, "exchange": address.exchange, "routing_key": address.routing_key}
    if parts[part] == word:
        return
    parts[part] = word
    with pytest.raises(ForgedEventError):
        verify_address(
            replace(said, source=parts["source"]), exchange=parts["exchange"], routing_key=parts["routing_key"]
        )


@pytest.mark.parametrize("tag", [tag for tag, said in EXAMPLES.items() if said.source.startswith("mirror/")])
def test_mirror_cannot_speak_for_another(tag: str) -> None:
    said = EXAMPLES[tag]
    address = address_of(said.event)
    forged = replace(said, event=replace(said.event, mirror=MirrorName("bob")))
    with pytest.raises(ForgedEventError):
        verify_address(forged, exchange=address.exchange, routing_key=address.routing_key)


def test_master_speaks_for_its_own_downloads() -> None:
    event = EXAMPLES["downloads.reported/1"].event
    assert isinstance(event, DownloadsReported)
    assert address_of(replace(event, mirror=ORIGIN)) == Address("files", "origin.reported", "master")
    claimed = EXAMPLES["grant.claimed/1"].event
    assert isinstance(claimed, GrantClaimed)
    assert address_of(replace(claimed, mirror=ORIGIN)) == Address("files", "origin.claimed", "master")


def test_each_kind_of_event_has_keys_of_its_own() -> None:
    places = [(address.exchange, address.routing_key) for kind in EVENT_TYPES for address in addresses_of(kind)]
    assert len(set(places)) == len(places)


def test_longest_names_fit_into_a_routing_key() -> None:
    name = "a" * 31
    for envelope in EXAMPLES.values():
        fields = envelope.event.__struct_fields__
        longest = replace(
            envelope.event, **{field: name for field in ("mirror", "channel", "selector") if field in fields}
        )
        assert len(address_of(longest).routing_key) <= ROUTING_KEY_BYTES_MAX


def test_load_reports_alone_stay_out_of_the_log() -> None:
    unlogged = {tag for tag, said in EXAMPLES.items() if address_of(said.event).exchange not in LOGGED_EXCHANGES}
    assert unlogged == {"load.reported/1"}


def _takes(binding: Binding, address: Address) -> bool:
    words, pattern = address.routing_key.split("."), binding.pattern.split(".")
    head = pattern[:-1] if pattern[-1] == "#" else pattern
    exact = pattern[-1] == "#" or len(words) == len(pattern)
    return binding.exchange == address.exchange and exact and words[: len(head)] == head


def test_mirror_is_told_of_its_channels_itself_and_its_grants() -> None:
    bindings = mirror_bindings(MirrorName("ana"), (ChannelName("iso"),))

    def told(mirror: str, channel: str) -> set[str]:
        found: set[str] = set()
        for tag, said in EXAMPLES.items():
            names = {"mirror": mirror, "channel": channel}
            event = replace(said.event, **{k: v for k, v in names.items() if k in said.event.__struct_fields__})
            if any(_takes(binding, address_of(event)) for binding in bindings):
                found.add(tag)
        return found

    own = {"mirror.invited/1", "mirror.joined/1", "mirror.left/1", "keys.rotated/1", "downloads.granted/1"}
    own |= {"mirror.ruled/1", "subscription.granted/1", "subscription.revoked/1"}
    files = {"file.published/1", "file.withdrawn/1"}
    everyone = {"log.opened/1", "catalogue.restated/1", "grants.revoked/1"}
    assert told("ana", "iso") == own | files | everyone
    assert told("bob", "other") == everyone


@pytest.mark.parametrize(
    ("tag", "address"),
    [
        ("keys.rotated/1", Address("files", "mirror.ana.rotated", "master")),
        ("mirror.ruled/1", Address("files", "mirror.ana.ruled", "master")),
        ("downloads.granted/1", Address("grants", "grant.ana.granted", "selector/lisbon")),
        ("grants.revoked/1", Address("files", "grants.revoked", "master")),
        ("availability.changed/1", Address("fleet", "mirror.ana.changed", "mirror/ana")),
        ("channel.followed/1", Address("fleet", "mirror.ana.followed", "mirror/ana")),
        ("source.banned/1", Address("fleet", "mirror.ana.banned", "mirror/ana")),
        ("quota.reached/1", Address("fleet", "mirror.ana.reached", "mirror/ana")),
        ("grant.claimed/1", Address("fleet", "mirror.ana.claimed", "mirror/ana")),
    ],
)
def test_event_has_the_address_that_operators_bind_to(tag: str, address: Address) -> None:
    assert address_of(EXAMPLES[tag].event) == address


@pytest.mark.parametrize("revoked", [{"mirror": MirrorName("bob")}, {"mirror": None}], ids=["of one mirror", "of all"])
def test_revoked_grants_are_told_to_every_mirror_whosever_they_are(revoked: dict[str, MirrorName | None]) -> None:
    event = EXAMPLES["grants.revoked/1"].event
    assert isinstance(event, GrantsRevoked)
    address = address_of(replace(event, network="192.0.2.0/24", **revoked))
    assert any(_takes(binding, address) for binding in mirror_bindings(MirrorName("ana"), ()))


def test_example_stands_where_its_source_may_speak() -> None:
    for said in EXAMPLES.values():
        assert isinstance(said, Envelope)
        assert address_of(said.event).source == said.source
