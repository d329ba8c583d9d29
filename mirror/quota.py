"""The bytes that an operator gives per month: reserved before they are sent, counted as they leave. Pure.

``used + reserved`` never exceeds the month's bytes. What a crash could make us forget is *booked* ahead: the ledger
on disk always says at least what was used and reserved, so after a crash the booked figure counts as used, and the
limit holds. A clean stop books back what was not needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

BOOK_AHEAD_BYTES: Final = 64_000_000  # a commit for each 64 MB costs nothing; a crash then costs at most as much
BOOK_AHEAD_FRACTION: Final = 100  # ... and never more than a hundredth of a small quota


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What the disk knows of a month (``2026-11``, UTC)."""

    month: str
    used_bytes: int = 0
    booked_bytes: int = 0


def month_of(now_s: float) -> str:
    """Name the month that a moment lies in, in UTC."""
    return datetime.fromtimestamp(now_s, tz=UTC).strftime("%Y-%m")


class Quota:
    """One mirror's month. ``monthly_bytes`` is None where the operator sets no limit."""

    def __init__(self, monthly_bytes: int | None, ledger: Ledger) -> None:
        self._monthly_bytes = monthly_bytes
        self._month = ledger.month
        self._used_bytes = max(ledger.used_bytes, ledger.booked_bytes)
        self._booked_bytes = self._used_bytes
        self._reserved_bytes = 0

    @property
    def month(self) -> str:
        """The month that is being counted."""
        return self._month

    @property
    def used_bytes(self) -> int:
        """What left in this month."""
        return self._used_bytes

    @property
    def left_bytes(self) -> int | None:
        """What may still be promised, or None without a limit."""
        if self._monthly_bytes is None:
            return None
        return max(0, self._monthly_bytes - self._used_bytes - self._reserved_bytes)

    def turn(self, month: str) -> bool:
        """Begin a new month, if this is one; tell whether it is. A clock that steps back begins none."""
        if month <= self._month:
            return False
        self._month = month
        self._used_bytes = 0
        self._booked_bytes = 0
        return True

    def reserve(self, size_bytes: int) -> bool:
        """Set bytes aside for a transfer; False where they are not there."""
        left_bytes = self.left_bytes
        if left_bytes is not None and size_bytes > left_bytes:
            return False
        self._reserved_bytes += size_bytes
        return True

    def spend(self, size_bytes: int) -> None:
        """Turn reserved bytes into used ones: they left."""
        self._reserved_bytes -= size_bytes
        self._used_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """Give reserved bytes back: they will not leave."""
        self._reserved_bytes -= size_bytes

    @property
    def must_book(self) -> bool:
        """Tell whether the ledger has to be written before another byte may leave."""
        return self._monthly_bytes is not None and self._booked_bytes < self._used_bytes + self._reserved_bytes

    def ledger(self) -> Ledger:
        """Give what to write now, with some bytes booked ahead."""
        owed_bytes = self._used_bytes + self._reserved_bytes
        if self._monthly_bytes is None:
            return Ledger(month=self._month, used_bytes=self._used_bytes, booked_bytes=self._used_bytes)
        ahead_bytes = min(BOOK_AHEAD_BYTES, self._monthly_bytes // BOOK_AHEAD_FRACTION)
        # Right after a month's turn more may be owed than one month has: the rest of transfers from the last one.
        booked_bytes = max(owed_bytes, min(owed_bytes + ahead_bytes, self._monthly_bytes))
        return Ledger(month=self._month, used_bytes=self._used_bytes, booked_bytes=booked_bytes)

    def closing_ledger(self) -> Ledger:
        """Give what to write at the very end, when nothing is under way: nothing booked ahead."""
        owed_bytes = self._used_bytes + self._reserved_bytes
        return Ledger(month=self._month, used_bytes=self._used_bytes, booked_bytes=owed_bytes)

    def booked(self, ledger: Ledger) -> None:
        """Take note that a ledger was written."""
        if ledger.month == self._month:
            self._booked_bytes = ledger.booked_bytes
