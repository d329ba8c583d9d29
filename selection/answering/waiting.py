"""What is yet to be published, oldest first: an outbox in memory. Pure.

Grants are gathered by mirror. A batch has its number from its first grant on and takes further ones until the relay
asks for it, which it may do once the batch is *ripe*: so long as the broker is slow batches grow, instead of growing
in number. What was once given to the relay never changes, since it may be in the log already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from msgspec.structs import replace

from broker.relay import Pending, message_of
from events.envelope import Envelope
from events.names import MirrorName, SelectorName
from events.schemas import DownloadsGranted, Granted
from events.trace import root

BATCH_MAX: Final = 400  # 70 kB of plain grants
BATCH_BYTES_MAX: Final = 1_000_000  # below the largest event, which one grant of a fleet of 10,000 mirrors may fill
# What a grant may take on the wire at most: its own fields, a character of its path, a reason with its mirror's name.
_GRANT_BYTES: Final = 300
_CHARACTER_BYTES: Final = 4
_REASON_BYTES: Final = 99
_SPAN_ID_BYTES: Final = 8


@dataclass(slots=True)
class _Batch:
    """The grants of one mirror that are said in one event."""

    mirror: MirrorName
    number: int
    grants: list[Granted] = field(default_factory=list[Granted])
    size_bytes: int = 0
    is_ripe: bool = False


class Waiting:
    """Events and grants in the order of their numbers. ``envelope`` puts an event into its envelope, now."""

    def __init__(self, selector: SelectorName, envelope: Callable[[int, DownloadsGranted], Envelope]) -> None:
        self._selector = selector
        self._envelope = envelope
        self._items: dict[int, Envelope | _Batch] = {}
        self._open: dict[MirrorName, _Batch] = {}
        self._length = 0

    def __len__(self) -> int:
        """Count the events and grants."""
        return self._length

    def add(self, envelope: Envelope) -> None:
        """Put an event at the end."""
        self._items[envelope.sequence] = envelope
        self._length += 1

    def number_of(self, mirror: MirrorName) -> int | None:
        """Give the number of the batch that is open for a mirror."""
        batch = self._open.get(mirror)
        return None if batch is None else batch.number

    def put(self, mirror: MirrorName, granted: Granted, *, next_number: int) -> int:
        """Put a grant into the mirror's batch, or begin the next one; give the batch's number."""
        size_bytes = _GRANT_BYTES + _CHARACTER_BYTES * len(granted.path) + _REASON_BYTES * len(granted.rejected)
        batch = self._open.get(mirror)
        if batch is None or len(batch.grants) >= BATCH_MAX or batch.size_bytes + size_bytes > BATCH_BYTES_MAX:
            if batch is not None:
                batch.is_ripe = True
            batch = self._items[next_number] = self._open[mirror] = _Batch(mirror, next_number)
        batch.grants.append(granted)
        batch.size_bytes += size_bytes
        self._length += 1
        return batch.number

    def ripen(self, at_most: int | None = None) -> bool:
        """Let the relay have the oldest batches, or all that there are; tell whether some are left."""
        unripe = [batch for batch in self._open.values() if not batch.is_ripe]
        for batch in unripe[:at_most]:
            batch.is_ripe = True
        return at_most is not None and len(unripe) > at_most

    async def pending(self, limit: int) -> Sequence[Pending]:
        """Give the oldest."""
        numbers = list(islice(self._ready(), limit))
        return [Pending(number, message_of(self._written(number))) for number in numbers]

    async def forget(self, positions: Sequence[int]) -> None:
        """Drop those that the broker has taken over."""
        for position in positions:
            self._length -= _length_of(self._written(position))
            del self._items[position]

    def _ready(self) -> Iterator[int]:
        return (number for number, item in self._items.items() if isinstance(item, Envelope) or item.is_ripe)

    def _written(self, number: int) -> Envelope:
        """Close a batch and write it, once."""
        item = self._items[number]
        if isinstance(item, Envelope):
            return item
        if self._open.get(item.mirror) is item:
            del self._open[item.mirror]
        grants = tuple(map(_traced, item.grants))
        event = DownloadsGranted(selector=self._selector, mirror=item.mirror, grants=grants)
        envelope = self._items[number] = self._envelope(number, event)
        return envelope


def _length_of(envelope: Envelope) -> int:
    event = envelope.event
    return len(event.grants) if isinstance(event, DownloadsGranted) else 1


def _traced(granted: Granted) -> Granted:
    """Begin the trace of a download whose visitor brought none: its id is the grant's, so nobody rolls dice for it."""
    if granted.traceparent:
        return granted
    trace = root(granted.grant_id + granted.grant_id[-_SPAN_ID_BYTES:])
    return replace(granted, traceparent=trace.traceparent)
