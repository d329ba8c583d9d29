"""How far a stream was read, and where to attach next. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from broker.port import LOG_PREFETCH_MAX, After, From, PositionLostError, Start


class Position:
    """One reader's place in one stream."""

    def __init__(self, start: Start, *, now: datetime) -> None:
        self._attach_at = _attachment(start, now=now)
        self._last: int | None = start.offset if isinstance(start, After) else None
        self._last_id = start.message_id if isinstance(start, After) else ""
        self._is_proved = True
        self._passed: int | None = None
        self._careful_for = 0
        self._has_moved = False

    @property
    def attach_at(self) -> str | int | datetime:
        """The value for RabbitMQ's ``x-stream-offset``."""
        if self._passed is not None and self._passed > self.last_offset:
            return self._passed + 1
        return self._attach_at if self._last is None else self._last

    @property
    def last_offset(self) -> int:
        """How far the stream was read; -1 where nothing was."""
        return -1 if self._last is None else self._last

    @property
    def prefetch(self) -> int:
        """How many entries to ask for at once."""
        return 1 if self.is_careful else LOG_PREFETCH_MAX

    @property
    def is_careful(self) -> bool:
        """Tell whether an unreadable entry may be among the next."""
        return self._careful_for > 0

    @property
    def is_proved(self) -> bool:
        """Tell whether the entry that was read last is known to stand there still; it is the first to come, then."""
        return self._is_proved

    def attached(self, *, now: datetime) -> None:
        """Note that the broker took the subscription."""
        self._has_moved = False
        self._is_proved = self._last is None or self.attach_at != self._last
        if self._attach_at == From.NEXT.value:
            self._attach_at = now  # the end will have moved when nothing came until the connection is lost

    def is_news(self, offset: int, message_id: str) -> bool:
        """Note an entry; tell whether it was not read before.

        Raises:
            PositionLostError: another entry stands where the last one was read (the stream was made anew), or none
                (the beginning was cut off, and what followed may be gone, too).
        """
        if self._last is not None and offset <= self._last:
            if offset == self._last and message_id != self._last_id:
                raise PositionLostError(f"offset {offset} holds {message_id!r}, not {self._last_id!r}: another stream")
            self._is_proved = self._is_proved or offset == self._last
            return False
        if not self._is_proved:
            raise PositionLostError(f"offset {self._last} was read last and is gone; the next is {offset}")
        self._last, self._last_id = offset, message_id
        self._has_moved = True
        self._careful_for = max(0, self._careful_for - 1)
        return True

    def be_careful(self) -> None:
        """Note that something on a shared connection could not be read: it was one of the next entries, if ours."""
        self._careful_for = LOG_PREFETCH_MAX

    def pass_over(self, *, now: datetime) -> int | datetime | None:
        """Note that, read alone, the next entry cannot be read. Give what is passed over, or None while others came.

        It is the first one after the last that was read, or behind a hole in the offsets: then it fails again, and one
        more is passed over. A reader that began by time and has read nothing goes on from now.
        """
        self._careful_for = LOG_PREFETCH_MAX
        if self._has_moved:
            return None
        known = [place for place in (self._last, self._passed) if place is not None]
        if known:
            self._passed = max(known) + 1
        elif isinstance(self._attach_at, datetime):
            self._attach_at = now
            return now
        else:
            self._passed = self._attach_at if isinstance(self._attach_at, int) else 0
        return self._passed


def _attachment(start: Start, *, now: datetime) -> str | int | datetime:
    match start:
        case From():
            return start.value
        case timedelta():
            return now - start
        case After():
            return start.offset
        case int():
            return start
