"""What real selectors recorded is made again from the log, and what is changed in their records is found."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from broker.provision import provision_site
from events.codec import decode, encode
from events.envelope import Envelope, parse_id
from events.names import MirrorName, SelectorName
from events.schemas import Decision, DecisionOutcome, DecisionsRecorded, Location, Seen
from history.audit.audit import Audit, audit
from history.audit.findings import FindingKind
from history.audit.numbering import EPOCHS_MAX
from history.entry import Entry
from history.sources.broker_log import BrokerLog
from history.sources.memory import MemorySource

if TYPE_CHECKING:
    from conftest import Selector, Site

PLACES = {"ana": Location(latitude=41, longitude=-9), "bob": Location(latitude=60, longitude=11), "cat": None}
FILES = ("a.iso", "b.iso", "c.iso")
VISITORS = 12
VISITS = 60
LIVES = EPOCHS_MAX + 2
SILENT_AFTER_S = 600.0  # on a slow machine, too, mirrors are heard in time


async def busy_day(site: Site) -> list[Entry]:
    """Two selectors send visitors on while mirrors' loads, files and copies change; the log of it."""
    rng = Random(7)  # noqa: S311 - visitors as they come
    for path in FILES:
        await site.said.published(path)
    for name, place in PLACES.items():
        await site.said.serving(name, *FILES, location=place, slots=50)
    names = SelectorName("one"), SelectorName("two")
    first, second = (site.selector(name=name, silent_after_s=SILENT_AFTER_S) for name in names)
    async with first as one, second as two:
        for selector in (one, two):
            await selector.until(lambda selector=selector: hears_all(selector))
        for number in range(VISITS):
            address = f"{rng.randrange(1, VISITORS)}.0.113.9"
            await rng.choice([one, two]).visit(f"/{rng.choice(FILES)}", headers={"X-Forwarded-For": address})
            if number % 7 == 0:
                name = rng.choice(list(PLACES))
                await site.said.load(name, slots=50, active=rng.randrange(50), sparing=rng.random() < 0.3)
            if number == 40:
                await site.said.withdrawn(FILES[0])
    return await logged(site)


async def sends(selector: Selector, *visitors: int, path: str = FILES[0]) -> None:
    """Visitors come for a file, one after the other."""
    for visitor in visitors:
        await selector.visit(f"/{path}", headers={"X-Forwarded-For": f"{visitor}.0.113.9"})


async def opens_again(site: Site, generation: int, *mirrors: str) -> None:
    """The master opens another log and says its catalogue again, and so do mirrors what they hold."""
    await provision_site(site.admin, generation)
    since = site.said.next_number
    await site.said.log_opened(generation)
    await site.said.published(FILES[0])
    for name in mirrors:
        await site.said.serving(name, FILES[0], slots=50)
    await site.said.restated(generation, since=since)


async def hears_all(selector: Selector) -> bool:
    return len((await selector.where(FILES[0]))["ranked"]) == len(PLACES)


