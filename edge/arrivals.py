"""New connections, many in a turn of the loop; who asks one thing and leaves has his answer without a transport.

A loop takes up a connection a turn (libuv says why: most servers never see two at once), and a transport, which must
be watched, read from a turn later and ended in another. So whoever opens a connection for each request would be decided
alone, between two calls of the system, and pay for what serves those who stay. ``Arrivals`` accepts by itself, reads
what there is, and answers at once, together with all others (``edge.unsent``), who sent one simple request and wants
the connection to end with the answer. All others become a ``Lane`` of the loop. What they have said was only looked
at: their transport reads it from the kernel, and whoever has the connection then may pause it as any other.

The kernel keeps a connection to itself until its client has spoken, for a second, or longer where packets are lost:
only then it counts at the gate, and its deadline begins.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, TypeAlias

import structlog

from edge.doors import Connection, Door
from edge.gate import Seat
from edge.lane import Arrived, Lane, Lanes
from edge.simple import HEAD_BYTES_MAX

TAKEN_UP_MAX: Final = 32  # in one turn: three milliseconds of redirects, until those who were here before are heard
RETRY_S: Final = 1.0  # when the system has no descriptor or memory left for one more; as asyncio waits
_AT_ONCE: Final = int(socket.MSG_DONTWAIT)  # as numbers: enumerations add up, and are looked up, in interpreted code
_LOOK: Final = int(socket.MSG_DONTWAIT | socket.MSG_PEEK)
# What accept(2) says of the connection that it took off the queue. By name: not all of them are everywhere.
_NAMES: Final = (
    "ECONNABORTED",
    "EHOSTDOWN",
    "EHOSTUNREACH",
    "ENETDOWN",
    "ENETUNREACH",
    "ENONET",
    "ENOPROTOOPT",
    "EOPNOTSUPP",
    "EPERM",
    "EPROTO",
)
_OF_THE_CALLER: Final = frozenset(getattr(errno, name) for name in _NAMES if hasattr(errno, name))

_Heard: TypeAlias = tuple[Connection, str, Seat, bytes]  # a connection, whose, its place, and what was said on it

log = structlog.stdlib.get_logger()


class _Caller:
    """Who asked one thing: the connection is written to once, and ends. What ``edge.unsent`` needs of a transport."""

    __slots__ = ("_arrivals", "_connection", "_peer", "_place", "_unsent")

    def __init__(self, connection: Connection, place: Seat, peer: str, arrivals: Arrivals) -> None:
        self._connection, self._place, self._peer, self._arrivals = connection, place, peer, arrivals
        self._unsent = b""

    def is_closing(self) -> bool:
        """Be there until closed."""
        return False

    def write(self, data: bytes) -> None:
        """Send an answer; who has left by now misses it. Where memory is short, there may not be room for all of it."""
        try:
            self._connection.recv(HEAD_BYTES_MAX, _AT_ONCE)  # what was unread would make its end a reset
            sent = self._connection.send(data, _AT_ONCE)
        except BlockingIOError:
            sent = 0
        except ConnectionError:
            return
        self._unsent = data[sent:]

    def close(self) -> None:
        """End the connection; what there was no room for leaves by a transport."""
        if self._unsent:
            self._arrivals.move(self._connection, Arrived(self._place, self._peer, self._unsent))
        else:
            self._arrivals.end(self._connection, self._place)


class Arrivals:
    """The connections that arrive at the listening sockets of one server with lanes."""

    def __init__(self, lanes: Lanes, doors: Sequence[Door]) -> None:
        """Own these from now on."""
        self._lanes, self._gate, self._unsent, self._loop = lanes, lanes.gate, lanes.unsent, asyncio.get_running_loop()
        self._doors = doors
        self._moving: set[asyncio.Task[object]] = set()
        self._retries: set[asyncio.TimerHandle] = set()

    def listen(self, backlog: int) -> None:
        """Begin."""
        for door in self._doors:
            door.listen(backlog)
            self._loop.add_reader(door, self._take_up, door)

    async def close(self) -> None:
        """Take no more, and let those that were taken up have their lanes."""
        for retry in self._retries:
            retry.cancel()
        for door in self._doors:
            self._loop.remove_reader(door)
            door.close()
        self._unsent.flush()
        if self._moving:
            await asyncio.wait(self._moving)

    def move(self, connection: Connection, arrived: Arrived) -> None:
        """Let a connection have a transport and a lane."""
        task = self._loop.create_task(self._connected(connection.for_a_loop(), arrived))
        self._moving.add(task)
        task.add_done_callback(self._moving.discard)

    def end(self, connection: Connection, place: Seat) -> None:
        """End a connection that has neither."""
        try:
            connection.close()
        finally:
            self._gate.leave(place)

    def _take_up(self, door: Door) -> None:
        """Hear all who wait, and then decide: calls of the system between two decisions would drive the caches out."""
        heard: list[_Heard] = []
        try:
            self._hear(door, heard)
        finally:  # whatever ended the hearing, those who were heard have their answers
            for each in heard:
                self._let_in(*each)

    def _hear(self, door: Door, heard: list[_Heard]) -> None:
        """Accept so many as a turn may take up, and look at what each has said; nothing has been read of it."""
        for _ in range(TAKEN_UP_MAX):
            try:
                connection, peer = door.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OF_THE_CALLER:
                    continue  # the next may be well
                self._pause(door, error)
                return
            place = self._place_for(connection, peer)
            if place is None:
                continue
            try:
                said = connection.recv(HEAD_BYTES_MAX, _LOOK)
            except OSError:  # he has not spoken, or has left, which his lane learns
                said = b""
            heard.append((connection, peer, place, said))

    def _place_for(self, connection: Connection, peer: str) -> Seat | None:
        """Let a connection in; one too many is closed, unheard, and so is one that the gate cannot tell from others."""
        place = None
        try:
            place = self._gate.enter(peer)
        except Exception:  # a defect; it must not keep the others from their answers
            log.exception("http.not_let_in")
        if place is None:
            connection.close()
        return place

    def _pause(self, door: Door, error: OSError) -> None:
        """Leave a door alone for a while; it would wake the loop again and again."""
        log.warning("http.accept_failed", error=str(error), again_after_s=RETRY_S)
        self._loop.remove_reader(door)

        def resume() -> None:
            self._retries.discard(retry)
            try:
                self._loop.add_reader(door, self._take_up, door)
            except OSError as again:
                self._pause(door, again)

        retry = self._loop.call_later(RETRY_S, resume)
        self._retries.add(retry)

    def _let_in(self, connection: Connection, peer: str, place: Seat, said: bytes) -> None:
        """Answer who says one thing and no more; others move into a lane, which reads what they have said."""
        try:
            answer = self._lanes.answer_only(said, peer) if said else None
            if answer is None:
                self.move(connection, Arrived(place, peer))
            else:
                self._unsent.add(_Caller(connection, place, peer, self), answer, True)  # noqa: FBT003 - called for each request, where a keyword is felt
        except Exception:  # a defect; it must cost neither the others their answers nor anybody a place at the gate
            log.exception("http.not_let_in")
            with suppress(OSError):  # of close(2): the place is free
                self.end(connection, place)

    async def _connected(self, connection: socket.socket, arrived: Arrived) -> None:
        """Let the loop have a connection."""
        lane = Lane(self._lanes, self._loop, arrived)
        try:
            await self._loop.connect_accepted_socket(lambda: lane, connection)
        except Exception as error:  # of the system, or a defect: either must not cost a place at the gate
            log.exception("http.not_taken_up")
            connection.close()
            lane.connection_lost(error)
