"""Which trace led to what the mirror does. Pure.

It is kept in memory and in bounds: what a mirror says after a restart, or long after it was told, may carry no trace.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, NamedTuple, TypeVar

from events.schemas import Event
from events.trace import TraceContext

# Some 6 MB. More files than these wait to be fetched only where a whole catalogue was published at once; more grants
# than these are under way or resumed only at a mirror whose visitors nobody follows up one by one.
TRACES_MAX: Final = 20_000

_K = TypeVar("_K", bound=Hashable)


class Said(NamedTuple):
    """An event that is to be said, and the trace that led to it, if that is known."""

    event: Event
    trace: TraceContext | None = None


class Traces(Generic[_K]):
    """Remembers the trace that led to each of the things noted last."""

    def __init__(self, count_max: int = TRACES_MAX) -> None:
        self._traces: dict[_K, TraceContext] = {}
        self._count_max = count_max

    def note(self, key: _K, trace: TraceContext | None) -> None:
        """Remember what led to a thing now, in place of what did before; None: nobody knows. The oldest gives way."""
        self._traces.pop(key, None)
        if trace is None:
            return
        self._traces[key] = trace
        if len(self._traces) > self._count_max:
            del self._traces[next(iter(self._traces))]

    def of(self, key: _K) -> TraceContext | None:
        """Give what led to a thing, if it is known."""
        return self._traces.get(key)

    def forget(self, key: _K) -> None:
        """Let go of a thing that is done with."""
        self._traces.pop(key, None)
