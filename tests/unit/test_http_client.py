"""The command's HTTP client: what it sends, and how refusals become exit codes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from distributary.client import Api, ApiError, segment
from distributary.errors import CommandError, UnavailableError, UsageError
from distributary.exits import ExitCode

REFUSAL = {"error": {"code": "file_unknown", "message": "no such file", "hint": "look again"}}


class Scripted(BaseHTTPRequestHandler):
    """Answers as the path says: ``/status/<code>``, ``/broken``, ``/lines``, or echoes the request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_DELETE(self) -> None:
        self.answer()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        _, kind, *rest = self.path.split("/")
        match kind:
            case "status":
                self.send(int(rest[0]), json.dumps(REFUSAL))
            case "wrong":
                error = {"code": "token_wrong", "message": "no leave", "hint": "look for the right one"}
                self.send(403, json.dumps({"error": error}))
            case "broken":
                self.send(int(rest[0]), "<html>bad gateway</html>")
            case "cut":
                self.send(200, '{"type": "published"}\n{"type":')
            case "-":
                self.send(503, json.dumps({"ready": False, "checks": [{"name": "broker", "ok": False}]}))
            case _:
                seen = {"method": self.command, "path": self.path, "body": body, "token": self.headers["Authorization"]}
                self.send(200, json.dumps(seen) + "\n")

    def send(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's signature
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[Api]:
    """A client of a server that answers as the path says."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Scripted) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Api(f"http://127.0.0.1:{server.server_port}", role="master", token="secret")
        finally:
            server.shutdown()
            thread.join()


def test_request_carries_method_query_body_and_token(api: Api) -> None:
    seen = api.post("/files", {"a": 1}, {"path": "a b&c"})
    assert seen == {"method": "POST", "path": "/files?path=a+b%26c", "body": '{"a": 1}', "token": "Bearer secret"}


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [
        (400, ExitCode.USAGE), (401, ExitCode.REFUSED), (403, ExitCode.REFUSED), (404, ExitCode.NOT_FOUND),
        (409, ExitCode.FAILED), (410, ExitCode.REFUSED), (500, ExitCode.FAILED), (503, ExitCode.UNAVAILABLE),
    ],
)  # fmt: skip
def test_refusal_keeps_the_servers_words_and_gets_its_exit_code(api: Api, status: int, exit_code: ExitCode) -> None:
    with pytest.raises(ApiError) as refused:
        api.get(f"/status/{status}")
    said = (refused.value.code, refused.value.message, refused.value.hint)
    assert said == ("file_unknown", "no such file", "look again")
    assert refused.value.exit_code == exit_code


def test_refusal_in_another_form_is_told_by_its_status(api: Api) -> None:
    with pytest.raises(ApiError) as refused:
        api.delete("/broken/502")
    assert (refused.value.code, refused.value.exit_code) == ("http_502", ExitCode.UNAVAILABLE)


def test_answer_that_is_not_json_is_told_as_such(api: Api) -> None:
    with pytest.raises(UnavailableError, match="not JSON"):
        api.get("/broken/200")


def test_stream_gives_each_line_and_tells_when_it_breaks_off(api: Api) -> None:
    lines = api.stream("/cut", {})
    assert next(lines) == {"type": "published"}
    with pytest.raises(UnavailableError, match="broke off"):
        next(lines)


def test_role_that_is_not_ready_has_answered(api: Api) -> None:
    assert api.readiness()["ready"] is False


def test_nobody_listening_is_unavailable_with_a_hint() -> None:
    with pytest.raises(CommandError) as missed:
        Api("http://127.0.0.1:9", role="selector").get("/")
    assert (missed.value.code, missed.value.exit_code) == ("selector_unreachable", ExitCode.UNAVAILABLE)


@pytest.mark.parametrize("url", ["", "host:80", "ftp://host", "http://"])
def test_what_is_no_address_is_a_matter_of_usage(url: str) -> None:
    with pytest.raises(UsageError):
        Api(url, role="master")


def test_segment_cannot_leave_its_place() -> None:
    assert segment("../a b?") == "..%2Fa%20b%3F"


def test_wrong_token_is_told_with_the_file_that_it_is_from(api: Api) -> None:
    ours = Api(api.url, role="master", token="t", token_from="site/admin.token")
    with pytest.raises(ApiError) as refused:
        ours.get("/wrong")
    assert refused.value.exit_code is ExitCode.REFUSED
    assert "site/admin.token" in refused.value.hint
