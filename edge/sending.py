"""The body of an answer on its way out: by ``sendfile`` or by reading, and counted by what the client really took."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final, TypeAlias

import structlog
from aiohttp import web

from edge.delivery import Delivery
from edge.errors import route_of
from edge.ranges import Part

SENDFILE_BLOCK_BYTES: Final = 4 << 20  # measured: a quarter dearer than one call, but progress and cancelling are live
READ_BLOCK_BYTES: Final = 256 << 10  # measured: larger reads need a thread and cost more than they spare
INLINE_BYTES_MAX: Final = READ_BLOCK_BYTES  # measured: below that, setting up sendfile costs more than the copy

Meter: TypeAlias = Callable[[int], None]
"""Told of bytes as they leave, in steps that add up to what was sent. Must not raise."""

log = structlog.stdlib.get_logger()


class _ShrunkError(Exception):
    """The file ended before its size while it was being sent."""


class Body:
    """One body, sent once. After ``send``, ``sent_bytes`` and ``completed`` say what became of it."""

    def __init__(self, descriptor: int, part: Part, meter: Meter) -> None:
        self._descriptor, self._part, self._meter = descriptor, part, meter
        self.wanted_bytes: Final = part.stop - part.start
        self.sent_bytes = 0
        self.completed = False

    async def send(self, request: web.Request, response: web.StreamResponse) -> None:
        """Send the body of a prepared response. A client that leaves ends this quietly.

        When it is not completed, for whatever reason and also on ``CancelledError``, the connection is broken off.
        """
        transport = request.transport
        if transport is None:
            response.force_close()
            return
        with Delivery(transport) as delivery:
            try:
                await self._hand_over(transport, response, delivery)
                self._finish(transport, delivery)
            except (OSError, _ShrunkError) as error:
                _report(request, error)
            finally:
                if not self.completed:
                    self._break_off(transport, response, delivery)

    async def _hand_over(self, transport: asyncio.Transport, response: web.StreamResponse, delivery: Delivery) -> None:
        """Give the body to the kernel, block by block."""
        position = self._part.start
        if self.wanted_bytes > INLINE_BYTES_MAX and transport.get_extra_info("sslcontext") is None:
            position = await self._by_sendfile(transport, delivery)
        while position < self._part.stop:
            block = os.pread(self._descriptor, min(READ_BLOCK_BYTES, self._part.stop - position), position)
            if not block:
                raise _ShrunkError
            await response.write(block)
            await asyncio.sleep(0)  # a client as fast as the disk must not keep the loop to itself
            position += len(block)
            self._count(position, delivery)
        await response.write_eof()

    async def _by_sendfile(self, transport: asyncio.Transport, delivery: Delivery) -> int:
        """Send by the kernel alone; give the position that was reached when it is not able to."""
        loop = asyncio.get_running_loop()
        position = self._part.start
        with os.fdopen(self._descriptor, "rb", buffering=0, closefd=False) as file:
            while position < self._part.stop:
                if transport.is_closing():
                    raise ConnectionResetError
                count = min(SENDFILE_BLOCK_BYTES, self._part.stop - position)
                try:
                    sent = await loop.sendfile(transport, file, position, count, fallback=False)
                except (NotImplementedError, asyncio.SendfileNotAvailableError):
                    return position  # uvloop, a file system without it, or a connection that writing will find dead
                if sent < count:
                    raise _ShrunkError
                position += sent
                self._count(position, delivery)
        return position

    def _finish(self, transport: asyncio.Transport, delivery: Delivery) -> None:
        """Count the rest, which is on its way; on a connection that is closing only if it arrived."""
        if transport.is_closing() and delivery.taken() != self.wanted_bytes:
            raise ConnectionResetError
        self._advance(self.wanted_bytes)
        self.completed = True

    def _break_off(self, transport: asyncio.Transport, response: web.StreamResponse, delivery: Delivery) -> None:
        """Count what arrived and close the connection: asyncio may have left it paused, and its end is undefined."""
        self._count(self._part.stop, delivery, exact_only=True)
        delivery.reset_on_close()
        response.force_close()
        transport.abort()  # sendfile has ended by now; during it this would hang it for ever

    def _count(self, position: int, delivery: Delivery, *, exact_only: bool = False) -> None:
        """Count what the client took of the bytes before ``position``; where that is unknown, all of them."""
        handed_bytes = position - self._part.start
        taken_bytes = delivery.taken()
        if taken_bytes is not None:
            self._advance(min(taken_bytes, handed_bytes))
        elif not exact_only:
            self._advance(handed_bytes)

    def _advance(self, sent_bytes: int) -> None:
        if sent_bytes > self.sent_bytes:
            self._meter(sent_bytes - self.sent_bytes)
            self.sent_bytes = sent_bytes


def _report(request: web.Request, error: OSError | _ShrunkError) -> None:
    """Say when it was the file's fault; a client that leaves or falls silent is daily business."""
    if not isinstance(error, ConnectionError | TimeoutError):
        problem = "the file became shorter" if isinstance(error, _ShrunkError) else str(error)
        log.error("http.content_unreadable", route=route_of(request), problem=problem)
