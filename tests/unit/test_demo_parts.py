"""The demo's pure parts: the lock file, the redirects on the way, the verdict."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path

import pytest

from distributary.cli.output import Output
from distributary.cli.own_name import own_name
from distributary.demo.download import Download, Hop, download, file_url, parse_hops, shortened
from distributary.demo.interrupts import STILL_ENDING, Interrupts
from distributary.demo.lock import Locked, locked_dependencies
from distributary.demo.story import Story
from distributary.errors import CommandError
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


def test_address_of_a_file_is_percent_encoded() -> None:
    assert file_url("http://s", "a b/50%#1?.iso") == "http://s/a%20b/50%25%231%3F.iso"


def test_suggested_commands_can_be_pasted_whatever_the_path_holds(capsys: pytest.CaptureFixture[str]) -> None:
    story = Story(Output(json=False, colour=lambda _stream: False))
    story.next_steps(Path("my site/d.toml"), "http://s", "a b/it's #1.iso", command=".venv/bin/distributary")
    told = [shlex.split(line) for line in capsys.readouterr().err.splitlines() if line.startswith("  ")]
    assert ["curl", "-L", "-o", "it's #1.iso", "http://s/a%20b/it%27s%20%231.iso"] in told
    where = next(each for each in told if "where" in each)
    assert where == [
        ".venv/bin/distributary", "where", "--ip", "127.0.0.1", "--config", "my site/d.toml", "--", "a b/it's #1.iso",
    ]  # fmt: skip


def test_download_that_cannot_be_made_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as failed:
        download("http://127.0.0.1:9/a.iso", tmp_path / "a")
    assert failed.value.exit_code is ExitCode.FAILED


def test_second_interrupt_is_answered_and_does_not_break_off_the_clearing_up() -> None:
    notes: list[str] = []
    with Interrupts(notes.append):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert notes == [STILL_ENDING] * 2


def test_interrupt_during_the_clearing_up_at_the_end_is_only_answered() -> None:
    notes: list[str] = []
    with Interrupts(notes.append) as interrupts:
        interrupts.end()
        signal.raise_signal(signal.SIGINT)
    assert notes == [STILL_ENDING]


def test_interrupt_counts_even_where_it_was_ignored_before() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts(lambda _note: None), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_command_is_called_by_its_name_where_that_is_found(tmp_path: Path) -> None:
    assert own_name("anything", "/usr/bin/python3", tmp_path, which=lambda name: f"/usr/bin/{name}") == "distributary"


def test_command_off_the_path_is_called_by_its_path_from_here(tmp_path: Path) -> None:
    script = tmp_path / "my env" / "bin" / "distributary"
    script.parent.mkdir(parents=True)
    script.touch()
    assert own_name(str(script), "/usr/bin/python3", tmp_path, which=lambda _: None) == "'my env/bin/distributary'"


def test_command_run_as_a_module_is_called_as_one(tmp_path: Path) -> None:
    module = str(tmp_path / "distributary" / "__main__.py")
    assert (
        own_name(module, str(tmp_path / "bin/python"), tmp_path, which=lambda _: None) == "bin/python -m distributary"
    )
