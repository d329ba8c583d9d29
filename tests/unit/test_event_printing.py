"""What the commands on the log print, without any broker."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from broker.relay import message_of
from distributary.cli.app import root
from distributary.cli.events.audit import line_of_finding
from distributary.cli.events.options import chosen
from distributary.cli.events.printing import EnoughError, Printer
from distributary.cli.events.progress import share
from distributary.cli.invocation import Invocation
from distributary.cli.output import Output
from distributary.cli.where import print_where
from distributary.client import JsonObject
from distributary.errors import CommandError, UsageError
from distributary.exits import ExitCode
from events.examples import EXAMPLES
from history.audit.findings import Finding, FindingKind
from history.entry import Entry, Position
from history.filters import Filter, Wanted
from history.sources.port import Extent


def entry(offset: int, tag: str = "replica.ready/1") -> Entry:
    message = message_of(EXAMPLES[tag], persistent=True)
    return Entry(
        1, offset, message.exchange, message.routing_key, message.message_id, message.type, "site", message.body
    )


def output(*, as_json: bool) -> Output:
    return Output(json=as_json, colour=lambda _: False)


def test_only_what_is_wanted_is_printed_and_no_more_than_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    filter_ = Filter(Wanted(types=("replica.ready",)))
    printer = Printer(output(as_json=True), filter_, vhost="site", limit=2)
    printer.take(entry(1))
    printer.take(entry(2, "file.published/1"))
    with pytest.raises(EnoughError):
        printer.take(entry(3))
    assert (printer.read, printer.printed) == (3, 2)
    assert [json.loads(line)["position"] for line in capsys.readouterr().out.splitlines()] == ["g1:1", "g1:3"]


def test_control_characters_of_an_event_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    wild = entry(1)._replace(body=b"", user_id="x\x1b[2J\nfile")
    Printer(output(as_json=False), Filter(Wanted()), vhost="site", limit=None).take(wild)
    assert "\x1b" not in capsys.readouterr().out


def test_label_of_a_message_begins_no_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    wild = entry(1)._replace(body=b"", type="x\n2026-11-22 10:41:07.123  g1:2  file.published")
    Printer(output(as_json=False), Filter(Wanted()), vhost="site", limit=None).take(wild)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_finding_of_an_audit_is_one_line_whatever_an_entry_is_labelled_with() -> None:
    finding = Finding(
        kind=FindingKind.MISLABELLED, position=Position(1, 7), index=0, message_id="x\ng1:9", detail="a\nb\x1b[2J"
    )
    assert line_of_finding(finding).isprintable()


@pytest.mark.parametrize(
    ("at", "part"),
    [
        (Position(1, 100), 0.0),
        (Position(1, 150), 0.5),
        (Position(1, 200), 1.0),
        (Position(1, 300), 1.0),
    ],
)
def test_progress_goes_by_the_place_in_the_log(at: Position, part: float) -> None:
    assert share(Extent(first=Position(1, 100), last=Position(1, 200), entries=None), 7, at) == part


def test_progress_never_goes_back_from_one_generation_to_the_next() -> None:
    extent = Extent(first=Position(1, 50), last=Position(3, 10), entries=None)
    places = [Position(1, 50), Position(1, 99), Position(2, 5), Position(3, 0), Position(3, 10)]
    parts = [share(extent, 0, place) or 0.0 for place in places]
    assert parts == sorted(parts)
    assert parts[-1] == 1.0


def test_progress_goes_by_the_count_where_there_is_no_place() -> None:
    assert share(Extent(first=None, last=None, entries=50), 25, None) == 0.5
    assert share(Extent(first=None, last=None, entries=None), 25, None) is None


def test_type_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(UsageError, match=r"'file\.publish'") as refused:
        chosen({"types": ("file.publish",)})
    assert "file.published" in refused.value.hint


def test_choice_of_the_past_says_how_it_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    answer: JsonObject = {
        "path": "a.iso", "size_bytes": 1, "sha256": "0" * 64, "generation": 1, "visitor": {"ip": "203.0.113.9"},
        "access": True, "chosen": "ana", "fallback": False, "ranked": [], "rejected": [],
        "then": {
            "how": "recorded", "selector": "lisbon", "at_ns": 1_795_344_067_000_000_000, "outcome": "sent",
            "seen": {"generation": 1, "offset": 7}, "mirror": "ana", "verdict": "agrees", "why_not": "",
        },
    }  # fmt: skip
    print_where(output(as_json=False), answer)
    printed = capsys.readouterr().out
    assert "sent to ana, recorded by lisbon at 2026-11-22 10:41:07 UTC, with the log read up to g1:7" in printed
    assert "again    agrees" in printed
    assert "access   " not in printed


@pytest.mark.parametrize(("mode", "needed"), [("ticket", "a ticket, too"), ("site", "the site's yes, too")])
def test_choice_says_what_a_visitor_needs_besides(capsys: pytest.CaptureFixture[str], mode: str, needed: str) -> None:
    answer: JsonObject = {
        "path": "a.iso", "size_bytes": 1, "sha256": "0" * 64, "generation": 1, "visitor": {"ip": "203.0.113.9"},
        "access": True, "access_mode": mode, "chosen": None, "fallback": True, "ranked": [], "rejected": [],
    }  # fmt: skip
    print_where(output(as_json=False), answer)
    assert f"access   {needed}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "hint"),
    [("file_unknown", "`distributary ls`"), ("address_invalid", "--ip 203.0.113.9"), ("else", "as it was")],
)
def test_where_gives_hints_for_the_command_line(monkeypatch: pytest.MonkeyPatch, code: str, hint: str) -> None:
    class Refusing:
        def get(self, _path: str, _query: object) -> JsonObject:
            raise CommandError(code, "no", hint="as it was")

    def give(_invocation: Invocation) -> Refusing:
        return Refusing()

    monkeypatch.setattr(Invocation, "selector", give)
    refused = CliRunner().invoke(root, ["where", "a.iso", "--ip", "203.0.113.9"])
    assert refused.exit_code == ExitCode.FAILED
    assert hint in refused.stderr
