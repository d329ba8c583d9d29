"""Bytes that were found good are read again without the checks, and say the same."""

from __future__ import annotations

import pytest
from msgspec.structs import asdict, replace

from events.codec import BODY_BYTES_MAX, decode, encode, encode_proven
from events.errors import UnreadableEventError, UnspeakableEventError
from events.examples import EXAMPLES
from events.proven import ProvenReader
from events.schemas import ReplicaReady, SelectorCameOnline
from events.twins import Excerpt, Unread

ONLINE = EXAMPLES["selector.online/1"]


@pytest.mark.parametrize("tag", sorted(EXAMPLES))
def test_proven_bytes_say_what_the_validated_ones_say(tag: str) -> None:
    body = encode(EXAMPLES[tag])
    proven, validated = ProvenReader().decode(body), decode(body)
    assert isinstance(proven.event, type(validated.event))
    assert encode(proven) == body
    assert (proven.id, proven.version, proven.traceparent) == (validated.id, validated.version, validated.traceparent)


@pytest.mark.parametrize("tag", sorted(EXAMPLES))
def test_what_is_written_without_the_check_is_what_is_written_with_it(tag: str) -> None:
    assert encode_proven(EXAMPLES[tag]) == encode(EXAMPLES[tag])


def test_no_proof_makes_an_event_that_is_too_large_or_cannot_be_written_speakable() -> None:
    with pytest.raises(UnspeakableEventError, match=f"at most {BODY_BYTES_MAX}"):
        encode_proven(replace(ONLINE, traceparent="0" * BODY_BYTES_MAX))
    with pytest.raises(UnspeakableEventError, match=r"selector\.online"):
        encode_proven(replace(ONLINE, epoch=2**64))


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x90", b"\x96\xa1x\x01\x01\x01\xa0\x92\xafteapot.boiled/1\x01"])
def test_bytes_that_are_no_event_at_all_are_unreadable_all_the_same(body: bytes) -> None:
    with pytest.raises(UnreadableEventError):
        ProvenReader().decode(body)
    with pytest.raises(UnreadableEventError):
        ProvenReader().decode_all([encode(ONLINE), body])


def test_many_bodies_say_what_each_of_them_says() -> None:
    reader, bodies = ProvenReader(), [encode(example) for example in EXAMPLES.values()]
    assert reader.decode_all(bodies) == [reader.decode(body) for body in bodies]
    assert reader.decode_all([]) == []


def test_of_an_event_that_nobody_asked_for_the_envelope_alone_is_read() -> None:
    reader, bodies = ProvenReader([SelectorCameOnline]), [encode(example) for example in EXAMPLES.values()]
    for found, whole in zip(reader.decode_all(bodies), EXAMPLES.values(), strict=True):
        assert (found.id, found.time_ns, found.traceparent) == (whole.id, whole.time_ns, whole.traceparent)
        if isinstance(whole.event, SelectorCameOnline):
            assert found.event.__struct_fields__ == whole.event.__struct_fields__
        else:
            assert isinstance(found.event, Unread)


def test_of_an_event_of_which_somebody_asked_for_the_first_fields_those_alone_are_read() -> None:
    whole = EXAMPLES["replica.ready/1"]
    assert isinstance(whole.event, ReplicaReady)
    found = ProvenReader(excerpts={ReplicaReady: "sha256"}).decode(encode(whole))
    assert (found.id, found.time_ns, found.traceparent) == (whole.id, whole.time_ns, whole.traceparent)
    assert isinstance(found.event, Excerpt)
    assert found.event.schema is ReplicaReady
    assert asdict(found.event) == {"mirror": whole.event.mirror, "sha256": whole.event.sha256}
