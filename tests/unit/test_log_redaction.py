"""No secret gets into the logs, whichever way it comes."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from distributary.logs import configure, redact_text

TOKEN = "AQ" * 66


@pytest.fixture(params=[False, True], ids=["json", "console"])
def written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What was logged, as JSON lines and as on a terminal."""
    yield from logged(monkeypatch, console=request.param)


@pytest.fixture
def written_json(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What was logged, as JSON lines."""
    yield from logged(monkeypatch, console=False)


def logged(monkeypatch: pytest.MonkeyPatch, *, console: bool) -> Iterator[io.StringIO]:
    """Configure the logs as a role does, and put everything back afterwards."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    configure(role="mirror", console=console)
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)


@pytest.mark.parametrize(
    "text",
    [
        f"GET /d/{TOKEN}/a.iso",
        f"https://m.example/d/{TOKEN}/a.iso?x=1",
        f"Authorization: Bearer {TOKEN}",
        f"amqp://ana:{TOKEN}@broker:5672/v",
        f"joined with DT1.{TOKEN}",
    ],
    ids=["path", "url", "bearer", "password", "invitation"],
)
def test_secret_in_a_text_is_cut(text: str) -> None:
    assert TOKEN not in redact_text(text)
    assert "***" in redact_text(text)


def test_what_is_no_secret_stays() -> None:
    for text in ("amqp://broker:5672/v", "http://127.0.0.1:80/d/short", "a/d/b", "at 12:30 ana@example.org"):
        assert redact_text(text) == text


def test_record_is_a_json_line_with_role_time_and_event(written_json: io.StringIO) -> None:
    structlog.stdlib.get_logger().info("mirror.ready", mirror="ana")
    record = json.loads(written_json.getvalue())
    said = (record["event"], record["mirror"], record["role"], record["level"])
    assert said == ("mirror.ready", "ana", "mirror", "info")
    assert record["ts"].endswith("Z")


def test_secret_field_exception_and_library_record_are_redacted(written: io.StringIO) -> None:
    log = structlog.stdlib.get_logger()
    log.info("join", token=TOKEN, password="hunter2")
    local_secret = "of-a-local-variable"
    try:
        int(f"/d/{TOKEN}/a.iso")  # its message repeats the text
    except ValueError:
        log.exception("serve.failed")
    logging.getLogger("some.library").error("connecting to amqp://ana:%s@broker/", TOKEN)
    assert written.getvalue().count("***") >= 3
    assert TOKEN not in written.getvalue()
    assert "hunter2" not in written.getvalue()
    assert local_secret not in written.getvalue()


def test_attempt_to_connect_is_told_by_our_adapter_alone_and_in_round_seconds(written_json: io.StringIO) -> None:
    logging.getLogger("aiormq.connection").error("Connection attempt failed")
    logging.getLogger("aio_pika.robust_connection").warning("reconnecting")
    structlog.stdlib.get_logger().warning("broker.unreachable", retry_after_s=1.23456789)
    (line,) = written_json.getvalue().splitlines()
    assert json.loads(line)["retry_after_s"] == 1.235


def test_terminal_is_given_sentences_and_no_json(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in logged(monkeypatch, console=True):
        structlog.stdlib.get_logger().warning("broker.unreachable", retry_after_s=1.23456789)
        assert "broker.unreachable" in stream.getvalue()
        assert "retry_after_s=1.235" in stream.getvalue()
        assert "{" not in stream.getvalue()
        assert "\x1b" not in stream.getvalue()
