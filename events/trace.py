"""W3C Trace Context, version 00 (https://www.w3.org/TR/trace-context/): which action led to an event. Pure.

Whoever takes up a request or an event is one *span* of its trace: all that follows from it there carries the trace's id
and that span's own. A ``traceparent`` that is not well-formed counts as none. ``tracestate`` is for tracing
systems; nobody here is one, so it ends with the request that brought it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

HEADER: Final = "traceparent"
TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8
RANDOM_BYTES: Final = TRACE_ID_BYTES + SPAN_ID_BYTES  # what a new trace takes

_VERSION: Final = "00"
_NO_VERSION: Final = "ff"
_NO_SPAN_ID: Final = "0" * 2 * SPAN_ID_BYTES
_SAMPLED: Final = 0x01  # the other flags are not defined in version 00 and must not be passed on
_ROOT_BEFORE: Final = f"{_VERSION}-"
_ROOT_BEHIND: Final = f"-{_SAMPLED:02x}"
_SPAN_ID_AT: Final = -2 * SPAN_ID_BYTES
# §3.2.2 and §3.2.4: a higher version may say more, after another dash; what we know of it stands where it always stood.
_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """One span of one trace, both ids in hexadecimal. ``sampled``: somebody up the line keeps a record."""

    trace_id: str
    span_id: str
    sampled: bool

    @property
    def traceparent(self) -> str:
        """The context as header and envelope carry it."""
        return f"{_VERSION}-{self.trace_id}-{self.span_id}-{_SAMPLED if self.sampled else 0:02x}"


def parse(traceparent: str) -> TraceContext | None:
    """Read a ``traceparent``; None where it is not well-formed."""
    found = _FORM.fullmatch(traceparent)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == _NO_VERSION or (version == _VERSION and more is not None):
        return None
    if not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceContext(trace_id, span_id, sampled=bool(int(flags, 16) & _SAMPLED))


def root(random_bytes: bytes) -> TraceContext:
    """Begin a trace, from ``RANDOM_BYTES`` bytes. It is sampled: the log keeps every event."""
    _expect(random_bytes, RANDOM_BYTES)
    trace_id, span_id = random_bytes[:TRACE_ID_BYTES], random_bytes[TRACE_ID_BYTES:]
    return TraceContext(_id(trace_id), _id(span_id), sampled=True)


def root_of(trace_id: bytes) -> str:
    """Write the ``traceparent`` that begins a trace by its id of ``TRACE_ID_BYTES`` bytes; the latter half is the span.

    It is what ``root`` gives for both, at a tenth of the cost.
    """
    text = trace_id.hex()
    span_id = text[_SPAN_ID_AT:]
    if span_id == _NO_SPAN_ID:
        return root(trace_id + trace_id[-SPAN_ID_BYTES:]).traceparent
    return _ROOT_BEFORE + text + "-" + span_id + _ROOT_BEHIND


def child(parent: TraceContext, random_bytes: bytes) -> TraceContext:
    """Begin the next span of a trace, from ``SPAN_ID_BYTES`` bytes."""
    _expect(random_bytes, SPAN_ID_BYTES)
    return TraceContext(parent.trace_id, _id(random_bytes), sampled=parent.sampled)


def continued(traceparents: Sequence[str], random_bytes: bytes) -> TraceContext:
    """Begin the span of a request: of the trace that its headers name, or of a new one where they name no single one.

    Args:
        traceparents: the values of all its headers of that name.
        random_bytes: ``RANDOM_BYTES`` bytes.
    """
    parent = parse(traceparents[0]) if len(traceparents) == 1 else None
    return root(random_bytes) if parent is None else child(parent, random_bytes[TRACE_ID_BYTES:])


def _expect(random_bytes: bytes, count: int) -> None:
    if len(random_bytes) != count:
        raise ValueError(f"{len(random_bytes)} random bytes; {count} are needed")


def _id(random_bytes: bytes) -> str:
    """Write an id. All zeros means that there is none, so those become a one."""
    return f"{int.from_bytes(random_bytes) or 1:0{2 * len(random_bytes)}x}"
