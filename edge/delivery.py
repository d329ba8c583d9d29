"""How much of what was written to a connection the other side's TCP has really taken.

A counter in user space is ahead of the truth by the socket's buffer, megabytes for each download that is broken off.
Linux tells in ``TCP_INFO`` how many bytes were acknowledged. Where it does not (another system, no TCP), ``taken`` is
None and the caller counts the blocks that it handed over completely.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from typing import Final, Self, cast

_ACKNOWLEDGED_OFFSET: Final = 120  # tcpi_bytes_acked in struct tcp_info, since Linux 4.2
_COUNTER: Final = struct.Struct("=Q")
_TCP_INFO_BYTES: Final = 256
_QUEUED: Final = struct.Struct("=i")
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


class Delivery:
    """Counts from the moment of its making. Use it in a ``with`` block; it outlives the connection's own socket."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._socket = _duplicate(transport)
        self._base = 0
        if self._socket is not None:
            # Where the next byte will stand in the connection's stream: taken, in the kernel's queue, in our own.
            self._base = _acknowledged(self._socket) + _queued(self._socket) + transport.get_write_buffer_size()

    def __enter__(self) -> Self:
        """Count until the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the socket go."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def descriptor(self) -> int | None:
        """The connection's socket, ours to watch and to send by; None where there is none."""
        return None if self._socket is None else self._socket.fileno()

    def taken(self) -> int | None:
        """Give the bytes written since the beginning that the other side's TCP acknowledged; None where unknown."""
        if self._socket is None:
            return None
        return max(0, _acknowledged(self._socket) - self._base)

    def reset_on_close(self) -> None:
        """Throw away what the kernel has queued as soon as the connection is closed, so that no more is sent."""
        if self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def _duplicate(transport: asyncio.WriteTransport) -> socket.socket | None:
    original = cast("socket.socket | None", transport.get_extra_info("socket"))
    if sys.platform != "linux" or original is None or original.family not in {socket.AF_INET, socket.AF_INET6}:
        return None
    try:
        return original.dup()
    except OSError:
        return None  # the connection is gone already


def _acknowledged(connection: socket.socket) -> int:
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    return cast("int", _COUNTER.unpack_from(info, _ACKNOWLEDGED_OFFSET)[0])


def _queued(connection: socket.socket) -> int:
    answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(_QUEUED.size))
    return cast("int", _QUEUED.unpack(answer)[0])
