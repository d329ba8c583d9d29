"""What this selector says: numbered at once, published in the background, and never waited for by a visitor.

Grants are said in batches, one for each mirror, since a message costs more than a redirect does: what has gathered in
one round is said in the next, the oldest few batches, two at each turn, so that no visitor waits for all of them.
Numbers rise over restarts, too (they begin at the start's microseconds): load reports tell the highest that they count
and know nothing of epochs. A notice that finds no room is dropped before it is numbered, so no gap appears.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from broker.port import Broker, BrokerError
from broker.relay import Relay
from events.envelope import Envelope, selector_source
from events.names import MirrorName, SelectorName
from events.schemas import DecisionsRecorded, Event, StandingRecorded
from events.trace import TraceContext
from selection.answering.echoes import Echoes
from selection.answering.granting import Given
from selection.answering.waiting import Waiting

# Some seconds of a release day's redirects, 50 MB; decisions that wait are counted with them. The notices are for slots
# and the audit; the token is enough.
WAITING_MAX: Final = 50_000
# A message costs a selector as much as ten redirects, whatever is in it: so fifty a second, and in a fleet of a
# thousand each mirror has one in twenty seconds. What tells a mirror of its visitor in time is the token. Two at once
# take less than one after the other (a turn of the loop, a write), and a visitor waits a millisecond for them.
TURN_S: Final = 0.04
BATCHES_PER_TURN: Final = 2
TURNS_PER_ROUND: Final = 3  # so a batch gathers for a tenth of a second: a visitor takes as long to follow his link
# Decisions in records: what mirrors must know goes before what auditors want to. Records wait for nothing but the
# broker, while the grants of a large fleet gather for long, and take none of this room: both together are 75,000.
RECORDS_WAITING_MAX: Final = 25_000
LAST_WORDS_S: Final = 2.0  # a healthy broker takes them in milliseconds; a stop must not wait for another
_NS_PER_US: Final = 1000

log = structlog.stdlib.get_logger()


class Announcer:
    """Says events in the name of one selector. ``clock_ns`` is the Unix time.

    ``echoes`` knows by what it reads in the log what was said here.
    """

    def __init__(self, broker: Broker, selector: SelectorName, *, clock_ns: Callable[[], int]) -> None:
        self.echoes = Echoes()
        self._waiting = Waiting(selector, self._envelope, self.echoes)
        self._relay = Relay(self._waiting, broker)
        self._clock_ns = clock_ns
        self._epoch = clock_ns() // _NS_PER_US
        self._last = self._epoch
        self._gathering = asyncio.Event()
        self._flush: Callable[[], None] = lambda: None
        self.source = selector_source(selector)
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Count the events, grants and decisions that are yet to be published."""
        return self._waiting.length

    @property
    def problem(self) -> str:
        """Tell why nothing can be published; empty while it can."""
        return self._relay.problem

    def has_room_for(self, decisions: int) -> bool:
        """Tell whether a record of so many decisions will be said. Grants that gather take none of that room."""
        return self._waiting.recorded + decisions <= RECORDS_WAITING_MAX

    def gather_from(self, flush: Callable[[], None]) -> None:
        """Let somebody say by ``flush``, each time that grants are said, what he gathered; see ``gather``."""
        self._flush = flush

    def gather(self) -> None:
        """Take note that something gathers that is to be said soon."""
        self._gathering.set()

    def record(self, event: StandingRecorded | DecisionsRecorded, decisions: int) -> bool:
        """Say what was decided, if there is room for it; else it is dropped before it is numbered.

        All that it says must be valid: nothing checks it again.
        """
        if not self.has_room_for(decisions):
            return False
        self._last += 1
        self._waiting.add_record(self._envelope(self._last, event), decisions)
        self._relay.wake()
        return True

    def granted(self, mirror: MirrorName, given: Given) -> int:
        """Say, with others, that a visitor was sent to a mirror, if there is room for it.

        All that it says must be valid: nothing checks it again.
        Gives the number of the event that tells the mirror of it or, where it is dropped, of the next that tells it of
        others. For one mirror it never falls.
        """
        if self._waiting.length >= WAITING_MAX:
            self.dropped += 1
            return self._waiting.number_of(mirror) or self._last + 1
        number = self._waiting.put(mirror, given, next_number=self._last + 1)
        if number > self._last:
            self._last = number
            self._gathering.set()
        return number

    def say(self, event: Event, *, trace: TraceContext | None = None) -> None:
        """Say an event if there is room."""
        if self._waiting.length >= WAITING_MAX:
            self.dropped += 1
        else:
            self.insist(event, trace=trace)

    def insist(self, event: Event, *, trace: TraceContext | None = None) -> Envelope:
        """Say an event whether or not there is room: for the few that must not be dropped."""
        self._last += 1
        envelope = self._envelope(self._last, event, trace)
        self._waiting.add(envelope)
        self._relay.wake()
        return envelope

    async def run(self) -> None:
        """Publish until cancelled; then say what is left, if the broker takes it at once."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._relay.run(), name="announce-relay")
                tasks.create_task(self._ripen(), name="announce-ripen")
        finally:
            await self._say_the_last()

    async def _ripen(self) -> None:
        loop, begun_to = asyncio.get_running_loop(), self._last
        while True:
            await self._gathering.wait()
            self._gathering.clear()
            gathered_to, begun_to, due_s = begun_to, self._last, loop.time()
            for _ in range(TURNS_PER_ROUND):
                due_s += TURN_S  # of a busy loop each turn comes late; the round must not be longer for it
                await asyncio.sleep(due_s - loop.time())
                if self._waiting.ripen_oldest(gathered_to, count=BATCHES_PER_TURN):
                    self._relay.wake()
            self._flush()
            if self._waiting.is_gathering:
                self._gathering.set()

    async def _say_the_last(self) -> None:
        self._flush()
        self._waiting.ripen()
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self._relay.drain()
        except (BrokerError, TimeoutError) as error:
            log.warning("notices.lost", waiting=self.waiting, error=str(error))

    def _envelope(self, number: int, event: Event, trace: TraceContext | None = None) -> Envelope:
        return Envelope(
            source=self.source,
            epoch=self._epoch,
            sequence=number,
            time_ns=self._clock_ns(),
            traceparent="" if trace is None else trace.traceparent,
            event=event,
        )
