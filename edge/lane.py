"""A fast lane in front of aiohttp: simple requests are answered at once, all others as if it were not there.

``Lane`` looks at what arrived on a connection. Where that is one or more *simple* requests (a GET or HEAD of HTTP/1.1,
every line by a grammar stricter than HTTP's, nothing that frames a body, asks for an upgrade or for a word before the
body), an ``Answerer`` decides each of them without waiting, and the answers leave in one write, at the end of the
loop's turn (``edge.unsent``). What is not simple, or not for the answerer to decide, is given to aiohttp's own
protocol, together with the connection: aiohttp stays the one truth of HTTP, and a lane may refuse to understand
whatever it likes.

The connection comes back when aiohttp has answered a request that was simple, and nothing else arrived meanwhile: a
proxy keeps its connections for long, and one odd visitor must not slow all that come after him. After anything that is
not simple it stays with aiohttp.

Deadlines, limits and the end are those of ``edge.server``. Two things differ. A head that is begun, and wrong, is
judged (by aiohttp) when it is whole or overdue, and not at its first wrong byte. And what the lane answers it answers
as if it had come alone, where aiohttp forgets what came in one read with a wrong request, or before its client's end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import Enum
from typing import Final, NamedTuple, TypeAlias, assert_never, cast

import structlog

from edge.deadlines import Deadlines, Watch
from edge.gate import Gate, Seat
from edge.simple import SimpleRequest, may_be_begun, read_simple
from edge.unsent import Unsent
from edge.visitors import peer_address

PIPELINED_MAX: Final = 32  # apt sends ten; more in one read would keep the loop from others for a millisecond

_NO_BODY: Final = b"Content-Length: 0\r\n"
_END: Final = b"\r\n"
_LAST_END: Final = b"Connection: close\r\n\r\n"

log = structlog.stdlib.get_logger()


Answerer: TypeAlias = Callable[[SimpleRequest], bytes | None]
r"""Decides a request at once. Gives an answer without a body: the status line and the fields that are its own, each
ended by ``\r\n``. ``Content-Length`` (but for HEAD), ``Date``, ``Server`` and ``Connection`` are added. None: aiohttp
decides.
"""


class Verdict(Enum):
    """What becomes of a connection after the answers that it got at once."""

    ANSWERED = "all that arrived is answered"
    LAST = "the client wants no answer after those"
    BEGUN = "the next head is not whole yet"
    ANOTHERS = "one simple request is left, for aiohttp to answer"
    STRANGE = "what is left is not simple: it is for aiohttp, and so is all that follows"


class Heir(asyncio.Protocol):
    """aiohttp's protocol for one connection, as a lane sees it."""

    __slots__ = ()

    def inherit(self, transport: asyncio.Transport, place: Seat, *, due_s: float, lane: Lane | None) -> None:
        """Take over a connection whose place at the gate is this; a head has until ``due_s``, on the loop's clock.

        With a ``lane`` it is given one simple request, and may give the connection back after its answer.
        """
        raise NotImplementedError


class Arrived(NamedTuple):
    """A connection that was let in already: by what it is counted, whose it is, and the rest of its only answer."""

    place: Seat
    peer: str
    unsent: bytes = b""


@dataclass(slots=True, kw_only=True)
class Lanes:
    """What all lanes of one server have in common; those that aiohttp does not have are watched."""

    answer: Answerer
    gate: Gate
    deadlines: Deadlines
    server_name: str
    heir: Callable[[], Heir]
    admit: Callable[[asyncio.BaseTransport], Seat | None]
    unsent: Unsent = field(default_factory=Unsent)
    watch: Watch[Lane] = field(init=False)
    _ends: dict[tuple[bool, bool], bytes] = field(default_factory=dict[tuple[bool, bool], bytes])
    _ends_s: int = -1

    def __post_init__(self) -> None:
        """Watch the deadlines of all of them."""
        self.watch = Watch(self.deadlines)

    def answer_all(self, data: bytes, peer: str) -> tuple[bytes, int, Verdict]:
        """Answer the simple requests at the beginning of what arrived from a peer.

        Gives what is to be written, where the rest begins, and what to do with it.
        """
        answers = b""
        at, end = 0, len(data)
        for _ in range(PIPELINED_MAX):
            found = read_simple(data, at, peer)
            if found is None:
                return answers, at, Verdict.BEGUN if may_be_begun(data, at) else Verdict.STRANGE
            request, next_at = found
            own = self._decide(request)
            if own is None:
                return answers, at, Verdict.ANOTHERS if next_at == end else Verdict.STRANGE
            answers += own + self._end_of(request)
            at = next_at
            if request.is_last:  # RFC 9112 §9.6: what follows must not be heard
                return answers, end, Verdict.LAST
            if at == end:
                return answers, end, Verdict.ANSWERED
        return answers, at, Verdict.STRANGE

    def answer_only(self, data: bytes, peer: str) -> bytes | None:
        """Answer what is one simple request, and the only one of its connection; None: it is for a lane."""
        found = read_simple(data, 0, peer)
        if found is None or not found[0].is_last or found[1] != len(data):
            return None
        own = self._decide(found[0])
        return None if own is None else own + self._end_of(found[0])

    def close(self) -> None:
        """End all connections: none of them waits for an answer that is not decided."""
        self.unsent.flush()
        for lane in tuple(self.watch.watched):
            lane.close()

    def abort(self) -> None:
        """Cut the connections whose clients have yet to take their answers."""
        for lane in tuple(self.watch.watched):
            lane.abort()
        self.watch.end()

    def _decide(self, request: SimpleRequest) -> bytes | None:
        try:
            return self.answer(request)
        except Exception:  # a defect; aiohttp answers it as one, or has a way around it
            log.exception("lane.failed")
            return None

    def _end_of(self, request: SimpleRequest) -> bytes:
        """Give the fields that end every answer to such a request; they are the same for a second."""
        now_s = int(time.time())
        if now_s != self._ends_s:
            self._ends, self._ends_s = self._ends_at(now_s), now_s
        return self._ends[request.is_head, request.is_last]

    def _ends_at(self, now_s: int) -> dict[tuple[bool, bool], bytes]:
        stamp = f"Date: {formatdate(now_s, usegmt=True)}\r\nServer: {self.server_name}\r\n".encode("ascii")
        return {
            (is_head, is_last): (b"" if is_head else _NO_BODY) + stamp + (_LAST_END if is_last else _END)
            for is_head in (False, True)
            for is_last in (False, True)
        }


