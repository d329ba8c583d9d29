"""What mirrors lack, as `mirror ls` and `status` tell it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from distributary.cli.app import root
from distributary.cli.invocation import Invocation
from distributary.cli.shortfall import declined_sentence, held_of_wanted, reason_sentence, shortfalls
from distributary.client import JsonObject
from distributary.exits import ExitCode

DECLINED: JsonObject = {
    "files": 2, "path": "a.iso", "reason": "disk_full", "text": "the mirror's disk is full", "detail": "6 GB given",
}  # fmt: skip
SHORT: JsonObject = {
    "mirror": "ana", "state": "ready", "reason": "", "channels": ["iso"], "copies": 2, "wanted": 4, "missing": 2,
    "declined": DECLINED,
}  # fmt: skip
WHOLE: JsonObject = {**SHORT, "mirror": "bob", "copies": 4, "missing": 0, "declined": None}


def file(path: str, *mirrors: str, channels: tuple[str, ...] = ("iso",)) -> JsonObject:
    """A file as the selector lists it."""
    return {"path": path, "channels": list(channels), "mirrors": list(mirrors)}


def test_mirror_that_declined_says_how_much_it_holds_and_why_not_all() -> None:
    assert held_of_wanted(SHORT) == "2 of 4"
    assert declined_sentence(SHORT) == "could not fetch a.iso and 1 more: the mirror's disk is full (6 GB given)"


def test_mirror_that_nothing_is_known_of_has_no_count() -> None:
    assert (held_of_wanted({"mirror": "eve"}), declined_sentence({"mirror": "eve"})) == ("", "")


def test_mirror_that_is_not_ready_says_until_when_and_a_ready_one_says_nothing() -> None:
    paused = {**WHOLE, "reason": "its operator has paused it", "detail": "until 2026-12-01 08:00 UTC"}
    assert reason_sentence(paused) == "its operator has paused it (until 2026-12-01 08:00 UTC)"
    assert reason_sentence(WHOLE) == ""


def test_fleet_that_holds_all_has_no_shortfall() -> None:
    assert shortfalls([file("a.iso", "bob")], [WHOLE]) == []


def test_declined_fetch_is_a_shortfall_even_where_another_mirror_holds_the_file() -> None:
    (problem,) = shortfalls([file("a.iso", "bob")], [SHORT, WHOLE])
    assert problem.startswith("mirror ana holds 2 of 4: could not fetch a.iso")


@pytest.mark.parametrize(
    ("files", "mirrors", "problems"),
    [
        pytest.param([file("a.iso")], [WHOLE], ["no ready mirror holds a.iso"], id="nobody has it"),
        pytest.param(
            [file("a.iso", "bob")],
            [{**WHOLE, "state": "silent"}],
            ["no ready mirror holds a.iso"],
            id="a silent one has",
        ),
        pytest.param([file("a.iso"), file("b.iso")], [WHOLE], ["no ready mirror holds a.iso and 1 more"], id="two"),
        pytest.param([file("a.iso", channels=())], [WHOLE], [], id="it is in no channel"),
        pytest.param([file("a.iso", channels=("deb",))], [WHOLE], [], id="nobody follows its channel"),
        pytest.param([file("a.iso")], [], [], id="a site without mirrors serves itself"),
    ],
)
def test_followed_file_without_a_ready_mirror_is_a_shortfall(
    files: list[JsonObject], mirrors: list[JsonObject], problems: list[str]
) -> None:
    assert shortfalls(files, mirrors) == problems


class StandIn:
    """A master or selector that is ready and answers with this fleet."""

    url = "http://127.0.0.1:1"

    def __init__(self, *mirrors: JsonObject) -> None:
        self._mirrors = mirrors

    def readiness(self) -> JsonObject:
        """Answer that all is well."""
        return {"ready": True, "checks": []}

    def get(self, path: str) -> JsonObject:
        """Answer with the fleet."""
        return {"mirrors": list(self._mirrors), "files": [file("a.iso", "ana")]} if "status" not in path else {}


def stand_in(monkeypatch: pytest.MonkeyPatch, *mirrors: JsonObject) -> None:
    """Let master and selector be stand-ins, with this fleet."""

    def of(_invocation: Invocation) -> StandIn:
        return StandIn(*mirrors)

    monkeypatch.setattr(Invocation, "master", of)
    monkeypatch.setattr(Invocation, "selector", of)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a mirror lack something."""
    stand_in(monkeypatch, SHORT)


@pytest.mark.usefixtures("fleet")
def test_check_is_degraded_by_a_declined_fetch() -> None:
    result = CliRunner().invoke(root, ["status", "--check", "--json"])
    assert result.exit_code == ExitCode.DEGRADED
    (degraded,) = json.loads(result.stdout)["degraded"]
    assert "the mirror's disk is full" in degraded


@pytest.mark.usefixtures("fleet")
def test_list_of_mirrors_tells_what_each_lacks() -> None:
    told = CliRunner().invoke(root, ["mirror", "ls"]).stdout
    assert "2 of 4" in told
    assert "could not fetch a.iso" in told


@pytest.mark.parametrize("state", ["paused", "closed", "draining", "disabled"])
def test_check_is_not_degraded_by_a_mirror_that_rests_as_somebody_wants(
    monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    stand_in(monkeypatch, {**WHOLE, "mirror": "ana"}, {**WHOLE, "state": state, "reason": "its operator's words"})
    result = CliRunner().invoke(root, ["status", "--check"])
    assert (result.exit_code, result.stderr) == (ExitCode.OK, "")
    assert "its operator's words" in result.stdout


def test_check_is_degraded_where_all_holders_of_a_file_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, {**WHOLE, "mirror": "ana", "state": "closed", "reason": "it is outside its hours"})
    result = CliRunner().invoke(root, ["status", "--check", "--json"])
    assert result.exit_code == ExitCode.DEGRADED
    assert json.loads(result.stdout)["degraded"] == ["no ready mirror holds a.iso"]


def test_check_is_degraded_by_a_mirror_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    away: JsonObject = {**WHOLE, "state": "silent", "reason": "it has not reported its load lately"}
    stand_in(monkeypatch, {**WHOLE, "mirror": "ana"}, away)
    assert CliRunner().invoke(root, ["status", "--check"]).exit_code == ExitCode.DEGRADED


def test_mirror_is_shown_with_whole_seconds_and_one_sign_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, {**WHOLE, "url": None, "last_report_s": 1.2345678, "external": False})
    shown = dict(
        line.split(maxsplit=1) for line in CliRunner().invoke(root, ["mirror", "show", "bob"]).stdout.splitlines()
    )
    assert (shown["last_report_s"], shown["external"]) == ("1", "no")
    assert (shown["url"], shown["reason"], shown["declined"]) == ("-", "-", "-")


@pytest.mark.parametrize("command", [["mirror", "ls"], ["status"]])
def test_resting_mirror_is_listed_with_until_when(monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    resting = {"state": "draining", "reason": "it is on its way to a stop", "detail": "until 2026-12-01 08:00 UTC"}
    stand_in(monkeypatch, {**WHOLE, **resting})
    assert "it is on its way to a stop (until 2026-12-01 08:00 UTC)" in CliRunner().invoke(root, command).stdout
