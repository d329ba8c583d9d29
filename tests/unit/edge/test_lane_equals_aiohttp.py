"""The lane against aiohttp: whatever arrives, and however it is cut, both give the same bytes.

No client and no clock: requests are fed to the protocols that the server makes, or lie there when it accepts, and time
passes when the test says so.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, cast

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.lane import PIPELINED_MAX, Lane
from edge.server import HEAD_READ_TIMEOUT_S, IDLE_TIMEOUT_S, new_app, serve
from edge.simple import FIELDS_MAX, HEAD_BYTES_MAX, SimpleRequest

QUIET_TURNS = 12  # of the loop, with nothing written: aiohttp takes at most five from request to answer
PEER = ("203.0.113.7", 4711)
_DATE = re.compile(rb"Date: [^\r]*\r\n")


class Deaf:
    """Stands for a listening server: connections are made by hand."""

    def __init__(self) -> None:
        bound = socket.create_server(("127.0.0.1", 0))
        self.sockets, self.close = (bound,), bound.close

    async def start_serving(self) -> None:
        pass


class Loop(asyncio.SelectorEventLoop):
    """A loop whose clock the test sets, and that keeps what makes a server's protocols and takes up connections."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_s = 0.0
        self.factories: list[Callable[[], asyncio.Protocol]] = []
        self.doors: list[Callable[[Door], None]] = []
        self.moved: dict[Caller, Wire] = {}

    def time(self) -> float:
        return super().time() + self.ahead_s

    async def create_server(self, protocol_factory: Any, *_args: Any, **_kwargs: Any) -> Any:  # noqa: ANN401 - asyncio's signature
        self.factories.append(protocol_factory)
        return Deaf()

    def add_reader(self, fd: Any, callback: Any, *_args: Any) -> None:  # noqa: ANN401, ARG002 - asyncio's signature
        self.doors.append(callback)

    def remove_reader(self, fd: Any) -> bool:  # noqa: ANN401, ARG002 - asyncio's signature
        return True

    async def connect_accepted_socket(self, protocol_factory: Any, sock: Any, **_kwargs: Any) -> Any:  # noqa: ANN401 - asyncio's signature
        self.moved[sock] = Wire(protocol_factory())


class Caller:
    """A new connection: what its client has said by the time it is accepted, and what was sent to it."""

    def __init__(self, said: bytes) -> None:
        self.unread, self.written, self.is_closed = said, b"", False

    def recv(self, size: int, flags: int) -> bytes:
        if not self.unread:
            raise BlockingIOError
        said = self.unread[:size]
        if not flags & socket.MSG_PEEK:
            self.unread = self.unread[size:]
        return said

    def send(self, data: bytes, _flags: int) -> int:
        assert not self.is_closed
        self.written += data
        return len(data)

    def for_a_loop(self) -> Caller:
        return self

    def close(self) -> None:
        self.is_closed = True


class Door:
    """A door at which one connection waits."""

    def __init__(self, caller: Caller) -> None:
        self._waiting = [caller]

    def accept(self) -> tuple[Caller, str]:
        if not self._waiting:
            raise BlockingIOError
        return self._waiting.pop(), PEER[0]


