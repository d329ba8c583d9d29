"""The codec: everything that can be said is read back, and nothing else raises anything unexpected."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events.codec import BODY_BYTES_MAX, decode, encode
from events.envelope import Envelope, Version
from events.errors import UnknownEventTypeError, UnreadableEventError, UnspeakableEventError
from events.examples import EXAMPLES
from events.names import Digest, MirrorName
from events.schemas import (
    EVENT_TYPES,
    DeclineReason,
    Granted,
    InventoryAnnounced,
    LoadReported,
    MirrorLeft,
    ReplicaDeclined,
    ReplicaLost,
    tag_of,
)
from events.schemas.fields import GRANTS_MAX, INVENTORY_PAGE_MAX, TEXT_LENGTH_MAX


def wire(tag: str) -> list[Any]:
    """The example of a type as the plain arrays that are on the wire."""
    return msgspec.msgpack.decode(encode(EXAMPLES[tag]), type=list[Any])


def packed(value: object) -> bytes:
    return msgspec.msgpack.encode(value)


@given(st.binary())
@example(b"")
@example(b"\xc1")
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xdf\xff\xff\xff\xff")
def test_any_bytes_are_an_event_or_unreadable(body: bytes) -> None:
    _read_or_refuse(body)


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(-9, 9), inner),
    max_leaves=12,
)


@given(st.sampled_from(sorted(EXAMPLES)), st.data())
def test_event_with_something_else_in_a_place_is_an_event_or_unreadable(tag: str, data: st.DataObject) -> None:
    outer = wire(tag)
    target = data.draw(st.sampled_from([outer, outer[5]]))
    target[data.draw(st.integers(0, len(target) - 1))] = data.draw(_JUNK)
    _read_or_refuse(packed(outer))


@given(st.sampled_from(sorted(EXAMPLES)), st.data())
def test_event_with_a_flipped_byte_is_an_event_or_unreadable(tag: str, data: st.DataObject) -> None:
    body = bytearray(encode(EXAMPLES[tag]))
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    _read_or_refuse(bytes(body))


@given(st.sampled_from(sorted(EXAMPLES)), st.data())
def test_event_that_was_cut_is_unreadable(tag: str, data: st.DataObject) -> None:
    body = encode(EXAMPLES[tag])
    with pytest.raises(UnreadableEventError):
        decode(body[: data.draw(st.integers(0, len(body) - 1))])


def _read_or_refuse(body: bytes) -> None:
    try:
        found = decode(body)
    except UnreadableEventError:
        return
    assert isinstance(found, Envelope)


def test_unknown_type_in_a_sound_envelope_is_told_by_its_name() -> None:
    outer = wire("log.opened/1")
    outer[5] = ["teapot.boiled/1", {"by": [1, 2]}]
    with pytest.raises(UnknownEventTypeError) as caught:
        decode(packed(outer))
    assert caught.value.tag == "teapot.boiled/1"


def test_newer_version_of_a_type_is_unknown() -> None:
    outer = wire("replica.ready/1")
    outer[5][0] = "replica.ready/2"
    with pytest.raises(UnknownEventTypeError):
        decode(packed(outer))


@pytest.mark.parametrize(("place", "value"), [(0, 5), (1, -1), (2, 0), (3, "now"), (4, None), (2, 2**64 - 1)])
def test_unknown_type_in_a_broken_envelope_is_unreadable(place: int, value: object) -> None:
    outer = wire("log.opened/1")
    outer[5] = ["teapot.boiled/1"]
    outer[place] = value
    with pytest.raises(UnreadableEventError) as caught:
        decode(packed(outer))
    assert type(caught.value) is UnreadableEventError


def test_map_with_a_key_that_cannot_be_one_is_unreadable() -> None:
    outer = packed([*wire("log.opened/1")[:5], ["teapot.boiled/1"]])[:-1] + b"x"
    with pytest.raises(UnreadableEventError):
        decode(outer + b"\x81\x90\x01")  # {[]: 1}
    with pytest.raises(UnreadableEventError):
        decode(b"\x96\xa1x\x01\x01\x01\xa0\x92\xa1y\x81\x90\x01")


@pytest.mark.parametrize("tag", sorted(EXAMPLES))
def test_fields_that_a_newer_version_added_are_ignored(tag: str) -> None:
    outer = wire(tag)
    outer[5].append({"new": [1]})
    outer.append("newer still")
    assert decode(packed(outer)) == EXAMPLES[tag]


def test_fields_with_a_default_may_be_missing() -> None:
    outer = wire("load.reported/1")
    del outer[5][6:]
    event = decode(packed(outer)).event
    assert isinstance(event, LoadReported)
    assert (event.quota_left_bytes, event.grants_seen) == (None, {})


@pytest.mark.parametrize("depth", [100, 10_000, 500_000])
@pytest.mark.parametrize("at", ["outside", "unknown event", "added field"])
def test_deep_nesting_is_unreadable_or_ignored_but_never_fatal(depth: int, at: str) -> None:
    nest = b"\x91" * depth + b"\x01"
    bodies = {
        "outside": nest,
        "unknown event": b"\x96\xa1x\x01\x01\x01\xa0\x92\xa1y" + nest,
        "added field": b"\x96\xa1x\x01\x01\x01\xa0\x93\xaclog.opened/1\x03" + nest,
    }
    _read_or_refuse(bodies[at])


def test_body_past_the_limit_is_not_even_looked_at() -> None:
    with pytest.raises(UnreadableEventError, match="at most"):
        decode(b"\x91" * (BODY_BYTES_MAX + 1))


def test_largest_inventory_page_fits() -> None:
    page = InventoryAnnounced(
        mirror=MirrorName("ana"), as_of=1, page=1, pages=1, sha256s=(Digest(bytes(32)),) * INVENTORY_PAGE_MAX
    )
    said = Envelope(source="mirror/ana", epoch=1, sequence=1, time_ns=1, traceparent="", event=page)
    assert decode(encode(said)) == said


HARMFUL = {
    "digest of 31 bytes": ("replica.ready/1", 2, bytes(31)),
    "digest as text": ("replica.ready/1", 2, "0" * 32),
    "negative size": ("replica.ready/1", 3, -1),
    "size past 63 bits": ("replica.ready/1", 3, 2**63),
    "path to the parent": ("replica.ready/1", 4, "../x"),
    "path with NUL": ("file.published/1", 3, "a\0"),
    "path with CR LF": ("file.withdrawn/1", 3, "a\r\nb"),
    "name with a dot": ("replica.ready/1", 1, "ana.bob"),
    "name with a line feed": ("replica.ready/1", 1, "ana\n"),
    "latitude that is no number": ("mirror.online/1", 2, ["http://a", 1, None, [math.nan, 0.0], ""]),
    "longitude without end": ("mirror.online/1", 2, ["http://a", 1, None, [0.0, math.inf], ""]),
    "URL with CR LF": ("mirror.online/1", 2, ["http://a/\r\nX: y", 1, None, None, ""]),
    "URL of another scheme": ("mirror.joined/1", 2, ["javascript:alert(1)", 1, None, None, ""]),
    "negative slots": ("load.reported/1", 2, -1),
    "negative quota": ("load.reported/1", 6, -1),
    "wait without end": ("replica.declined/1", 7, math.inf),
    "wait that is no number": ("replica.declined/1", 7, math.nan),
    "reason that is no word": ("replica.lost/1", 4, 7),
    "page past the last": ("inventory.announced/1", 3, 2),
    "page 0": ("inventory.announced/1", 3, 0),
    "too many digests": ("inventory.announced/1", 5, [bytes(32)] * (INVENTORY_PAGE_MAX + 1)),
    "network that is none": ("file.published/1", 9, [["everywhere"]]),
    "media type with CR LF": ("file.published/1", 7, "text/plain\r\nX: y"),
    "reader that is no source": ("event.unreadable/1", 1, "mirror/a.b"),
    "generation 0": ("log.opened/1", 1, 0),
}


@pytest.mark.parametrize(("tag", "place", "value"), HARMFUL.values(), ids=HARMFUL.keys())
def test_value_that_could_hurt_a_reader_is_unreadable(tag: str, place: int, value: object) -> None:
    outer = wire(tag)
    outer[5][place] = value
    with pytest.raises(UnreadableEventError) as caught:
        decode(packed(outer))
    assert type(caught.value) is UnreadableEventError


HARMFUL_GRANTS = {
    "path to the parent": ("path", "../x"),
    "address that is none": ("address", "not an address"),
    "grant id of 15 bytes": ("grant_id", bytes(15)),
    "moment past 32 bits": ("start_by_s", 2**32),
    "country in small letters": ("country", "pt"),
}


@pytest.mark.parametrize(("field", "value"), HARMFUL_GRANTS.values(), ids=HARMFUL_GRANTS.keys())
def test_one_grant_that_could_hurt_a_reader_makes_all_of_its_batch_unreadable(field: str, value: object) -> None:
    outer = wire("downloads.granted/1")
    sound = outer[5][3][0]
    harmful = list(sound)
    harmful[Granted.__struct_fields__.index(field)] = value
    outer[5][3] = [sound, harmful]
    with pytest.raises(UnreadableEventError) as caught:
        decode(packed(outer))
    assert type(caught.value) is UnreadableEventError


@pytest.mark.parametrize("count", [0, GRANTS_MAX + 1])
def test_batch_of_no_grants_or_of_too_many_is_unreadable(count: int) -> None:
    outer = wire("downloads.granted/1")
    outer[5][3] *= count
    with pytest.raises(UnreadableEventError):
        decode(packed(outer))


def test_what_no_reader_would_accept_is_not_said() -> None:
    event = LoadReported(mirror=MirrorName("ana"), slots=-1, active=0, reserved=0, transmit_bytes_per_second=0)
    said = Envelope(source="mirror/ana/load", epoch=1, sequence=1, time_ns=1, traceparent="", event=event)
    with pytest.raises(UnspeakableEventError, match=r"load\.reported/1"):
        encode(said)


def test_long_or_unprintable_prose_is_cut_and_not_refused() -> None:
    event = MirrorLeft(mirror=MirrorName("ana"), reason="\x1b[2J" + "x" * 2 * TEXT_LENGTH_MAX)
    assert event.reason.isprintable()
    assert len(event.reason) == TEXT_LENGTH_MAX
    outer = wire("mirror.left/1")
    outer[5][2] = "one\ntwo\u202e"
    assert decode(packed(outer)).event == MirrorLeft(mirror=MirrorName("ana"), reason="one\ufffdtwo\ufffd")


def test_identity_and_order_come_from_source_epoch_and_sequence() -> None:
    said = EXAMPLES["replica.ready/1"]
    assert said.id == "mirror/ana:2:17"
    assert said.version == Version(epoch=2, sequence=17) > Version(epoch=1, sequence=99)


@pytest.mark.parametrize(("tag", "place"), [("replica.lost/1", 4), ("replica.declined/1", 5)])
def test_a_reason_that_a_newer_version_knows_is_read_as_another(tag: str, place: int) -> None:
    outer = wire(tag)
    outer[5][place] = "boredom"
    event = decode(packed(outer)).event
    assert isinstance(event, ReplicaLost | ReplicaDeclined)
    assert event.reason.value == "other"


@pytest.mark.parametrize("reason", DeclineReason, ids=lambda reason: reason.value)
def test_every_reason_to_decline_can_be_said_to_people(reason: DeclineReason) -> None:
    assert " " in reason.text


def test_tags_name_each_type_once() -> None:
    assert len({kind.__struct_config__.tag for kind in EVENT_TYPES}) == len(EVENT_TYPES)
    assert {tag_of(envelope.event) for envelope in EXAMPLES.values()} == {
        kind.__struct_config__.tag for kind in EVENT_TYPES
    }
