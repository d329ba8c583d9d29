"""What this selector says: numbered at once, published in the background, and never waited for by a visitor.

Numbers rise over restarts, too (they begin at the start's microseconds): load reports tell the highest that they count
and know nothing of epochs. A notice that finds no room is dropped before it is numbered, so no gap appears.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from broker.port import Broker
from broker.relay import Pending, Relay, message_of
from events.envelope import Envelope, selector_source
from events.names import SelectorName
from events.schemas import Event
from events.trace import TraceContext

# Ten seconds of a release day's redirects. The notices are for the mirror's slots and the audit; the token is enough.
WAITING_MAX: Final = 10_000
_NS_PER_US: Final = 1000


class Waiting:
    """The events that are yet to be published, oldest first; an outbox in memory.

    An event is written as a message when its turn comes and not while its visitor waits.
    """

    def __init__(self) -> None:
        self._envelopes: dict[int, Envelope] = {}

    def __len__(self) -> int:
        """Count them."""
        return len(self._envelopes)

    def add(self, envelope: Envelope) -> None:
        """Put one at the end."""
        self._envelopes[envelope.sequence] = envelope

    async def pending(self, limit: int) -> Sequence[Pending]:
        """Give the oldest."""
        oldest = list(islice(self._envelopes.values(), limit))
        return [Pending(envelope.sequence, message_of(envelope)) for envelope in oldest]

    async def forget(self, positions: Sequence[int]) -> None:
        """Drop those that the broker has taken over."""
        for position in positions:
            del self._envelopes[position]


class Announcer:
    """Says events in the name of one selector. ``clock_ns`` is the Unix time."""

    def __init__(self, broker: Broker, selector: SelectorName, *, clock_ns: Callable[[], int]) -> None:
        self._waiting = Waiting()
        self._relay = Relay(self._waiting, broker)
        self._clock_ns = clock_ns
        self._epoch = clock_ns() // _NS_PER_US
        self._last = self._epoch
        self.source = selector_source(selector)
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Count the events that are yet to be published."""
        return len(self._waiting)

    @property
    def problem(self) -> str:
        """Tell why nothing can be published; empty while it can."""
        return self._relay.problem

    def say(self, event: Event, *, trace: TraceContext | None = None) -> int:
        """Say an event if there is room; give its number, or, where it is dropped, the number of the next one said."""
        if len(self._waiting) >= WAITING_MAX:
            self.dropped += 1
            return self._last + 1
        return self.insist(event, trace=trace).sequence

    def insist(self, event: Event, *, trace: TraceContext | None = None) -> Envelope:
        """Say an event whether or not there is room: for the few that must not be dropped."""
        self._last += 1
        envelope = Envelope(
            source=self.source,
            epoch=self._epoch,
            sequence=self._last,
            time_ns=self._clock_ns(),
            traceparent="" if trace is None else trace.traceparent,
            event=event,
        )
        self._waiting.add(envelope)
        self._relay.wake()
        return envelope

    async def run(self) -> None:
        """Publish until cancelled."""
        await self._relay.run()