class Lane(asyncio.Protocol):
    """One connection, until aiohttp has it."""

    __slots__ = (
        "_arrived",
        "_begun",
        "_has_ended",
        "_is_full",
        "_lanes",
        "_loop",
        "_peer",
        "_place",
        "_transport",
        "due_s",
    )

    def __init__(self, lanes: Lanes, loop: asyncio.AbstractEventLoop, arrived: Arrived | None = None) -> None:
        self._lanes, self._loop, self._arrived = lanes, loop, arrived
        self._begun = b""  # of a head that is not whole yet
        self.due_s = 0.0
        self._is_full = self._has_ended = False
        self._peer = ""
        self._place: Seat | None = None if arrived is None else arrived.place
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with the deadline for the first head; close at once what is one too many."""
        transport = cast("asyncio.Transport", transport)
        unsent = b""
        if self._arrived is None:
            place, self._peer = self._lanes.admit(transport), peer_address(transport)
        else:
            (place, self._peer, unsent), self._arrived = self._arrived, None
        if place is None:
            transport.abort()
            return
        self._take(transport, place, due_s=self._loop.time() + self._lanes.deadlines.head_s)
        if unsent:
            self._has_ended = True
            self._lanes.unsent.add(transport, unsent, True)  # noqa: FBT003 - called for each request, where a keyword is felt

    def take_back(self, transport: asyncio.Transport, place: Seat, data: bytes) -> None:
        """Go on with a connection that aiohttp had, with what has just arrived on it."""
        transport.set_protocol(self)
        self._take(transport, place, due_s=self._loop.time() + self._lanes.deadlines.idle_s)
        self.data_received(data)

    def data_received(self, data: bytes) -> None:
        """Answer the simple requests at the beginning of what there is; keep what is begun, hand over the rest."""
        transport = self._transport
        if transport is None or self._has_ended:
            return
        if self._begun:
            data = self._begun + data
        answers, at, verdict = self._lanes.answer_all(data, self._peer)
        if answers:
            self._lanes.unsent.add(transport, answers, verdict is Verdict.LAST)
        self._begun = data[at:]
        if verdict is Verdict.ANSWERED:
            self.due_s = self._loop.time() + self._lanes.deadlines.idle_s
        else:
            self._go_on(verdict)

    def _go_on(self, verdict: Verdict) -> None:
        """Do with a connection what is to be done after the answers that it got at once."""
        match verdict:
            case Verdict.ANSWERED:
                pass
            case Verdict.LAST:
                self._has_ended = True  # it is closed when the answer is written: at the end of the turn
            case Verdict.BEGUN:
                self._await_rest()
            case Verdict.ANOTHERS:
                self._hand_over(lane=self)
            case Verdict.STRANGE:
                self._hand_over(lane=None)
            case _:
                assert_never(verdict)

    def pause_writing(self) -> None:
        """Take no more requests from a client that takes no answers."""
        self._is_full = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._is_full = False
        if self._transport is not None:
            self._transport.resume_reading()

    def eof_received(self) -> None:
        """Let a client that has said all it wants to say have its answers; then its connection ends.

        Where more than a thousand connections have news at once, libuv reads this in the turn of the request itself.
        """
        self._lanes.unsent.flush()

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - asyncio's signature
        """End; whoever was let in leaves, once, though he had no transport yet."""
        if self._place is not None:
            self._lanes.gate.leave(self._place)
            self._let_go()

    def close(self) -> None:
        """End the connection when its answers have left."""
        self._lanes.unsent.flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def overdue(self) -> None:
        """End what is idle for too long. A head that is not whole in time may still be wrong, which is answered."""
        if self._begun:
            self._hand_over(lane=None)
        else:
            self.close()

    def _take(self, transport: asyncio.Transport, place: Seat, *, due_s: float) -> None:
        self._transport, self._place, self.due_s = transport, place, due_s
        self._lanes.watch.add(self)

    def _let_go(self) -> None:
        self._lanes.watch.watched.discard(self)
        self._begun = b""
        self._place = self._transport = None

    def _await_rest(self) -> None:
        """Give a head that is begun its own deadline, from its first byte on."""
        self.due_s = min(self.due_s, self._loop.time() + self._lanes.deadlines.head_s)

    def _hand_over(self, *, lane: Lane | None) -> None:
        transport, place, begun, due_s = self._transport, self._place, self._begun, self.due_s
        assert transport is not None  # noqa: S101 - who hands over has it
        assert place is not None  # noqa: S101 - see above
        self._lanes.unsent.flush()  # its answers come before what is written there
        heir = self._lanes.heir()
        self._let_go()
        transport.set_protocol(heir)
        heir.inherit(transport, place, due_s=min(due_s, self._loop.time() + self._lanes.deadlines.head_s), lane=lane)
        if self._is_full:
            self._is_full = False
            heir.pause_writing()
            transport.resume_reading()
        heir.data_received(begun)
