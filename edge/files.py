"""A file as HTTP sends it: by range, under its hash as entity tag, with the bytes counted that really left.

aiohttp's own ``FileResponse`` is not used: it makes its entity tag from the modification time (another one on each
mirror), ignores ``If-Range`` with an entity tag, follows symbolic links and may send a ``.gz`` file of the same name.
"""

from __future__ import annotations

import base64
import os
import stat
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Final, assert_never

from aiohttp import hdrs, web

from edge.dates import http_date
from edge.disposition import attachment
from edge.pacing import Pacing
from edge.ranges import Conditions, NotModified, Part, PreconditionFailed, Selection, Unsatisfiable, Whole, select
from edge.sending import SMALL_BYTES_MAX, Body, Meter, SmallBody
from edge.shortage import NoDescriptorError, Shortages, is_shortage
from events.names import Digest

CACHE_CONTROL: Final = "private, no-transform"  # links are personal; nobody on the way may recompress

NOTHING: Final = Part(0, 0)
FIELDS_REMEMBERED_MAX: Final = 1024  # descriptions of the files that are asked for now, half a kilobyte each

_shortages: Final = Shortages()  # one for the process, as descriptors are


class ContentGoneError(Exception):
    """The file is not there as it was promised. Nothing was sent yet: send the visitor elsewhere, and look after it."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path, self.problem = path, problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A file to send. ``path`` is where its bytes are; ``file_name`` what it is to be saved as.

    ``changed_s`` is when it was changed last (``edge.dates``), None where nobody knows.
    """

    path: Path
    size_bytes: int
    sha256: Digest
    media_type: str
    file_name: str
    changed_s: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for of a content, decided once. ``part`` is empty for an answer without a body."""

    content: Content
    selection: Selection
    part: Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of a request. ``response`` is what the handler returns to aiohttp.

    ``wanted_bytes`` from ``first_byte`` on is the body that was asked for (none for HEAD, 304, 412 and 416).
    ``completed`` tells that all of it was handed to the kernel; else ``sent_bytes`` is what the client's TCP took, and
    the connection is gone.
    """

    response: web.StreamResponse
    status: int
    first_byte: int
    wanted_bytes: int
    sent_bytes: int
    completed: bool


async def send_file(
    request: web.Request,
    asked: Asked,
    *,
    meter: Meter,
    pacing: Pacing | None = None,
    cache_control: str = CACHE_CONTROL,
) -> Sent:
    """Answer a GET or HEAD with a file, or with the part of it that was asked for by this request.

    A client that leaves ends this with ``completed`` false. When it is cancelled, the connection is broken off, the
    meter has been told of all that left, and the ``CancelledError`` goes on. ``pacing`` gives the connection its share
    of a rate.

    Raises:
        ContentGoneError: before anything was sent: missing, no regular file, a symbolic link, or of another size.
        NoDescriptorError: before anything was sent: no more files can be opened now; the file may well be there.
    """
    content, part = asked.content, asked.part
    with _opened(content) as descriptor:
        if part == NOTHING:
            body: Body | SmallBody = Body(descriptor, NOTHING, meter)
        elif part.stop - part.start <= SMALL_BYTES_MAX:
            body = SmallBody(_read(descriptor, part, content), meter)
        else:
            body = Body(descriptor, part, meter, pacing)
        response = _head(content, asked.selection, cache_control, body)
        try:
            await response.prepare(request)
        except ConnectionError:
            response.force_close()
        else:
            await body.send(request, response)
        return Sent(
            response=response,
            status=response.status,
            first_byte=part.start,
            wanted_bytes=body.wanted_bytes,
            sent_bytes=body.sent_bytes,
            completed=body.completed,
        )


def asked_for(request: web.Request, content: Content) -> Asked:
    """Decide what a request asks for of a content."""
    return asked_under(_conditions(request), content, method=request.method)


def asked_under(conditions: Conditions, content: Content, *, method: str) -> Asked:
    """Decide what is asked for of a content under these conditions."""
    selection = select(
        conditions,
        method=method,
        etag=etag_of(content.sha256),
        size_bytes=content.size_bytes,
        changed_s=content.changed_s,
    )
    part = _part(selection, content.size_bytes) if method == hdrs.METH_GET else None
    return Asked(content, selection, part or NOTHING)


def require(content: Content) -> None:
    """Look whether a file is there as it was promised, for somebody else to send it.

    Raises:
        ContentGoneError: missing, no regular file, a symbolic link, or of another size.
    """
    try:
        status = os.lstat(content.path)
    except OSError as error:
        raise ContentGoneError(content.path, os.strerror(error.errno or 0)) from error
    _verify(status, content)


