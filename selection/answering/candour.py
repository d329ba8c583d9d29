"""How many choices say why each other mirror was not chosen. Pure.

Working that out means looking at every mirror, which a quiet site can afford for every visitor and a release day
cannot: so some choices say it, as many as a bucket of tokens lets. In a large fleet each takes several of them, on
credit.
"""

from __future__ import annotations

from typing import Final

MIRRORS_PER_TOKEN: Final = 10  # to look at so many takes about 0.3 ms, so 50 tokens a second are 1.5 % of a core
BURST_S: Final = 2.0  # how long a quiet site saves up


class Candour:
    """The budget of one selector: ``per_second`` choices among up to ``MIRRORS_PER_TOKEN`` mirrors."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._left = self._most = per_second * BURST_S
        self._now_s = 0.0

    def affords(self, *, now_s: float) -> bool:
        """Tell whether one more choice may be explained; ``spend`` when it was."""
        if now_s > self._now_s:
            self._left = min(self._most, self._left + (now_s - self._now_s) * self._per_second)
        self._now_s = now_s
        return self._left >= 1

    def spend(self, mirrors: int) -> None:
        """Take note that a choice among so many mirrors was explained."""
        self._left -= max(1.0, mirrors / MIRRORS_PER_TOKEN)
