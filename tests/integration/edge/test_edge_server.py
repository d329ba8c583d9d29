"""The server against clients that are slow, rude or gone, and at its own end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

import edge.server
from edge.auth import require_bearer
from edge.clients import new_session
from edge.errors import ApiError
from edge.health import Check, add_health
from edge.server import FIELDS_MAX, REQUEST_LINE_BYTES_MAX, new_app, serve

if TYPE_CHECKING:
    from conftest import Desk, RawClient

Dial = Callable[[str], Awaitable["RawClient"]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serving = Callable[[dict[str, Handler]], AbstractAsyncContextManager[str]]

REQUEST = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
DEADLINE_S = 20.0


async def hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


@pytest.fixture
async def url(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[str]:
    monkeypatch.setattr(edge.server, "HEAD_READ_TIMEOUT_S", 0.3)
    async with serving({"/hello": hello}) as url:
        yield url


@pytest.mark.parametrize("begun", [b"", b"GET /hel", b"GET /hello HTTP/1.1\r\nHost: x\r\n"])
async def test_connection_without_a_whole_head_is_closed_in_time(url: str, dial: Dial, begun: bytes) -> None:
    client = await dial(url)
    await client.send(begun)
    assert await client.read_to_end() == b""


async def test_head_that_trickles_gets_no_more_time_than_another(url: str, dial: Dial) -> None:
    client = await dial(url)

    async def trickle() -> None:
        for byte in REQUEST * 100:
            await client.send(bytes([byte]))
            await asyncio.sleep(0.05)  # this client's own slowness

    dripping = asyncio.create_task(trickle())
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(dripping, DEADLINE_S)


async def test_second_head_on_a_connection_has_its_deadline_too(url: str, dial: Dial) -> None:
    client = await dial(url)
    await client.send(REQUEST)
    assert await client.read_body(5) == b"hello"
    await client.send(b"GET /hello HT")
    assert await client.read_to_end() == b""


async def test_handler_may_take_longer_than_a_head(
    serving: Serving, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.server, "HEAD_READ_TIMEOUT_S", 0.3)
    released = asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        await released.wait()
        return web.Response(text="done")

    async with serving({"/hello": slow}) as url:
        client, idle = await dial(url), await dial(url)
        await client.send(REQUEST)
        assert await idle.read_to_end() == b""  # so the deadline has passed
        released.set()
        assert await client.read_body(4) == b"done"


async def test_idle_connection_is_closed_after_a_while(
    serving: Serving, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.server, "IDLE_TIMEOUT_S", 0.3)
    async with serving({"/hello": hello}) as url:
        client = await dial(url)
        await client.send(REQUEST)
        assert await client.read_body(5) == b"hello"
        assert await client.read_to_end() == b""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let servers that are opened from now on wait for no stalled client."""
    monkeypatch.setattr(edge.server, "STALL_TIMEOUT_MS", 700)


