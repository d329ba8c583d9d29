"""Records wait for the fold in the order of their numbers, and where the messages stand that they name is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from events.names import FilePath, MirrorName, SelectorName
from events.schemas import Decision, DecisionOutcome, DecisionsRecorded, Seen, Whereabouts
from history.audit.records import Places, Records
from history.entry import Position

if TYPE_CHECKING:
    from conftest import Log

ONE = SelectorName("one")


def decision(path: str, seen: Seen | None = None) -> Decision:
    return Decision(
        grant_id=bytes(16),
        at_ns=1,
        path=FilePath(path),
        generation=1,
        address="203.0.113.9",
        place=Whereabouts(),
        outcome=DecisionOutcome.SENT,
        mirror=MirrorName("ana"),
        seen=seen,
    )


def seen(offset: int) -> Seen:
    return Seen(generation=1, offset=offset, message_id=f"master:0:{offset}")


def taken(records: Records) -> list[tuple[str, Seen]]:
    found: list[tuple[str, Seen]] = []
    while records.next_seen() is not None:
        step = records.take()
        assert isinstance(step.told, Decision)
        found.append((step.told.path, step.seen))
    return found


def test_records_are_taken_in_the_order_of_their_numbers_and_each_once(log: Log) -> None:
    first, second = (
        log.selector("one", DecisionsRecorded(selector=ONE, seen=seen(number), decisions=(decision(f"{number}.iso"),)))
        for number in (1, 2)
    )
    records = Records()
    for sequence, entry in ((2, second), (1, first), (2, second)):
        records.put(sequence, seen(sequence), entry)
        assert records.next_seen() is not None, "to ask begins nothing"
    assert taken(records) == [("1.iso", seen(1)), ("2.iso", seen(2))]
    records.put(1, seen(1), first)
    assert records.next_seen() is None


def test_decision_saw_what_the_one_before_it_saw_unless_it_says_otherwise(log: Log) -> None:
    decisions = (decision("a"), decision("b", seen(7)), decision("c"))
    records = Records()
    records.put(1, seen(5), log.selector("one", DecisionsRecorded(selector=ONE, seen=seen(5), decisions=decisions)))
    assert taken(records) == [("a", seen(5)), ("b", seen(7)), ("c", seen(7))]


def test_message_is_where_it_stood_or_else_where_it_stands_now(log: Log) -> None:
    places = Places()
    entry = log.published("a.iso")
    again = log.put(entry)
    for each in (entry, again):
        places.add(each)
    here = Seen(generation=1, offset=entry.offset, message_id=entry.message_id)
    elsewhere = Seen(generation=1, offset=99, message_id=entry.message_id)
    assert (places.of(here), places.of(elsewhere)) == (entry.position, again.position)
    places.forget(again)
    assert places.of(elsewhere) == entry.position
    places.forget(entry)
    assert places.of(here) is None
    assert Position.of(here) == entry.position
