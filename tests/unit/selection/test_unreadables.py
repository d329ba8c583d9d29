"""What cannot be used is reported once, and nobody can make us flood the log."""

from __future__ import annotations

from dataclasses import replace

from broker.port import Delivery
from selection.following.unreadables import RENEWED_EVERY_S, REPORTS_PER_SPEAKER_MAX, Unreadables


def delivery(message_id: str) -> Delivery:
    return Delivery(
        exchange="fleet", routing_key="mirror.ana.ready", message_id=message_id, type="x", user_id="ana", body=b""
    )


def test_unusable_message_is_reported_once() -> None:
    unreadables = Unreadables("selector/s")
    for _ in range(3):
        unreadables.note(delivery("m1"), "no event")
    assert [event.message_id for event in unreadables.due(0)] == ["m1"]
    assert unreadables.due(0) == []
    assert unreadables.unreadable == 3


def test_what_the_log_shows_as_reported_is_not_reported_again() -> None:
    first = Unreadables("selector/one")
    first.note(delivery("m1"), "no event")
    (report,) = first.due(0)
    second = Unreadables("selector/two")
    second.note(delivery("m1"), "no event")
    second.note(delivery("m2"), "no event")
    second.reported(report)
    assert [event.message_id for event in second.due(0)] == ["m2"]


def test_mirrors_report_does_not_silence_a_selectors() -> None:
    unreadables = Unreadables("selector/s")
    by_mirror = Unreadables("mirror/ana")
    by_mirror.note(delivery("m1"), "no event")
    unreadables.reported(*by_mirror.due(0))
    unreadables.note(delivery("m1"), "no event")
    assert len(unreadables.due(0)) == 1


def test_flood_of_one_speaker_is_reported_so_often_an_hour_and_hides_nobody_else() -> None:
    unreadables = Unreadables("selector/s")
    for number in range(3 * REPORTS_PER_SPEAKER_MAX):
        unreadables.note(delivery(f"m{number}"), "no event")
    unreadables.note(replace(delivery("by bob"), user_id="bob"), "no event")
    reported = [event.user_id for event in unreadables.due(0)]
    assert (reported.count("ana"), reported.count("bob")) == (REPORTS_PER_SPEAKER_MAX, 1)
    unreadables.note(delivery("too many"), "no event")
    assert unreadables.due(RENEWED_EVERY_S - 1) == []
    unreadables.note(delivery("an hour later"), "no event")
    assert [event.message_id for event in unreadables.due(RENEWED_EVERY_S)] == ["an hour later"]
    assert unreadables.unreadable == 3 * REPORTS_PER_SPEAKER_MAX + 3