class Wire(asyncio.Transport):
    """One connection's end at the server: what was written to it, and whether it still stands."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": PEER})
        self._protocol: asyncio.BaseProtocol = protocol
        self._closing = False
        self._paused = False
        self._unread = b""
        self.written = b""
        protocol.connection_made(self)

    @property
    def protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def feed(self, data: bytes) -> None:
        if self._paused:
            self._unread += data
        elif not self._closing:
            cast("asyncio.Protocol", self._protocol).data_received(data)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._closing
        self.written += data

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        unread, self._unread = self._unread, b""
        if unread:
            self.feed(unread)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    abort = close


FOUND = {
    "Location": "http://ana.example/d/x",
    "Cache-Control": "no-store",
}


async def redirect(request: web.Request) -> web.Response:
    via = ",".join(request.headers.getall("X-Forwarded-For", []))
    seen = f"{request.method} {request.rel_url.raw_path}?{request.rel_url.raw_query_string} {request.remote} {via}"
    return web.Response(status=302, headers={**FOUND, "X-Seen": seen})


async def page(request: web.Request) -> web.Response:
    return web.Response(text=f"a page: {request.method} {await request.read()!r}\n")


def answer(request: SimpleRequest) -> bytes | None:
    """Redirect as the application does; its pages are for the application."""
    path, _, query = request.target.decode().partition("?")
    if path.startswith("/-/") or path.endswith("/"):
        return None
    via = ",".join(request.values(b"x-forwarded-for"))
    seen = f"{'HEAD' if request.is_head else 'GET'} {path}?{query} {request.peer} {via}"
    fields = "".join(f"{name}: {value}\r\n" for name, value in {**FOUND, "X-Seen": seen}.items())
    return f"HTTP/1.1 302 Found\r\n{fields}".encode()


def new_site() -> web.Application:
    app = new_app()
    app.router.add_route("*", "/-/{path:.*}", page)
    app.router.add_route("*", "/{path:.*/}", page)
    app.router.add_get("/{path:.*}", redirect)
    return app


def talk(*conversations: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Hold conversations, each of some chunks, with aiohttp alone and with a lane before it; give what each said.

    Each is held twice with the lane: from its first byte on, and with its first chunk there when it is accepted.
    """
    with asyncio.Runner(loop_factory=Loop) as runner:
        yield from runner.run(_talk(conversations))


async def _talk(conversations: Sequence[Sequence[bytes]]) -> list[tuple[bytes, bytes]]:
    async with (
        serve(new_site(), host="127.0.0.1", port=0),
        serve(new_site(), host="127.0.0.1", port=0, lane=answer),
    ):
        (alone, with_lane), (take_up,) = the_loop().factories, the_loop().doors
        told: list[tuple[bytes, bytes]] = []
        for chunks in conversations:
            truth = await converse(alone, chunks)
            told += [(truth, await converse(with_lane, chunks)), (truth, await arrive(take_up, chunks))]
        return told


def the_loop() -> Loop:
    return cast("Loop", asyncio.get_running_loop())


async def converse(factory: Callable[[], asyncio.Protocol], chunks: Sequence[bytes]) -> bytes:
    return await go_on(Wire(factory()), chunks)


async def arrive(take_up: Callable[[Door], None], chunks: Sequence[bytes]) -> bytes:
    """Hold a conversation whose first chunk is there when the connection is accepted."""
    caller = Caller(chunks[0])
    take_up(Door(caller))
    for _ in range(QUIET_TURNS):
        await asyncio.sleep(0)
    wire = the_loop().moved.pop(caller, None)
    if wire is not None:
        return await go_on(wire, [caller.unread, *chunks[1:]])
    assert caller.is_closed
    return masked(caller.written)


def masked(written: bytes) -> bytes:
    return _DATE.sub(b"Date: now\r\n", written)


async def go_on(wire: Wire, chunks: Sequence[bytes]) -> bytes:
    for chunk in chunks:
        wire.feed(chunk)
        await settle(wire)
    for wait_s in (HEAD_READ_TIMEOUT_S, IDLE_TIMEOUT_S, IDLE_TIMEOUT_S):
        the_loop().ahead_s += wait_s + 1
        await settle(wire)
    assert wire.is_closing()
    return masked(wire.written)


async def settle(wire: Wire) -> None:
    quiet, said = 0, len(wire.written)
    while quiet < QUIET_TURNS:
        await asyncio.sleep(0)
        quiet = quiet + 1 if len(wire.written) == said else 0
        said = len(wire.written)


def get(*fields: bytes, target: bytes = b"/a", line: bytes | None = None) -> bytes:
    first = line if line is not None else b"GET " + target + b" HTTP/1.1"
    return b"".join(part + b"\r\n" for part in (first, b"Host: x", *fields, b""))


SIMPLE = get(b"Accept: */*", target=b"/dir/a%20b.iso")
LAST = get(b"Connection: close")
PAGE = get(target=b"/-/page")
BODY = b"POST /-/page HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"