async def logged(site: Site) -> list[Entry]:
    """Give what is in the log, each message once.

    Selectors that ended may have said their last words twice. A generation that nobody broke takes on what is said in
    the next one, too.
    """
    source = BrokerLog(site.broker, vhost=site.config.broker.vhost, name="the test's", clock_s=time.time)
    found: dict[str, Entry] = {}
    async for batch in source.batches():
        for entry in batch:
            known = found.get(entry.message_id)
            if known is None or known.generation < entry.generation:
                found[entry.message_id] = entry
    return sorted(found.values(), key=lambda entry: entry.position)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let selectors say their last words on a slow machine, too: without them numbers are missing."""
    monkeypatch.setattr("selection.answering.announcer.LAST_WORDS_S", 60.0)


@pytest.fixture
async def entries(memory_site: Site) -> list[Entry]:
    return await busy_day(memory_site)


def record_of(entry: Entry) -> DecisionsRecorded | None:
    event = decode(entry.body).event
    return event if isinstance(event, DecisionsRecorded) else None


def records_in(entries: list[Entry]) -> list[tuple[int, DecisionsRecorded]]:
    return [(place, record) for place, entry in enumerate(entries) if (record := record_of(entry)) is not None]


def count(entries: list[Entry]) -> int:
    """Count the decisions: who asked for what was withdrawn got none."""
    return sum(len(record.decisions) for _, record in records_in(entries))


def numbers_of_selectors(entries: list[Entry]) -> set[tuple[str, int]]:
    """Give the numbers that selectors said, each with its source."""
    labels = [parse_id(entry.message_id) for entry in entries]
    return {(label.source, label.sequence) for label in labels if label and label.source.startswith("selector/")}


def lacked(found: Audit) -> set[tuple[str, int]]:
    """Give the numbers that an audit misses, each with its source."""
    missed: set[tuple[str, int]] = set()
    for finding in found.findings.kept():
        numbers, _, source = finding.detail.partition(" of ")
        low, _, high = numbers.partition(" to ")
        missed |= {(source, number) for number in range(int(low), int(high or low) + 1)}
    return missed


def changed(entry: Entry, record: DecisionsRecorded) -> Entry:
    envelope: Envelope = replace(decode(entry.body), event=record)
    return entry._replace(body=encode(envelope))


def with_decision(entries: list[Entry], place: int, nth: int, change: Callable[[Decision], Decision]) -> list[Entry]:
    """Change one decision in the record at a place."""
    record = record_of(entries[place])
    assert record is not None
    decisions = list(record.decisions)
    decisions[nth] = change(decisions[nth])
    found = entries.copy()
    found[place] = changed(entries[place], replace(record, decisions=tuple(decisions)))
    return found


async def test_each_decision_of_a_busy_day_is_made_again(site: Site) -> None:
    entries = await busy_day(site)
    decisions = [decision for _, record in records_in(entries) for decision in record.decisions]
    found = await audit(MemorySource(entries))
    assert 40 <= len(decisions) == count(entries) <= VISITS
    assert {decision.outcome for decision in decisions} >= {DecisionOutcome.SENT, DecisionOutcome.KEPT}
    assert (found.reproduced, found.doubted, found.findings.kept()) == (count(entries), {}, ())
    assert (found.entries, found.damage) == (len(entries), None)


async def test_each_visitor_who_was_sent_elsewhere_is_found(entries: list[Entry]) -> None:
    for place, record in records_in(entries):
        for nth, decision in enumerate(record.decisions):
            if decision.outcome is not DecisionOutcome.SENT or nth % 4:
                continue
            other = next(name for name in PLACES if name != decision.mirror)
            wrong = with_decision(entries, place, nth, lambda one, other=other: replace(one, mirror=MirrorName(other)))
            damage = (await audit(MemorySource(wrong))).damage
            assert damage is not None
            assert (damage.kind, damage.position) == (FindingKind.DECISION_WRONG, entries[place].position)
            assert damage.index == nth


async def test_decision_by_an_entry_that_is_not_there_is_found(entries: list[Entry]) -> None:
    seen = records_in(entries)[-1][1].seen
    first = next(place for place, record in records_in(entries) if seen in read_by(record))
    without = [entry for entry in entries if entry.offset != seen.offset]
    found = (await audit(MemorySource(without))).findings.kept()
    missed = [each.position for each in found if each.kind is FindingKind.SEEN_MISSING]
    assert missed[0] == entries[first].position


def read_by(record: DecisionsRecorded) -> set[Seen]:
    """Give the entries that a selector had read last at each of a record's decisions."""
    return {record.seen, *(decision.seen for decision in record.decisions if decision.seen is not None)}


async def test_decision_by_what_came_later_is_found(entries: list[Entry]) -> None:
    place, record = records_in(entries)[0]
    later = replace(record, seen=Seen(generation=1, offset=10_000, message_id="master:1:10000"))
    wrong = [*entries[:place], changed(entries[place], later), *entries[place + 1 :]]
    damage = (await audit(MemorySource(wrong))).damage
    assert damage is not None
    assert (damage.kind, damage.position) == (FindingKind.SEEN_MISSING, entries[place].position)


