"""What takes something away from visitors, at the command line: withdraw, revoke, rotate-keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from distributary.cli import withdraw
from distributary.cli.app import root
from distributary.cli.invocation import Invocation
from distributary.client import JsonObject
from distributary.errors import UnavailableError
from distributary.exits import ExitCode
from events.grants import Grant, mint
from events.names import Digest, MirrorName

Run = Callable[..., Result]


class Master:
    """A master with one file; mirrors acknowledge its withdrawal after being asked ``asked_max`` times."""

    def __init__(self, *, asked_max: int) -> None:
        self.asked: list[object] = []
        self._asked_max = asked_max

    def get(self, path: str, query: object = None) -> JsonObject:
        if path == "/-/api/v1/files":
            return {"files": [{"path": "a.iso", "generation": 2}]}
        self.asked.append((path, query))
        return {"mirrors": self._mirrors(done=len(self.asked) > self._asked_max)}

    def delete(self, _path: str, query: object) -> JsonObject:
        self.asked.append(query)
        facts = [{"channel": "iso", "channel_sequence": 8}]
        return {"facts": facts, "cut": 1, "mirrors": self._mirrors(done=False)}

    def post(self, path: str, body: object) -> JsonObject:
        self.asked.append((path, body))
        return {"revocation": {"revocation": 3}, "cut": 2, "key_epoch": 4, "oldest_epoch": 3}

    @staticmethod
    def _mirrors(*, done: bool) -> list[JsonObject]:
        bob: JsonObject = {"mirror": "bob", "acknowledged": done, "missing": [] if done else ["iso"]}
        return [{"mirror": "ana", "acknowledged": True, "missing": [], "external": True}, bob]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(withdraw, "ASK_EVERY_S", 0.0)
    return lambda *arguments: CliRunner().invoke(root, list(arguments))


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> Master:
    """A master whose mirrors are away at first."""
    made = Master(asked_max=3)

    def give(_invocation: Invocation) -> Master:
        return made

    monkeypatch.setattr(Invocation, "master", give)
    return made


WITHDRAW = ("withdraw", "a.iso", "--reason", "a mistake", "--yes")


def test_withdrawing_tells_who_has_acted_and_who_has_not(run: Run, master: Master) -> None:
    told = run(*WITHDRAW, "--cut")
    assert (told.exit_code, told.stdout) == (0, "withdrawn  a.iso\n")
    assert master.asked == [{"path": "a.iso", "held": "false", "reason": "a mistake", "mode": "cut"}]
    assert "1 of 2 mirrors have acted on it: ana" in told.stderr
    assert "not yet: bob (in iso)" in told.stderr


def test_waiting_ends_when_all_have_acknowledged(run: Run, master: Master) -> None:
    told = run(*WITHDRAW, "--wait", "--json")
    assert told.exit_code == 0
    assert [each["acknowledged"] for each in json.loads(told.stdout)["mirrors"]] == [True, True]
    assert master.asked[1:] == [("/-/api/v1/acknowledgements", [("fact", "iso:8")])] * 3


def test_who_does_not_acknowledge_in_time_is_named_and_the_file_is_withdrawn_all_the_same(
    run: Run, master: Master
) -> None:
    told = run(*WITHDRAW, "--wait", "--within", "0s", "--json")
    assert told.exit_code == ExitCode.TIMED_OUT
    assert [each["acknowledged"] for each in json.loads(told.stdout)["mirrors"]] == [True, False]
    error = json.loads(told.stderr)["error"]
    assert error["code"] == "withdrawal_unacknowledged"
    assert "a.iso is withdrawn, but 1 of 2 mirrors did not acknowledge" in error["message"]
    assert "bob" in error["message"]
    assert len(master.asked) == 1


def test_waiting_goes_on_while_the_master_is_away() -> None:
    here: list[JsonObject] = [{"mirror": "ana", "acknowledged": True}]
    now_s, answers = [0.0], iter([UnavailableError("x", "away"), here])

    def sleep(duration_s: float) -> None:
        now_s[0] += duration_s

    def ask() -> list[JsonObject]:
        answer = next(answers)
        if isinstance(answer, UnavailableError):
            raise answer
        return answer

    away: list[JsonObject] = [{"mirror": "ana", "acknowledged": False}]
    waited = withdraw.wait_for(ask, away, within_s=30, clock_s=lambda: now_s[0], sleep=sleep)
    assert (waited, now_s) == (here, [2 * withdraw.ASK_EVERY_S])


def test_cutting_names_the_mirrors_that_cannot_cut(run: Run, master: Master) -> None:
    assert "ana sends through nginx: it cannot cut" in run(*WITHDRAW, "--cut").stderr
    assert "cannot cut" not in run(*WITHDRAW).stderr
    assert master.asked


def test_a_dry_run_withdraws_nothing(run: Run, master: Master) -> None:
    assert run("withdraw", "a.iso", "--reason", "x", "--dry-run").stdout == "would withdraw  a.iso\n"
    assert master.asked == []
    assert run("withdraw", "b.iso", "--reason", "x", "--dry-run").exit_code == ExitCode.NOT_FOUND


def test_revoking_names_all_that_grants_must_agree_with(run: Run, master: Master) -> None:
    told = run("revoke", "--file", "a.iso", "--ip", "203.0.113.0/24", "--reason", "leaked", "--yes")
    assert told.exit_code == 0, told.stderr
    assert master.asked == [
        ("/-/api/v1/revocations", {"path": "a.iso", "network": "203.0.113.0/24", "reason": "leaked"})
    ]
    assert told.stdout == (
        "revoked  all links to a.iso, of visitors in 203.0.113.0/24 given before now (revocation 3)\n"
    )
    assert "cut at the master: 2" in told.stderr


def test_link_is_revoked_by_the_link_itself(run: Run, master: Master) -> None:
    grant = Grant(
        grant_id=bytes(range(16)),
        sha256=Digest(bytes(32)),
        size_bytes=1,
        start_by_s=1,
        finish_by_s=2,
        address=IPv6Address(0),
        prefix_bits=0,
    )
    link = f"https://ana.example/d/{mint(grant, mirror=MirrorName('ana'), key=bytes(32))}/a.iso"
    assert run("revoke", "--grant", link, "--yes").exit_code == ExitCode.OK
    assert master.asked == [("/-/api/v1/revocations", {"grant_id": bytes(range(16)).hex(), "reason": ""})]
    refused = run("revoke", "--grant", link.removesuffix("/a.iso")[:-1], "--yes")
    assert refused.exit_code == ExitCode.USAGE
    assert "copy the whole link" in refused.stderr


def test_revoking_nothing_in_particular_is_refused_and_a_dry_run_revokes_nothing(run: Run, master: Master) -> None:
    assert run("revoke", "--yes").exit_code == ExitCode.USAGE
    assert run("revoke", "--mirror", "ana", "--dry-run").stdout == "would revoke  all links at mirror ana\n"
    assert run("revoke", "--mirror", "ana").exit_code == ExitCode.USAGE, "nobody can be asked here"
    assert master.asked == []


def test_keys_are_rotated_and_only_cutting_asks_first(run: Run, master: Master) -> None:
    told = run("mirror", "rotate-keys", "ana")
    assert told.stdout == "ana has a new key, number 4; 3 is the oldest that holds\n"
    assert run("mirror", "rotate-keys", "ana", "--cut").exit_code == ExitCode.USAGE
    assert run("mirror", "rotate-keys", "ana", "--cut", "--yes", "--json").exit_code == 0
    assert master.asked == [("/-/api/v1/mirrors/ana/keys", {"cut": cut}) for cut in (False, True)]


CONFIDENTIAL: JsonObject = {"tags_none": ["confidential"]}


def test_a_channels_address_policy_is_set_without_opening_its_filter(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Channels(Master):
        def put(self, _path: str, body: JsonObject) -> JsonObject:
            self.asked.append(body)
            return {}

        def get(self, path: str, query: object = None) -> JsonObject:
            assert (path, query) == ("/-/api/v1/channels/iso", None)
            return {"channel": "iso", "filter": CONFIDENTIAL, "address_policy": "prefix", "description": "images"}

    made = Channels(asked_max=0)

    def give(_invocation: Invocation) -> Master:
        return made

    monkeypatch.setattr(Invocation, "master", give)
    assert "prefix: for the network" in run("channel", "set", "iso", "--address-policy", "prefix").stdout
    assert run("channel", "set", "iso", "--min-size", "1MB").exit_code == 0
    assert run("channel", "set", "iso").exit_code == 0
    known = {"description": "images", "address_policy": "prefix"}
    filters: tuple[JsonObject, ...] = (CONFIDENTIAL, {"size_bytes_min": 1_000_000}, {})
    assert made.asked == [{"filter": each, **known} for each in filters], "only what was said is changed"
    assert "links        prefix" in run("channel", "show", "iso").stdout
    assert run("channel", "set", "iso", "--address-policy", "lax").exit_code == ExitCode.USAGE


def test_a_pause_of_no_length_is_refused_in_words(run: Run) -> None:
    told = run("mirror", "pause", "--for", "0s", "--json")
    assert told.exit_code == ExitCode.USAGE
    assert json.loads(told.stderr)["error"]["code"] == "pause_empty"