ZOO = {
    "simple": SIMPLE,
    "HEAD": get(line=b"HEAD /a HTTP/1.1"),
    "last": LAST,
    "HEAD that is the last": get(b"connection:close ", line=b"HEAD /a HTTP/1.1"),
    "keep-alive": get(b"Connection: keep-alive"),
    "Keep-Alive in capitals": get(b"CONNECTION: Keep-Alive"),
    "close in capitals": get(b"Connection: CLOSE"),
    "both": get(b"Connection: keep-alive", b"Connection: close"),
    "list of options": get(b"Connection: keep-alive, close"),
    "option nobody knows": get(b"Connection: x-secret"),
    "upgrade": get(b"Connection: upgrade", b"Upgrade: websocket"),
    "upgrade to HTTP/2": get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMA"),
    "upgrade alone": get(b"Upgrade: websocket"),
    "old websocket": get(b"Sec-WebSocket-Key1: x"),
    "proxy's connection": get(b"Proxy-Connection: close"),
    "asks before its body": get(b"Expect: 100-continue", b"Content-Length: 5") + b"hello",
    "asks for nothing": get(b"Expect: 100-continue"),
    "body of no length": get(b"Content-Length: 0"),
    "body": get(b"Content-Length: 5") + b"hello",
    "body that looks like a request": get(b"Content-Length: %d" % len(SIMPLE)) + SIMPLE,
    "two lengths": get(b"Content-Length: 5", b"Content-Length: 6") + b"hello",
    "chunks": get(b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n",
    "smuggled": get(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"0\r\n\r\n" + SIMPLE,
    "spaced coding": get(b"Transfer-Encoding : chunked") + b"0\r\n\r\n",
    "trailers": get(b"TE: trailers"),
    "POST": BODY,
    "PUT nobody takes": get(b"Content-Length: 0", line=b"PUT /a HTTP/1.1"),
    "OPTIONS": get(line=b"OPTIONS * HTTP/1.1"),
    "CONNECT": get(line=b"CONNECT x:443 HTTP/1.1"),
    "page": PAGE,
    "folder": get(target=b"/dir/"),
    "query": get(target=b"/a?not=ana&not=bob"),
    "query of queries": get(target=b"/a?b?c=%3F"),
    "fragment": get(target=b"/a#b"),
    "fragment after a query": get(target=b"/a?b#c"),
    "two slashes": get(target=b"//dir/a"),
    "dots": get(target=b"/x/../a"),
    "page behind dots": get(target=b"/x/../-/page"),
    "encoded slash": get(target=b"/dir%2Fa"),
    "bad percent": get(target=b"/a%zz%"),
    "encoded bytes that are no text": get(target=b"/%ff%fe"),
    "bytes that are no ASCII": get(target=b"/\xc3\xbc"),
    "quote in the path": get(target=b'/a"b'),
    "brackets and bars": get(target=b"/a[b]|c^d`{e}"),
    "backslash": get(target=b"/..\\a"),
    "absolute form": get(target=b"http://x/a"),
    "no slash": get(target=b"a"),
    "asterisk": get(target=b"*"),
    "empty target": get(line=b"GET  HTTP/1.1"),
    "two spaces": get(line=b"GET  /a HTTP/1.1"),
    "space at the end": get(line=b"GET /a HTTP/1.1 "),
    "space in the path": get(target=b"/a b"),
    "tab": get(line=b"GET\t/a\tHTTP/1.1"),
    "lower case": get(line=b"get /a HTTP/1.1"),
    "method of another length": get(line=b"GETS /a HTTP/1.1"),
    "HTTP/1.0": get(line=b"GET /a HTTP/1.0"),
    "HTTP/1.0 that stays": get(b"Connection: keep-alive", line=b"GET /a HTTP/1.0"),
    "HTTP/0.9": b"GET /a\r\n\r\n",
    "HTTP/1.2": get(line=b"GET /a HTTP/1.2"),
    "HTTP/2.0": get(line=b"GET /a HTTP/2.0"),
    "HTTP/2 by heart": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version in small letters": get(line=b"GET /a http/1.1"),
    "no host": b"GET /a HTTP/1.1\r\nAccept: */*\r\n\r\n",
    "no field": b"GET /a HTTP/1.1\r\n\r\n",
    "two hosts": get(b"Host: y"),
    "two agents": get(b"User-Agent: a", b"user-agent: b"),
    "empty host": b"GET /a HTTP/1.1\r\nHost:\r\n\r\n",
    "strange host": b"GET /a HTTP/1.1\r\nHost: a b<>\r\n\r\n",
    "forwarded twice": get(b"X-Forwarded-For: 198.51.100.1", b"x-forwarded-for:\t203.0.113.5 , ::1 \t"),
    "field that ends like another": get(b"Y-X-Forwarded-For: 1", b"X-Forwarded-For-Y: 2"),
    "field in a value": get(b"Accept: x-forwarded-for: 1"),
    "empty value": get(b"X-Forwarded-For:"),
    "nothing but blanks": get(b"X-Forwarded-For: \t "),
    "folded": get(b"Accept: a", b" b"),
    "space before the colon": get(b"Accept : */*"),
    "no colon": get(b"Accept"),
    "no name": get(b": x"),
    "name in quotes": get(b'"Accept": x'),
    "bytes past ASCII in a value": get(b"X-Forwarded-For: \xc3\xbc"),
    "control character in a value": get(b"Accept: a\x01b"),
    "NUL in a value": get(b"Accept: a\x00b"),
    "DEL in a value": get(b"Accept: a\x7fb"),
    "carriage return in a value": get(b"Accept: a\rb"),
    "line feed in a value": get(b"Accept: a\nX-Forwarded-For: 1"),
    "line feeds alone": b"GET /a HTTP/1.1\nHost: x\n\n",
    "line feed at the end": b"GET /a HTTP/1.1\r\nHost: x\r\n\n",
    "carriage returns alone": b"GET /a HTTP/1.1\rHost: x\r\r",
    "empty lines before": b"\r\n\r\n" + SIMPLE,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "NULs": b"\x00" * 20,
    "nothing": b"",
    "only its first letters": b"GE",
    "unfinished": b"GET /a HTTP/1.1\r\nHost: x\r\nAcc",
    "unfinished and wrong": b"GET /a HTTP/9\r\nHo st",
    "as many fields as the lane takes": get(*(b"A%d: 1" % n for n in range(FIELDS_MAX - 1))),
    "more fields than the lane takes": get(*(b"A%d: 1" % n for n in range(FIELDS_MAX))),
    "more fields than aiohttp takes": get(*(b"A%d: 1" % n for n in range(80))),
    "long field": get(b"Accept: " + b"a" * HEAD_BYTES_MAX),
    "field too long": get(b"Accept: " + b"a" * 9000),
    "long path": get(target=b"/" + b"a" * HEAD_BYTES_MAX),
    "path too long": get(target=b"/" + b"a" * 9000),
    "head that never ends": b"GET /" + b"a" * 5000,
}
CONVERSATIONS = {
    "two": SIMPLE + SIMPLE,
    "one and a begun one": SIMPLE + b"GET /a HT",
    "page between": SIMPLE + PAGE + SIMPLE,
    "page at the end": SIMPLE + PAGE,
    "body between": SIMPLE + BODY + SIMPLE,
    "more than is answered at once": SIMPLE * (2 * PIPELINED_MAX + 1),
}


every_request = pytest.mark.parametrize("request_bytes", ZOO.values(), ids=ZOO.keys())
everything = pytest.mark.parametrize(
    "request_bytes", [*ZOO.values(), *CONVERSATIONS.values()], ids=[*ZOO, *CONVERSATIONS]
)


@everything
def test_lane_says_what_aiohttp_says(request_bytes: bytes) -> None:
    for alone, with_lane in talk([request_bytes]):
        assert with_lane == alone


@every_request
def test_it_says_the_same_to_what_comes_before_and_after(request_bytes: bytes) -> None:
    before, between = [request_bytes, SIMPLE, LAST], [SIMPLE, request_bytes, SIMPLE]
    for alone, with_lane in talk(before, between, [PAGE, *between], [SIMPLE, PAGE, request_bytes, PAGE, SIMPLE]):
        assert with_lane == alone


@everything
def test_it_says_the_same_when_every_byte_comes_alone(request_bytes: bytes) -> None:
    begun = request_bytes[:400]
    bytewise = [*(begun[at : at + 1] for at in range(len(begun))), request_bytes[400:]]
    for alone, with_lane in talk(bytewise, [SIMPLE, *bytewise], [PAGE, *bytewise]):
        assert with_lane == alone


NAMES = ["Accept", "Connection", "Content-Length", "Host", "Range", "TE", "Upgrade", "User-Agent", "X-Forwarded-For"]
fields = st.tuples(st.sampled_from(NAMES), st.sampled_from(["", "0", "close", "keep-alive", "x, y", "a: b", "::1"]))


def written(method: str, target: str, version: str, lines: list[str]) -> bytes:
    return f"{method} /{target} {version}\r\nHost: x\r\n{''.join(lines)}\r\n".encode()


some_request = st.builds(
    written,
    st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "get"]),
    st.text("ab/%2d?=&#-.~é ", max_size=12),
    st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2"]),
    st.lists(fields.map(": ".join).map("{}\r\n".format), max_size=4),
)


