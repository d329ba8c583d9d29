"""Connections are taken up many in a turn, but not all at once; what cannot be accepted stops nobody else."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from edge import arrivals
from edge.arrivals import TAKEN_UP_MAX, Arrivals
from edge.deadlines import Deadlines
from edge.doors import Door
from edge.gate import ConnectionLimits, Gate
from edge.lane import Heir, Lanes
from edge.server import new_app, serve
from edge.simple import SimpleRequest

LAST = b"GET /a.iso HTTP/1.1\r\nHost: dl.example\r\nConnection: close\r\n\r\n"
ANSWER = b"HTTP/1.1 302 Found\r\n"


class Caller:
    """A connection that waits, with a request on it.

    ``fails``: what a write meets; ``room``: how much it takes; ``end_fails``: what the end meets.
    """

    def __init__(
        self, *, fails: OSError | None = None, room: int = 1 << 20, end_fails: OSError | None = None, said: bytes = LAST
    ) -> None:
        self.fails, self.room, self.end_fails = fails, room, end_fails
        self.unread, self.answer, self.is_closed = said, b"", False
        self.was_looked_at = False

    def recv(self, size: int, flags: int) -> bytes:
        self.was_looked_at = True
        said = self.unread[:size]
        if not flags & socket.MSG_PEEK:
            self.unread = self.unread[size:]
        return said

    def send(self, data: bytes, _flags: int) -> int:
        if self.fails is not None:
            raise self.fails
        taken = data[: self.room]
        self.answer += taken
        return len(taken)

    def for_a_loop(self) -> Caller:
        return self

    def close(self) -> None:
        self.is_closed = True
        if self.end_fails is not None:
            raise self.end_fails


class Wire(asyncio.Transport):
    """A caller's connection, once it has a transport."""

    def __init__(self, caller: Caller) -> None:
        super().__init__()
        self.caller = caller

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.caller.answer += data

    def is_closing(self) -> bool:
        return self.caller.is_closed

    def close(self) -> None:
        self.caller.is_closed = True


class Entrance:
    """A door at which callers wait; instead of one of them there may be an error."""

    def __init__(self, waiting: Sequence[Caller | Exception]) -> None:
        self.waiting, self.is_closed = list(waiting), False

    def accept(self) -> tuple[Caller, str]:
        first = self.waiting.pop(0) if self.waiting else BlockingIOError()
        if isinstance(first, Exception):
            raise first
        return first, "192.0.2.1"

    def listen(self, _backlog: int) -> None: ...

    def close(self) -> None:
        self.is_closed = True


