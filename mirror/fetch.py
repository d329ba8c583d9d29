"""One content from the master into the store: resumed where it broke off, hashed while it comes, verified whole.

While one batch of about a megabyte is being written and hashed in a thread, the next one is read; a small file is one
write. A source that stalls, crawls, sends more than it should or another range than was asked for is given up.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from http import HTTPStatus
from typing import Final

import aiohttp
from aiohttp import hdrs

from events.names import Digest
from events.trace import TraceContext
from mirror.config import FetchLimits
from mirror.objects import Objects, Part
from mirror.origin import Origin, OriginConfusedError, OriginRefusedError, OriginUnavailableError

BATCH_BYTES: Final = 1 << 20  # measured: larger batches gain nothing
RESUMES_MAX: Final = 20  # in a row, each with some progress; then the source is asked again after a while

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII)


class UnwantedError(Exception):
    """The file was withdrawn while it was being fetched. Stop, and remove what is there."""


class Fetcher:
    """Fetches contents from one master into one store."""

    def __init__(self, origin: Origin, objects: Objects, executor: Executor, limits: FetchLimits) -> None:
        self._origin = origin
        self._objects = objects
        self._executor = executor
        self._limits = limits

    async def fetch(
        self, sha256: Digest, size_bytes: int, *, wanted: Callable[[], bool], trace: TraceContext | None = None
    ) -> None:
        """Get a content, verify it, and put it in its place in the store. Not announced yet, and not in any table.

        Raises:
            OriginError: the source cannot, will not or does not send it. What came is kept for the next attempt.
            DigestMismatchError: it sent other bytes. They are deleted.
            DiskFullError, DiskFailedError: there is no room, or the disk is broken.
            UnwantedError: ``wanted`` became false.
        """
        loop = asyncio.get_running_loop()
        part = await loop.run_in_executor(self._executor, self._objects.part, sha256, size_bytes)
        try:
            await self._complete(part, wanted, trace)
            await _finish(loop.run_in_executor(self._executor, part.commit))
        finally:
            part.close()

    async def _complete(self, part: Part, wanted: Callable[[], bool], trace: TraceContext | None) -> None:
        """Ask again as long as each answer brings something."""
        for _ in range(RESUMES_MAX):
            before_bytes = part.have_bytes
            if before_bytes == part.size_bytes:
                return
            try:
                await self._receive(part, wanted, trace)
            except OriginUnavailableError:
                if part.have_bytes <= before_bytes:
                    raise
            except OriginRefusedError as error:
                if error.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not before_bytes:
                    raise
                part.restart()
        if part.have_bytes != part.size_bytes:
            raise OriginUnavailableError(f"{part.sha256.hex()}: broke off {RESUMES_MAX} times")

    async def _receive(self, part: Part, wanted: Callable[[], bool], trace: TraceContext | None) -> None:
        async with self._origin.content(part.sha256, offset=part.have_bytes, trace=trace) as response:
            self._begin(part, response)
            loop = asyncio.get_running_loop()
            writing: asyncio.Future[None] | None = None
            try:
                async for batch in self._batches(response, part.size_bytes - part.have_bytes):
                    if writing is not None:
                        await _finish(writing)
                    if not wanted():
                        raise UnwantedError(part.sha256.hex())
                    writing = loop.run_in_executor(self._executor, part.append, batch)
            finally:
                if writing is not None:
                    await _finish(writing)
        if part.have_bytes != part.size_bytes:
            raise OriginUnavailableError(f"{part.sha256.hex()}: ended at {part.have_bytes} of {part.size_bytes} bytes")

    def _begin(self, part: Part, response: aiohttp.ClientResponse) -> None:
        """Make sure that what follows continues what is there."""
        if response.status == HTTPStatus.OK:
            if part.have_bytes:
                part.restart()
        elif (found := _content_range(response)) != (part.have_bytes, part.size_bytes - 1, part.size_bytes):
            asked_from = part.have_bytes
            part.restart()  # whoever lies about a range is asked for the whole next time
            raise OriginConfusedError(f"asked for {asked_from}- of {part.size_bytes} bytes, was promised {found}")
        rest_bytes = part.size_bytes - part.have_bytes
        if response.content_length is not None and response.content_length != rest_bytes:
            raise OriginConfusedError(f"{rest_bytes} bytes are missing, {response.content_length} were promised")

    async def _batches(self, response: aiohttp.ClientResponse, rest_bytes: int) -> AsyncIterator[list[bytes]]:
        """Give what comes, about a megabyte at a time. What came before a failure is given before it is raised."""
        batch: list[bytes] = []
        batch_bytes = received_bytes = 0
        pace = _Pace(self._limits)
        failure: Exception | None = None
        try:
            async for block in response.content.iter_any():
                received_bytes += len(block)
                if received_bytes > rest_bytes:
                    raise OriginConfusedError(f"more than the {rest_bytes} bytes that are missing")
                pace.check(received_bytes)
                batch.append(block)
                batch_bytes += len(block)
                if batch_bytes >= BATCH_BYTES:
                    yield batch
                    batch, batch_bytes = [], 0
        except (aiohttp.ClientError, TimeoutError) as error:
            failure = error
        if batch:
            yield batch
        if failure is not None:
            raise OriginUnavailableError(f"broke off: {failure!r}") from failure


class _Pace:
    """Notices a source that sends just enough not to stall."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._clock = asyncio.get_running_loop().time
        self._since_s = self._clock()
        self._base_bytes = 0

    def check(self, received_bytes: int) -> None:
        elapsed_s = self._clock() - self._since_s
        if elapsed_s < self._limits.rate_window_s:
            return
        gained_bytes = received_bytes - self._base_bytes
        if gained_bytes < self._limits.bytes_per_second_min * elapsed_s:
            raise OriginUnavailableError(f"only {gained_bytes} bytes in {elapsed_s:.0f} s")
        self._since_s, self._base_bytes = self._clock(), received_bytes


async def _finish(writing: asyncio.Future[None]) -> None:
    """Wait for a thread even when cancelled: it uses a descriptor that is closed after this."""
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing])
        raise


def _content_range(response: aiohttp.ClientResponse) -> tuple[int, int, int] | None:
    found = _CONTENT_RANGE.fullmatch(response.headers.get(hdrs.CONTENT_RANGE, ""))
    if found is None:
        return None
    first, last, size_bytes = found.groups()
    return int(first), int(last), int(size_bytes)