@st.composite
def conversations(draw: st.DrawFn) -> list[list[bytes]]:
    """Draw a few requests one after the other, some with a wrong byte, each cut in pieces."""
    found: list[list[bytes]] = []
    for request in draw(
        st.lists(st.one_of(some_request, st.sampled_from([SIMPLE, PAGE, BODY])), min_size=1, max_size=4)
    ):
        at, wrong = (
            draw(st.integers(0, len(request) - 1)),
            draw(st.one_of(st.just(b""), st.just(b""), st.binary(max_size=2))),
        )
        spoilt = request[:at] + wrong + request[at + len(wrong) :]
        cuts = sorted(draw(st.lists(st.integers(0, len(spoilt)), max_size=3)))
        found.append([spoilt[begin:end] for begin, end in pairwise([0, *cuts, len(spoilt)]) if begin < end])
    return found


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(conversations())
def test_it_says_the_same_whatever_is_said(drawn: list[list[bytes]]) -> None:
    for alone, with_lane in talk([chunk for request in drawn for chunk in request]):
        assert with_lane == alone


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(conversations())
def test_requests_that_come_at_once_are_answered_as_if_the_first_few_had_come_alone(drawn: list[list[bytes]]) -> None:
    requests = [b"".join(request) for request in drawn]
    ways = [[*requests[:few], b"".join(requests[few:])] for few in range(len(requests) + 1)]
    told = list(talk(*ways))
    assert {said for _, said in told[:2]} <= {alone for alone, _ in told}