class Readers:
    """A loop that tells of a readable socket when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._watched: dict[object, tuple[Any, ...]] = {}
        self.fails: list[OSError] = []
        self.watching = asyncio.Event()
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "add_reader", self._add)
        monkeypatch.setattr(loop, "remove_reader", self._remove)

    def _add(self, fd: object, *callback: object) -> None:
        if self.fails:
            raise self.fails.pop()
        self._watched[fd] = callback
        self.watching.set()

    def _remove(self, fd: object) -> bool:
        self.watching.clear()
        return self._watched.pop(fd, None) is not None

    def tell(self, door: Entrance) -> bool:
        """Tell of a door, if anybody wants to know."""
        callback, *args = self._watched.get(door, (None,))
        if callback is not None:
            callback(*args)
        return callback is not None


def open_at(door: Entrance, *, limits: ConnectionLimits | None = None) -> tuple[Arrivals, Gate, Lanes]:
    gate = Gate(limits or ConnectionLimits())
    lanes = Lanes(
        answer=lambda _request: ANSWER,
        gate=gate,
        deadlines=Deadlines(head_s=60.0, idle_s=60.0),
        server_name="distributary",
        heir=Heir,
        admit=lambda _transport: None,
    )
    opened = Arrivals(lanes, [cast("Door", door)])
    opened.listen(1)
    return opened, gate, lanes


async def test_so_many_are_taken_up_in_a_turn_and_the_others_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    callers = [Caller() for _ in range(TAKEN_UP_MAX + 1)]
    door, readers = Entrance(callers), Readers(monkeypatch)
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


async def test_without_descriptors_it_waits_and_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "RETRY_S", 0.0)
    caller = Caller()
    door, readers = Entrance([OSError(errno.EMFILE, "too many"), caller]), Readers(monkeypatch)
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
    door, readers = Entrance([OSError(errno.ENFILE, "too many")]), Readers(monkeypatch)
    opened, _, _ = open_at(door)
    readers.tell(door)
    await opened.close()
    for _ in range(2):  # in the first turn a timer is found due, in the second it is run
        await asyncio.sleep(0)
    assert not readers.tell(door)


async def test_one_too_many_is_closed_unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    first, late = Caller(), Caller()
    door, readers = Entrance([first, late]), Readers(monkeypatch)
    opened, _, _ = open_at(door, limits=ConnectionLimits(per_address=1))
    readers.tell(door)
    assert late.is_closed
    assert not late.was_looked_at
    await asyncio.sleep(0)
    assert first.answer.startswith(ANSWER)
    assert not late.answer
    await opened.close()


async def test_all_who_wait_are_heard_before_the_first_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    callers = [Caller(), Caller()]
    door, readers = Entrance(callers), Readers(monkeypatch)
    opened, _, lanes = open_at(door)
    waiting: list[int] = []

    def decide(_request: SimpleRequest) -> bytes:
        waiting.append(len(door.waiting))
        return ANSWER

    lanes.answer = decide
    readers.tell(door)
    assert waiting == [0, 0]
    await opened.close()
    assert all(caller.answer.startswith(ANSWER) for caller in callers)


async def test_defect_that_one_meets_at_the_gate_keeps_nobody_from_his_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    ill, well = Caller(), Caller()
    door, readers = Entrance([ill, well]), Readers(monkeypatch)
    opened, gate, _ = open_at(door)
    enter, errors = gate.enter, [ValueError("no address")]

    def failing_once(peer: str) -> bytes | None:
        if errors:
            raise errors.pop()
        return enter(peer)

    monkeypatch.setattr(gate, "enter", failing_once)
    readers.tell(door)
    await asyncio.sleep(0)
    assert ill.is_closed
    assert not ill.answer
    assert well.answer.startswith(ANSWER)
    assert len(gate) == 0
    await opened.close()


@pytest.mark.parametrize("where", ["answer_only", "move"])
async def test_defect_after_the_gate_costs_no_place_there(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ill, well = Caller(said=LAST if where == "answer_only" else b"GET"), Caller()
    door, readers = Entrance([ill, well]), Readers(monkeypatch)
    opened, gate, lanes = open_at(door)
    owner = lanes if where == "answer_only" else opened
    working, errors = getattr(owner, where), [RuntimeError("a defect")]

    def failing_once(_: object, *args: object) -> object:
        if errors:
            raise errors.pop()
        return working(*args)

    monkeypatch.setattr(type(owner), where, failing_once)
    readers.tell(door)
    await asyncio.sleep(0)
    assert ill.is_closed
    assert well.answer.startswith(ANSWER)
    assert len(gate) == 0
    await opened.close()


async def test_what_ends_the_hearing_keeps_nobody_who_was_heard_from_his_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    well = Caller()
    door, readers = Entrance([well, MemoryError()]), Readers(monkeypatch)
    opened, gate, _ = open_at(door)
    with pytest.raises(MemoryError):
        readers.tell(door)
    await asyncio.sleep(0)
    assert well.answer.startswith(ANSWER)
    assert len(gate) == 0
    await opened.close()


async def test_server_that_ends_sends_what_it_has_decided_at_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = Caller()
    door, readers = Entrance([caller]), Readers(monkeypatch)
    opened, gate, lanes = open_at(door)
    readers.tell(door)
    lanes.close()
    assert caller.answer.startswith(ANSWER)
    assert len(gate) == 0
    await opened.close()


class Transports:
    """A loop that gives callers a transport, or fails to, before or after their lane has it."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, fails: Exception | None = None, is_late: bool = False
    ) -> None:
        self.fails, self.is_late = fails, is_late
        self.lanes: list[asyncio.Protocol] = []
        monkeypatch.setattr(asyncio.get_running_loop(), "connect_accepted_socket", self._connect)

    async def _connect(self, factory: Callable[[], asyncio.Protocol], caller: Caller) -> None:
        if self.fails is not None and not self.is_late:
            raise self.fails
        self.lanes.append(factory())
        self.lanes[-1].connection_made(Wire(caller))
        if self.fails is not None:
            raise self.fails


def unheard(request: SimpleRequest) -> bytes:
    raise AssertionError(f"after the last request {request.target!r} was heard")


