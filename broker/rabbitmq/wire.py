"""The connection's bytes: what comes a thousand times for each other word goes past aiormq, all else to it.

aiormq keeps the connection: handshake, heartbeats, opening and closing of AMQP channels, declarations. An AMQP channel
that publishes or consumes has a *taker*, who is given its frames first and takes those that he understands (deliveries,
confirmations). What he writes goes out between aiormq's frames: each write of either is whole frames.

So a frame is seen here the moment that it was read, and aiormq sees its own some turns of the loop later. That
matters where RabbitMQ closes an AMQP channel: nothing may be written on it once aiormq has answered.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol, cast

from aiormq.connection import TransportFactory
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

from broker.rabbitmq.frames import (
    CHANNEL_CLOSE,
    CHANNEL_CLOSE_OK,
    EMPTY_BYTES,
    END,
    HEAD_BYTES,
    HEARTBEAT,
    METHOD,
    frame_head,
    method_id,
)

# aiormq gives up a connection that gave it nothing for three heartbeats, 5 s each by default, and 1 s at least.
HEARTBEAT_EVERY_S: Final = 0.5
UNSENT_BYTES_MAX: Final = 65_536  # as much as asyncio lets lie before it says that the broker is slow to read


class Taker(Protocol):
    """Reads some frames of one AMQP channel."""

    def take(self, kind: int, data: bytes, at: int, end: int) -> bool:
        """Read a frame's payload, ``data[at:end]``, if it is one for him; else it is aiormq's. It must not raise."""
        ...


class Wire(asyncio.StreamReaderProtocol):
    """One connection. What nobody takes is fed to ``reader``, which is aiormq's."""

    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self._reader = reader
        self._loop = loop
        self._out: asyncio.Transport | None = None
        self._takers: dict[int, Taker] = {}
        self._rest = b""
        self._is_odd = False
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._fed_at_s = 0.0
        self._room = asyncio.Event()
        self._room.set()

    def take(self, amqp_channel: int, taker: Taker) -> None:
        """Give an AMQP channel's frames to a taker first, until it is closed."""
        self._takers[amqp_channel] = taker

    def is_taken(self, amqp_channel: int, taker: Taker) -> bool:
        """Tell whether RabbitMQ has not closed the AMQP channel, nor the connection ended, as far as was read."""
        return self._takers.get(amqp_channel) is taker

    def pass_on(self, data: bytes) -> None:
        """Give whole frames to aiormq after all, before those that were not taken yet."""
        self._reader.feed_data(data)

    @property
    def is_full(self) -> bool:
        """Tell whether the broker is slow to read: wait ``until_room``."""
        return not self._room.is_set()

    async def until_room(self) -> None:
        """Wait until the broker has read most of what was written, or the connection ends."""
        await self._room.wait()

    def write(self, frames: bytes) -> None:
        """Write whole frames, at the end of this turn of the loop; lost where the connection is.

        Each write wakes the broker, who takes the processor: what is said in one turn leaves together.
        """
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(frames)
        self._unsent_bytes += len(frames)
        if self._unsent_bytes >= UNSENT_BYTES_MAX:
            self._send()

    def _send(self) -> None:
        frames, self._unsent, self._unsent_bytes = self._unsent, [], 0
        if frames and self._out is not None:
            self._out.write(frames[0] if len(frames) == 1 else b"".join(frames))

    def writer(self) -> asyncio.StreamWriter:
        """Give what aiormq writes with; once it is connected."""
        if self._out is None:
            raise ConnectionResetError("the connection ended at once")
        return asyncio.StreamWriter(self._out, self, self._reader, self._loop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin (asyncio)."""
        self._out = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """End (asyncio)."""
        self._takers.clear()
        self._out = None
        self._room.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Note that the broker is slow to read (asyncio)."""
        self._room.clear()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the broker has read (asyncio)."""
        self._room.set()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Part what was read (asyncio)."""
        if self._is_odd:
            super().data_received(data)
            return
        data = self._rest + data if self._rest else data
        at = begun_at = 0  # up to where it was parted, and up to where somebody has it
        while (end := self._end_of_frame(data, at)) is not None:
            if self._is_taken(data, at, end):
                if begun_at < at:
                    self._feed(data[begun_at:at])
                begun_at = end
            at = end
        if self._is_odd:
            at = len(data)
        if begun_at < at:
            self._feed(data[begun_at:at])
        elif at and self._loop.time() - self._fed_at_s > HEARTBEAT_EVERY_S:
            self._feed(HEARTBEAT)
        self._rest = data[at:]

    def _end_of_frame(self, data: bytes, at: int) -> int | None:
        """Tell where a frame ends; None where it is not all here, or is none: then aiormq may judge."""
        if len(data) - at < EMPTY_BYTES or self._is_odd:
            return None
        end: int = at + EMPTY_BYTES + frame_head.unpack_from(data, at)[2]
        if end > len(data):
            self._is_odd = data.startswith(b"AMQP", at)  # what a broker of another version answers
            return None
        self._is_odd = data[end - 1] != END
        return None if self._is_odd else end

    def _is_taken(self, data: bytes, at: int, end: int) -> bool:
        kind, amqp_channel, _ = frame_head.unpack_from(data, at)
        taker = self._takers.get(amqp_channel)
        if taker is None:
            return False
        at, end = at + HEAD_BYTES, end - 1
        if kind == METHOD and method_id.unpack_from(data, at) in (CHANNEL_CLOSE, CHANNEL_CLOSE_OK):
            del self._takers[amqp_channel]
            return False
        return taker.take(kind, data, at, end)

    def _feed(self, data: bytes) -> None:
        self._fed_at_s = self._loop.time()
        super().data_received(data)


class WireFactory(TransportFactory):
    """Makes one connection for aiormq, and keeps its ``wire``."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._reader = asyncio.StreamReader(loop=loop)
        self.wire: Final = Wire(self._reader, loop)

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:  # noqa: ANN401 - aiormq's
        """Connect.

        Raises:
            AMQPConnectionError: nobody listens there.
        """
        loop, wire = asyncio.get_running_loop(), self.wire
        provider = kwargs.pop("ssl_context_provider")
        tls = await provider.get_context() if url.scheme == "amqps" else None
        try:
            await loop.create_connection(lambda: wire, url.host or "", url.port or 0, ssl=tls, **kwargs)
            return self._reader, wire.writer()
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
