"""Judging costs as much as there are decisions, however far their records stand behind what they were decided by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from events.names import FilePath, SelectorName
from events.schemas import (
    Decision,
    DecisionOutcome,
    DecisionsRecorded,
    LogOpened,
    Seen,
    SelectionRules,
    StandingRecorded,
    Whereabouts,
)
from history.audit.audit import Audit
from history.audit.records import Places
from history.entry import Position
from history.sources.memory import VHOST

if TYPE_CHECKING:
    from conftest import Log

ONE = SelectorName("one")
RECORDS = 1_000
LOOKS_PER_RECORD_MAX = 8
RULES = SelectionRules(
    silent_after_s=10.0,
    load_threshold=1.0,
    near_km=0.0,
    hops_max=3,
    share_percent_max=100,
    sticky_tags=(),
    start_by_s=60,
    recorded_percent=100,
)


def seen(log: Log) -> Seen:
    return Seen(generation=log.generation, offset=log.offset, message_id=log.entries[-1].message_id)


def decided(log: Log, number: int, by: Seen, outcome: DecisionOutcome = DecisionOutcome.ORIGIN) -> None:
    """Record that a visitor was left to the master: no mirror has the file."""
    decision = Decision(
        grant_id=number.to_bytes(16),
        at_ns=log.now_ns,
        path=FilePath("a.iso"),
        generation=1,
        address=f"198.51.{number // 250}.{number % 250 + 1}",
        place=Whereabouts(),
        outcome=outcome,
        is_reserved=outcome is DecisionOutcome.ORIGIN,
    )
    log.selector("one", DecisionsRecorded(selector=ONE, seen=by, decisions=(decision,)))


@pytest.fixture
def begun(log: Log) -> Log:
    log.master(LogOpened(generation=1))
    log.came_online()
    log.published("a.iso", channel="origin")
    log.selector("one", StandingRecorded(selector=ONE, seen=seen(log), rules=RULES, figures=(), is_first=True))
    return log


def audited(log: Log) -> Audit:
    audit = Audit(vhost=VHOST)
    for entry in log.entries:
        audit.take(entry)
    audit.finish()
    return audit


def test_each_of_many_records_is_looked_at_a_few_times(begun: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(RECORDS):
        decided(begun, number, seen(begun))
    looks, look = 0, Places.of

    def counted(places: Places, wanted: Seen) -> Position | None:
        nonlocal looks
        looks += 1
        return look(places, wanted)

    monkeypatch.setattr(Places, "of", counted)
    audit = audited(begun)
    assert (audit.reproduced, audit.damage, dict(audit.doubted)) == (RECORDS, None, {})
    assert looks <= LOOKS_PER_RECORD_MAX * RECORDS


def test_record_that_comes_before_those_of_higher_numbers_is_judged_in_its_turn(begun: Log) -> None:
    first = seen(begun)
    for visitor in range(10):
        decided(begun, visitor, first)
    records = begun.entries[-10:]
    begun.entries[-10:] = [
        entry._replace(offset=place.offset) for entry, place in zip(reversed(records), records, strict=True)
    ]
    audit = audited(begun)
    assert (audit.reproduced, audit.damage) == (10, None)


def test_wrong_decision_among_many_is_found_at_its_record(begun: Log) -> None:
    for number in range(20):
        decided(begun, number, seen(begun), DecisionOutcome.NOBODY if number == 7 else DecisionOutcome.ORIGIN)
    damage = audited(begun).damage
    assert damage is not None
    assert (damage.kind.code, damage.position.offset) == ("decision_wrong", begun.entries[-13].offset)
