"""When connections end on which nothing happens: one timer for all of them.

Most end long before their deadline, and most deadlines are moved by the next request. A timer for each connection would
cost more than to look at all of them from time to time: ten times in the shortest deadline at most.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import structlog

LOOKS: Final = 10  # in the shortest deadline: whoever is overdue ends a tenth of it later at most

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a connection may take for a head that it has begun (or for its first), and be idle between two."""

    head_s: float
    idle_s: float

    @property
    def shortest_s(self) -> float:
        """How long nothing can be overdue that has just begun."""
        return min(self.head_s, self.idle_s)


class Timed(Protocol):
    """What has a deadline, on the loop's clock; whenever it is moved, it is no earlier than the shortest from then."""

    due_s: float

    def overdue(self) -> None:
        """End."""
        ...

    def abort(self) -> None:
        """End at once, whatever is lost: it could not otherwise."""
        ...


T = TypeVar("T", bound=Timed)


class Watch(Generic[T]):
    """Tells those of them that are overdue; ``watched`` are all."""

    __slots__ = ("_deadlines", "_timer", "watched")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._timer: asyncio.TimerHandle | None = None
        self.watched: set[T] = set()

    def add(self, timed: T) -> None:
        """Watch one more; take it out of ``watched`` when it has ended."""
        self.watched.add(timed)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._deadlines.shortest_s, self._look)

    def end(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _end(self, timed: T) -> None:
        try:
            timed.overdue()
        except Exception:  # a defect in the end of one of them must not keep the others
            log.exception("deadline.failed")
            self.watched.discard(timed)
            timed.abort()

    def _look(self) -> None:
        loop, shortest_s = asyncio.get_running_loop(), self._deadlines.shortest_s
        now_s = loop.time()
        for timed in [timed for timed in self.watched if timed.due_s <= now_s]:
            self._end(timed)
        next_s = min((timed.due_s for timed in self.watched), default=now_s)
        next_s = max(min(next_s, now_s + shortest_s), now_s + shortest_s / LOOKS)
        self._timer = loop.call_at(next_s, self._look) if self.watched else None
