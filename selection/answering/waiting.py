"""What is yet to be published: an outbox in memory. Pure.

Grants are gathered by mirror. A batch has its number from its first grant on and takes further ones until the relay
asks for it, which it may do once the batch is *ripe*: so long as the broker is slow batches grow, instead of growing
in number. What was once given to the relay never changes, since it may be in the log already: it is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from broker.port import Message
from broker.relay import Pending, message_of
from events.envelope import Envelope
from events.names import MirrorName, SelectorName
from events.schemas import DownloadsGranted
from selection.answering.echoes import Echoes
from selection.answering.granting import Given, notices_of

BATCH_MAX: Final = 400  # 70 kB of plain grants; 530 kB of those with the longest paths, half of the largest event


@dataclass(slots=True)
class _Batch:
    """The grants of one mirror that are said in one event."""

    mirror: MirrorName
    number: int
    given: list[Given] = field(default_factory=list[Given])


class _Written(NamedTuple):
    """What is given to the relay as it stands, how many events, grants or decisions it is, and of them decisions."""

    message: Message
    length: int
    recorded: int = 0


class Waiting:
    """Events and grants, those that may go out in the order in which they became ripe.

    ``envelope`` puts an event into its envelope, now; ``echoes`` is told what is said in batches. ``length`` counts the
    events, grants and decisions, ``recorded`` the decisions alone.
    """

    def __init__(
        self, selector: SelectorName, envelope: Callable[[int, DownloadsGranted], Envelope], echoes: Echoes
    ) -> None:
        self._selector = selector
        self._envelope = envelope
        self._echoes = echoes
        self._due: dict[int, Envelope | _Batch | _Written] = {}
        self._open: dict[MirrorName, _Batch] = {}
        self._unripe: dict[int, _Batch] = {}  # the oldest first
        self.length = self.recorded = 0

    def add(self, envelope: Envelope) -> None:
        """Put an event at the end."""
        self._due[envelope.sequence] = envelope
        self.length += 1

    def add_record(self, envelope: Envelope, length: int) -> None:
        """Put a record of so many decisions at the end. Its every field was validated before."""
        self._due[envelope.sequence] = _Written(message_of(envelope, proven=True), length, recorded=length)
        self.length += length
        self.recorded += length

    def number_of(self, mirror: MirrorName) -> int | None:
        """Give the number of the batch that is open for a mirror."""
        batch = self._open.get(mirror)
        return None if batch is None else batch.number

    def put(self, mirror: MirrorName, given: Given, *, next_number: int) -> int:
        """Put a grant into the mirror's batch, or begin the next one; give the batch's number.

        All that it says was validated before.
        """
        batch = self._open.get(mirror)
        if batch is None or len(batch.given) >= BATCH_MAX:
            if batch is not None:
                self._ripen(batch)
            batch = self._open[mirror] = self._unripe[next_number] = _Batch(mirror, next_number)
        batch.given.append(given)
        self.length += 1
        return batch.number

    @property
    def is_gathering(self) -> bool:
        """Tell whether there are batches that the relay may not have yet."""
        return bool(self._unripe)

    def ripen(self) -> None:
        """Let the relay have all batches."""
        self._due |= self._unripe
        self._unripe.clear()

    def ripen_oldest(self, last_number: int, *, count: int) -> bool:
        """Let the relay have the oldest batches, begun by this number, that it has not; tell whether there were any."""
        numbers = [number for number in islice(self._unripe, count) if number <= last_number]
        for number in numbers:
            self._ripen(self._unripe[number])
        return bool(numbers)

    async def pending(self, limit: int) -> Sequence[Pending]:
        """Give those that became ripe first."""
        return [Pending(number, self._written(number).message) for number in list(islice(self._due, limit))]

    async def forget(self, positions: Sequence[int]) -> None:
        """Drop those that the broker has taken over."""
        for position in positions:
            written = self._written(position)
            self.length -= written.length
            self.recorded -= written.recorded
            del self._due[position]

    def _ripen(self, batch: _Batch) -> None:
        if self._unripe.pop(batch.number, None) is not None:
            self._due[batch.number] = batch

    def _written(self, number: int) -> _Written:
        """Close a batch, and write what is due, once."""
        item = self._due[number]
        if isinstance(item, _Written):
            return item
        written = _Written(message_of(item), 1) if isinstance(item, Envelope) else self._closed(item)
        self._due[number] = written
        return written

    def _closed(self, batch: _Batch) -> _Written:
        if self._open.get(batch.mirror) is batch:
            del self._open[batch.mirror]
        grants = notices_of(batch.given)
        event = DownloadsGranted(selector=self._selector, mirror=batch.mirror, grants=grants)
        envelope = self._envelope(batch.number, event)
        message = message_of(envelope, proven=True)
        self._echoes.expect(message, envelope)
        return _Written(message, len(grants))
