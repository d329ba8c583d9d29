"""What lies inside the in-memory twin: a queue that redelivers, a stream that never forgets."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from broker.port import After, Delivery, PositionLostError, Span

# RabbitMQ spends offsets on its own bookkeeping, so nobody may count with them. Neither with ours.
ENTRIES_BETWEEN_HOLES: Final = 10


class Signal:
    """Wakes all who wait for a change. Nothing is missed between looking and waiting, since nothing else runs then."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wake everybody who waits now."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Wait for the next ``notify``."""
        await self._event.wait()


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message on its way, and how often it was delivered before."""

    delivery: Delivery
    deliveries: int = 0


class MemoryQueue:
    """First in, first out; what was not settled comes back to the front."""

    def __init__(self, arguments: Mapping[str, str | int | bool]) -> None:
        self.arguments = dict(arguments)
        self.changed = Signal()
        self.deleted = False
        self._ready: deque[Delivered] = deque()
        self._consumers: list[object] = []
        self._length_max = int(arguments.get("x-max-length", 0))
        self._single_active = bool(arguments.get("x-single-active-consumer", False))

    @contextmanager
    def consumer(self) -> Generator[object]:
        """Be a consumer while the block is entered."""
        consumer = object()
        self._consumers.append(consumer)
        try:
            yield consumer
        finally:
            self._consumers.remove(consumer)
            self.changed.notify()

    def put(self, delivery: Delivery) -> None:
        """Add a message at the end; the oldest falls out of a full queue."""
        self._ready.append(Delivered(delivery))
        if self._length_max and len(self._ready) > self._length_max:
            self._ready.popleft()
        self.changed.notify()

    def put_back(self, delivered: Delivered) -> None:
        """Return a message that was not settled."""
        again = replace(delivered.delivery, redelivered=True)
        self._ready.appendleft(Delivered(again, delivered.deliveries + 1))
        self.changed.notify()

    def take(self, consumer: object) -> Delivered | None:
        """Give this consumer the oldest message, if there is one and it is his turn."""
        if not self._ready or (self._single_active and self._consumers[0] is not consumer):
            return None
        return self._ready.popleft()


class MemoryStream:
    """Every entry, until the beginning is cut off; read by place, addressed by offset."""

    def __init__(self, arguments: Mapping[str, str | int | bool]) -> None:
        self.arguments = dict(arguments)
        self.changed = Signal()
        self.deleted = False
        self._entries: list[Delivery] = []
        self._written_at_s: list[float] = []
        self.first = 0
        """The place of the first entry that is still there."""

    @property
    def length(self) -> int:
        """How many entries there have been."""
        return self.first + len(self._entries)

    @property
    def next_offset(self) -> int:
        """Where the next entry will stand."""
        return self.length + self.length // ENTRIES_BETWEEN_HOLES

    def span(self) -> Span:
        """Tell where the entries lie."""
        return Span(first=self._entries[0].offset if self._entries else None, end=self.next_offset)

    def put(self, delivery: Delivery) -> None:
        """Append an entry."""
        self._entries.append(replace(delivery, offset=self.next_offset))
        self._written_at_s.append(asyncio.get_running_loop().time())
        self.changed.notify()

    def after(self, place: int, *, limit: int) -> Sequence[Delivery]:
        """Give entries from a place on."""
        start = max(0, place - self.first)
        return self._entries[start : start + limit]

    def cut(self, count: int) -> None:
        """Forget the oldest entries, as RabbitMQ does with what is past its retention."""
        del self._entries[:count], self._written_at_s[:count]
        self.first += count

    def place_of_offset(self, offset: int) -> int:
        """Find the first entry at or after an offset."""
        return self.first + bisect_left(self._entries, offset, key=lambda entry: entry.offset or 0)

    def place_after(self, start: After) -> int:
        """Find the place behind an entry that was read before.

        Raises:
            PositionLostError: it is not there.
        """
        place = self.place_of_offset(start.offset)
        found = [(each.offset, each.message_id) for each in self.after(place, limit=1)]
        if found != [(start.offset, start.message_id)]:
            raise PositionLostError(f"offset {start.offset} does not hold {start.message_id!r}")
        return place + 1

    def place_of_age(self, age: timedelta) -> int:
        """Find the first entry that is at most this old."""
        return self.first + bisect_left(self._written_at_s, asyncio.get_running_loop().time() - age.total_seconds())
