"""How long the log's and the load reports' streams keep what is in them: by age and by size. Pure.

RabbitMQ cuts off whole segments, when the next one begins: a stream may be a segment larger and one older than its
limits say, and one that nobody writes to keeps all it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DAY_S: Final = 24 * 3600
# With RabbitMQ's segments of 500 MB a small site's log would never shrink; far smaller ones have made RabbitMQ loop.
LOG_SEGMENT_BYTES: Final = 20_000_000
LOAD_SEGMENT_BYTES: Final = 10_000_000
# What a stream keeps of an entry beside its body: properties, keys, frames. Measured: 308 bytes for a body of 150.
ENTRY_OVERHEAD_BYTES: Final = 160
# The catalogue is said again for each quarter of what is kept, and each quarter needs segments to be measured in.
SEGMENTS_MIN: Final = 10
LOG_AGE_MIN_S: Final = DAY_S  # the master looks once an hour whether a quarter of it is over
LOAD_AGE_MIN_S: Final = 3600  # who counts a mirror as silent after minutes has to find its last report


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """The limits of one stream; what comes first cuts."""

    age_s: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Retentions:
    """The limits of both streams."""

    log: Retention = Retention(age_s=30 * DAY_S, size_bytes=20_000_000_000)  # long enough to notice a dead archiver
    load: Retention = Retention(age_s=DAY_S, size_bytes=1_000_000_000)

    def problems(self) -> list[str]:
        """Give all that is wrong, each as a sentence for the operator."""
        least = {
            "log_age": (self.log.age_s, LOG_AGE_MIN_S, "1d"),
            "log_size": (self.log.size_bytes, SEGMENTS_MIN * LOG_SEGMENT_BYTES, "200MB"),
            "load_age": (self.load.age_s, LOAD_AGE_MIN_S, "1h"),
            "load_size": (self.load.size_bytes, SEGMENTS_MIN * LOAD_SEGMENT_BYTES, "100MB"),
        }
        found = [
            f"{name} must be at least {told}: {_why(name)}"
            for name, (value, minimum, told) in least.items()
            if value < minimum
        ]
        if self.load.age_s > self.log.age_s:
            found.append(
                "load_age must not be more than log_age: reports of mirrors that the log has forgotten say nothing"
            )
        return found


def _why(name: str) -> str:
    if name.endswith("_size"):
        return f"RabbitMQ cuts off whole segments, and {SEGMENTS_MIN} of them are the least that can be shared out"
    return "the catalogue has to be said again in time" if name == "log_age" else "silence is told by the last reports"
