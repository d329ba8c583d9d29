"""Connections are taken up many in a turn, but not all at once; what cannot be accepted stops nobody else."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence
from typing import Any, cast

import pytest

from edge import arrivals
from edge.arrivals import TAKEN_UP_MAX, Arrivals
from edge.deadlines import Deadlines
from edge.gate import ConnectionLimits, Gate
from edge.lane import Heir, Lanes

LAST = b"GET /a.iso HTTP/1.1\r\nHost: dl.example\r\nConnection: close\r\n\r\n"
ANSWER = b"HTTP/1.1 302 Found\r\n"


class Caller:
    """A connection that waits, with a request on it. ``has_left``: nothing can be sent to it."""

    def __init__(self, *, has_left: bool = False) -> None:
        self.has_left, self.answer, self.is_closed = has_left, b"", False

    def recv(self, size: int, _flags: int) -> bytes:
        return LAST[:size]

    def send(self, data: bytes, _flags: int) -> int:
        if self.has_left:
            raise BrokenPipeError
        self.answer += data
        return len(data)

    def close(self) -> None:
        self.is_closed = True


class Door:
    """A listening socket at which callers wait; instead of one of them there may be an error."""

    def __init__(self, waiting: Sequence[Caller | OSError]) -> None:
        self.waiting, self.is_closed = list(waiting), False

    def accept(self) -> tuple[Caller, tuple[str, int]]:
        first = self.waiting.pop(0) if self.waiting else BlockingIOError()
        if isinstance(first, OSError):
            raise first
        return first, ("192.0.2.1", 4711)

    def settimeout(self, _seconds: float) -> None: ...

    def setsockopt(self, *_option: int) -> None: ...

    def listen(self, _backlog: int) -> None: ...

    def close(self) -> None:
        self.is_closed = True


class Readers:
    """A loop that tells of a readable socket when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._watched: dict[object, tuple[Any, ...]] = {}
        self.watching = asyncio.Event()
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "add_reader", self._add)
        monkeypatch.setattr(loop, "remove_reader", self._remove)

    def _add(self, fd: object, *callback: object) -> None:
        self._watched[fd] = callback
        self.watching.set()

    def _remove(self, fd: object) -> bool:
        self.watching.clear()
        return self._watched.pop(fd, None) is not None

    def tell(self, door: Door) -> bool:
        """Tell of a door, if anybody wants to know."""
        callback, *args = self._watched.get(door, (None,))
        if callback is not None:
            callback(*args)
        return callback is not None


def open_at(door: Door, *, limits: ConnectionLimits | None = None) -> tuple[Arrivals, Gate, Lanes]:
    gate = Gate(limits or ConnectionLimits())
    lanes = Lanes(
        answer=lambda _request: ANSWER,
        gate=gate,
        deadlines=Deadlines(head_s=60.0, idle_s=60.0),
        server_name="distributary",
        heir=Heir,
        admit=lambda _transport: None,
    )
    opened = Arrivals(lanes, [cast("socket.socket", door)])
    opened.listen(1)
    return opened, gate, lanes


async def test_so_many_are_taken_up_in_a_turn_and_the_others_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    callers = [Caller() for _ in range(TAKEN_UP_MAX + 1)]
    door, readers = Door(callers), Readers(monkeypatch)
    opened, gate, _ = open_at(door)
    readers.tell(door)
    assert len(door.waiting) == 1
    assert not any(caller.answer for caller in callers)  # before all of them are decided
    await asyncio.sleep(0)
    assert [caller.answer.startswith(ANSWER) for caller in callers] == [True] * TAKEN_UP_MAX + [False]
    readers.tell(door)
    await asyncio.sleep(0)
    assert all(caller.is_closed for caller in callers)
    assert len(gate) == 0
    await opened.close()
    assert door.is_closed


async def test_who_left_while_he_waited_or_was_decided_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    gone, well = Caller(has_left=True), Caller()
    door, readers = Door([OSError(errno.ECONNABORTED, "gone"), gone, well]), Readers(monkeypatch)
    opened, gate, _ = open_at(door)
    readers.tell(door)
    await asyncio.sleep(0)
    assert well.answer.startswith(ANSWER)
    assert gone.is_closed
    assert len(gate) == 0
    await opened.close()


async def test_without_descriptors_it_waits_and_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "RETRY_S", 0.0)
    caller = Caller()
    door, readers = Door([OSError(errno.EMFILE, "too many"), caller]), Readers(monkeypatch)
    opened, _, _ = open_at(door)
    readers.tell(door)
    assert not readers.tell(door)
    await asyncio.wait_for(readers.watching.wait(), 20)
    readers.tell(door)
    await asyncio.sleep(0)
    assert caller.answer.startswith(ANSWER)
    await opened.close()


async def test_server_that_ends_while_it_waits_for_descriptors_stays_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "RETRY_S", 0.0)
    door, readers = Door([OSError(errno.ENFILE, "too many")]), Readers(monkeypatch)
    opened, _, _ = open_at(door)
    readers.tell(door)
    await opened.close()
    await asyncio.sleep(0)
    assert not readers.tell(door)


async def test_one_too_many_is_closed_unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    first, late = Caller(), Caller()
    door, readers = Door([first, late]), Readers(monkeypatch)
    opened, _, _ = open_at(door, limits=ConnectionLimits(per_address=1))
    readers.tell(door)
    assert late.is_closed
    await asyncio.sleep(0)
    assert first.answer.startswith(ANSWER)
    assert not late.answer
    await opened.close()


async def test_server_that_ends_sends_what_it_has_decided_at_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = Caller()
    door, readers = Door([caller]), Readers(monkeypatch)
    opened, gate, lanes = open_at(door)
    readers.tell(door)
    lanes.close()
    assert caller.answer.startswith(ANSWER)
    assert len(gate) == 0
    await opened.close()
