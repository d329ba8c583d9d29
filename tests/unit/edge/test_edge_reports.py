"""Many downloads in one report."""

from __future__ import annotations

from edge.reports import DOWNLOADS_PER_REPORT, WAITING_MAX, Reports
from events.codec import BODY_BYTES_MAX, encode
from events.envelope import Envelope
from events.names import Digest, MirrorName
from events.schemas import Download, DownloadOutcome
from events.schemas.fields import INTEGER_MAX, TEXT_LENGTH_MAX, TIMESTAMP_S_MAX

ANA = MirrorName("ana")


def told(
    number: int = 1, outcome: DownloadOutcome = DownloadOutcome.FINISHED, *, at_ns: int = 0, address: str = ""
) -> Download:
    return Download(
        grant_id=number.to_bytes(16, "big"), sha256=Digest(bytes(32)), outcome=outcome, at_ns=at_ns, address=address
    )


START = told(1, DownloadOutcome.STARTED, at_ns=1, address="192.0.2.1")


def taken(reports: Reports) -> list[Download]:
    return [download for report in reports.take() for download in report.downloads]


def test_an_end_before_its_start_was_told_says_the_address_for_it() -> None:
    reports = Reports(ANA)
    for download in (START, told(1, at_ns=2), told(1, at_ns=3)):
        reports.note(download)
    assert taken(reports) == [told(1, at_ns=2, address="192.0.2.1"), told(1, at_ns=3)]


def test_a_start_that_was_told_is_not_told_again() -> None:
    reports = Reports(ANA)
    reports.note(START)
    assert taken(reports) == [START]
    reports.note(told(1, at_ns=2))
    assert taken(reports) == [told(1, at_ns=2)]


def test_starts_and_ends_of_different_grants_stand_in_the_order_of_time() -> None:
    reports = Reports(ANA)
    reports.note(START)
    reports.note(told(2, at_ns=0))
    reports.note(told(3, at_ns=2))
    assert [download.at_ns for download in taken(reports)] == [0, 1, 2]


def test_what_could_not_be_said_is_told_before_what_happened_since() -> None:
    reports = Reports(ANA)
    reports.note(START)
    unsaid = reports.take()
    reports.note(told(1, at_ns=2))
    reports.put_back(unsaid)
    assert taken(reports) == [START, told(1, at_ns=2)]


def test_of_too_many_the_oldest_go_untold() -> None:
    reports = Reports(ANA)
    for number in range(WAITING_MAX + 1):
        reports.note(told(number, at_ns=number))
    assert taken(reports)[0].at_ns == 1


def test_a_report_with_the_longest_texts_is_not_too_large_for_an_event() -> None:
    reports = Reports(ANA)
    for number in range(DOWNLOADS_PER_REPORT + 1):
        reports.note(
            Download(
                grant_id=number.to_bytes(16, "big"),
                sha256=Digest(bytes(32)),
                outcome=DownloadOutcome.ABORTED,
                at_ns=TIMESTAMP_S_MAX,
                address="2001:db8:1111:2222:3333:4444:5555:6666",
                first_byte=INTEGER_MAX,
                wanted_bytes=INTEGER_MAX,
                sent_bytes=INTEGER_MAX,
                reason="\N{CAT}" * TEXT_LENGTH_MAX,
                traceparent="0" * 55,
            )
        )
    full, rest = reports.take()
    assert (len(full.downloads), len(rest.downloads)) == (DOWNLOADS_PER_REPORT, 1)
    envelope = Envelope(source="mirror/ana", epoch=1, sequence=1, time_ns=0, traceparent="", event=full)
    assert len(encode(envelope)) < BODY_BYTES_MAX
