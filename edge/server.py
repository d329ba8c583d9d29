"""An HTTP server that strangers may speak to: deadlines and limits on all that they send, and an orderly end.

aiohttp 3.14 gives a connection as long for its request's head as it gives an idle one, and writes a traceback for every
malformed request. ``_Connection`` mends both.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final, cast

import structlog
from aiohttp import hdrs, web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from edge.arrivals import Arrivals
from edge.deadlines import Deadlines
from edge.doors import Door
from edge.errors import ApiError, error_response, json_errors
from edge.gate import ConnectionLimits, Gate, Seat
from edge.lane import Answerer, Heir, Lane, Lanes
from edge.visitors import THIS_MACHINE, peer_address

SERVER_NAME: Final = "distributary"

HEAD_READ_TIMEOUT_S: Final = 10.0  # a head is one or two packets; ten seconds outlast three retransmissions
IDLE_TIMEOUT_S: Final = 60.0  # a browser asks again within seconds; common proxies let go after 60 to 75
STALL_TIMEOUT_MS: Final = 60_000  # a client that takes no byte for a minute has left; the kernel finds out
REQUEST_LINE_BYTES_MAX: Final = 8190  # a path of 1,024 bytes, each written %XX, with room for a query
FIELD_BYTES_MAX: Final = 8190  # long chains of proxies; a token of ours is 132
FIELDS_MAX: Final = 64  # browsers send about 20, proxies add five
BODY_BYTES_MAX: Final = 1 << 20  # the largest body is a filter or a profile, a few kilobytes
LINGER_S: Final = 2.0  # how long an answered request's unread body is still swallowed, so that the answer arrives
BACKLOG: Final = 1024  # who waits on a release day while the loop is busy for a tenth of a second, or has yet to speak
DRAIN_S: Final = 5.0  # requests of a few milliseconds end by themselves; a download can resume elsewhere
CANCEL_S: Final = 2.0  # a cancelled handler has but to write down what it sent
COMPLAIN_EVERY_S: Final = 10.0  # malformed requests come in floods; one line with a count says all
LIMITS: Final = ConnectionLimits()

log = structlog.stdlib.get_logger()


def new_app(*, body_bytes_max: int = BODY_BYTES_MAX) -> web.Application:
    """Make an application that answers errors as JSON and takes bodies of a limited size."""
    return web.Application(middlewares=[json_errors], client_max_size=body_bytes_max)


@asynccontextmanager
async def serve(
    app: web.Application,
    *,
    host: str,
    port: int,
    limits: ConnectionLimits = LIMITS,
    lane: Answerer | None = None,
    shares_port: bool = False,
    beside: socket.socket | None = None,
) -> AsyncGenerator[str]:
    """Serve an application while the block is entered; give the base URL it listens on. Port 0 picks a free one.

    ``limits`` bound the open connections, and so do the process's descriptors; those past them are closed unheard.
    ``lane`` answers simple requests before the application hears of them (``edge.lane``); with it, whoever has said
    nothing yet is kept by the kernel for a second or more, and not counted (``edge.arrivals``). With ``shares_port``
    other processes of this user may listen on the same address, and the kernel deals connections out among them.
    ``beside`` is a bound socket of the file system to listen on, too: for a proxy on this machine, who is met as
    ``THIS_MACHINE``.

    Leaving stops listening, lets running requests end for ``DRAIN_S``, then cancels them and lets them clean up for
    ``CANCEL_S``. Only then the application's own clean-up runs.

    Raises:
        OSError: the address cannot be listened on.
    """
    app.on_response_prepare.append(_sign)
    runner = web.AppRunner(app, shutdown_timeout=CANCEL_S)
    await runner.setup()
    try:
        server = runner.server
        assert server is not None  # noqa: S101 - setup has made it
        loop, complaints = asyncio.get_running_loop(), _Complaints()
        connections: set[_Connection] = set()
        gate = Gate(_fitting(limits))

        def connection() -> _Connection:
            return _Connection(server, loop, connections, complaints, gate)

        lanes = None if lane is None else _lanes(lane, gate, connection)
        make = connection if lanes is None else lambda: Lane(lanes, loop)
        try:
            async with AsyncExitStack() as listening:
                listener = await loop.create_server(
                    make, host, port, backlog=BACKLOG, reuse_port=shares_port or None, start_serving=False
                )
                listening.callback(listener.close)
                _give_up_on_stalled(listener)
                if lanes is None:
                    await listener.start_serving()
                else:
                    await listening.enter_async_context(_arriving(lanes, listener))
                if beside is not None:
                    door = await loop.create_unix_server(make, sock=beside, backlog=BACKLOG)
                    listening.callback(door.close)
                yield _base_url(host, listener.sockets[0])
        finally:
            await asyncio.sleep(0)  # what has arrived is taken up first
            server.pre_shutdown()  # idle connections end here, busy ones after their answer
            if lanes is not None:
                lanes.close()
            await _drain(connections)
            if lanes is not None:
                lanes.abort()
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _arriving(lanes: Lanes, bound: asyncio.Server) -> AsyncGenerator[None]:
    """Listen where a server is bound, in its place, while the block is entered."""
    arrivals = Arrivals(lanes, [Door(socket.socket(fileno=os.dup(each.fileno()))) for each in bound.sockets])
    try:
        arrivals.listen(BACKLOG)
        yield
    finally:
        await arrivals.close()


async def _drain(connections: Collection[_Connection]) -> None:
    """Let running requests end, then cancel them."""
    busy = {connection.task for connection in connections if connection.task is not None}
    if busy:
        _, busy = await asyncio.wait(busy, timeout=DRAIN_S)
    for task in busy:
        task.cancel()
    if busy:
        log.warning("http.cut_short", requests=len(busy), after_s=DRAIN_S)
        await asyncio.wait(busy, timeout=CANCEL_S)


def _lanes(answer: Answerer, gate: Gate, heir: Callable[[], _Connection]) -> Lanes:
    return Lanes(
        answer=answer,
        gate=gate,
        deadlines=Deadlines(head_s=HEAD_READ_TIMEOUT_S, idle_s=IDLE_TIMEOUT_S),
        server_name=SERVER_NAME,
        heir=heir,
        admit=partial(_admitted, gate),
    )


def _admitted(gate: Gate, transport: asyncio.BaseTransport) -> Seat | None:
    """Let a connection in that is not one too many."""
    return gate.enter(_address_of(transport))


def _fitting(limits: ConnectionLimits) -> ConnectionLimits:
    """Lower the limits to what this process's descriptors suffice for."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limits if descriptors == resource.RLIM_INFINITY else limits.within(descriptors)


