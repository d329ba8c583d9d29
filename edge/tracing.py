"""The trace that a request belongs to."""

from __future__ import annotations

import secrets

from aiohttp import web

from events.trace import HEADER, RANDOM_BYTES, TraceContext, continued


def trace_of(request: web.BaseRequest) -> TraceContext:
    """Begin a request's span: of the trace that it came with, or of a new one. Call it once for each request."""
    return continued(request.headers.getall(HEADER, ()), secrets.token_bytes(RANDOM_BYTES))


def traceparent_of(request: web.BaseRequest) -> str:
    """Begin the span of a request that names its trace, as its header would be; empty where it names none."""
    return trace_of(request).traceparent if HEADER in request.headers else ""