def test_most_of_this_was_said_by_the_lane() -> None:
    """Lest all of the above compare aiohttp with itself."""
    loop_of_one = [SIMPLE, PAGE, SIMPLE, get(line=b"HEAD /a HTTP/1.1"), LAST]
    heard: list[bytes] = []

    async def hold() -> Wire:
        def noting(request: SimpleRequest) -> bytes | None:
            heard.append(request.target)
            return answer(request)

        async with serve(new_site(), host="127.0.0.1", port=0, lane=noting):
            wire = Wire(the_loop().factories[0]())
            for chunk in loop_of_one:
                wire.feed(chunk)
                await settle(wire)
            return wire

    with asyncio.Runner(loop_factory=Loop) as runner:
        wire = runner.run(hold())
    assert heard == [b"/dir/a%20b.iso", b"/-/page", b"/dir/a%20b.iso", b"/a", b"/a"]
    assert isinstance(wire.protocol, Lane)
    assert wire.written.count(b"302 Found") == 4


def is_answered_at_the_door(request: bytes) -> bool:
    async def knock() -> bool:
        async with serve(new_site(), host="127.0.0.1", port=0, lane=answer):
            caller = Caller(request)
            the_loop().doors[0](Door(caller))
            for _ in range(QUIET_TURNS):
                await asyncio.sleep(0)
            return caller.is_closed and b"302 Found" in caller.written and not the_loop().moved

    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(knock())


@pytest.mark.parametrize("case", ["last", "HEAD that is the last", "close in capitals"])
def test_who_asks_one_thing_and_leaves_is_answered_when_he_is_accepted(case: str) -> None:
    """Lest all of the above compare lanes with themselves."""
    assert is_answered_at_the_door(ZOO[case])


@pytest.mark.parametrize("said", [b"", SIMPLE, LAST + SIMPLE, LAST[:-1], get(b"Connection: close", target=b"/-/page")])
def test_whoever_says_anything_else_gets_a_lane(said: bytes) -> None:
    assert not is_answered_at_the_door(said)