async def _sign(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers[hdrs.SERVER] = SERVER_NAME


def _base_url(host: str, listening: socket.socket) -> str:
    return str(URL.build(scheme="http", host=host, port=listening.getsockname()[1]))


class _Complaints:
    """Reports malformed requests, at most once in ``COMPLAIN_EVERY_S``."""

    def __init__(self) -> None:
        self._silent_until_s = float("-inf")
        self._unsaid = 0

    def note(self, *, remote: str | None, error: BaseException, now_s: float) -> None:
        """Report one, or count it for the next report. Only its kind is told: the request itself may hold a token."""
        if now_s < self._silent_until_s:
            self._unsaid += 1
            return
        log.warning("http.malformed", remote=remote, kind=type(error).__name__, unsaid=self._unsaid)
        self._silent_until_s, self._unsaid = now_s + COMPLAIN_EVERY_S, 0


class _NoAccessLog(AbstractAccessLogger):
    """Paths carry tokens, and with ``sendfile`` aiohttp counts no bytes: the roles tell what they do as events."""

    @property
    def enabled(self) -> bool:
        """Be off."""
        return False

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Say nothing."""


class _Connection(web.RequestHandler, Heir):
    """One connection, with a deadline for each head and a short answer to what is no HTTP."""

    __slots__ = ("_complaints", "_gate", "_head_deadline", "_lane", "_peers", "_place", "task")

    def __init__(
        self,
        server: web.Server,
        loop: asyncio.AbstractEventLoop,
        peers: set[_Connection],
        complaints: _Complaints,
        gate: Gate,
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=IDLE_TIMEOUT_S,
            access_log_class=_NoAccessLog,
            max_line_size=REQUEST_LINE_BYTES_MAX,
            max_field_size=FIELD_BYTES_MAX,
            max_headers=FIELDS_MAX,
            lingering_time=LINGER_S,
        )
        self._peers = peers
        self._complaints = complaints
        self._gate = gate
        self._place: Seat | None = None
        self._lane: Lane | None = None
        self._head_deadline: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Handle this connection's requests; ``task`` lets the server wait for it."""
        self.task = asyncio.current_task()
        self._peers.add(self)
        try:
            await super().start()
        except asyncio.CancelledError:
            self.force_close()  # aiohttp leaves an idle one open until all others have ended
            raise
        finally:
            self._peers.discard(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with the deadline for the first head; close at once what is one too many."""
        transport = cast("asyncio.Transport", transport)
        place = _admitted(self._gate, transport)
        if place is None:
            transport.abort()
            return
        self.inherit(transport, place, due_s=self._loop.time() + HEAD_READ_TIMEOUT_S, lane=None)

    def inherit(self, transport: asyncio.Transport, place: Seat, *, due_s: float, lane: Lane | None) -> None:
        """Take a connection over (``edge.lane.Heir``)."""
        self._place, self._lane = place, lane
        super().connection_made(transport)
        self._await_head(due_s)

    def data_received(self, data: bytes) -> None:
        """Take bytes; a head that is begun and not complete keeps its deadline."""
        if self._lane is not None and self._request_count:
            if self._wants_head() and not self._paused:
                self._give_back(self._lane, data)
                return
            self._lane = None  # it did not wait for its answer: where aiohttp's parser stands is not known any more
        heads = self._request_count
        super().data_received(data)
        if self._request_count > heads:
            self._stop_awaiting_head()
        elif self._head_deadline is None and self._wants_head():
            self._await_head(self._loop.time() + HEAD_READ_TIMEOUT_S)

    def _give_back(self, lane: Lane, data: bytes) -> None:
        """End, and let the lane go on with the connection."""
        transport, place = self.transport, self._place
        assert transport is not None  # noqa: S101 - it has just read
        assert place is not None  # noqa: S101 - it was let in
        self.transport = self._place = None  # so that they outlast this protocol
        super().connection_lost(None)
        lane.take_back(transport, place, data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        if self._place is None:
            return
        self._gate.leave(self._place)
        self._stop_awaiting_head()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp could not parse."""
        if not isinstance(exc, HttpProcessingError) or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        self._complaints.note(remote=request.remote, error=exc, now_s=self._loop.time())
        response = error_response(ApiError("malformed_request", "this is no HTTP request", status=status))
        response.headers[hdrs.SERVER] = SERVER_NAME
        response.force_close()
        return response

    def _wants_head(self) -> bool:
        """Tell whether the next thing to come is (the rest of) a head."""
        return self._waiter is not None and not self._waiter.done()

    def _await_head(self, due_s: float) -> None:
        self._head_deadline = self._loop.call_at(due_s, self._head_overdue)

    def _stop_awaiting_head(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _head_overdue(self) -> None:
        self._head_deadline = None
        if self._wants_head():
            self.force_close()


def _address_of(transport: asyncio.BaseTransport) -> str:
    """Give who is at the other end; one that has left already counts as this machine until it is closed."""
    return peer_address(transport) or THIS_MACHINE


def _give_up_on_stalled(listener: asyncio.Server) -> None:
    """Let the kernel end connections whose clients take nothing for ``STALL_TIMEOUT_MS``: they inherit it (tcp(7))."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        for listening in listener.sockets:
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALL_TIMEOUT_MS)
