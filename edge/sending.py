"""The body of an answer on its way out: by ``sendfile`` or by reading, and counted by what the client really took.

``sendfile`` is called here and not by asyncio's own ``loop.sendfile``: that one hangs for ever when its transport is
closed under it, registers and unregisters the socket for each piece that it sends, and does not exist in uvloop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeAlias

import structlog
from aiohttp import web

from edge.delivery import Delivery
from edge.errors import route_of
from edge.pacing import Pacing
from edge.ranges import Part

SMALL_BYTES_MAX: Final = 256 << 10  # measured: below that, all that sendfile needs costs more than the copy
COUNTED_BYTES: Final = 4 << 20  # how often progress is told; to ask the kernel more often costs more than it says
READ_BLOCK_BYTES: Final = 256 << 10  # measured: larger reads need a thread and cost more than they spare
_NO_SENDFILE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})  # the file's system cannot

Meter: TypeAlias = Callable[[int], None]
"""Told of bytes as they leave, in steps that add up to what was sent. Must not raise."""

log = structlog.stdlib.get_logger()


class _ShrunkError(Exception):
    """The file ended before its size while it was being sent."""


class SmallBody:
    """A body that goes out with its head, in one piece, from memory; counted as soon as it is handed over.

    A client that leaves in that moment is counted for all of it, at most ``SMALL_BYTES_MAX`` too many: to ask the
    kernel before and afterwards would cost more than the sending.
    """

    def __init__(self, data: bytes, meter: Meter) -> None:
        self.data, self._meter = data, meter
        self.wanted_bytes: Final = len(data)
        self.sent_bytes = 0
        self.completed = False

    async def send(self, request: web.Request, response: web.StreamResponse) -> None:
        """Send head and body of a prepared response, whose body ``data`` is. A client that leaves ends this quietly."""
        transport = request.transport
        try:
            if transport is None or transport.is_closing():
                raise ConnectionResetError
            self._meter(self.wanted_bytes)
            self.sent_bytes = self.wanted_bytes
            await response.write_eof()
            self.completed = not transport.is_closing()
        except ConnectionError:
            pass
        finally:
            if not self.completed:
                response.force_close()
                if transport is not None:
                    transport.abort()


class Body:
    """One larger body, sent once. After ``send``, ``sent_bytes`` and ``completed`` say what became of it."""

    def __init__(self, descriptor: int, part: Part, meter: Meter, pacing: Pacing | None = None) -> None:
        self._descriptor, self._part, self._meter, self._pacing = descriptor, part, meter, pacing
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
        paced = contextlib.nullcontext() if self._pacing is None else self._pacing.entered(transport)
        with Delivery(transport) as delivery, paced:
            try:
                await self._hand_over(request, transport, response, delivery)
                self._finish(transport, delivery)
            except (OSError, _ShrunkError) as error:
                _report(request, error)
            finally:
                if not self.completed:
                    self._break_off(transport, response, delivery)

    async def _hand_over(
        self, request: web.Request, transport: asyncio.Transport, response: web.StreamResponse, delivery: Delivery
    ) -> None:
        """Give the body to the kernel, block by block."""
        position = self._part.start
        descriptor = delivery.descriptor
        if self.wanted_bytes and descriptor is not None and transport.get_extra_info("sslcontext") is None:
            transport.set_write_buffer_limits(high=0)
            await request.writer.drain()  # nothing of the head is left in our own buffer, so the file comes after it
            position = await self._by_sendfile(transport, descriptor, delivery)
        while position < self._part.stop:
            block = os.pread(self._descriptor, min(READ_BLOCK_BYTES, self._part.stop - position), position)
            if not block:
                raise _ShrunkError
            await response.write(block)
            await asyncio.sleep(0)  # a client as fast as the disk must not keep the loop to itself
            position += len(block)
            self._count(position, delivery)
        await response.write_eof()

    async def _by_sendfile(self, transport: asyncio.Transport, descriptor: int, delivery: Delivery) -> int:
        """Send by the kernel alone; give the position that was reached when it is not able to."""
        sender = _Sendfile(self._descriptor, descriptor, self._part, transport)
        with _unread(transport):
            while sender.position < self._part.stop and sender.works:
                await sender.send(COUNTED_BYTES)
                self._count(sender.position, delivery)
        return sender.position

    def _finish(self, transport: asyncio.Transport, delivery: Delivery) -> None:
        """Count the rest, which is on its way; on a connection that is closing only if it arrived."""
        if transport.is_closing() and delivery.taken() != self.wanted_bytes:
            raise ConnectionResetError
        self._advance(self.wanted_bytes)
        self.completed = True

    def _break_off(self, transport: asyncio.Transport, response: web.StreamResponse, delivery: Delivery) -> None:
        """Count what arrived and close the connection: whoever reads it must not take what follows for the body."""
        self._count(self._part.stop, delivery, exact_only=True)
        delivery.reset_on_close()
        response.force_close()
        transport.abort()

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


class _Sendfile:
    """A part of a file on its way into a socket, sent whenever the socket takes some.

    ``descriptor`` is a duplicate of the transport's own: the loop watches it for us without a word to the transport,
    and it stays ours when the transport is closed. ``works`` turns false where the file system has no ``sendfile``.
    """

    def __init__(self, file: int, descriptor: int, part: Part, transport: asyncio.Transport) -> None:
        self._file, self._descriptor, self._stop, self._transport = file, descriptor, part.stop, transport
        self._loop = asyncio.get_running_loop()
        self.position = part.start
        self.works = True

    async def send(self, size_bytes: int) -> None:
        """Send so many bytes, or all that is left.

        Raises:
            OSError: the connection has ended, or the disk failed.
            _ShrunkError: the file has no more.
        """
        goal = min(self._stop, self.position + size_bytes)
        done: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(self._descriptor, self._step, goal, done)
        try:
            await done
        finally:
            self._loop.remove_writer(self._descriptor)

    def _step(self, goal: int, done: asyncio.Future[None]) -> None:
        """Give the kernel as much as it takes now."""
        if done.done():
            return
        try:
            if self._transport.is_closing():
                raise ConnectionResetError
            sent_bytes = os.sendfile(self._descriptor, self._file, self.position, goal - self.position)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            if self._unable(error):
                done.set_result(None)
            else:
                done.set_exception(error)
            return
        self.position += sent_bytes
        if sent_bytes == 0:
            done.set_exception(_ShrunkError())
        elif self.position >= goal:
            done.set_result(None)

    def _unable(self, error: OSError) -> bool:
        """Tell whether it is the file system that cannot, so that reading may go on where this ends."""
        if error.errno in _NO_SENDFILE:
            self.works = False
        return not self.works


@contextmanager
def _unread(transport: asyncio.Transport) -> Generator[None]:
    """Leave what the client says meanwhile in the kernel: one that only closes its own side is to get all the same."""
    reading = transport.is_reading()
    if reading:
        transport.pause_reading()
    try:
        yield
    finally:
        if reading and not transport.is_closing():
            transport.resume_reading()


def _report(request: web.Request, error: OSError | _ShrunkError) -> None:
    """Say when it was the file's fault; a client that leaves or falls silent is daily business."""
    if not isinstance(error, ConnectionError | TimeoutError):
        problem = "the file became shorter" if isinstance(error, _ShrunkError) else str(error)
        log.error("http.content_unreadable", route=route_of(request), problem=problem)
