"""The log from the command line, of a real fleet: listed, followed, explained, replayed, audited, exported."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker.site import BrokerSite
from distributary.answers import inside, number, objects, text
from distributary.client import JsonObject
from distributary.exits import ExitCode
from distributary.fleet.broker import FleetBroker
from distributary.fleet.fleet import Fleet, MirrorPlan
from distributary.fleet.waiting import wait_until
from events.grants import grant_id_of

pytestmark = [pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(600)]

WITHIN_S = 120.0  # one or two seconds are usual; a loaded machine has taken thirty
VISITOR = "127.0.0.1"
MIRRORS = ("ana", "bob")
FILE = "release/a.iso"


@dataclass(frozen=True, slots=True)
class Told:
    """What the command said: its exit code, the objects on stdout, and the error on stderr."""

    exit_code: int
    lines: Sequence[JsonObject]
    error: JsonObject

    @property
    def events(self) -> list[JsonObject]:
        return [line for line in self.lines if line.get("type") == "event"]

    @property
    def snapshot(self) -> JsonObject:
        """The one object that is no progress."""
        (found,) = [line for line in self.lines if line.get("type") != "progress"]
        return found


@dataclass(frozen=True, slots=True)
class Stage:
    """A fleet that has served a visitor; ``link`` is where he was sent."""

    fleet: Fleet
    link: str

    def environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("DISTRIBUTARY_")}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-I", "-m", "distributary", *arguments, "--config", str(self.fleet.config)]

    def run(self, *arguments: str, **environ: str) -> Told:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            self.command(*arguments, "--json"),
            capture_output=True,
            text=True,
            check=False,
            env=self.environment() | environ,
            timeout=WITHIN_S,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return Told(done.returncode, lines, json.loads(done.stderr) if done.stderr else {})

    def lines(self, *arguments: str) -> list[str]:
        """Run the command for people; give what it prints."""
        done = subprocess.run(  # noqa: S603 - our own interpreter
            self.command(*arguments),
            capture_output=True,
            text=True,
            check=True,
            env=self.environment(),
            timeout=WITHIN_S,
        )
        return done.stdout.splitlines()


def sent_to(url: str) -> str:
    """Ask for a file as a visitor does; give where the redirect leads to."""
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=WITHIN_S)) as connection:
        connection.request("GET", parts.path)
        return connection.getresponse().headers["Location"] or ""


@pytest.fixture(scope="module")
def stage(broker_site: BrokerSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("fleet")
    name = f"test-{secrets.token_hex(6)}"
    vhost = broker_site.create_vhost(name)
    broker = FleetBroker(amqp_url=vhost.amqp_url, management_url=vhost.management_url, origin="the tests' broker")
    (folder / "a.iso").write_bytes(secrets.token_bytes(50_000))
    try:
        with Fleet(folder=folder / "site", broker=broker, selector_overrides=("selector.silent_after=60s",)) as fleet:
            fleet.define_channel("iso")
            fleet.join(*(MirrorPlan(name=mirror, channels=("iso",)) for mirror in MIRRORS))
            fleet.publish(folder / "a.iso", as_=FILE)
            fleet.wait_copies([FILE], MIRRORS)
            stage = Stage(fleet, sent_to(f"{fleet.site_url}/{FILE}"))
            wait_until(lambda: bool(decisions_in(stage)), within_s=WITHIN_S, what="the decision is recorded")
            yield stage
    finally:
        broker_site.delete_vhost(name)


def decisions_in(stage: Stage) -> list[JsonObject]:
    return stage.run("events", "ls", "--type", "decisions.recorded").events


def mirror_of(stage: Stage) -> str:
    """Tell which mirror the visitor was sent to."""
    host = urlsplit(stage.link).netloc
    return next(name for name, process in stage.fleet.mirrors.items() if urlsplit(process.url).netloc == host)


def test_log_is_listed_by_what_is_wanted_of_it(stage: Stage) -> None:
    told = stage.run("events", "ls", "--file", "release/", "--type", "file.published", "--type", "replica.ready")
    assert told.exit_code == ExitCode.OK
    assert {text(each, "schema") for each in told.events} == {"distributary/event/1"}
    assert {text(each, "source") for each in told.events} == {"master", "mirror/ana", "mirror/bob"}
    assert told.lines[-1]["type"] == "done"
    assert told.lines[-1]["listed"] == len(told.events)
    only_ana = stage.run("events", "ls", "--mirror", "ana", "--type", "replica.ready", "--file", FILE, "--from", "1h")
    assert [text(inside(each, "content"), "path") for each in only_ana.events] == [FILE]
    place = text(only_ana.events[0], "position")
    assert stage.run("events", "ls", "--from", place, "--until", place).events == only_ana.events


def test_log_is_listed_in_lines_for_people(stage: Stage) -> None:
    (line,) = stage.lines("events", "ls", "--mirror", "ana", "--type", "replica.ready", "--file", FILE)
    assert "replica.ready" in line
    assert f"ana has {FILE} (50.0 kB)" in line


def test_log_is_followed_as_it_grows(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "b.iso").write_bytes(secrets.token_bytes(1000))
    command = stage.command("events", "tail", "--type", "file.published", "--file", "later.iso", "--limit=1", "--json")
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [*command, "--from", "1h"], stdout=subprocess.PIPE, text=True, env=stage.environment()
    ) as following:
        try:
            stage.fleet.publish(tmp_path / "b.iso", as_="later.iso")
            told, _ = following.communicate(timeout=WITHIN_S)
        finally:
            following.kill()
    assert following.returncode == ExitCode.OK
    assert [inside(json.loads(line), "content")["path"] for line in told.splitlines()] == ["later.iso"]


def test_following_ends_when_nobody_reads_it_any_more(stage: Stage) -> None:
    command = stage.command("events", "tail", "--type", "file.published", "--from", "1h")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=stage.environment()) as following:  # noqa: S603 - our own interpreter
        try:
            assert following.stdout is not None
            assert "published" in following.stdout.readline()
            following.stdout.close()
            assert following.wait(timeout=WITHIN_S) == ExitCode.FAILED, "without a further event to print"
        finally:
            following.kill()


def test_event_is_shown_by_its_id_and_by_its_place(stage: Stage) -> None:
    (listed, *_) = stage.run("events", "ls", "--type", "replica.ready").events
    by_id = stage.run("events", "show", text(listed, "id")).snapshot
    by_place = stage.run("events", "show", text(listed, "position")).snapshot
    assert by_id == by_place
    assert by_id["content"] == listed["content"]
    missing = stage.run("events", "show", "mirror/nobody:1:1")
    assert (missing.exit_code, inside(missing.error, "error")["code"]) == (ExitCode.NOT_FOUND, "event_unknown")


def test_link_is_explained_by_the_decision_behind_it(stage: Stage) -> None:
    told = stage.run("events", "show", stage.link).snapshot
    token = urlsplit(stage.link).path.split("/")[2]
    assert told["grant_id"] == grant_id_of(token).hex()
    decision = inside(told, "decision")
    assert decision["chosen"] == mirror_of(stage), told["why_not"]
    assert inside(decision, "then")["verdict"] == "agrees"
    assert {text(each, "mirror") for each in objects(decision, "ranked")} == set(MIRRORS)
    assert "decisions.recorded/1" in {text(each, "event") for each in objects(told, "events")}


def test_choice_of_the_past_is_the_one_that_was_made(stage: Stage) -> None:
    told = stage.run("where", FILE, "--ip", VISITOR, "--at", "now")
    assert told.exit_code == ExitCode.OK, told.error
    assert (told.snapshot["schema"], told.snapshot["chosen"]) == ("distributary/where/1", mirror_of(stage))
    assert inside(told.snapshot, "then")["how"] == "recorded"
    stranger = stage.run("where", FILE, "--ip", "203.0.113.9", "--at", "now").snapshot
    assert inside(stranger, "then")["how"] == "worked out"
    before = stage.run("where", FILE, "--ip", VISITOR, "--at", "2020-01-01")
    assert before.exit_code == ExitCode.NOT_FOUND


def test_fleet_is_replayed_to_now_and_to_a_place(stage: Stage) -> None:
    fleet = stage.run("events", "replay").snapshot
    assert {(text(each, "mirror"), text(each, "state")) for each in objects(fleet, "mirrors")} == {
        ("ana", "ready"),
        ("bob", "ready"),
    }
    (file,) = [each for each in objects(fleet, "files") if each["path"] == FILE]
    assert file["mirrors"] == list(MIRRORS)
    (channel,) = objects(fleet, "channels")
    assert (channel["channel"], channel["mirrors"]) == ("iso", list(MIRRORS))
    (published, *_) = stage.run("events", "ls", "--type", "file.published").events
    early = stage.run("events", "replay", "--until", text(published, "position")).snapshot
    assert [each["mirrors"] for each in objects(early, "files")] in ([], [[]])
    shown = stage.lines("events", "replay")
    assert any(line.startswith("ana") and "ready" in line for line in shown)


def test_live_selector_knows_what_the_log_tells(stage: Stage) -> None:
    told = stage.run("events", "replay", "--diff")
    assert told.exit_code == ExitCode.OK, (told.error, told.lines)
    assert told.snapshot["differences"] == []


def test_master_is_no_selector_to_compare_with(stage: Stage) -> None:
    told = stage.run("events", "replay", "--diff", stage.fleet.master.url)
    assert (told.exit_code, inside(told.error, "error")["code"]) == (ExitCode.NOT_FOUND, "no_selector")


def test_log_is_audited_exported_and_audited_again_without_the_broker(stage: Stage, tmp_path: Path) -> None:
    found = stage.run("events", "audit")
    assert found.exit_code == ExitCode.OK, found.snapshot
    assert number(inside(found.snapshot, "decisions"), "reproduced") >= 1
    folder = str(tmp_path / "export")
    exported = stage.run("events", "export", folder).snapshot
    chain = text(exported, "chain")
    elsewhere = "amqp://127.0.0.1:1/"
    again = stage.run("events", "audit", "--source", folder, "--chain", chain, DISTRIBUTARY_BROKER_URL=elsewhere)
    assert again.exit_code == ExitCode.OK, (again.error, again.lines)
    assert number(again.snapshot, "entries") == number(exported, "entries")
    refused = stage.run("events", "import", folder, "--yes")
    assert (refused.exit_code, inside(refused.error, "error")["code"]) == (ExitCode.FAILED, "import_refused")


def test_damaged_export_is_exit_code_6_with_the_place(stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    stage.run("events", "export", str(folder))
    (segment,) = folder.glob("segment-*.zst")
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    found = stage.run("events", "audit", "--source", str(folder))
    error = inside(found.error, "error")
    assert (found.exit_code, error["code"]) == (ExitCode.VERIFICATION_FAILED, "export_damaged")
    assert error["segment"] == 1


@pytest.mark.parametrize("content", [b"", b"garbage"], ids=["empty", "something else"])
def test_export_without_its_first_line_is_exit_code_6(stage: Stage, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "segment-00000001.zst").write_bytes(content)
    told = stage.run("events", "audit", "--source", str(tmp_path))
    assert (told.exit_code, inside(told.error, "error")["code"]) == (ExitCode.VERIFICATION_FAILED, "export_damaged")


def test_broker_that_is_away_is_exit_code_5_with_what_to_do(stage: Stage) -> None:
    told = stage.run("events", "ls", DISTRIBUTARY_BROKER_URL="amqp://127.0.0.1:1/")
    assert (told.exit_code, inside(told.error, "error")["code"]) == (ExitCode.UNAVAILABLE, "broker_unreachable")
    assert "--source" in text(inside(told.error, "error"), "hint")


def test_moment_before_the_log_is_not_found(stage: Stage) -> None:
    told = stage.run("events", "replay", "--until", "2020-01-01")
    assert (told.exit_code, inside(told.error, "error")["code"]) == (ExitCode.NOT_FOUND, "log_begins_later")


def test_choice_of_the_future_is_not_told(stage: Stage) -> None:
    told = stage.run("where", FILE, "--ip", VISITOR, "--at", "2999-01-01")
    assert (told.exit_code, inside(told.error, "error")["code"]) == (ExitCode.USAGE, "time_to_come")


@pytest.mark.parametrize("command", ["audit", "import"])
def test_folder_without_an_export_is_not_found(stage: Stage, tmp_path: Path, command: str) -> None:
    arguments = ("--source", str(tmp_path)) if command == "audit" else (str(tmp_path), "--yes")
    told = stage.run("events", command, *arguments)
    assert (told.exit_code, inside(told.error, "error")["code"]) == (ExitCode.NOT_FOUND, "export_missing")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("ls", "--type", "nonsense"), "type_unknown"),
        (("ls", "--source", "no-such-folder"), "source_unknown"),
        (("ls", "--source", "archive"), "archive_unconfigured"),
        (("ls", "--from", "yesterday"), "usage"),
        (("ls", "--from", "1h", "--until", "2h"), "usage"),
        (("ls", "--from", "g1:9", "--until", "g1:8"), "usage"),
        (("replay", "--until", "1h", "--diff"), "usage"),
        (("audit", "--chain", "00" * 16), "usage"),
        (("audit", "--source", "archive", "--chain", "00" * 16), "usage"),
        (("audit", "--source", ".", "--chain", "00"), "usage"),
    ],
)
def test_wrong_wish_is_exit_code_2_and_says_how_to_wish(stage: Stage, arguments: tuple[str, ...], code: str) -> None:
    told = stage.run("events", *arguments)
    assert (told.exit_code, inside(told.error, "error")["code"]) == (ExitCode.USAGE, code)