def etag_of(sha256: Digest) -> str:
    """Give the strong entity tag of a content: the same on every mirror, so that a resume can go on elsewhere."""
    return f'"{sha256.hex()}"'


@contextmanager
def _opened(content: Content) -> Generator[int]:
    """Open the file as it was promised, or refuse."""
    try:
        # O_NONBLOCK: a pipe in its place must not hold up the loop.
        descriptor = os.open(content.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if is_shortage(error):
            _shortages.note(error, now_s=time.monotonic())
            raise NoDescriptorError from error
        raise ContentGoneError(content.path, os.strerror(error.errno or 0)) from error
    try:
        _verify(os.fstat(descriptor), content)
        yield descriptor
    finally:
        os.close(descriptor)


def _verify(status: os.stat_result, content: Content) -> None:
    """Refuse what is not the file that was promised."""
    if not stat.S_ISREG(status.st_mode):
        raise ContentGoneError(content.path, "not a regular file")
    if status.st_size != content.size_bytes:
        raise ContentGoneError(content.path, f"{status.st_size} bytes instead of {content.size_bytes}")


def _read(descriptor: int, part: Part, content: Content) -> bytes:
    block = os.pread(descriptor, part.stop - part.start, part.start)
    if len(block) != part.stop - part.start:
        raise ContentGoneError(content.path, "the file became shorter")
    return block


def _conditions(request: web.Request) -> Conditions:
    def field(name: str) -> str | None:
        values = request.headers.getall(name, [])
        return ", ".join(values) if values else None  # RFC 9110 §5.3: several lines are one list

    return Conditions(
        if_match=field(hdrs.IF_MATCH),
        if_none_match=field(hdrs.IF_NONE_MATCH),
        if_range=field(hdrs.IF_RANGE),
        range=field(hdrs.RANGE),
        if_modified_since=field(hdrs.IF_MODIFIED_SINCE),
        if_unmodified_since=field(hdrs.IF_UNMODIFIED_SINCE),
    )


def _part(selection: Selection, size_bytes: int) -> Part | None:
    match selection:
        case Whole():
            return Part(0, size_bytes)
        case Part():
            return selection
        case NotModified() | PreconditionFailed() | Unsatisfiable():
            return None
        case _:
            assert_never(selection)


def _head(content: Content, selection: Selection, cache_control: str, body: Body | SmallBody) -> web.StreamResponse:
    """Make the response with all its fields."""
    part = _part(selection, content.size_bytes)
    fields = {
        hdrs.ETAG: etag_of(content.sha256),
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.CACHE_CONTROL: cache_control,
        "Referrer-Policy": "no-referrer",
        **date_field(content.changed_s),
    }
    if part is not None:
        fields |= representation_fields(content.sha256, content.media_type, content.file_name)
    if isinstance(selection, Part):
        fields[hdrs.CONTENT_RANGE] = f"bytes {selection.start}-{selection.stop - 1}/{content.size_bytes}"
    if isinstance(selection, Unsatisfiable):
        fields[hdrs.CONTENT_RANGE] = f"bytes */{content.size_bytes}"
    if isinstance(body, SmallBody):
        return web.Response(status=_status(selection), headers=fields, body=body.data)
    response = web.StreamResponse(status=_status(selection), headers=fields)
    response.content_length = part.stop - part.start if part is not None else 0
    return response


def _status(selection: Selection) -> HTTPStatus:
    match selection:
        case Whole():
            return HTTPStatus.OK
        case Part():
            return HTTPStatus.PARTIAL_CONTENT
        case NotModified():
            return HTTPStatus.NOT_MODIFIED
        case PreconditionFailed():
            return HTTPStatus.PRECONDITION_FAILED
        case Unsatisfiable():
            return HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        case _:
            assert_never(selection)


def date_field(changed_s: int | None) -> dict[str, str]:
    """Say when a file was changed last, where that is known."""
    return {} if changed_s is None else {hdrs.LAST_MODIFIED: http_date(changed_s)}


@lru_cache(maxsize=FIELDS_REMEMBERED_MAX)
def representation_fields(sha256: Digest, media_type: str, file_name: str) -> Mapping[str, str]:
    """Describe a file so that it is saved and never run: what is published may be a hostile page."""
    return MappingProxyType(
        {
            hdrs.CONTENT_TYPE: media_type,
            hdrs.CONTENT_DISPOSITION: attachment(file_name),
            "Repr-Digest": f"sha-256=:{base64.b64encode(sha256).decode('ascii')}:",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox",
        }
    )
