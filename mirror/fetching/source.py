"""One answer of one source: exactly the bytes that were asked for, or the fault that it has.

A range is answered by 206 with that ``Content-Range`` and length and no encoding, and by nothing else; redirects are
not followed. A source that stalls, crawls, or breaks off is given up. What came before is given first.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import aiohttp
from aiohttp import hdrs

from events.names import MirrorName
from events.pieces import Span
from events.schemas import SourceFault
from mirror.config import FetchLimits
from mirror.fetching.blame import SourceBusyError, SourceFaultError
from mirror.fetching.guard import ForbiddenUrlError, check_peer_url

BATCH_BYTES: Final = 1 << 20  # measured: larger batches gain nothing

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a content can be asked for. ``guarded``: a peer, whose address nobody here has vouched for."""

    name: MirrorName
    url: str
    headers: Mapping[str, str] = field(repr=False)
    session: aiohttp.ClientSession = field(repr=False)
    guarded: bool


async def receive(
    source: Source, span: Span | None, *, size_bytes: int, limits: FetchLimits
) -> AsyncGenerator[list[bytes]]:
    """Give the bytes of a span, or of the whole content of ``size_bytes`` for None, about a megabyte at a time.

    Raises:
        SourceFaultError: what is wrong with the source. What came before was given.
    """
    async with _answered(source, span) as response:
        rest_bytes = _promised(response, span, size_bytes)
        async with aclosing(_batches(response, limits)) as batches:
            async for batch in batches:
                rest_bytes -= sum(map(len, batch))
                yield batch
        if rest_bytes:
            raise SourceFaultError(SourceFault.BROKEN_OFF, f"ended {rest_bytes} bytes early")


@asynccontextmanager
async def _answered(source: Source, span: Span | None) -> AsyncGenerator[aiohttp.ClientResponse]:
    headers = dict(source.headers)
    if span is not None:
        headers[hdrs.RANGE] = f"bytes={span.start}-{span.stop - 1}"
    try:
        if source.guarded:
            check_peer_url(source.url)
        async with source.session.get(source.url, headers=headers, allow_redirects=False) as response:
            yield response
    except ForbiddenUrlError as error:
        raise SourceFaultError(SourceFault.FORBIDDEN_ADDRESS, str(error)) from error
    except aiohttp.ClientConnectorError as error:
        # Several addresses make one error of all of theirs, which keeps the number alone.
        forbidden = source.guarded and error.os_error.errno == errno.EACCES
        fault = SourceFault.FORBIDDEN_ADDRESS if forbidden else SourceFault.UNREACHABLE
        raise SourceFaultError(fault, str(error)) from error
    except aiohttp.SocketTimeoutError as error:
        raise SourceFaultError(SourceFault.TOO_SLOW, "no answer") from error
    except aiohttp.ServerDisconnectedError as error:
        raise SourceFaultError(SourceFault.BROKEN_OFF, repr(error)) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise SourceFaultError(SourceFault.UNREACHABLE, repr(error)) from error


def _promised(response: aiohttp.ClientResponse, span: Span | None, size_bytes: int) -> int:
    """Give how many bytes will come, if they are those that were asked for."""
    wanted = span or Span(0, size_bytes)
    _check_status(response, HTTPStatus.OK if span is None else HTTPStatus.PARTIAL_CONTENT)
    if (encoding := response.headers.get(hdrs.CONTENT_ENCODING, "identity")) != "identity":
        raise SourceFaultError(SourceFault.WRONG_ENCODING, f"sent as {encoding!r}")
    if span is not None and (found := _content_range(response)) != (span.start, span.stop - 1, size_bytes):
        raise SourceFaultError(
            SourceFault.WRONG_RANGE, f"asked for {span.start}-{span.stop - 1} of {size_bytes}, was promised {found}"
        )
    length_bytes, wanted_bytes = response.content_length, wanted.stop - wanted.start
    if length_bytes is None or length_bytes > wanted_bytes:
        raise SourceFaultError(SourceFault.ENDLESS, f"asked for {wanted_bytes} bytes, was promised {length_bytes}")
    if length_bytes < wanted_bytes:
        raise SourceFaultError(SourceFault.WRONG_RANGE, f"asked for {wanted_bytes} bytes, was promised {length_bytes}")
    return wanted_bytes


def _check_status(response: aiohttp.ClientResponse, expected: HTTPStatus) -> None:
    status = response.status
    if status == expected:
        return
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise SourceBusyError("429: no place for us now")
    if status == HTTPStatus.OK:
        raise SourceFaultError(SourceFault.WRONG_RANGE, "200: sent all instead of the range that was asked for")
    failing = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    raise SourceFaultError(SourceFault.UNREACHABLE if failing else SourceFault.REFUSED, f"answered {status}")


async def _batches(response: aiohttp.ClientResponse, limits: FetchLimits) -> AsyncGenerator[list[bytes]]:
    """Give what comes. What came before a failure is given before it is raised."""
    batch: list[bytes] = []
    batch_bytes = 0
    pace = _Pace(limits)
    failure: SourceFaultError | None = None
    try:
        async for block in response.content.iter_any():
            batch.append(block)
            batch_bytes += len(block)
            pace.check(len(block))
            if batch_bytes >= BATCH_BYTES:
                yield batch
                batch, batch_bytes = [], 0
    except TimeoutError:
        failure = SourceFaultError(SourceFault.TOO_SLOW, f"no byte for {limits.stall_after_s:g} s")
    except aiohttp.ClientError as error:
        failure = SourceFaultError(SourceFault.BROKEN_OFF, repr(error))
    except SourceFaultError as error:
        failure = error
    if batch:
        yield batch
    if failure is not None:
        raise failure


class _Pace:
    """Notices a source that sends just enough not to stall."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._clock = asyncio.get_running_loop().time
        self._since_s = self._clock()
        self._gained_bytes = 0

    def check(self, gained_bytes: int) -> None:
        self._gained_bytes += gained_bytes
        elapsed_s = self._clock() - self._since_s
        if elapsed_s < self._limits.rate_window_s:
            return
        if self._gained_bytes < self._limits.bytes_per_second_min * elapsed_s:
            raise SourceFaultError(SourceFault.TOO_SLOW, f"only {self._gained_bytes} bytes in {elapsed_s:.0f} s")
        self._since_s, self._gained_bytes = self._clock(), 0


def _content_range(response: aiohttp.ClientResponse) -> tuple[int, int, int] | None:
    found = _CONTENT_RANGE.fullmatch(response.headers.get(hdrs.CONTENT_RANGE, ""))
    if found is None:
        return None
    first, last, size_bytes = found.groups()
    return int(first), int(last), int(size_bytes)
