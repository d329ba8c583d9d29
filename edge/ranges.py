"""Which bytes a request asks for, from its conditions and its range, against a strong entity tag. Pure.

RFC 9110 decides: §13.2.2 the order of the conditions, §13.1.5 ``If-Range``, §14.2 ``Range``. What it leaves to the
server is decided so:

* A range that cannot be parsed, and more than one range, are ignored and the whole file is sent (§14.2 "MAY ignore").
  Every client must understand that answer, whereas 416 would leave one that asked for two ranges with nothing.
* ``Range`` counts for GET alone (§14.2).
* An ``If-Range`` with a date never holds, for two contents may have one date: the whole file is sent (§13.1.5).
* Where nobody knows when a file was changed, conditions on dates are ignored (§13.1.3, §13.1.4).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from edge.dates import read_http_date

# No file of ours is longer: a number of more digits is past its end, and int() must not be fed thousands of digits.
_DIGITS_MAX: Final = 19

_RANGE = re.compile(r"bytes=[ \t]*(\d*)-(\d*)[ \t]*", re.ASCII | re.IGNORECASE)
_ETAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


@dataclass(frozen=True, slots=True)
class Whole:
    """Send the whole file: 200."""


@dataclass(frozen=True, slots=True)
class Part:
    """Send the bytes from ``start`` up to but without ``stop``: 206."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class NotModified:
    """The client has it already: 304."""


@dataclass(frozen=True, slots=True)
class PreconditionFailed:
    """The client wants another content than this one: 412."""


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """The range begins after the end: 416 with ``Content-Range: bytes */<size>``."""


Selection: TypeAlias = Whole | Part | NotModified | PreconditionFailed | Unsatisfiable


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The fields of a request that decide; None where the request has none of that name."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_range: str | None = None
    range: str | None = None
    if_modified_since: str | None = None
    if_unmodified_since: str | None = None


def select(
    conditions: Conditions, *, method: str, etag: str, size_bytes: int, changed_s: int | None = None
) -> Selection:
    """Decide what to send of a file with this strong entity tag (with its quotes), size and last change."""
    if not _is_wanted(conditions, etag, changed_s):
        return PreconditionFailed()
    if _is_had(conditions, etag, changed_s):
        return NotModified()
    if method != "GET" or conditions.range is None:
        return Whole()
    if conditions.if_range is not None and conditions.if_range.strip() != etag:
        return Whole()
    return _one_range(conditions.range, size_bytes)


def _is_wanted(conditions: Conditions, etag: str, changed_s: int | None) -> bool:
    """Tell whether it is still the content that the client means; a tag counts before a date."""
    if conditions.if_match is not None:
        return _lists(conditions.if_match, etag, weakly=False)
    return _is_unchanged_since(conditions.if_unmodified_since, changed_s) is not False


def _is_had(conditions: Conditions, etag: str, changed_s: int | None) -> bool:
    """Tell whether the client has the content already; a tag counts before a date."""
    if conditions.if_none_match is not None:
        return _lists(conditions.if_none_match, etag, weakly=True)
    return _is_unchanged_since(conditions.if_modified_since, changed_s) is True


def _is_unchanged_since(field: str | None, changed_s: int | None) -> bool | None:
    """Tell whether nothing changed since a date; None where there is no date, or no word of the change."""
    since_s = None if field is None else read_http_date(field)
    return None if since_s is None or changed_s is None else changed_s <= since_s


def _lists(field: str, etag: str, *, weakly: bool) -> bool:
    """Tell whether a list of entity tags has ours; a weak one counts only in the weak comparison (§8.8.3.2)."""
    if field.strip() == "*":
        return True
    return any(tag == etag and (weakly or not weak) for weak, tag in _ETAG.findall(field))


def _one_range(field: str, size_bytes: int) -> Selection:
    found = _RANGE.fullmatch(field.strip())
    if found is None or found.groups() == ("", ""):
        return Whole()
    first, last = found.groups()
    if not first:
        return _suffix(_number(last), size_bytes)
    start = _number(first)
    stop = _number(last) + 1 if last else size_bytes
    if stop <= start and last:
        return Whole()  # last before first: not a range at all (§14.1.1)
    if start >= size_bytes:
        return Unsatisfiable()
    return Part(start, min(stop, size_bytes))


def _suffix(length: int, size_bytes: int) -> Selection:
    if length == 0:
        return Unsatisfiable()
    if size_bytes == 0:
        return Whole()  # satisfiable by §14.1.2, but no Content-Range can be written for no bytes
    return Part(max(0, size_bytes - length), size_bytes)


def _number(digits: str) -> int:
    return int(digits) if len(digits) <= _DIGITS_MAX else 10**_DIGITS_MAX
