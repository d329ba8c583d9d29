"""Holding, releasing and ruling at the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from distributary.cli import waiting
from distributary.cli.app import root
from distributary.cli.edit import rule_sentence
from distributary.cli.invocation import Invocation
from distributary.client import JsonObject
from distributary.errors import UnavailableError
from distributary.exits import ExitCode

Run = Callable[..., Result]


class Master:
    """A master that holds one file; each question after it gets the next of ``answers``."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.answers: list[JsonObject | BaseException] = []
        self.held: list[JsonObject] = []

    def get(self, path: str, query: object = None) -> JsonObject:
        if path == "/-/api/v1/holds":
            return {"holds": self.held}
        self.asked.append((path, query))
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def stream(self, _path: str, body: object) -> Iterator[JsonObject]:
        self.asked.append(body)
        yield {"type": "held", "path": "a.iso", "size_bytes": 5, "generation": 2, "channels": ["iso"]}
        yield {"type": "done", "published": 0, "held": 1, "unchanged": 0, "refused": 0, "hidden": 0, "hold": 7}

    def post(self, path: str, body: object) -> JsonObject:
        self.asked.append((path, body))
        return {"released": [{"path": "a.iso", "size_bytes": 5, "generation": 2, "channels": ["iso"]}]}

    def patch(self, path: str, body: object) -> JsonObject:
        self.asked.append((path, body))
        return {"mirror": "ana", "rule": {"enabled": False, "weight_percent": 50, "share_percent_max": 100}}

    def delete(self, _path: str, query: object) -> JsonObject:
        self.asked.append(query)
        return {"facts": [], "cut": 0, "mirrors": []}


