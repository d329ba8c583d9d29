"""Bytes that were found good are read again without the checks, and say the same."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from events.codec import BODY_BYTES_MAX, decode, decode_proven, encode, encode_proven
from events.errors import UnreadableEventError, UnspeakableEventError
from events.examples import EXAMPLES

ONLINE = EXAMPLES["selector.online/1"]


@pytest.mark.parametrize("tag", sorted(EXAMPLES))
def test_proven_bytes_say_what_the_validated_ones_say(tag: str) -> None:
    body = encode(EXAMPLES[tag])
    proven, validated = decode_proven(body), decode(body)
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
        decode_proven(body)