@pytest.mark.parametrize("trouble", [{"room": 5}, {"fails": BlockingIOError()}])
async def test_what_there_is_no_room_for_leaves_by_a_transport(
    trouble: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = Caller(**trouble)
    door, readers, transports = Entrance([caller]), Readers(monkeypatch), Transports(monkeypatch)
    opened, gate, lanes = open_at(door)
    readers.tell(door)
    await asyncio.sleep(0)
    assert len(caller.answer) < len(ANSWER)
    assert not caller.is_closed
    await opened.close()
    (lane,) = transports.lanes
    lanes.answer = unheard
    lane.data_received(LAST)
    lanes.unsent.flush()
    assert caller.answer.startswith(ANSWER)
    assert caller.answer.count(b"HTTP/1.1") == 1
    assert caller.answer.endswith(b"Connection: close\r\n\r\n")
    assert caller.is_closed
    assert not caller.unread
    lane.connection_lost(None)
    assert len(gate) == 0
    lanes.abort()


async def test_server_that_ends_gives_a_transport_to_what_there_is_no_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = Caller(room=5)
    door, readers, transports = Entrance([caller]), Readers(monkeypatch), Transports(monkeypatch)
    opened, gate, lanes = open_at(door)
    readers.tell(door)
    await opened.close()
    lanes.close()
    assert caller.answer.endswith(b"Connection: close\r\n\r\n")
    assert caller.is_closed
    transports.lanes[0].connection_lost(None)
    assert len(gate) == 0
    lanes.abort()


async def test_whoever_moves_on_is_left_with_all_that_he_said(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = Caller(said=LAST + LAST)
    door, readers, transports = Entrance([caller]), Readers(monkeypatch), Transports(monkeypatch)
    opened, gate, lanes = open_at(door)
    readers.tell(door)
    await opened.close()
    assert caller.unread == LAST + LAST
    transports.lanes[0].connection_lost(None)
    assert len(gate) == 0
    lanes.abort()


@pytest.mark.parametrize("error", [OSError(errno.ENOMEM, "no memory"), RuntimeError("a defect")])
@pytest.mark.parametrize("is_late", [False, True])
async def test_who_cannot_be_taken_up_leaves_the_gate_once(
    error: Exception, is_late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = Caller(said=b"GET /")
    door, readers = Entrance([caller]), Readers(monkeypatch)
    transports = Transports(monkeypatch, fails=error, is_late=is_late)
    opened, gate, lanes = open_at(door)
    staying = gate.enter("198.51.100.1")
    readers.tell(door)
    await opened.close()
    for lane in transports.lanes:
        lane.connection_lost(None)  # as the loop does with what it has connected
    assert caller.is_closed
    assert staying is not None
    assert len(gate) == 1
    lanes.abort()


@pytest.mark.parametrize(
    "trouble",
    [{"fails": BrokenPipeError()}, {"fails": OSError(errno.ENOBUFS, "full")}, {"end_fails": OSError("no end")}],
)
async def test_who_left_while_he_waited_or_whose_answer_or_end_fails_leaves_the_gate_and_keeps_nobody(
    trouble: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, well = Caller(**trouble), Caller()
    door, readers = Entrance([OSError(errno.ECONNABORTED, "gone"), caller, well]), Readers(monkeypatch)
    opened, gate, _ = open_at(door)
    readers.tell(door)
    await asyncio.sleep(0)
    assert well.answer.startswith(ANSWER)
    assert caller.is_closed
    assert len(gate) == 0
    await opened.close()


async def test_error_that_nobody_knows_does_not_keep_the_loop_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    door, readers = Entrance([OSError(errno.EINVAL, "odd"), Caller()]), Readers(monkeypatch)
    opened, _, _ = open_at(door)
    readers.tell(door)
    assert not readers.tell(door)
    assert len(door.waiting) == 1
    await opened.close()


async def test_socket_that_cannot_be_watched_again_is_tried_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "RETRY_S", 0.0)
    door, readers = Entrance([OSError(errno.EMFILE, "too many")]), Readers(monkeypatch)
    opened, _, _ = open_at(door)
    readers.tell(door)
    readers.fails.append(OSError(errno.ENOMEM, "no memory"))
    await asyncio.wait_for(readers.watching.wait(), 20)
    assert not readers.fails
    assert readers.tell(door)
    await opened.close()


class Bound:
    """A server that is bound to two sockets."""

    def __init__(self, *sockets: socket.socket) -> None:
        self.sockets = sockets

    def close(self) -> None:
        for each in self.sockets:
            each.close()


async def test_server_that_cannot_listen_on_its_second_socket_closes_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, others = socket.socket(), socket.socket(), socket.socket()
    first.bind(("127.0.0.1", 0))
    for each in (second, others):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    second.bind(("127.0.0.1", 0))
    others.bind(second.getsockname())
    others.listen()

    async def bound(*_args: object, **_options: object) -> Bound:
        return Bound(first, second)

    monkeypatch.setattr(asyncio.get_running_loop(), "create_server", bound)
    address = first.getsockname()
    with pytest.raises(OSError, match="in use"):
        async with serve(new_app(), host="127.0.0.1", port=0, lane=lambda _request: ANSWER):
            pass
    with socket.socket() as late, pytest.raises(ConnectionRefusedError):
        late.connect(address)
    others.close()
