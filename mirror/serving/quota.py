"""The bytes that an operator gives per day and month: reserved before they are sent, counted as they leave. Pure.

``used + reserved`` never exceeds a limit. What a crash could make us forget is *booked* ahead: the ledger on disk, a
row for each day, always says at least what was used and reserved on that day, so after a crash the booked figure counts
as used, and the limits hold. A clean stop books back what was not needed. A month is the sum of its days, so that
another time zone or reset day only groups them anew.

A byte is one of a file that the visitor's TCP took. What headers, TLS, packets and repetitions add (2 to 4 %) is not
counted: who pays for those gives so much less.

What other mirrors fetch here is counted twice: as all bytes are, and by itself against ``peer_share`` of each limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final, NamedTuple

from events.schemas import QuotaLevel, QuotaWindow
from mirror.serving.periods import Calendar

BOOK_AHEAD_BYTES: Final = 64_000_000  # a commit for each 64 MB costs nothing; a crash then costs at most as much
BOOK_AHEAD_FRACTION: Final = 100  # ... and never more than a hundredth of a small quota
_DAY, _MONTH = QuotaWindow.DAY, QuotaWindow.MONTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an operator gives. None is no limit; ``soft_limit`` and ``peer_share`` are fractions of each limit."""

    monthly_bytes: int | None = None
    daily_bytes: int | None = None
    soft_limit: float = 0.9
    peer_share: float = 0.1

    def of(self, window: QuotaWindow) -> int | None:
        """Give the limit of a window."""
        return self.daily_bytes if window is _DAY else self.monthly_bytes

    @property
    def for_peers(self) -> Limits:
        """Give what other mirrors may take of it: of no limit any amount, unless their share is nothing."""

        def share(limit_bytes: int | None) -> int | None:
            if limit_bytes is None:
                return None if self.peer_share else 0
            return int(limit_bytes * self.peer_share)

        return replace(self, monthly_bytes=share(self.monthly_bytes), daily_bytes=share(self.daily_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What the disk knows of a day. ``peer_…`` is the part of other mirrors."""

    day: date
    used_bytes: int = 0
    booked_bytes: int = 0
    peer_used_bytes: int = 0
    peer_booked_bytes: int = 0


class Reached(NamedTuple):
    """A limit that was come to."""

    window: QuotaWindow
    level: QuotaLevel
    used_bytes: int
    limit_bytes: int
    resets_at_s: int


@dataclass(slots=True)
class _Account:
    """One count of bytes: of the days of the month before this one, of this day, promised, and booked for this day.

    ``limits`` are what it is held to, ``most_bytes`` what they leave for this day, used and promised together; None is
    no limit.
    """

    limits: Limits
    most_bytes: int | None = None
    earlier_bytes: int = 0
    used_bytes: int = 0
    reserved_bytes: int = 0
    booked_bytes: int = 0

    @property
    def owed_bytes(self) -> int:
        return self.used_bytes + self.reserved_bytes

    def used(self, window: QuotaWindow) -> int:
        return self.used_bytes + (self.earlier_bytes if window is _MONTH else 0)

    def left(self, window: QuotaWindow) -> int | None:
        limit_bytes = self.limits.of(window)
        return None if limit_bytes is None else max(0, limit_bytes - self.used(window) - self.reserved_bytes)

    @property
    def left_bytes(self) -> int | None:
        return None if self.most_bytes is None else max(0, self.most_bytes - self.owed_bytes)

    def must_book(self, size_bytes: int = 0) -> bool:
        return self.most_bytes is not None and self.booked_bytes < self.owed_bytes + size_bytes

    def to_book(self) -> int:
        """Give what to write as booked: what is owed and some more, but no more than the limits leave."""
        if self.most_bytes is None:
            return self.used_bytes
        least_limit_bytes = _smallest(self.limits.monthly_bytes, self.limits.daily_bytes) or 0
        ahead_bytes = min(BOOK_AHEAD_BYTES, least_limit_bytes // BOOK_AHEAD_FRACTION)
        # Where a limit was lowered, or right after a turn, more may be owed than is left.
        return max(self.owed_bytes, min(self.owed_bytes + ahead_bytes, self.most_bytes))

    def weigh(self) -> None:
        """Work out ``most_bytes``: of limits or of earlier days something changed."""
        monthly_bytes = self.limits.monthly_bytes
        left_bytes = None if monthly_bytes is None else monthly_bytes - self.earlier_bytes
        self.most_bytes = _smallest(left_bytes, self.limits.daily_bytes)

    def begin_day(self) -> None:
        """Count anew; what is promised stays so."""
        self.earlier_bytes = self.used_bytes = self.booked_bytes = 0


@dataclass(slots=True)
class _Said:
    """Which limits were refused or told of, each with what it was then, lest it be said again."""

    refused: set[QuotaWindow] = field(default_factory=set[QuotaWindow])
    told: dict[str, str] = field(default_factory=dict[str, str])


class Quota:
    """One mirror's day and month.

    Args:
        limits: what the operator gives.
        calendar: how he counts days and months.
        ledgers: what the disk knows; of it, the days of the month that is being counted count.
        told: which limits were said to be reached, as ``told`` gave it.
        now_s: the time at the start. Later on, a clock that steps back begins nothing new; one that was behind at the
            start, as a small computer's without a battery is, finds the ledgers of its true day when it is set.
    """

    def __init__(
        self,
        limits: Limits,
        calendar: Calendar,
        ledgers: Iterable[Ledger] = (),
        *,
        now_s: float,
        told: Mapping[str, str] | None = None,
    ) -> None:
        self._calendar = calendar
        self._day = calendar.day(now_s)
        self._all, self._peers = _Account(limits), _Account(limits.for_peers)
        self._known = {ledger.day: ledger for ledger in ledgers}
        self._closing: dict[date, Ledger] = {}
        self._said = _Said(told=dict(told or {}))
        self._day_ends_s = 0
        self._watched_bytes: float | None = None
        self._begin_day()

    @property
    def limits(self) -> Limits:
        """What the operator gives. Under other limits nobody was refused yet."""
        return self._all.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._all.limits, self._peers.limits = limits, limits.for_peers
        self._said.refused.clear()
        self._weigh()

    @property
    def day(self) -> date:
        """The day that is being counted."""
        return self._day

    def first_day(self, window: QuotaWindow) -> date:
        """Give the first day of the day or month that is being counted."""
        return self._calendar.first_day(window, self._day)

    def resets_at_s(self, window: QuotaWindow) -> int:
        """Give when the day or month ends that is being counted."""
        return self._calendar.resets_at_s(window, self._day)

    def used_bytes(self, window: QuotaWindow) -> int:
        """Give what left in this day or month."""
        return self._all.used(window)

    def left(self, window: QuotaWindow) -> int | None:
        """Give what may still be promised in this day or month, or None without a limit."""
        return self._all.left(window)

    @property
    def left_bytes(self) -> int | None:
        """What may still be promised: the smaller of what day and month leave, or None without a limit."""
        return self._all.left_bytes

    @property
    def peer_left_bytes(self) -> int | None:
        """What may still be promised to other mirrors."""
        return _smallest(self._all.left_bytes, self._peers.left_bytes)

    @property
    def sparing(self) -> bool:
        """Tell whether a soft limit is reached."""
        return self._is_watched() and any(self._is_soft(window) for window in QuotaWindow)

    def turn(self, now_s: float) -> bool:
        """Begin a new day, and perhaps a month, if this is one; tell whether it is."""
        if now_s < self._day_ends_s:
            return False
        day = self._calendar.day(now_s)
        if day <= self._day:
            return False
        ended = self._ledger(self._all.used_bytes, self._peers.used_bytes)
        self._closing[self._day] = self._known[self._day] = ended
        self._day = day
        self._begin_day()
        return True

    def reserve(self, size_bytes: int, *, for_peer: bool = False) -> bool:
        """Set bytes aside for a transfer; False where they are not there."""
        accounts = self._accounts(for_peer=for_peer)
        has_room = _covers(self._all.left_bytes, size_bytes)
        if not has_room or (for_peer and not _covers(self._peers.left_bytes, size_bytes)):
            if not for_peer:
                self._said.refused |= {window for window in QuotaWindow if not _covers(self.left(window), size_bytes)}
            return False
        for account in accounts:
            account.reserved_bytes += size_bytes
        return True

    def must_book_for(self, size_bytes: int) -> bool:
        """Tell whether the ledgers would have to be written before so many bytes of a visitor's may leave."""
        return self._all.must_book(size_bytes)

    def spend(self, size_bytes: int, *, for_peer: bool = False) -> None:
        """Turn reserved bytes into used ones: they left."""
        for account in self._accounts(for_peer=for_peer):
            account.reserved_bytes -= size_bytes
            account.used_bytes += size_bytes

    def release(self, size_bytes: int, *, for_peer: bool = False) -> None:
        """Give reserved bytes back: they will not leave."""
        for account in self._accounts(for_peer=for_peer):
            account.reserved_bytes -= size_bytes

    @property
    def must_book(self) -> bool:
        """Tell whether the ledgers have to be written before another byte may leave."""
        return self._all.must_book() or self._peers.must_book()

    def ledgers(self) -> tuple[Ledger, ...]:
        """Give what to write now: this day with some bytes booked ahead, and days that ended meanwhile."""
        booked_bytes, peer_booked_bytes = self._all.to_book(), self._peers.to_book()
        return (*self._closing.values(), self._ledger(booked_bytes, peer_booked_bytes))

    def closing_ledgers(self) -> tuple[Ledger, ...]:
        """Give what to write at the very end, when nothing is under way: nothing booked ahead."""
        return (*self._closing.values(), self._ledger(self._all.owed_bytes, self._peers.owed_bytes))

    def booked(self, ledgers: Iterable[Ledger]) -> None:
        """Take note that ledgers were written."""
        for ledger in ledgers:
            if ledger.day == self._day:
                self._all.booked_bytes = ledger.booked_bytes
                self._peers.booked_bytes = ledger.peer_booked_bytes
            elif self._closing.get(ledger.day) == ledger:
                del self._closing[ledger.day]

    def reached(self) -> list[Reached]:
        """Give the limits that were come to and not told of yet: soft ones, and hard ones that kept a visitor out."""
        if not self._is_watched() and not self._said.refused:
            return []
        found = [(window, QuotaLevel.SOFT) for window in QuotaWindow if self._is_soft(window)]
        found += [(window, QuotaLevel.HARD) for window in QuotaWindow if self._is_hard(window)]
        return [
            self._reached(window, level)
            for window, level in found
            if self._said.told.get(_key(window, level)) != self._mark(window)
        ]

    def told(self, *reached: Reached) -> dict[str, str]:
        """Take note that these were told; give all that was, to be kept beside the ledgers."""
        for each in reached:
            self._said.told[_key(each.window, each.level)] = self._mark(each.window)
        return dict(self._said.told)

    def _accounts(self, *, for_peer: bool) -> tuple[_Account, ...]:
        return (self._all, self._peers) if for_peer else (self._all,)

    def _begin_day(self) -> None:
        self._day_ends_s = self.resets_at_s(_DAY)
        self._said.refused.clear()
        for account in (self._all, self._peers):
            account.begin_day()
        for ledger in self._known.values():
            self._load(ledger)
        self._weigh()

    def _weigh(self) -> None:
        for account in (self._all, self._peers):
            account.weigh()
        self._watched_bytes = min(
            (
                self._soft_bytes(window, limit)
                for window in QuotaWindow
                if (limit := self.limits.of(window)) is not None
            ),
            default=None,
        )

    def _soft_bytes(self, window: QuotaWindow, limit_bytes: int) -> float:
        """Give what may be used and promised of this day before a limit is softly reached."""
        earlier_bytes = self._all.earlier_bytes if window is _MONTH else 0
        return min(1.0, self.limits.soft_limit) * limit_bytes - earlier_bytes

    def _is_watched(self) -> bool:
        """Tell whether any limit may be reached. Most of the time none is, and this is all that a download costs."""
        return self._watched_bytes is not None and self._all.owed_bytes >= self._watched_bytes

    def _load(self, ledger: Ledger) -> None:
        used_bytes = max(ledger.used_bytes, ledger.booked_bytes)
        peer_used_bytes = max(ledger.peer_used_bytes, ledger.peer_booked_bytes)
        if ledger.day == self._day:
            self._all.used_bytes = self._all.booked_bytes = used_bytes
            self._peers.used_bytes = self._peers.booked_bytes = peer_used_bytes
        elif self._calendar.first_day(_MONTH, ledger.day) == self.first_day(_MONTH):
            self._all.earlier_bytes += used_bytes
            self._peers.earlier_bytes += peer_used_bytes

    def _ledger(self, booked_bytes: int, peer_booked_bytes: int) -> Ledger:
        return Ledger(
            day=self._day,
            used_bytes=self._all.used_bytes,
            booked_bytes=booked_bytes,
            peer_used_bytes=self._peers.used_bytes,
            peer_booked_bytes=peer_booked_bytes,
        )

    def _is_soft(self, window: QuotaWindow) -> bool:
        limit_bytes, left_bytes = self.limits.of(window), self.left(window)
        if limit_bytes is None or left_bytes is None:
            return False
        return limit_bytes - left_bytes >= self.limits.soft_limit * limit_bytes

    def _is_hard(self, window: QuotaWindow) -> bool:
        limit_bytes = self.limits.of(window)
        if limit_bytes is None:
            return False
        return window in self._said.refused or self.used_bytes(window) >= limit_bytes

    def _reached(self, window: QuotaWindow, level: QuotaLevel) -> Reached:
        limit_bytes = self.limits.of(window) or 0
        return Reached(window, level, self.used_bytes(window), limit_bytes, self.resets_at_s(window))

    def _mark(self, window: QuotaWindow) -> str:
        """Name what a limit was reached in: another day, or another limit, is reached anew."""
        return f"{self.first_day(window)} {self.limits.of(window)}"


def _key(window: QuotaWindow, level: QuotaLevel) -> str:
    return f"{window.value} {level.value}"


def _covers(left_bytes: int | None, size_bytes: int) -> bool:
    return left_bytes is None or size_bytes <= left_bytes


def _smallest(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
