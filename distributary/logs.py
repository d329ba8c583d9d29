"""Log records on stderr: JSON lines, or coloured text on a terminal. No token, password or secret gets through.

Two nets: fields with a telling name lose their value, and in the finished line whatever looks like a grant, an
invitation, a bearer token or a URL's password is cut, wherever it came from (an exception's text, a library's record).
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TypeAlias

import structlog

EventDict: TypeAlias = MutableMapping[str, Any]

REDACTED: Final = "***"
SECRET_FIELDS: Final = frozenset({"token", "secret", "password", "authorization", "credentials", "grant_keys", "key"})

_SECRETS_IN_TEXT: Final = (
    (re.compile(r"/d/[A-Za-z0-9_-]{16,}"), f"/d/{REDACTED}"),
    (re.compile(r"\bDT1\.[A-Za-z0-9_-]+"), f"DT1.{REDACTED}"),
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]+", re.IGNORECASE), rf"\1 {REDACTED}"),
    (re.compile(r"(://[^/\s:@\"']*):[^/\s@\"']+@"), rf"\1:{REDACTED}@"),
)

_QUIET_LIBRARIES: Final = ("aiosqlite", "alembic", "asyncio", "aiohttp")
# Libraries that report each attempt to connect as an error; our own adapters say the same once and better.
_SILENT_LIBRARIES: Final = ("aio_pika", "aiormq")
DECIMALS: Final = 3  # of seconds, so milliseconds: whoever reads a log counts no finer


def redact_text(text: str) -> str:
    """Cut what looks like a secret out of a line."""
    for pattern, replacement in _SECRETS_IN_TEXT:
        text = pattern.sub(replacement, text)
    return text


def redact_fields(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Blank fields whose name tells that they are secret; a structlog processor."""
    for name in SECRET_FIELDS & event.keys():
        event[name] = REDACTED
    return event


def round_seconds(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Round fields that hold seconds; a structlog processor."""
    for name, value in event.items():
        if name.endswith("_s") and isinstance(value, float):
            event[name] = round(value, DECIMALS)
    return event


def redact_line(_logger: object, _method: str, line: Any) -> str:  # noqa: ANN401 - a renderer gave it, so it is text
    """Cut secrets out of the finished line; a structlog processor that comes last."""
    return redact_text(line)


def configure(*, role: str, console: bool, colours: bool = False) -> None:
    """Send all records of this process to stderr, ours and the libraries'."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _role_adder(role),
        redact_fields,
        round_seconds,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # Nothing logs per visit, so a logger need not remember how it was set up; and whoever sets it up anew is heard.
        cache_logger_on_first_use=False,
    )
    _configure_stdlib(shared, _renderers(console=console, colours=colours))


def _configure_stdlib(shared: list[structlog.typing.Processor], renderers: list[structlog.typing.Processor]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for library in _QUIET_LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)
    for library in _SILENT_LIBRARIES:
        logging.getLogger(library).setLevel(logging.CRITICAL)


def _renderers(*, console: bool, colours: bool) -> list[structlog.typing.Processor]:
    if console:
        # Plain: rich would print the local variables with a traceback, and secrets are among them.
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(timestamp_key="ts", colors=colours, exception_formatter=plain)
        return [renderer, redact_line]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str), redact_line]


def _role_adder(role: str) -> structlog.typing.Processor:
    def add_role(_logger: object, _method: str, event: EventDict) -> Mapping[str, Any]:
        event.setdefault("role", role)
        return event

    return add_role
