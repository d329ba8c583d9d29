"""What this selector said and has yet to read in the log: its own words need no decoding when they come back. Pure.

A selector under load says thousands of grants a second, and reads as many. To decode and validate one takes longer than
to make it. What is known is no more than what certain bytes say: whether a delivery may be believed is asked as of any.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from broker.port import Delivery, Message
from events.envelope import Envelope

# Some 45,000 grants, seconds of a release day; with their objects 50 MB. What is forgotten is decoded like all else.
KEPT_BYTES_MAX: Final = 8_000_000


class _Said(NamedTuple):
    body: bytes
    envelope: Envelope


class Echoes:
    """Messages that are under way to the log, oldest first."""

    def __init__(self) -> None:
        self._said: dict[str, _Said] = {}
        self._size_bytes = 0

    def expect(self, message: Message, envelope: Envelope) -> None:
        """Keep what a message says, which was written once and will not be written otherwise."""
        self._said[message.message_id] = _Said(message.body, envelope)
        self._size_bytes += len(message.body)
        while self._size_bytes > KEPT_BYTES_MAX:
            self._forget(next(iter(self._said)))

    def heard(self, delivery: Delivery) -> Envelope | None:
        """Give what a delivery says, once, if it is byte for byte what was said here."""
        said = self._said.get(delivery.message_id)
        if said is None or said.body != delivery.body:
            return None
        self._forget(delivery.message_id)
        return said.envelope

    def _forget(self, message_id: str) -> None:
        self._size_bytes -= len(self._said.pop(message_id).body)
