"""An archived event as projections read it. Pure."""

from __future__ import annotations

from typing import NamedTuple

from events.schemas import Event


class Told(NamedTuple):
    """A sound event, the first with its number: when the log had it, and its source's own time."""

    log_time_ns: int
    time_ns: int
    event: Event
