"""Listening sockets whose connections cost little until one of them stays.

``socket.accept`` gives each connection an object with enumerations and a life of its own, in interpreted code. Whoever
asks one thing and leaves needs none of that: it is 3 of some 34 us that such a connection takes beside its decision.
"""

from __future__ import annotations

import socket
from typing import Any, Final, Protocol, cast

DEFERRED_S: Final = 1  # who speaks later than his handshake and a second is not what this is for; the least there is


class Connection(socket.SocketType):
    """A connection that has come in. It blocks: say for each call that it must not (``MSG_DONTWAIT``)."""

    __slots__ = ()

    def for_a_loop(self) -> socket.socket:
        """Give it up as what a loop takes: one that uvloop does not close twice, and that does not block."""
        given = socket.socket(self.family, self.type, self.proto, fileno=self.fileno())
        self.detach()
        given.settimeout(0)
        return given


class _Accepting(Protocol):
    """What ``socket.accept`` stands on, here since Python 3.4: a descriptor, and the address at the other end."""

    def _accept(self) -> tuple[int, tuple[Any, ...]]: ...


class Door:
    """One listening socket of the internet's families."""

    __slots__ = ("_bound", "_kind")

    def __init__(self, bound: socket.socket) -> None:
        """Own a bound socket from now on."""
        self._bound, self._kind = bound, (int(bound.family), int(bound.type), bound.proto)

    def listen(self, backlog: int) -> None:
        """Begin. The kernel keeps who has not spoken yet to itself, for a while."""
        self._bound.settimeout(0)
        if hasattr(socket, "TCP_DEFER_ACCEPT"):
            self._bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFERRED_S)
        self._bound.listen(backlog)

    def fileno(self) -> int:
        """Give what a loop watches."""
        return self._bound.fileno()

    def accept(self) -> tuple[Connection, str]:
        """Give the next connection, and the address at its other end.

        Raises:
            BlockingIOError: there is none.
            OSError: it, or none, can be accepted (accept(2)).
        """
        accepting = cast("_Accepting", self._bound)  # all that is public makes more of it
        descriptor, address = accepting._accept()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - see above
        return Connection(*self._kind, descriptor), address[0]

    def close(self) -> None:
        """Listen no more."""
        self._bound.close()
