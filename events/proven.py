"""Reading bytes that were found good before: no check a second time, many at once, and no more of them than is wanted.

For whoever keeps what ``decode`` or ``encode`` had found good: an archive, an outbox. What it gives are twins
(``events.twins``) of envelopes and events.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, cast

import msgspec

from events.envelope import Envelope
from events.errors import UnreadableEventError
from events.schemas import EVENT_TYPES, Event
from events.twins import NO_EXCERPTS, Twins

BODIES_MAX: Final = 2**32 - 1  # MessagePack's longest array
_ARRAY_32: Final = b"\xdd"
_LENGTH_BYTES: Final = 4


class ProvenReader:
    """Reads events of some kinds whole; of the others the envelope alone, with an ``events.twins.Unread`` in it.

    Of the kinds in ``excerpts``, each of which must be one of ``kinds``, it reads no more than the fields up to the one
    that stands there: it gives an ``events.twins.Excerpt``. So whoever asks for either must not ask an event for more.
    """

    def __init__(
        self, kinds: Collection[type[Event]] = EVENT_TYPES, excerpts: Mapping[type[msgspec.Struct], str] = NO_EXCERPTS
    ) -> None:
        twin = Twins(unread=frozenset(EVENT_TYPES).difference(kinds), excerpts=excerpts).of(Envelope)
        self._one = msgspec.msgpack.Decoder(twin)
        self._many = msgspec.msgpack.Decoder(list[twin])

    def decode(self, body: bytes) -> Envelope:
        """Read an envelope that was validated before it was stored. Nothing that it says is checked again.

        Raises:
            UnreadableEventError: these are no such bytes, or those of another version.
        """
        try:
            return cast("Envelope", self._one.decode(body))
        except msgspec.DecodeError as error:
            raise UnreadableEventError(str(error)) from error

    def decode_all(self, bodies: Sequence[bytes]) -> list[Envelope]:
        """Read many such envelopes at once, which saves a third of what they cost one by one.

        Raises:
            UnreadableEventError: some of these are no such bytes; read them one by one to learn which.
        """
        header = _ARRAY_32 + len(bodies).to_bytes(_LENGTH_BYTES, "big")
        try:
            return cast("list[Envelope]", self._many.decode(b"".join((header, *bodies))))
        except msgspec.DecodeError as error:
            raise UnreadableEventError(str(error)) from error
