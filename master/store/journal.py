"""What the master says: events get their numbers and go to the outbox, inside the transaction of what they report.

The numbering's row is locked from the beginning of each transaction that writes, so such transactions come one after
the other, and the order of commits is the order of the numbers, on PostgreSQL as on SQLite.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from broker.port import Message
from broker.relay import Pending, message_of
from events.envelope import MASTER_SOURCE, Envelope
from events.names import ChannelName
from events.schemas import Event
from events.trace import TraceContext
from master.catalogue import Entered, Fact, event_of
from master.store.statements import portions
from master.store.tables import Base, CounterRow, MembershipRow, OutboxRow

EVENTS: Final = "events"
_CHANNEL: Final = "channel/"

# Many rows are deleted by one statement only through the table itself.
_MEMBERSHIPS: Final = Base.metadata.tables[MembershipRow.__tablename__]


def channel_counter(channel: ChannelName) -> str:
    """Name the numbering of a channel's facts. It goes on when a channel is removed and comes back."""
    return f"{_CHANNEL}{channel}"


class Journal:
    """Numbers facts and events in one transaction. All of them carry its ``trace``; None: no request led to them."""

    def __init__(self, session: AsyncSession, *, epoch: int, now_ns: int, trace: TraceContext | None) -> None:
        self._session = session
        self._epoch = epoch
        self._now_ns = now_ns
        self._traceparent = "" if trace is None else trace.traceparent

    @property
    def epoch(self) -> int:
        """Which epoch all numbers are of."""
        return self._epoch

    async def lock(self) -> None:
        """Wait until no other transaction writes; hold it off until this one ends."""
        await self._session.scalar(select(CounterRow.value).where(CounterRow.name == EVENTS).with_for_update())

    async def say(self, events: Iterable[Event]) -> None:
        """Number events and put them into the outbox, in this order."""
        for some in portions(list(events)):
            last = await self.advance(EVENTS, len(some))
            rows = [self._row(last - len(some) + place, event) for place, event in enumerate(some, start=1)]
            await self._session.execute(insert(OutboxRow), rows)

    async def record(self, facts: Sequence[Fact]) -> None:
        """Number facts within their channels, keep who is in which channel, and say them."""
        numbered = await self._numbered(facts)
        await self._keep(numbered)
        for some in portions(numbered):  # events by the thousand are not made in one go: others want the loop, too
            await self.say([event_of(fact, channel_sequence=sequence) for fact, sequence in some])

    async def advance(self, counter: str, count: int) -> int:
        """Take the next numbers of a numbering; give the last of them."""
        moved = update(CounterRow).where(CounterRow.name == counter).values(value=CounterRow.value + count)
        last = await self._session.scalar(moved.returning(CounterRow.value))
        if last is None:
            await self._session.execute(insert(CounterRow).values(name=counter, value=count))
            return count
        return last

    async def next_sequence(self) -> int:
        """Give the number that the next event will have."""
        return (await self._session.scalar(select(CounterRow.value).where(CounterRow.name == EVENTS)) or 0) + 1

    async def last(self, channel: ChannelName) -> int:
        """Give the number of the last fact of a channel; 0 when nothing was ever said of it."""
        counter = select(CounterRow.value).where(CounterRow.name == channel_counter(channel))
        return await self._session.scalar(counter) or 0

    async def open_channel(self, channel: ChannelName) -> None:
        """Begin the numbering of a channel's facts, if it has none yet."""
        await self.advance(channel_counter(channel), 0)

    async def numbered_channels(self) -> tuple[ChannelName, ...]:
        """Give all channels that there ever were, ``origin`` among them once a file was published."""
        names = await self._session.scalars(select(CounterRow.name).where(CounterRow.name.startswith(_CHANNEL)))
        return tuple(ChannelName(name.removeprefix(_CHANNEL)) for name in names)

    async def outbox_length(self) -> int:
        """Count the events that are yet to be published."""
        return await self._session.scalar(select(func.count()).select_from(OutboxRow)) or 0

    async def pending(self, limit: int) -> Sequence[Pending]:
        """Give the oldest events that are yet to be published."""
        rows = await self._session.scalars(select(OutboxRow).order_by(OutboxRow.sequence).limit(limit))
        return [Pending(row.sequence, _message(row)) for row in rows]

    async def forget(self, sequences: Sequence[int]) -> None:
        """Delete events that the broker has taken over."""
        await self._session.execute(delete(OutboxRow).where(OutboxRow.sequence.in_(sequences)))

    async def _numbered(self, facts: Sequence[Fact]) -> list[tuple[Fact, int]]:
        free: dict[ChannelName, int] = {}
        for channel, count in sorted(Counter(fact.channel for fact in facts).items()):
            free[channel] = await self.advance(channel_counter(channel), count) - count + 1
        numbered: list[tuple[Fact, int]] = []
        for fact in facts:
            numbered.append((fact, free[fact.channel]))
            free[fact.channel] += 1
        return numbered

    async def _keep(self, numbered: Sequence[tuple[Fact, int]]) -> None:
        """Replace the memberships that facts are about; of two facts about one the later counts."""
        kept = {(fact.file.path, fact.channel): (fact, sequence) for fact, sequence in numbered}
        connection = await self._session.connection()
        for some in portions(list(kept)):
            one = (MembershipRow.path == bindparam("of_path")) & (MembershipRow.channel == bindparam("of_channel"))
            await connection.execute(
                delete(_MEMBERSHIPS).where(one),
                [{"of_path": path, "of_channel": channel} for path, channel in some],
            )
        entered = [
            {"path": path, "channel": channel, "channel_sequence": sequence}
            for (path, channel), (fact, sequence) in kept.items()
            if isinstance(fact, Entered)
        ]
        for some in portions(entered):
            await self._session.execute(insert(MembershipRow), some)

    def _row(self, sequence: int, event: Event) -> dict[str, object]:
        message = message_of(
            Envelope(
                source=MASTER_SOURCE,
                epoch=self._epoch,
                sequence=sequence,
                time_ns=self._now_ns,
                traceparent=self._traceparent,
                event=event,
            )
        )
        return {
            "sequence": sequence,
            "exchange": message.exchange,
            "routing_key": message.routing_key,
            "message_id": message.message_id,
            "type": message.type,
            "headers": dict(message.headers),
            "body": message.body,
        }


def _message(row: OutboxRow) -> Message:
    return Message(
        exchange=row.exchange,
        routing_key=row.routing_key,
        message_id=row.message_id,
        type=row.type,
        body=row.body,
        headers=row.headers,
    )
