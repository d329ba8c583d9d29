"""Which mirrors were sent more than their share of a continent's visitors in the last minute. Pure.

The nearest mirror of a continent would be sent all of it while it has slots. A cap sends some of them on, while others
can serve them. Visitors are counted from when a cap was set, by steps of ten seconds; visitors of whom no continent is
known are counted together. A mirror is over its cap only once it was sent more than that of ``SAMPLE_MIN`` visitors.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

from selection.policy.rules import PERCENT

STEP_S: Final = 10.0
STEPS: Final = 6  # a minute
SAMPLE_MIN: Final = 20  # of fewer visitors no share can be told


@dataclass(slots=True)
class _Continent:
    """The visitors of one continent. ``steps`` has, for each step, whom was sent how many."""

    steps: deque[tuple[int, Counter[int]]] = field(default_factory=deque[tuple[int, Counter[int]]])
    sent: Counter[int] = field(default_factory=Counter[int])
    total: int = 0

    def note(self, step: int, number: int) -> None:
        if not self.steps or self.steps[-1][0] < step:
            self.steps.append((step, Counter()))
        self.steps[-1][1][number] += 1
        self.sent[number] += 1
        self.total += 1

    def forget_until(self, step: int) -> None:
        while self.steps and self.steps[0][0] <= step:
            _, gone = self.steps.popleft()
            self.sent -= gone
            self.total -= gone.total()


class Shares:
    """The caps of mirrors, by number, and who was sent how many visitors. Clocks that go back stand still here.

    ``is_capped`` tells whether any mirror has a cap.
    """

    def __init__(self) -> None:
        self._caps: dict[int, int] = {}
        self._continents: dict[str, _Continent] = {}
        self._step = 0
        self.is_capped = False

    def cap(self, number: int, percent: int) -> None:
        """Set a mirror's largest share; 100: no limit."""
        if percent < PERCENT:
            self._caps[number] = percent
        elif self._caps.pop(number, None) is not None and not self._caps:
            self._continents.clear()
        self.is_capped = bool(self._caps)

    def note(self, number: int, continent: str, *, now_s: float) -> None:
        """Note that a visitor was sent to a mirror."""
        if self._caps:
            self._step = max(self._step, int(now_s / STEP_S))
            self._continents.setdefault(continent, _Continent()).note(self._step, number)

    def spent(self, continent: str, *, now_s: float) -> int:
        """Give the mirrors that have had their share of a continent, as a bit set."""
        known = self._continents.get(continent)
        if known is None:
            return 0
        self._step = max(self._step, int(now_s / STEP_S))
        known.forget_until(self._step - STEPS)
        of = max(known.total, SAMPLE_MIN)
        spent = 0
        for number, sent in known.sent.items():
            if sent * PERCENT >= self._caps.get(number, PERCENT + 1) * of:
                spent |= 1 << number
        return spent

    def share_percent(self, number: int, continent: str) -> float | None:
        """Give a mirror's share of the visitors that were counted; None where it is not known."""
        known = self._continents.get(continent)
        return PERCENT * known.sent[number] / known.total if known and known.total else 0.0
