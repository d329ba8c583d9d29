"""When the archiver's lag nears what the stream keeps: decided from figures. Pure.

A stream forgets by age and by size. How long its size lasts follows from how fast the log grows, so both are times, and
the shorter one counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from broker.retention import Retention

# At half of it an operator has as long again; of the usual 30 days that is two weeks, and of a busy site's few hours
# still hours.
WARN_FRACTION: Final = 0.5
CRITICAL_FRACTION: Final = 0.8
GROWTH_OVER_S_MIN: Final = 3600.0  # a burst in the first minutes of a day is no rate


class LagLevel(Enum):
    """How near entries are to being cut off before they are archived."""

    FINE = "fine"
    NEAR = "near"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class LagFigures:
    """What the decision is made from.

    ``behind_s`` is how old the oldest entry may be that is not archived. ``kept`` is the stream's retention,
    ``bytes_per_s`` how fast the log grew lately (0: not known).
    """

    behind_s: float
    kept: Retention
    bytes_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How the archiver stands: the figures, how long the stream keeps an entry at this rate, and what follows."""

    figures: LagFigures
    kept_s: float
    level: LagLevel

    @property
    def used(self) -> float:
        """The part of the stream's retention that is used up; 1 and more: entries are being lost."""
        return self.figures.behind_s / self.kept_s


def judge(figures: LagFigures) -> Lag:
    """Decide."""
    kept = figures.kept
    by_size_s = kept.size_bytes / figures.bytes_per_s if figures.bytes_per_s > 0 else float(kept.age_s)
    kept_s = min(float(kept.age_s), by_size_s)
    lag = Lag(figures=figures, kept_s=kept_s, level=LagLevel.FINE)
    if lag.used >= CRITICAL_FRACTION:
        return Lag(figures=figures, kept_s=kept_s, level=LagLevel.CRITICAL)
    if lag.used >= WARN_FRACTION:
        return Lag(figures=figures, kept_s=kept_s, level=LagLevel.NEAR)
    return lag


def growth(days: Sequence[tuple[str, int]], *, now_s: float) -> float:
    """Give how many bytes a second the log grew by over some last days, each with its bytes; 0 where there are none."""
    if not days:
        return 0.0
    began_s = datetime.fromisoformat(min(day for day, _ in days)).replace(tzinfo=UTC).timestamp()
    return sum(size_bytes for _, size_bytes in days) / max(now_s - began_s, GROWTH_OVER_S_MIN)
