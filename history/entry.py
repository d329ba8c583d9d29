"""One entry of the log, wherever it is read from. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from broker.port import Delivery
from events.schemas import Seen

BEGINNING: Final = -1  # the offset before the first entry of a generation


class Position(NamedTuple):
    """A place in the log: a generation, and the offset of an entry in its stream. The higher one is later.

    Offsets rise, but with holes: they order entries and count nothing.
    """

    generation: int
    offset: int

    @classmethod
    def of(cls, seen: Seen) -> Position:
        """Give the place of the last entry that a selector had read."""
        return cls(seen.generation, seen.offset)


class Entry(NamedTuple):
    """An entry as the broker took it in: ``body`` is the envelope's bytes, whether or not they can be read.

    ``user_id`` is the broker's user who wrote it, proved by the broker; ``exchange`` and ``routing_key`` are where.
    """

    generation: int
    offset: int
    exchange: str
    routing_key: str
    message_id: str
    type: str
    user_id: str
    body: bytes

    @property
    def position(self) -> Position:
        """Give its place in the log."""
        return Position(self.generation, self.offset)

    @property
    def delivery(self) -> Delivery:
        """Give it as it came from the broker, to be read by ``broker.reading``."""
        return Delivery(
            exchange=self.exchange,
            routing_key=self.routing_key,
            message_id=self.message_id,
            type=self.type,
            user_id=self.user_id,
            body=self.body,
            offset=self.offset,
        )


def entry_of(delivery: Delivery, *, generation: int) -> Entry:
    """Give what was read of a generation's stream as an entry."""
    assert delivery.offset is not None  # noqa: S101 - streams number their entries
    return Entry(
        generation,
        delivery.offset,
        delivery.exchange,
        delivery.routing_key,
        delivery.message_id,
        delivery.type,
        delivery.user_id,
        delivery.body,
    )
