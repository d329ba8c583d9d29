"""When a file was last changed, as HTTP says it: in whole seconds (RFC 9110 §5.6.7, §8.8.2). Pure.

A file counts as changed from the next whole second on: what was fetched in the second of a publication may be older.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from typing import Final

NS_PER_S: Final = 1_000_000_000


def changed_s(at_ns: int) -> int | None:
    """Give the second from which on a file counts as changed that was published then; None where 0 says: unknown."""
    return -(-at_ns // NS_PER_S) if at_ns else None


def http_date(at_s: int) -> str:
    """Write a second as HTTP does."""
    return formatdate(at_s, usegmt=True)


def read_http_date(text: str) -> float | None:
    """Read a date of HTTP, of the old forms, too; None where it is none, which is as if nothing was said."""
    try:
        found: datetime = parsedate_to_datetime(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
