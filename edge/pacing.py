"""How fast connections may send, seen to by the kernel (``SO_MAX_PACING_RATE``): one rate, shared by all that send now.

A rate that is kept in user space sends in bursts and costs a wake-up for each; the kernel spaces the packets out. Each
transfer has an equal share, set anew whenever one begins or ends and whenever the rate itself is changed. What a slow
visitor leaves of his share is not given to others: the rate is a limit and no promise.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

_MAX_PACING_RATE: Final = 47  # SO_MAX_PACING_RATE of Linux, which Python does not name
_RATE: Final = struct.Struct("=I")  # an int of Python's would be a signed one, which UNPACED is too large for
UNPACED: Final = 0xFFFF_FFFF  # the kernel's word for no limit, and the most that can be set
SHARE_BYTES_PER_SECOND_MIN: Final = 1_000  # below, one packet takes longer than the client's patience


def pace(transport: asyncio.BaseTransport, bytes_per_second: int) -> None:
    """Let a connection send no faster; ``UNPACED`` takes the limit away. No harm where the kernel cannot."""
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is None or connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    with contextlib.suppress(OSError):  # closed already, or a kernel that has no pacing
        connection.setsockopt(socket.SOL_SOCKET, _MAX_PACING_RATE, _RATE.pack(bytes_per_second))


class Pacing:
    """One rate in bytes per second for all transfers together; None is no limit."""

    def __init__(self, bytes_per_second: int | None) -> None:
        self._bytes_per_second = bytes_per_second
        self._sending: dict[asyncio.BaseTransport, int] = {}  # with the share that the kernel was told

    @property
    def bytes_per_second(self) -> int | None:
        """The rate that all share."""
        return self._bytes_per_second

    @property
    def share(self) -> int:
        """What one of the running transfers may send in a second."""
        if self._bytes_per_second is None:
            return UNPACED
        share = self._bytes_per_second // max(1, len(self._sending))
        return max(SHARE_BYTES_PER_SECOND_MIN, min(share, UNPACED))

    def change(self, bytes_per_second: int | None) -> None:
        """Let another rate count, for running transfers, too."""
        self._bytes_per_second = bytes_per_second
        self._tell()

    @contextmanager
    def entered(self, transport: asyncio.BaseTransport) -> Generator[None]:
        """Give a connection its share while the block is entered."""
        self._sending[transport] = UNPACED
        self._tell()
        try:
            yield
        finally:
            told = self._sending.pop(transport)
            if told != UNPACED:
                pace(transport, UNPACED)
            self._tell()

    def _tell(self) -> None:
        share = self.share
        for transport, told in self._sending.items():
            if told != share:
                pace(transport, share)
                self._sending[transport] = share