@pytest.mark.usefixtures("impatient")
async def test_client_that_stops_reading_is_dropped(desk: Desk, dial: Dial) -> None:
    client = await dial(desk.url)
    await client.send(b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n")
    sent = await desk.result()
    assert not sent.completed


MALFORMED = {
    "binary": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no version": b"GET /secret-token HTTP/one\r\n\r\n",
    "line too long": b"GET /" + b"a" * REQUEST_LINE_BYTES_MAX + b" HTTP/1.1\r\n\r\n",
    "too many fields": b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: 1\r\n" % n for n in range(FIELDS_MAX + 2)) + b"\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "bad chunk": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_request_is_refused_as_json(url: str, dial: Dial, request_bytes: bytes) -> None:
    client = await dial(url)
    with capture_logs() as logs:
        await client.send(request_bytes)
        head, _, body = (await client.read_to_end()).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == b"400"
    assert b"Server: distributary" in head
    assert json.loads(body)["error"]["code"] == "malformed_request"
    assert [line["event"] for line in logs] == ["http.malformed"]
    assert "secret-token" not in str(logs)


async def test_flood_of_malformed_requests_makes_one_line(
    url: str, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as logs:
        for _ in range(20):
            client = await dial(url)
            await client.send(MALFORMED["binary"])
            await client.read_to_end()
    assert len(logs) == 1
    assert "Traceback" not in caplog.text


async def test_request_that_runs_may_end_when_the_server_stops(serving: Serving, dial: Dial) -> None:
    begun, released = asyncio.Event(), asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        begun.set()
        await released.wait()
        return web.Response(text="done")

    server = serving({"/hello": slow})
    client, idle = await dial(url := await server.__aenter__()), await dial(url)
    await client.send(REQUEST)
    await begun.wait()
    stopping = asyncio.create_task(server.__aexit__(None, None, None))
    assert await idle.read_to_end() == b""
    released.set()
    assert await client.read_body(4) == b"done"
    await asyncio.wait_for(stopping, DEADLINE_S)


async def test_request_that_does_not_end_is_cancelled_and_cleans_up_first(
    serving: Serving, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.server, "DRAIN_S", 0.2)
    begun, cleaned_up = asyncio.Event(), False

    async def endless(_request: web.Request) -> web.Response:
        nonlocal cleaned_up
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned_up = True
        raise AssertionError

    async with serving({"/hello": endless}) as url:
        client = await dial(url)
        await client.send(REQUEST)
        await begun.wait()
    assert cleaned_up
    assert await client.read_to_end() == b""


async def test_stopped_server_takes_no_connections(serving: Serving, dial: Dial) -> None:
    async with serving({"/hello": hello}) as url:
        pass
    with pytest.raises(ConnectionRefusedError):
        await dial(url)


async def _answer(
    serving: Serving,
    handler: Handler,
    *,
    method: str = "GET",
    data: BytesIO | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, Any], dict[str, str]]:
    async with (
        serving({"/x/{token}": handler}) as url,
        new_session() as session,
        session.request(method, f"{url}/x/secret-token", data=data, headers=headers) as answer,
    ):
        return answer.status, await answer.json(), dict(answer.headers)


async def test_error_of_ours_is_answered_as_json(serving: Serving) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        raise ApiError("channel_unknown", "no such channel", "see 'channel list'", status=404)

    status, body, fields = await _answer(serving, refuse)
    assert (status, fields["Server"]) == (404, "distributary")
    assert body == {"error": {"code": "channel_unknown", "message": "no such channel", "hint": "see 'channel list'"}}


@pytest.mark.parametrize("fault", [RuntimeError, ConnectionRefusedError, TimeoutError])
async def test_unexpected_error_shows_a_number_and_logs_the_rest_once(serving: Serving, fault: type[Exception]) -> None:
    async def fail(_request: web.Request) -> web.Response:
        raise fault("the database's password is hunter2")

    with capture_logs() as logs:
        status, body, _ = await _answer(serving, fail)
    assert (status, body["error"]["code"]) == (500, "internal")
    assert "hunter2" not in str(body)
    (line,) = logs
    assert line["event"] == "http.failed"
    assert line["error_id"] in body["error"]["message"]
    assert line["route"] == "/x/{token}"
    assert isinstance(line["exc_info"], fault)


async def test_error_in_the_middle_of_an_answer_breaks_the_connection(serving: Serving, dial: Dial) -> None:
    async def fail(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half of it")
        raise RuntimeError

    with capture_logs() as logs:
        async with serving({"/hello": fail}) as url:
            client = await dial(url)
            await client.send(REQUEST)
            assert (await client.read_to_end()).endswith(b"half of it\r\n")
    assert [line["event"] for line in logs] == ["http.failed"]


async def test_redirect_passes_through(serving: Serving) -> None:
    async def redirect(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/elsewhere")

    async with (
        serving({"/hello": redirect}) as url,
        new_session() as session,
        session.get(f"{url}/hello", allow_redirects=False) as answer,
    ):
        assert (answer.status, answer.headers["Location"]) == (302, "/elsewhere")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        pytest.param("GET", "/nothing", 404, "not_found", id="no such page"),
        pytest.param("DELETE", "/-/livez", 405, "method_not_allowed", id="wrong method"),
    ],
)
async def test_request_for_nothing_is_answered_as_json(method: str, path: str, status: int, code: str) -> None:
    app = new_app()
    add_health(app, lambda: ())
    async with (
        serve(app, host="127.0.0.1", port=0) as url,
        new_session() as session,
        session.request(method, f"{url}{path}") as answer,
    ):
        assert (answer.status, (await answer.json())["error"]["code"]) == (status, code)
        assert ("Allow" in answer.headers) == (status == HTTPStatus.METHOD_NOT_ALLOWED)


async def test_body_past_the_limit_is_refused(serving: Serving) -> None:
    async def read(request: web.Request) -> web.Response:
        return web.json_response(len(await request.read()))

    status, body, _ = await _answer(serving, read, method="POST", data=BytesIO(b"x" * (edge.server.BODY_BYTES_MAX + 1)))
    assert (status, body["error"]["code"]) == (413, "request_entity_too_large")


@pytest.mark.parametrize(
    ("checks", "status", "ready", "degraded"),
    [
        pytest.param((), 200, True, False, id="nothing to check"),
        pytest.param((Check(name="broker", ok=True),), 200, True, False, id="all well"),
        pytest.param((Check(name="geoip", ok=False, vital=False),), 200, True, True, id="something helpful is missing"),
        pytest.param(
            (Check(name="broker", ok=False, detail="away"),), 503, False, True, id="something vital is missing"
        ),
    ],
)
async def test_readiness_follows_the_checks(
    checks: tuple[Check, ...], status: int, ready: bool, degraded: bool
) -> None:
    app = new_app()
    add_health(app, lambda: checks)
    async with serve(app, host="127.0.0.1", port=0) as url, new_session() as session:
        async with session.get(f"{url}/-/readyz") as answer:
            body = await answer.json()
            assert (answer.status, body["ready"], body["degraded"]) == (status, ready, degraded)
            assert [check["name"] for check in body["checks"]] == [check.name for check in checks]
        async with session.get(f"{url}/-/livez") as answer:
            assert answer.status == 200


@pytest.mark.parametrize("by_proxy", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
async def test_strangers_are_told_what_does_not_work_and_only_the_operator_why(by_proxy: str) -> None:
    app = new_app()
    add_health(app, lambda: [Check(name="broker", ok=False, detail="amqp://site@10.0.0.7 refuses site", vital=False)])
    async with serve(app, host="127.0.0.1", port=0) as url, new_session() as session:
        async with session.get(f"{url}/-/readyz") as answer:
            assert "10.0.0.7" in await answer.text()
        async with session.get(f"{url}/-/readyz", headers={by_proxy: "198.51.100.7"}) as answer:
            assert await answer.json() == {
                "ready": True,
                "degraded": True,
                "checks": [{"name": "broker", "ok": False}],
            }


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        pytest.param(None, 401, id="none"),
        pytest.param("Basic c2VjcmV0", 401, id="another scheme"),
        pytest.param("Bearer ", 401, id="empty"),
        pytest.param("Bearer wrong", 403, id="wrong"),
        pytest.param("Bearer sécret", 403, id="not ASCII"),
        pytest.param("Bearer secret", 200, id="right"),
        pytest.param("bearer secret", 200, id="right, scheme in lower case"),
    ],
)
async def test_only_the_right_token_passes(serving: Serving, authorization: str | None, status: int) -> None:
    async def guarded(request: web.Request) -> web.Response:
        require_bearer(request, "secret")
        return web.json_response({})

    fields = {"Authorization": authorization} if authorization is not None else {}
    found, _, answered = await _answer(serving, guarded, headers=fields)
    assert found == status
    assert ("WWW-Authenticate" in answered) == (status == HTTPStatus.UNAUTHORIZED)


async def test_empty_expected_token_lets_nobody_pass(serving: Serving) -> None:
    async def guarded(request: web.Request) -> web.Response:
        require_bearer(request, "")
        return web.json_response({})

    assert (await _answer(serving, guarded, headers={"Authorization": "Bearer x"}))[0] == 403


async def test_client_takes_bytes_as_they_are(serving: Serving) -> None:
    async def squeezed(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=b"not really gzip", headers={"Content-Encoding": "gzip"})

    async with (
        serving({"/hello": squeezed}) as url,
        new_session() as session,
        session.get(f"{url}/hello") as answer,
    ):
        assert await answer.read() == b"not really gzip"
