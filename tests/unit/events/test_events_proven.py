"""Bytes that were found good are read again without the checks, and say the same."""

from __future__ import annotations

import pytest

from events.codec import decode, decode_proven, encode
from events.errors import UnreadableEventError
from events.examples import EXAMPLES


@pytest.mark.parametrize("tag", sorted(EXAMPLES))
def test_proven_bytes_say_what_the_validated_ones_say(tag: str) -> None:
    body = encode(EXAMPLES[tag])
    proven, validated = decode_proven(body), decode(body)
    assert isinstance(proven.event, type(validated.event))
    assert encode(proven) == body
    assert (proven.id, proven.version, proven.traceparent) == (validated.id, validated.version, validated.traceparent)


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x90", b"\x96\xa1x\x01\x01\x01\xa0\x92\xafteapot.boiled/1\x01"])
def test_bytes_that_are_no_event_at_all_are_unreadable_all_the_same(body: bytes) -> None:
    with pytest.raises(UnreadableEventError):
        decode_proven(body)
