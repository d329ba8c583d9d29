"""A door lets connections in that cost little, and gives a loop what it takes."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import closing

import pytest

from edge.doors import Door

DEADLINE_S = 20.0


@pytest.fixture
def bound() -> Generator[socket.socket]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


def test_who_has_spoken_is_let_in_and_goes_over_to_a_loop_with_what_he_said(bound: socket.socket) -> None:
    door = Door(bound)
    door.listen(1)
    with socket.create_connection(bound.getsockname(), DEADLINE_S) as client:
        client.sendall(b"word")
        bound.settimeout(DEADLINE_S)  # until the kernel tells of him
        connection, peer = door.accept()
        assert peer == client.getsockname()[0]
        with closing(connection), connection.for_a_loop() as given:
            assert given.getpeername() == client.getsockname()
            assert given.gettimeout() == 0
            assert connection.fileno() == -1
            given.settimeout(DEADLINE_S)
            assert given.recv(16) == b"word"
    door.close()
    assert bound.fileno() == -1


def test_where_nobody_waits_there_is_nothing_to_wait_for(bound: socket.socket) -> None:
    door = Door(bound)
    door.listen(1)
    with pytest.raises(BlockingIOError):
        door.accept()


def test_who_has_not_spoken_is_kept_by_the_kernel(bound: socket.socket) -> None:
    door = Door(bound)
    door.listen(1)
    assert bound.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) > 0
    door.close()
