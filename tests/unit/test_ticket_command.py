"""``distributary ticket``, and ``serve --geoip``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from click.testing import CliRunner, Result

from distributary.cli.app import root
from distributary.client import Api
from distributary.exits import ExitCode
from events.names import FilePath
from selection.access.tickets import judge
from selection.access.verdicts import Outcome

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in the folder of a new site."""
    monkeypatch.chdir(tmp_path)

    def run_it(*arguments: str) -> Result:
        return CliRunner().invoke(root, list(arguments))

    assert run_it("init", "--url", "https://files.example.org").exit_code == 0
    return run_it


def outcome(url: str, visitor: str, *, now_s: float | None = None) -> Outcome:
    """Judge a link as a selector of the site does."""
    parts = urlsplit(url)
    (ticket,) = parse_qs(parts.query)["ticket"]
    key = bytes.fromhex(Path("ticket.secret").read_text())
    path = FilePath(unquote(parts.path.removeprefix("/")))
    return judge(ticket, path, ip_address(visitor), key=key, now_s=time.time() if now_s is None else now_s)


def test_link_opens_the_file_for_as_long_as_was_said(run: Run) -> None:
    began_s = time.time()
    result = run("ticket", "members/ü 1.iso", "--for", "1h")
    url = result.stdout.strip()
    assert url.startswith("https://files.example.org/members/%C3%BC%201.iso?ticket=")
    assert outcome(url, "203.0.113.9") is Outcome.ADMITTED
    assert outcome(url, "203.0.113.9", now_s=began_s + 3590) is Outcome.ADMITTED
    assert outcome(url, "203.0.113.9", now_s=time.time() + 3601) is Outcome.TICKET_EXPIRED
    assert "for whoever has it" in result.stderr


@pytest.mark.parametrize(
    ("ip", "visitor", "bound", "stranger"),
    [
        ("203.0.113.9", "203.0.113.9", "203.0.113.9", "203.0.113.10"),
        ("::ffff:203.0.113.9", "203.0.113.9", "203.0.113.9", "203.0.113.10"),
        ("2001:db8:1:2::7", "2001:db8:1:2::9", "2001:db8:1:2::", "2001:db8:1:3::7"),
    ],
)
def test_link_for_an_address_opens_the_file_to_no_other(
    run: Run, ip: str, visitor: str, bound: str, stranger: str
) -> None:
    told = json.loads(run("ticket", "/a.iso", "--for", "2h", "--ip", ip, "--json").stdout)
    assert (told["schema"], told["path"], told["ip"]) == ("distributary/ticket/1", "a.iso", bound)
    assert outcome(told["url"], visitor, now_s=told["expires_s"] - 1) is Outcome.ADMITTED
    assert outcome(told["url"], stranger) is Outcome.TICKET_WRONG


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        pytest.param(("a.iso",), "--for", id="no time"),
        pytest.param(("a.iso", "--for", "soon"), "soon", id="no duration"),
        pytest.param(("a.iso", "--for", "1h", "--ip", "here"), "here", id="no address"),
        pytest.param(("../a.iso", "--for", "1h"), "path", id="no path of the catalogue"),
        pytest.param(("a.iso", "--for", "9999999999h"), "no ticket", id="beyond all time"),
        pytest.param(("a.iso", "--for", "0s"), "over at once", id="no time at all"),
    ],
)
def test_what_cannot_be_signed_is_told(run: Run, arguments: tuple[str, ...], problem: str) -> None:
    result = run("ticket", *arguments)
    assert result.exit_code == ExitCode.USAGE
    assert problem in result.stderr


@pytest.mark.parametrize(("files", "is_warned"), [([], True), ([{"path": "a.iso"}], False)])
def test_path_that_the_master_does_not_know_is_warned_of(
    run: Run, monkeypatch: pytest.MonkeyPatch, files: list[object], is_warned: bool
) -> None:
    asked: list[tuple[str, object]] = []

    def get(_: Api, path: str, query: object = None) -> dict[str, object]:
        asked.append((path, query))
        return {"files": files}

    monkeypatch.setattr(Api, "get", get)
    result = run("ticket", "a.iso", "--for", "1h")
    assert outcome(result.stdout.strip(), "203.0.113.9") is Outcome.ADMITTED
    assert ("warning: nothing is published as a.iso" in result.stderr) is is_warned
    assert asked == [("/-/api/v1/files", {"path": "a.iso"})]


def test_link_is_made_without_the_master_and_told_to_be_unchecked(run: Run) -> None:
    config = Path("distributary.toml")
    config.write_text(config.read_text().replace("127.0.0.1:8081", "127.0.0.1:1"))
    result = run("ticket", "a.iso", "--for", "1h")
    assert result.exit_code == ExitCode.OK
    assert "not checked whether a.iso is published" in result.stderr


def test_site_without_a_ticket_secret_is_told_where_to_get_one(run: Run) -> None:
    Path("ticket.secret").unlink()
    result = run("ticket", "a.iso", "--for", "1h")
    assert result.exit_code == ExitCode.USAGE
    assert "site.ticket_secret_file" in result.stderr
    assert "distributary init" in result.stderr
    assert run("init").exit_code == 0
    assert run("ticket", "a.iso", "--for", "1h").exit_code == 0


def test_database_of_places_is_no_option_of_a_mirror(run: Run) -> None:
    Path("city.mmdb").touch()
    result = run("serve", "mirror", "--geoip", "city.mmdb")
    assert result.exit_code == ExitCode.USAGE
    assert "--geoip is a selector's" in result.stderr


def test_database_named_at_the_start_is_the_one_that_is_read(run: Run) -> None:
    Path("city.mmdb").write_bytes(b"no database")
    result = run("serve", "selector", "--geoip", "city.mmdb")
    assert result.exit_code != 0
    assert "city.mmdb: not a whole database in MaxMind's format" in result.stderr
