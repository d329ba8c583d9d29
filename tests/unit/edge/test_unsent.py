"""Answers wait for the end of the loop's turn, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from edge.deadlines import Deadlines
from edge.gate import ConnectionLimits, Gate
from edge.lane import Heir, Lane, Lanes
from edge.simple import SimpleRequest
from edge.unsent import Unsent

REQUEST = b"GET /a.iso HTTP/1.1\r\nHost: dl.example\r\n\r\n"
LAST = b"GET /b.iso HTTP/1.1\r\nHost: dl.example\r\nConnection: close\r\n\r\n"
ANSWER = b"HTTP/1.1 302 Found\r\n"


class Wire(asyncio.Transport):
    """Keeps what is written to any of the wires, in order. A closed one takes nothing, as uvloop's."""

    def __init__(self, name: str, written: list[tuple[str, bytes]]) -> None:
        super().__init__()
        self.name, self.written, self.closed = name, written, False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.closed:
            raise RuntimeError("the handler is closed")
        self.written.append((self.name, bytes(data)))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def decided_for_two() -> tuple[Unsent, Wire, Wire]:
    """An answer for each of two clients, not sent yet; both wires keep what is written to either."""
    written: list[tuple[str, bytes]] = []
    unsent, ana, bob = Unsent(), Wire("ana", written), Wire("bob", written)
    unsent.add(ana, b"1", is_last=False)
    unsent.add(bob, b"2", is_last=False)
    return unsent, ana, bob


async def test_answers_leave_together_once_all_of_a_turn_are_decided() -> None:
    unsent, ana, bob = decided_for_two()
    written = ana.written
    assert not written
    await asyncio.sleep(0)
    assert written == [("ana", b"1"), ("bob", b"2")]
    unsent.add(bob, b"3", is_last=False)
    await asyncio.sleep(0)
    assert written[2:] == [("bob", b"3")]
    assert not ana.closed
    assert not bob.closed


async def test_a_connection_ends_behind_its_last_answer() -> None:
    written: list[tuple[str, bytes]] = []
    ana = Wire("ana", written)
    unsent = Unsent()
    unsent.add(ana, b"bye", is_last=True)
    assert not ana.closed
    unsent.flush()
    assert written == [("ana", b"bye")]
    assert ana.closed
    await asyncio.sleep(0)
    assert written == [("ana", b"bye")]


async def test_who_has_left_keeps_nobody_from_his_answer() -> None:
    unsent, ana, bob = decided_for_two()
    ana.close()
    unsent.flush()
    assert bob.written == [("bob", b"2")]


async def test_one_that_cannot_be_written_to_is_closed_and_keeps_nobody_from_his_answer() -> None:
    class Broken(Wire):
        def write(self, data: bytes | bytearray | memoryview) -> None:
            raise OSError(f"no memory for {len(data)} bytes")

    written: list[tuple[str, bytes]] = []
    unsent, broken, bob = Unsent(), Broken("ana", written), Wire("bob", written)
    unsent.add(broken, b"1", is_last=False)
    unsent.add(bob, b"2", is_last=False)
    unsent.flush()
    assert written == [("bob", b"2")]
    assert broken.closed


@pytest.fixture
async def asked() -> AsyncGenerator[tuple[Lanes, Lane, Wire]]:
    """A connection whose first request was decided in this turn of the loop, and not answered yet."""
    gate = Gate(ConnectionLimits())
    lanes = Lanes(
        answer=lambda _request: ANSWER,
        gate=gate,
        deadlines=Deadlines(head_s=60.0, idle_s=60.0),
        server_name="distributary",
        heir=Heir,
        admit=lambda _transport: gate.enter("127.0.0.1"),
    )
    lane, wire = Lane(lanes, asyncio.get_running_loop()), Wire("ana", [])
    lane.connection_made(wire)
    lane.data_received(REQUEST)
    assert not wire.written
    yield lanes, lane, wire
    lane.connection_lost(None)


@pytest.mark.parametrize("more", [REQUEST, b"GET /c HT", b"POST /d HTTP/1.1\r\n\r\n"])
async def test_nothing_is_heard_after_the_last_request_though_it_is_not_answered_yet(
    asked: tuple[Lanes, Lane, Wire], more: bytes
) -> None:
    lanes, lane, wire = asked
    heard: list[bytes] = []

    def noting(request: SimpleRequest) -> bytes:
        heard.append(request.target)
        return ANSWER

    lanes.answer = noting
    lane.data_received(LAST)
    lane.data_received(more)
    assert not wire.closed
    lanes.unsent.flush()
    assert heard == [b"/b.iso"]
    assert len(wire.written) == 2
    assert wire.closed


def is_answered(wire: Wire) -> bool:
    return [sent.startswith(ANSWER) for _, sent in wire.written] == [True]


async def test_a_server_that_ends_sends_what_it_has_decided(asked: tuple[Lanes, Lane, Wire]) -> None:
    lanes, _, wire = asked
    lanes.close()
    assert is_answered(wire)
    assert wire.closed


async def test_a_client_that_says_no_more_in_the_same_turn_is_answered(asked: tuple[Lanes, Lane, Wire]) -> None:
    _, lane, wire = asked
    lane.eof_received()
    wire.close()  # as a loop does then
    assert is_answered(wire)


async def test_a_connection_that_is_overdue_in_the_same_turn_is_answered(asked: tuple[Lanes, Lane, Wire]) -> None:
    _, lane, wire = asked
    lane.close()
    assert is_answered(wire)
    assert wire.closed
