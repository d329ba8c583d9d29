"""What is told of an entry: sentences, lines, objects, subjects."""

from __future__ import annotations

import json

import pytest

from broker.port import Message
from broker.relay import message_of
from events.envelope import Envelope
from events.examples import EXAMPLES
from events.names import Digest, FilePath, MirrorName
from events.schemas import (
    Availability,
    AvailabilityChanged,
    Download,
    DownloadOutcome,
    DownloadsGranted,
    DownloadsReported,
    ReplicaReady,
    tag_of,
)
from history.entry import Entry
from history.telling.lines import NO_TIME, line_of
from history.telling.records import plain, record_of
from history.telling.sentences import sentence_of
from history.telling.subjects import subjects_of
from history.telling.told import Told, tell

ANA = MirrorName("ana")


def entry_of_message(message: Message, *, offset: int = 7, user: str = "site") -> Entry:
    return Entry(1, offset, message.exchange, message.routing_key, message.message_id, message.type, user, message.body)


def told_of(envelope: Envelope, *, user: str = "site") -> Told:
    return tell(entry_of_message(message_of(envelope, persistent=True), user=user), vhost="site")


@pytest.mark.parametrize("envelope", EXAMPLES.values(), ids=EXAMPLES)
def test_every_event_is_told_in_one_line_and_as_json(envelope: Envelope) -> None:
    told = told_of(envelope)
    assert told.trouble == ""
    line = line_of(told)
    assert sentence_of(envelope.event) in line
    assert "\n" not in line
    assert tag_of(envelope.event).partition("/")[0] in line
    record = json.loads(json.dumps(record_of(told)))
    assert (record["schema"], record["event"]) == ("distributary/event/1", tag_of(envelope.event))
    assert set(record["content"]) == set(envelope.event.__struct_fields__)


def test_a_line_has_time_place_type_source_and_what_happened() -> None:
    event = ReplicaReady(
        mirror=ANA, sha256=Digest(bytes(32)), size_bytes=2_100_000_000, path=FilePath("dir/a.iso"), generation=1
    )
    envelope = Envelope(
        source="mirror/ana", epoch=1, sequence=4, time_ns=1_795_344_067_123_456_789, traceparent="", event=event
    )
    assert line_of(told_of(envelope)) == (
        "2026-11-22 10:41:07.123  g1:7       replica.ready         mirror/ana         ana has dir/a.iso (2.1 GB)"
    )
    assert record_of(told_of(envelope))["time"] == "2026-11-22T10:41:07.123456Z"
    assert record_of(told_of(envelope))["position"] == "g1:7"


def test_what_cannot_be_read_is_told_with_its_trouble_and_its_bytes() -> None:
    entry = Entry(1, 7, "fleet", "mirror.ana.ready", "mirror/ana:1:4", "replica.ready/1", "site.ana", b"\xc1")
    told = tell(entry, vhost="site")
    assert told.envelope is None
    assert line_of(told).startswith(f"{NO_TIME}  g1:7 ")
    assert "(site.ana)" in line_of(told)
    assert "unreadable: " in line_of(told)
    assert record_of(told)["body"] == "c1"
    assert str(record_of(told)["trouble"]).startswith("unreadable: ")


def test_what_another_user_wrote_is_told_as_forged() -> None:
    envelope = EXAMPLES["replica.ready/1"]
    told = told_of(envelope, user="site.somebody-else")
    assert told.trouble.startswith("forged: ")


def test_a_time_that_no_calendar_has_stops_no_line() -> None:
    event = AvailabilityChanged(mirror=ANA, availability=Availability.PAUSED, until_s=2**62)
    assert sentence_of(event) == "ana is paused to new visitors, for ever"


def test_downloads_are_told_by_what_became_of_them() -> None:
    def download(outcome: DownloadOutcome, sent_bytes: int) -> Download:
        return Download(grant_id=bytes(16), sha256=Digest(bytes(32)), outcome=outcome, at_ns=0, sent_bytes=sent_bytes)

    downloads = (download(DownloadOutcome.STARTED, 0), *(download(DownloadOutcome.FINISHED, 5000) for _ in range(2)))
    sentence = sentence_of(DownloadsReported(mirror=ANA, downloads=downloads))
    assert sentence == "downloads at ana: 1 started, 2 finished; 10.0 kB sent"


def test_bytes_are_hexadecimal_and_structs_are_objects_in_json() -> None:
    granted = EXAMPLES["downloads.granted/1"].event
    assert isinstance(granted, DownloadsGranted)
    written = json.loads(json.dumps(plain(granted)))
    assert written["grants"][0]["grant_id"] == granted.grants[0].grant_id.hex()


@pytest.mark.parametrize(
    ("type_", "subjects"),
    [
        ("file.published/1", {"paths", "channels", "contents"}),
        ("replica.ready/1", {"mirrors", "paths", "contents"}),
        ("downloads.granted/1", {"mirrors", "paths", "contents"}),
        ("downloads.reported/1", {"mirrors", "contents"}),
        ("decisions.recorded/1", {"mirrors", "paths"}),
        ("subscription.granted/1", {"mirrors", "channels"}),
        ("mirror.invited/1", {"mirrors", "channels"}),
        ("inventory.announced/1", {"mirrors", "contents"}),
        ("standing.recorded/1", set[str]()),
        ("log.opened/1", set[str]()),
    ],
)
def test_an_event_is_about_what_it_names(type_: str, subjects: set[str]) -> None:
    found = subjects_of(EXAMPLES[type_].event)
    assert {name for name, values in found._asdict().items() if values} == subjects