async def test_decisions_behind_a_record_that_is_missing_are_in_doubt(entries: list[Entry]) -> None:
    standing = next(number for number, entry in enumerate(entries) if entry.type.startswith("standing.recorded/"))
    found = await audit(MemorySource(entries[:standing] + entries[standing + 1 :]))
    assert found.reproduced + found.doubted.total() == count(entries)
    assert found.doubted.total() > 0
    assert FindingKind.DECISION_WRONG not in found.findings.counts


async def test_records_that_are_repeated_are_judged_once(entries: list[Entry]) -> None:
    records = [entries[place] for place, _ in records_in(entries)]
    again = [entry._replace(offset=entries[-1].offset + nth) for nth, entry in enumerate(records, start=1)]
    result = await audit(MemorySource([*entries, *again]))
    assert (result.reproduced, result.repeated, result.damage) == (count(entries), len(records), None)


async def test_log_that_was_imported_elsewhere_is_audited_by_its_messages(entries: list[Entry]) -> None:
    moved = [entry._replace(offset=number) for number, entry in enumerate(entries)]
    assert [entry.offset for entry in moved] != [entry.offset for entry in entries], "streams have holes"
    found = await audit(MemorySource(moved))
    assert (found.reproduced, found.doubted, found.findings.kept()) == (count(entries), {}, ())


async def test_log_whose_beginning_was_cut_off_leaves_decisions_in_doubt_and_none_wrong(entries: list[Entry]) -> None:
    for cut in range(1, len(entries)):
        found = await audit(MemorySource(entries[cut:]))
        # A notice is numbered when its batch begins and said later: what was numbered next may stand before the cut.
        assert found.findings.counts.keys() <= {FindingKind.IN_FLIGHT, FindingKind.BEFORE_THE_CUT}
        assert lacked(found) <= numbers_of_selectors(entries[:cut])


async def test_address_that_is_not_kept_any_more_makes_no_decision_wrong(entries: list[Entry]) -> None:
    found = entries.copy()
    for place, record in records_in(entries):
        cut = tuple(replace(decision, address="") for decision in record.decisions)
        found[place] = changed(entries[place], replace(record, decisions=cut))
    result = await audit(MemorySource(found))
    assert result.damage is None
    assert (result.reproduced > 0, result.reproduced + result.doubted.total()) == (True, count(entries))


async def test_selector_that_went_on_to_another_generation_is_audited_over_both(memory_site: Site) -> None:
    site = memory_site
    await opens_again(site, 1, "ana", "bob")
    async with site.selector(silent_after_s=SILENT_AFTER_S) as selector:
        await selector.until_chosen(FILES[0], "ana")
        await sends(selector, 1, 2, 3)
        await opens_again(site, 2, "bob", "cat")
        await selector.until(lambda: is_in(selector, 2))
        await sends(selector, 4, 5, 6)
    both = await logged(site)
    found = await audit(MemorySource(both))
    assert {entry.generation for entry in both} == {1, 2}
    assert (found.reproduced, found.doubted, found.damage) == (count(both), {}, None)
    later = await audit(MemorySource([entry for entry in both if entry.generation == 2]))
    assert later.damage is None
    assert later.reproduced + later.doubted.total() == count([entry for entry in both if entry.generation == 2])


async def is_in(selector: Selector, generation: int) -> bool:
    log = (await selector.ask("/-/api/v1/status"))["log"]
    return log["generation"] == generation and log["caught_up"]


async def test_selector_that_began_with_its_snapshot_is_audited_like_one_that_read_all(
    memory_site: Site, tmp_path: Path
) -> None:
    site = memory_site
    await opens_again(site, 1, "ana", "bob")
    for life in range(LIVES):
        async with site.selector(state_dir=tmp_path, silent_after_s=SILENT_AFTER_S) as selector:
            await site.said.published(f"{life}.iso")
            await selector.until_chosen(FILES[0], "ana")
            await sends(selector, 1, 2, life + 3)
    found = await audit(MemorySource(await logged(site)))
    assert (found.reproduced, found.doubted, found.damage) == (3 * LIVES, {}, None)
