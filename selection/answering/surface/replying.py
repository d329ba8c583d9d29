"""Answers as HTTP: JSON, pages, texts, refusals, and *not modified*.

What a visitor is answered depends on what he accepts, and that is said (``Vary``). Whatever may hold a link is stored
nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import hdrs, web

from edge.errors import ApiError
from selection.access.verdicts import Verdict
from selection.answering.surface.html import PAGE_HEADERS
from selection.answering.surface.pages import problem_page
from selection.answering.surface.wishes import HTML, JSON, accepts, is_on

NO_STORE: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_VARIES: Final = {hdrs.VARY: hdrs.ACCEPT}
_INDENT: Final = 4


def json_reply(body: object, request: web.Request, headers: Mapping[str, str] = NO_STORE) -> web.Response:
    """Answer with JSON, for people to read where they ask for it (``?pretty``)."""
    encoded = msgspec.json.encode(body)
    if is_on(request.query, "pretty"):
        encoded = msgspec.json.format(encoded, indent=_INDENT) + b"\n"
    return web.Response(body=encoded, content_type=JSON, charset="utf-8", headers={**headers, **_VARIES})


def page_reply(page: str, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with a page."""
    told = {**PAGE_HEADERS, **_VARIES, **(headers or {})}
    return web.Response(text=page, status=status, content_type=HTML, headers=told)


def text_reply(text: str, content_type: str, headers: Mapping[str, str]) -> web.Response:
    """Answer with a text."""
    return web.Response(text=text, content_type=content_type, headers={**NO_STORE, **_VARIES, **headers})


def refusal(request: web.Request, error: ApiError) -> web.Response:
    """Answer a visitor: a page for who reads pages, JSON for a program that asks for it, a sentence for all others."""
    accept = request.headers.get(hdrs.ACCEPT, "")
    if accepts(accept, JSON):
        raise error
    if accepts(accept, HTML):
        return page_reply(problem_page(error.message), error.status, error.headers)
    headers = {**NO_STORE, **_VARIES, **error.headers}
    text = f"{error.message}: {error.hint}\n" if error.hint else f"{error.message}\n"
    return web.Response(status=error.status, text=text, headers=headers)


def turned_away(request: web.Request, verdict: Verdict) -> web.Response:
    """Answer who may not have a file. Where the site sends him on, that is no error."""
    outcome = verdict.outcome
    if outcome.status == HTTPStatus.FOUND:
        return web.Response(status=outcome.status, headers={**NO_STORE, **dict(verdict.headers)})
    return refusal(request, ApiError(outcome.code, outcome.text, status=outcome.status, headers=dict(verdict.headers)))


def not_modified(request: web.Request, *, etag: str, modified_at: datetime) -> web.Response | None:
    """Answer who has the present content already, or give None (RFC 9110 §13.2.2). ``etag`` is without its quotes.

    ``modified_at`` counts from the next whole second: what was fetched in the second of a publication may be older.
    """
    modified_at = _next_second(modified_at)
    if request.if_none_match is not None:
        fresh = any(one.value in {etag, "*"} for one in request.if_none_match)
    else:
        fresh = request.if_modified_since is not None and request.if_modified_since >= modified_at
    if not fresh:
        return None
    told = {"ETag": f'"{etag}"', hdrs.LAST_MODIFIED: format_datetime(modified_at, usegmt=True)}
    return web.Response(status=HTTPStatus.NOT_MODIFIED, headers={**NO_STORE, **_VARIES, **told})


def _next_second(moment: datetime) -> datetime:
    whole = moment.astimezone(UTC).replace(microsecond=0)
    return whole if whole == moment else whole + timedelta(seconds=1)
