"""How much the master may send to mirrors: a bucket that fills at its rate, and that leases are paid from. Pure."""

from __future__ import annotations

from typing import Final

# How far leases may run ahead of what the sockets' pacing lets out: mirrors need a moment to take a lease up.
AHEAD_S: Final = 2.0


class Egress:
    """Gives leave while there is anything left; a large piece may take it below nothing, and then all wait.

    ``bytes_per_second`` of None is no limit.
    """

    def __init__(self, bytes_per_second: int | None) -> None:
        self._rate = bytes_per_second
        self._left_bytes = 0.0 if bytes_per_second is None else bytes_per_second * AHEAD_S
        self._at_s: float | None = None

    def is_open(self, now_s: float) -> bool:
        """Tell whether a piece may be sent now."""
        if self._rate is None:
            return True
        if self._at_s is not None:
            self._left_bytes += (now_s - self._at_s) * self._rate
        self._left_bytes = min(self._left_bytes, self._rate * AHEAD_S)
        self._at_s = now_s
        return self._left_bytes > 0

    def take(self, count: int) -> None:
        """Pay for a piece."""
        self._left_bytes -= count

    def give_back(self, count: int) -> None:
        """Give back what was paid and not sent."""
        self._left_bytes += count
