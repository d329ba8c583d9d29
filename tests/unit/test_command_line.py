"""The command line without any server: help, usage, exit codes, JSON errors, the documentation."""

from __future__ import annotations

import http.server
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import click
import pytest
from click.testing import CliRunner, Result

from distributary.cli.app import root
from distributary.cli.colour import Colour, wants_colour
from distributary.cli.invocation import Invocation
from distributary.cli.output import Output
from distributary.cli.printable import printable
from distributary.cli.where import print_where
from distributary.client import JsonObject
from distributary.exits import MEANINGS, ExitCode
from events.invitation import Invitation, write_invitation
from events.names import MirrorName

CLI_MD = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
COMMAND = [sys.executable, "-I", "-m", "distributary"]
HEAVY = ("sqlalchemy", "aiohttp", "aio_pika", "uvloop", "rich", "msgspec", "structlog", "asyncio")


class Run(Protocol):
    """Runs the command with these arguments."""

    def __call__(self, *arguments: str, stdin: str | None = None) -> Result: ...


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in an empty folder, with nothing of ours in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("DISTRIBUTARY_AMQP_URL", "DISTRIBUTARY_MANAGEMENT_URL", "DISTRIBUTARY_CONFIG", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def run_it(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(root, list(arguments), input=stdin)

    return run_it


def commands(group: click.Group = root, prefix: str = "") -> Iterator[str]:
    """Name every command, sub-commands included."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, click.Group):
            yield from commands(found, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}"


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from distributary.cli.app import root\n"
        "try: root.main(['--help'], 'distributary')\n"
        f"except SystemExit: print('loaded:', [each for each in {HEAVY!r} if each in sys.modules])"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True
    )
    assert "Commands:" in done.stdout
    assert "loaded: []" in done.stdout


def test_every_command_is_in_the_docs_and_nothing_else_is() -> None:
    documented = {match[1] for match in re.finditer(r"^\| `([a-z -]+?)(?: [A-Z[][^`]*)?` \|", CLI_MD, re.MULTILINE)}
    assert documented == set(commands())


def test_every_exit_code_is_in_the_docs_with_its_meaning() -> None:
    documented = {
        (int(match[1]), match[2], match[3])
        for match in re.finditer(r"^\| (\d+) \| ([A-Z_]+) \| (.+) \|$", CLI_MD, re.MULTILINE)
    }
    assert documented == {(code.value, code.name, MEANINGS[code]) for code in ExitCode}


@pytest.mark.parametrize("name", list(commands()))
def test_every_command_has_help_and_the_common_options(run: Run, name: str) -> None:
    result = run(*name.split(), "--help")
    assert result.exit_code == 0
    for option in ("--json", "--config", "--set", "--color"):
        assert option in result.stdout


def test_version_is_told(run: Run) -> None:
    assert re.fullmatch(r"distributary \d+\.\d+\.\d+\n", run("--version").stdout)


def test_wrong_usage_is_exit_code_2_and_in_json_one_object_on_stderr(run: Run) -> None:
    assert run("publish").exit_code == ExitCode.USAGE
    result = run("--json", "ls", "--no-such-option")
    assert result.exit_code == ExitCode.USAGE
    assert result.stdout == ""
    assert json.loads(result.stderr)["error"]["code"] == "usage"


def test_unreachable_server_is_exit_code_5_with_a_hint(run: Run) -> None:
    result = run("ls", "--json", "--set", "site.url=http://127.0.0.1:9")
    assert result.exit_code == ExitCode.UNAVAILABLE
    error = json.loads(result.stderr)["error"]
    assert error["code"] == "selector_unreachable"
    assert "distributary serve selector" in error["hint"]


def test_wrong_configuration_is_exit_code_2_with_its_line(run: Run) -> None:
    Path("distributary.toml").write_text("[site]\nmaster = 1\n")
    result = run("config", "check")
    assert result.exit_code == ExitCode.USAGE
    assert "distributary.toml:2: unknown key site.master" in result.stderr


def test_init_writes_private_files_and_keeps_them_when_run_again(run: Run) -> None:
    assert run("init", "site").exit_code == 0
    files = {path.name: path.read_text() for path in Path("site").iterdir()}
    assert set(files) == {"distributary.toml", "site.secret", "admin.token", "ticket.secret"}
    assert {path.stat().st_mode & 0o777 for path in Path("site").iterdir()} == {0o600}
    again = run("init", "site", "--json")
    assert json.loads(again.stdout)["schema"] == "distributary/init/1"
    assert not any(each["new"] for each in json.loads(again.stdout)["files"])
    assert {path.name: path.read_text() for path in Path("site").iterdir()} == files
    assert run("config", "check", "--config", "site").exit_code == 0


def test_config_show_gives_origins_and_hides_secrets(run: Run) -> None:
    run("init")
    result = run("config", "show", "--json", "--set", "selector.name=two")
    settings = {each["key"]: each for each in json.loads(result.stdout)["settings"]}
    assert settings["selector.name"] == {"key": "selector.name", "value": "two", "origin": "--set selector.name"}
    assert settings["broker.url"]["value"] == "(secret)"
    assert settings["broker.url"]["origin"].endswith("distributary.toml:14")
    assert "guest" not in run("config", "show").output


def test_what_takes_something_away_wants_a_yes_where_nobody_can_be_asked(run: Run) -> None:
    result = run("mirror", "unsubscribe", "ana", "iso", "--json")
    assert result.exit_code == ExitCode.USAGE
    assert json.loads(result.stderr)["error"]["code"] == "confirmation_needed"


def test_token_among_the_arguments_is_refused(run: Run) -> None:
    result = run("mirror", "join", "DT1.abc", "--url", "http://m", "--json")
    assert result.exit_code == ExitCode.USAGE
    assert json.loads(result.stderr)["error"]["code"] == "token_in_arguments"


def invitation(*, expires_at_s: int) -> str:
    """Write an invitation that leads nowhere."""
    name = MirrorName("ana")
    return write_invitation(Invitation(url="http://127.0.0.1:9", name=name, secret="s", expires_at_s=expires_at_s))


def test_mistyped_invitation_is_told_as_one_before_anything_is_sent(run: Run) -> None:
    token = invitation(expires_at_s=2**40)
    result = run("mirror", "join", "-", "--url", "http://m", "--json", stdin=token[:-1] + "A" + token[-1])
    assert result.exit_code == ExitCode.USAGE
    assert json.loads(result.stderr)["error"]["code"] == "invitation_malformed"
    assert not Path("mirror").exists()


def test_expired_invitation_is_refused(run: Run) -> None:
    Path("token").write_text(invitation(expires_at_s=1))
    result = run("mirror", "join", "--token-file", "token", "--url", "http://m")
    assert result.exit_code == ExitCode.REFUSED
    assert "expired" in result.stderr


def test_joining_over_a_mirror_is_refused(run: Run) -> None:
    Path("mirror").mkdir()
    Path("mirror/credentials.json").touch()
    result = run("mirror", "join", "-", "--url", "http://m", "--json", stdin="")
    assert json.loads(result.stderr)["error"]["code"] == "folder_taken"


@pytest.mark.parametrize(
    ("choice", "environ", "is_tty", "coloured"),
    [
        pytest.param(Colour.AUTO, {}, True, True, id="a terminal is coloured"),
        pytest.param(Colour.AUTO, {}, False, False, id="a pipe is not"),
        pytest.param(Colour.AUTO, {"NO_COLOR": "1"}, True, False, id="NO_COLOR"),
        pytest.param(Colour.AUTO, {"NO_COLOR": ""}, True, True, id="an empty NO_COLOR does not count"),
        pytest.param(Colour.AUTO, {"TERM": "dumb"}, True, False, id="a dumb terminal"),
        pytest.param(Colour.AUTO, {"FORCE_COLOR": "1"}, False, True, id="FORCE_COLOR"),
        pytest.param(Colour.AUTO, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False, id="NO_COLOR beats FORCE_COLOR"),
        pytest.param(Colour.ALWAYS, {"NO_COLOR": "1"}, False, True, id="the flag beats all"),
        pytest.param(Colour.NEVER, {"FORCE_COLOR": "1"}, True, False, id="never is never"),
    ],
)
def test_colour_follows_flag_then_environment_then_stream(
    choice: Colour, environ: dict[str, str], is_tty: bool, coloured: bool
) -> None:
    assert wants_colour(choice, environ, is_tty=is_tty) is coloured


def full_device() -> Path:
    """Give a file that takes nothing, as a full disk does."""
    return Path("/dev/full")


def test_full_stdout_is_told_in_one_line(tmp_path: Path) -> None:
    with full_device().open("w") as full:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [*COMMAND, "config", "show", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            check=False,
        )
    assert (done.returncode, done.stderr.count("\n")) == (ExitCode.FAILED, 1)
    assert json.loads(done.stderr)["error"]["code"] == "system_refused"


@pytest.mark.parametrize("arguments", [("config", "show"), ("config", "show", "--json"), ("--help",)])
def test_reader_that_has_enough_ends_the_command_quietly(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [*COMMAND, *arguments], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False
    )
    os.close(writer)
    assert done.returncode == ExitCode.FAILED
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("colour", [True, False], ids=["colours", "no colours"])
def test_nothing_is_styled_without_colours_not_even_bold(monkeypatch: pytest.MonkeyPatch, *, colour: bool) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    output = Output(json=False, colour=lambda _stream: colour)
    output.table(("name", "state"), [("ana", "ready")])
    output.text("all is well", style="bold green")
    assert ("\x1b" in terminal.getvalue()) is colour


def test_control_characters_of_names_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "a\x1b[2J\x9b1m\r\u202e\udcff"
    people, programs = (Output(json=each, colour=lambda _stream: False) for each in (False, True))
    people.table(("name",), [(evil,)])
    people.text(evil)
    people.note(evil)
    programs.line({"path": evil})
    told = capsys.readouterr()
    lines = [*told.out.splitlines(), *told.err.splitlines()]
    assert all(line.isprintable() for line in lines)
    assert r"a\x1b[2J\x9b1m\r\u202e\udcff" in told.out
    assert json.loads(lines[-2]) == {"path": evil}


def test_name_with_a_line_break_stays_on_its_line() -> None:
    assert printable("a\npublished b") == r"a\npublished b"


class StandIn:
    """A master that answers what it is told to, and keeps what it was asked."""

    def __init__(self, *lines: JsonObject) -> None:
        self.lines, self.asked = lines, list[JsonObject]()

    def stream(self, _path: str, body: JsonObject) -> Iterator[JsonObject]:
        self.asked.append(body)
        yield from self.lines


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Stand in for the master."""
    refused: JsonObject = {"type": "refused", "path": "x\n\x1bpublished y", "code": "path_invalid", "message": "no\x07"}
    published: JsonObject = {"type": "published", "path": "a", "size_bytes": 1, "generation": 1, "channels": []}
    done: JsonObject = {"type": "done", "published": 1, "unchanged": 0, "refused": 1, "hidden": 2}
    made = StandIn(refused, published, done)

    def give(_invocation: Invocation) -> StandIn:
        return made

    monkeypatch.setattr(Invocation, "master", give)
    return made


def test_symbolic_link_is_named_to_the_master_as_one(run: Run, master: StandIn, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").touch()
    (tmp_path / "link").symlink_to("real")
    for path in ("link", "link/a", "real/..", "."):
        run("publish", path)
    assert [each["source"] for each in master.asked] == [
        str(tmp_path / "link"), str(tmp_path / "real" / "a"), str(tmp_path), str(tmp_path),
    ]  # fmt: skip


def test_publish_tells_refusals_hidden_files_and_what_it_would_do(run: Run, master: StandIn, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    told = run("publish", "a", "--dry-run")
    assert len(master.asked) == 1
    assert told.stdout.splitlines()[0] == r"refused    x\n\x1bpublished y: no\x07 (path_invalid)"
    assert told.stdout.splitlines()[1].startswith("would publish a ")
    assert "1 would be published, 0 unchanged, 1 refused, 2 hidden and left out" in told.stderr
    assert json.loads(run("publish", "a", "--json").stdout.splitlines()[-1])["hidden"] == 2


def test_joining_that_fails_leaves_no_folder_of_its_own(run: Run) -> None:
    token = invitation(expires_at_s=2**40)
    result = run("mirror", "join", "-", "--url", "http://m", "--json", stdin=token)
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert not Path("mirror").exists()


def test_joining_that_fails_leaves_a_folder_that_was_there(run: Run) -> None:
    Path("mirror").mkdir()
    run("mirror", "join", "-", "--url", "http://m", stdin=invitation(expires_at_s=2**40))
    assert list(Path("mirror").iterdir()) == []


class Host(http.server.BaseHTTPRequestHandler):
    """A master that lets everybody in."""

    def do_POST(self) -> None:
        """Answer with credentials."""
        content = json.dumps({"credentials": {"mirror": "ana", "channels": ["iso"]}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def host() -> Iterator[str]:
    """Give the address of a master that lets everybody in."""
    with http.server.HTTPServer(("127.0.0.1", 0), Host) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_joined_folder_is_all_that_serving_needs_to_be_told(run: Run, host: str) -> None:
    token = write_invitation(Invitation(url=host, name=MirrorName("ana"), secret="s", expires_at_s=2**40))
    result = run("mirror", "join", "-", "--url", "http://m", "--dir", "my mirror", stdin=token)
    assert result.exit_code == 0, result.stderr
    assert "cd 'my mirror' && distributary serve mirror" in result.stderr
    shown = json.loads(run("config", "show", "--json", "--config", "my mirror").stdout)
    assert "mirror.url" in {each["key"] for each in shown["settings"]}


def test_invitation_tells_each_step_and_warns_where_nothing_may_be_followed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Inviting(StandIn):
        def post(self, _path: str, _body: JsonObject) -> JsonObject:
            return {"token": "DT1.x"}

    def give(_invocation: Invocation) -> Inviting:
        return Inviting()

    monkeypatch.setattr(Invocation, "master", give)
    told = run("mirror", "invite", "ana")
    assert told.stdout == "DT1.x\n"
    assert "distributary mirror join" in told.stderr
    assert "cd mirror && distributary serve mirror" in told.stderr
    assert "distributary mirror subscribe ana CHANNEL" in told.stderr
    assert "subscribe" not in run("mirror", "invite", "ana", "-c", "iso").stderr


def test_folder_that_cannot_be_made_is_told_with_what_to_do(run: Run) -> None:
    Path("file").touch()
    for arguments in (("init", "file/site"), ("mirror", "join", "-", "--url", "http://m", "--dir", "file/mirror")):
        result = run(*arguments, "--json", stdin=invitation(expires_at_s=2**40))
        assert result.exit_code == ExitCode.USAGE
        error = json.loads(result.stderr)["error"]
        assert (error["code"], "folder that is yours" in error["hint"]) == ("folder_unwritable", True)


@pytest.mark.parametrize(
    ("url", "listen"),
    [
        ("http://127.0.0.1:9080", "127.0.0.1:9080"),
        ("http://localhost:9080", "127.0.0.1:9080"),
        ("http://[::1]:9080", "[::1]:9080"),
        ("http://files.example.org:9080", "0.0.0.0:9080"),
        ("https://files.example.org", "127.0.0.1:8080"),
        ("https://files.example.org:8443", "127.0.0.1:8080"),
    ],
)
def test_new_site_listens_where_its_url_says(run: Run, url: str, listen: str) -> None:
    assert run("init", "--url", url, "--master-url", "http://127.0.0.1:9081").exit_code == 0
    shown = json.loads(run("config", "show", "--json").stdout)["settings"]
    values = {each["key"]: each["value"] for each in shown}
    assert (values["site.url"], values["selector.listen"]) == (url, listen)
    assert values["master.listen"] == "127.0.0.1:9081"


@pytest.mark.parametrize("url", ["files", "http://a:port", "ftp://a"])
def test_new_site_at_no_url_is_refused(run: Run, url: str) -> None:
    result = run("init", "--url", url, "--json")
    assert result.exit_code == ExitCode.USAGE
    assert json.loads(result.stderr)["error"]["code"] == "url_invalid"
    assert not Path("distributary.toml").exists()


def test_new_site_is_told_that_it_needs_a_broker(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "DISTRIBUTARY_MANAGEMENT_URL" in run("init", "one").stderr
    monkeypatch.setenv("DISTRIBUTARY_AMQP_URL", "amqp://broker/")
    assert "DISTRIBUTARY_MANAGEMENT_URL" not in run("init", "two").stderr


def test_problems_of_the_configuration_are_a_list_for_programs(run: Run) -> None:
    Path("distributary.toml").write_text("[site]\nmaster = 1\nulr = 2\n")
    error = json.loads(run("config", "check", "--json").stderr)["error"]
    assert [each.partition(": unknown")[0][-4:] for each in error["problems"]] == ["ml:2", "ml:3"]
    assert error["hint"] == ""


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--url", "http://m", "--country", "no"), "did you mean NO?"),
        (("--url", "http://m", "--country", "Norway"), "write its two capital letters"),
        (("--url", "files.example.org"), "write it like http://"),
        (("--url", "http://m:port"), "is no address"),
        (("--url", "http://m/?a=b"), "leave out user, query and fragment"),
    ],
)
def test_wrong_offer_is_told_in_a_sentence(run: Run, options: tuple[str, ...], sentence: str) -> None:
    result = run("mirror", "join", "-", *options, stdin=invitation(expires_at_s=2**40))
    assert result.exit_code == ExitCode.USAGE
    assert sentence in result.stderr
    assert not Path("mirror").exists()


def test_without_a_terminal_the_missing_yes_is_named(run: Run) -> None:
    assert "needs --yes" in run("mirror", "unsubscribe", "ana", "iso").stderr


def test_mirror_that_is_rejected_now_is_not_also_shown_as_next(capsys: pytest.CaptureFixture[str]) -> None:
    ranked: list[JsonObject] = [{"mirror": name, "free_slots": 0} for name in ("ana", "bob", "cat")]
    full: JsonObject = {"mirror": "bob", "reason": "full", "criterion": 4, "text": "no free slot"}
    print_where(
        Output(json=False, colour=lambda _stream: False), {"chosen": "ana", "ranked": ranked, "rejected": [full]}
    )
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert ["next", "cat"] in lines
    assert ["next", "bob"] not in lines