def told(state: str = "held", *complete: str, needed: int = 2) -> JsonObject:
    return {
        "hold": 7, "state": state, "wait": "2", "needed": needed, "complete": list(complete),
        "followers": ["ana", "bob"],
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in a folder with one file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.iso").write_bytes(b"bytes")
    monkeypatch.setattr(waiting, "ASK_EVERY_S", 0.0)
    return lambda *arguments: CliRunner().invoke(root, list(arguments))


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> Master:
    made = Master()

    def give(_invocation: Invocation) -> Master:
        return made

    monkeypatch.setattr(Invocation, "master", give)
    return made


def test_holding_tells_what_is_held_and_does_not_wait(run: Run, master: Master) -> None:
    result = run("publish", "a.iso", "--hold")
    assert result.exit_code == ExitCode.OK
    assert result.stdout == "held       a.iso  5 B  generation 2  iso\n"
    assert "0 published, 1 held, 0 unchanged, 0 refused" in result.stderr
    (body,) = master.asked
    assert isinstance(body, dict)
    assert (body["hold"], body["wait"], body["access"]) == (True, None, "public")


def test_waiting_tells_how_far_mirrors_are_until_the_master_has_released_it(run: Run, master: Master) -> None:
    master.answers = [told(), told("held", "ana"), told("held", "ana"), told("released")]
    result = run("publish", "a.iso", "--wait", "2")
    assert result.exit_code == ExitCode.OK
    assert result.stdout.endswith("released   hold 7\n")
    assert result.stderr.count("waiting until 2 mirrors have all of it") == 2, "what did not change is not told again"
    assert "(1 of the 2 that follow its channels does)" in result.stderr


def test_waiting_in_json_is_a_stream_that_ends_with_done(run: Run, master: Master) -> None:
    master.answers = [told("held", "ana"), told("released")]
    lines = [json.loads(line) for line in run("publish", "a.iso", "--wait", "2", "--json").stdout.splitlines()]
    assert [line["type"] for line in lines] == ["held", "waiting", "released", "done"]
    assert lines[1]["complete"] == ["ana"]
    assert lines[-1]["holds"] == [7]


def test_a_master_that_is_away_meanwhile_is_waited_for(run: Run, master: Master) -> None:
    away = UnavailableError("master_unreachable", "the master cannot be reached")
    master.answers = [told(), away, away, told("released")]
    result = run("publish", "a.iso", "--wait", "2")
    assert result.exit_code == ExitCode.OK
    assert result.stderr.count("cannot be reached; it goes on when it is back") == 1


def test_a_condition_that_too_few_mirrors_can_meet_is_pointed_out(run: Run, master: Master) -> None:
    master.answers = [told(needed=3), told("released")]
    assert "as it is, nothing releases it by itself" in run("publish", "a.iso", "--wait", "3").stderr


def test_a_hold_that_ends_without_a_release_is_a_failure(run: Run, master: Master) -> None:
    master.answers = [told("ended")]
    result = run("publish", "a.iso", "--wait", "2", "--json")
    assert result.exit_code == ExitCode.FAILED
    assert json.loads(result.stderr)["error"]["code"] == "hold_ended"


def test_an_interrupt_leaves_it_to_the_master_and_says_so(run: Run, master: Master) -> None:
    master.answers = [told(), KeyboardInterrupt()]
    result = run("publish", "a.iso", "--wait", "2")
    assert result.exit_code == ExitCode.INTERRUPTED
    assert "The master goes on without us" in result.stderr


@pytest.mark.usefixtures("master")
def test_access_by_the_sites_word_is_warned_of_where_selectors_do_not_know_whom_to_ask(
    run: Run, tmp_path: Path
) -> None:
    assert "selector.site_access_url is not set" in run("publish", "a.iso", "--hold", "--access", "site").stderr
    assert "site_access_url" not in run("publish", "a.iso", "--hold", "--access", "ticket").stderr
    (tmp_path / "distributary.toml").write_text('[selector]\nsite_access_url = "http://127.0.0.1:9/may"\n')
    assert "site_access_url" not in run("publish", "a.iso", "--hold", "--access", "site").stderr


def test_who_waits_no_longer_than_so_leaves_it_to_the_master(run: Run, master: Master) -> None:
    master.answers = [told()]
    result = run("publish", "a.iso", "--wait", "2", "--within", "0s", "--json")
    assert result.exit_code == ExitCode.TIMED_OUT
    assert json.loads(result.stderr)["error"]["code"] == "hold_unreleased"
    assert master.answers == []


def test_release_in_time_is_seen(run: Run, master: Master) -> None:
    master.answers = [told(), told("held", "ana"), told("released")]
    assert run("publish", "a.iso", "--wait", "2", "--within", "1m").exit_code == ExitCode.OK


def test_nothing_is_waited_for_within_a_time(run: Run, master: Master) -> None:
    assert run("publish", "a.iso", "--hold", "--within", "1m").exit_code == ExitCode.USAGE
    assert master.asked == []


def test_releasing_names_files_or_folders_or_all(run: Run, master: Master) -> None:
    result = run("release", "v1/", "a.iso")
    assert (result.exit_code, result.stdout) == (ExitCode.OK, "released   a.iso  5 B  generation 2  iso\n")
    run("release", "--all")
    assert master.asked == [
        ("/-/api/v1/releases", {"paths": ["v1", "a.iso"]}), ("/-/api/v1/releases", {"all": True}),
    ]  # fmt: skip


@pytest.mark.parametrize("arguments", [["release"], ["release", "a", "--all"], ["mirror", "edit", "ana"]])
def test_what_says_nothing_or_too_much_is_wrong_usage(run: Run, master: Master, arguments: list[str]) -> None:
    assert run(*arguments).exit_code == ExitCode.USAGE
    assert master.asked == []


def test_release_of_nothing_says_where_to_look_as_a_hint(run: Run) -> None:
    told = run("release").stderr.splitlines()
    assert told == ["error: name what is to be released, or --all", "hint:  `distributary hold ls` lists it"]


def test_the_list_tells_for_each_file_when_it_is_released(run: Run, master: Master) -> None:
    file = {"path": "a.iso", "size_bytes": 5, "generation": 2, "channels": ["iso"], "copies": 1}
    master.held = [
        told("held", "ana") | {"files": [file]},
        told("held") | {"hold": 8, "wait": None, "needed": None, "files": [file | {"path": "b.iso"}]},
        told("open") | {"hold": 9, "files": [file | {"path": "c.iso"}]},
    ]
    lines = run("hold", "ls").stdout.splitlines()
    assert "when 2 mirrors have all of it (1 of the 2 that follow its channels does)" in lines[1]
    assert lines[2].rstrip().endswith("by hand")
    assert "not all of it is held yet" in lines[3]


def test_withdrawing_what_is_held_leaves_what_is_published(run: Run, master: Master) -> None:
    assert run("withdraw", "a.iso", "--held", "--reason", "x", "--yes").exit_code == ExitCode.NOT_FOUND
    master.held = [told() | {"files": [{"path": "a.iso", "generation": 2}]}]
    result = run("withdraw", "a.iso", "--held", "--reason", "x", "--yes")
    assert result.stdout == "withdrawn  what is held for a.iso\n"
    assert master.asked == [{"path": "a.iso", "held": "true", "reason": "x", "mode": "drain"}]


def test_a_rule_names_what_changes_and_nothing_else(run: Run, master: Master) -> None:
    result = run("mirror", "edit", "ana", "--disable", "--weight", "50", "--countries-only", "de, at")
    assert result.stdout == "ana  disabled; weight 50 %\n"
    run("mirror", "edit", "ana", "--enable", "--share-max", "40", "--networks-only", "none")
    assert master.asked == [
        (
            "/-/api/v1/mirrors/ana",
            {"enabled": False, "weight_percent": 50, "reach": {"countries_only": ("DE", "AT")}},
        ),
        ("/-/api/v1/mirrors/ana", {"enabled": True, "share_percent_max": 40, "reach": {"networks_only": ()}}),
    ]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--countries-only", "deu", "'DEU' is no country: write two letters, like PT"),
        ("--countries-excluded", "d1", "'D1' is no country"),
        ("--continents-only", "eu,xx", "'XX' is no continent: use AF, AN, AS, EU, NA, OC, SA"),
        ("--networks-only", "192.0.2.0/24,", "write it like a,b, or none"),
    ],
)
def test_a_rule_for_a_place_that_is_none_is_wrong_usage(
    run: Run, master: Master, option: str, value: str, said: str
) -> None:
    result = run("mirror", "edit", "ana", option, value)
    assert (result.exit_code, master.asked) == (ExitCode.USAGE, [])
    assert said in result.stderr


def test_a_rule_is_one_sentence() -> None:
    reach = {"countries_only": [], "countries_excluded": ["US"], "networks_only": ["192.0.2.0/24"]}
    assert rule_sentence({"enabled": True, "weight_percent": 100, "share_percent_max": 40, "reach": reach}) == (
        "at most 40 % of a continent's visitors; countries excluded: US; networks only: 192.0.2.0/24"
    )
    assert rule_sentence({}) == ""
