"""The demo's pure parts: the lock file, the redirects on the way, the verdict."""

from __future__ import annotations

import pytest

from distributary.cli.output import Output
from distributary.demo.download import Download, Hop, parse_hops, shortened
from distributary.demo.lock import Locked, locked_dependencies
from distributary.demo.story import Story
from distributary.exits import ExitCode

LOCK = """
[[package]]
name = "distributary"
version = "1"
dependencies = [{ name = "alpha" }, { name = "windows-only" }]

[[package]]
name = "alpha"
version = "1.0"
dependencies = [{ name = "beta" }, { name = "alpha" }]
wheels = [{ url = "u", hash = "sha256:aa" }, { url = "u", hash = "sha256:ab" }]

[[package]]
name = "beta"
version = "2.0"
wheels = [{ url = "u", hash = "sha256:bb" }]

[[package]]
name = "windows-only"
version = "1.0"
wheels = [{ url = "u", hash = "sha256:cc" }]

[[package]]
name = "of-the-tests"
version = "1.0"
wheels = [{ url = "u", hash = "sha256:dd" }]
"""

SITE = "http://127.0.0.1:1/a.iso"
MIRROR = "http://127.0.0.1:2/d/AbCdEfGhIjKlMnOp/a.iso"


def test_lock_gives_what_the_project_runs_on_this_machine() -> None:
    installed = {"alpha": "1.0", "beta": "2.0", "of-the-tests": "1.0"}
    assert locked_dependencies(LOCK, installed) == [
        Locked("alpha", "1.0", ("sha256:aa", "sha256:ab")),
        Locked("beta", "2.0", ("sha256:bb",)),
    ]


def test_package_in_another_version_than_locked_is_left_out() -> None:
    assert [each.name for each in locked_dependencies(LOCK, {"alpha": "1.0", "beta": "3.0"})] == ["alpha"]


def test_requirement_carries_all_hashes() -> None:
    line = Locked("alpha", "1.0", ("sha256:aa", "sha256:ab")).requirement()
    assert line == "alpha==1.0 --hash=sha256:aa --hash=sha256:ab"


def test_hops_are_read_from_what_curl_wrote_of_the_headers() -> None:
    headers = f"HTTP/1.1 302 Found\r\nLocation: {MIRROR}\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
    assert parse_hops(SITE, headers) == (Hop(SITE, 302), Hop(MIRROR, 200))


def test_relative_redirect_starts_from_the_url_before() -> None:
    headers = "HTTP/1.1 302 Found\r\nlocation: /b.iso?not=ana\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n"
    assert parse_hops(SITE, headers)[-1] == Hop("http://127.0.0.1:1/b.iso?not=ana", 404)


def test_token_in_a_shown_url_is_of_no_use() -> None:
    assert shortened(MIRROR) == "http://127.0.0.1:2/d/AbCdEf…/a.iso"


@pytest.mark.parametrize(
    ("arrived", "exit_code", "verdict"),
    [("aa", ExitCode.OK, "equal"), ("bb", ExitCode.VERIFICATION_FAILED, "DIFFERENT")],
    ids=["equal", "different"],
)
def test_demo_ends_with_a_failure_when_the_bytes_differ(
    capsys: pytest.CaptureFixture[str], arrived: str, exit_code: ExitCode, verdict: str
) -> None:
    story = Story(Output(json=False, colour=lambda _stream: False))
    hops = (Hop(SITE, 302), Hop(MIRROR, 200))
    result = Download(tool="curl -L", hops=hops, size_bytes=1, sha256=arrived)
    assert story.downloaded(result, "a.iso", "aa") is exit_code
    assert verdict in capsys.readouterr().out
