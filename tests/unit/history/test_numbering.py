"""What is missing, altered or out of place in a log is found at its place; what may be so is not held against it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import pytest

from events.codec import decode
from events.envelope import MASTER_SOURCE
from events.names import Digest, FilePath, MirrorName, SelectorName
from events.schemas import EventUnreadable, LogOpened, ReplicaReady, SelectorCameOnline
from history.audit.findings import FindingKind, Findings
from history.audit.numbering import EPOCHS_MAX, IN_FLIGHT_FOR_S, Numbering
from history.audit.track import LATE_MAX
from history.entry import Entry
from history.sources.memory import VHOST

if TYPE_CHECKING:
    from conftest import Log


@pytest.fixture
def busy(log: Log) -> Log:
    """A log that is there from its beginning, with all kinds of sources."""
    log.master(LogOpened(generation=1))
    log.came_online()
    log.serving("ana")
    for number in range(20):
        log.published(f"{number}.iso", channel="origin")
        log.ready("ana", f"{number}.iso")
    return log


def audited(entries: list[Entry]) -> tuple[Findings, Numbering]:
    findings = Findings()
    numbering = Numbering(findings, vhost=VHOST)
    for entry in entries:
        numbering.note(entry)
    numbering.finish()
    return findings, numbering


def found(entries: list[Entry]) -> list[tuple[FindingKind, int]]:
    """Give what is found, and at which offset."""
    return [(each.kind, each.position.offset) for each in audited(entries)[0].kept()]


def go_on(log: Log, count: int = LATE_MAX) -> None:
    """Let the log go on for so long that nothing is under way any more."""
    for number in range(count):
        log.published(f"later-{number}.iso", channel="origin")
        log.ready("ana", f"later-{number}.iso")


def let_time_pass(log: Log) -> None:
    """Let the log go on so much later that nothing from before is under way any more."""
    log.now_ns += int(IN_FLIGHT_FOR_S * 1e9)
    log.published("late.iso", channel="origin")


def test_log_as_it_was_written_is_whole(busy: Log) -> None:
    findings, numbering = audited(busy.entries)
    assert (findings.kept(), findings.first_damage) == ((), None)
    assert (numbering.entries, numbering.repeated, numbering.sources) == (len(busy.entries), 0, 3)


def test_each_single_entry_that_is_dropped_is_missed_at_the_next_of_its_source(busy: Log) -> None:
    go_on(busy)
    sources = [entry.message_id.partition(":")[0] for entry in busy.entries]
    for place in (*range(10), 20, 21, 44, 45):  # one of each kind and source, and the last two
        if sources[place].startswith("selector/"):
            continue  # it said nothing else
        next_one = sources.index(sources[place], place + 1)
        entries = busy.entries[:place] + busy.entries[place + 1 :]
        if place:
            assert found(entries) == [(FindingKind.GAP, next_one)]
        else:
            assert found(entries) == []  # as of a log whose beginning was cut off


def test_number_that_is_missing_near_the_end_may_yet_come(busy: Log) -> None:
    del busy.entries[-4]
    assert found(busy.entries) == [(FindingKind.IN_FLIGHT, busy.entries[-2].offset)]
    assert audited(busy.entries)[0].first_damage is None


def test_number_that_did_not_come_while_its_source_went_on_for_long_is_missing(busy: Log) -> None:
    del busy.entries[-4]
    let_time_pass(busy)
    busy.ready("ana", "late.iso")
    ((kind, _),) = found(busy.entries)
    assert kind is FindingKind.GAP


def test_relay_may_write_in_another_order_and_twice(busy: Log) -> None:
    entries = busy.entries
    order = [*entries[:20], entries[23], entries[20], entries[25], *entries[21:23], entries[24], *entries[25:]]
    moved = [entry._replace(offset=offset) for offset, entry in enumerate(order)]
    findings, numbering = audited(moved)
    assert (findings.kept(), numbering.repeated) == ((), 1)


def test_repetition_that_says_something_else_is_found(busy: Log) -> None:
    known = next(entry for entry in busy.entries if entry.type == "file.published/1")
    number = int(known.message_id.rpartition(":")[2])
    wrong = busy.say(MASTER_SOURCE, LogOpened(generation=1), number=number)
    assert found(busy.entries) == [(FindingKind.ALTERED_REPEAT, wrong.offset)]


def test_entry_that_was_moved_far_behind_is_found(busy: Log) -> None:
    go_on(busy)
    moved = busy.entries.pop(30)
    late = busy.put(moved)
    assert (FindingKind.MISPLACED, late.offset) in found(busy.entries)


def test_places_that_do_not_rise_are_found(busy: Log) -> None:
    busy.entries[10], busy.entries[11] = busy.entries[11], busy.entries[10]
    assert (FindingKind.OUT_OF_ORDER, 10) in found(busy.entries)


DAMAGES: list[tuple[FindingKind, Callable[[Entry], Entry]]] = [
    (FindingKind.UNREADABLE, lambda entry: entry._replace(body=entry.body[:-1])),
    (FindingKind.FORGED, lambda entry: entry._replace(routing_key="log.closed")),
    (FindingKind.FORGED, lambda entry: entry._replace(user_id=f"{VHOST}.ana")),
    (FindingKind.MISLABELLED, lambda entry: entry._replace(message_id="master:0:1")),
    (FindingKind.MISLABELLED, lambda entry: entry._replace(type="log.opened/1")),
]


@pytest.mark.parametrize(("kind", "damage"), DAMAGES, ids=["unreadable", "key", "user", "id", "type"])
def test_entry_that_was_damaged_is_found(busy: Log, kind: FindingKind, damage: Callable[[Entry], Entry]) -> None:
    place = next(number for number, entry in enumerate(busy.entries) if entry.type == "file.published/1")
    busy.entries[place] = damage(busy.entries[place])
    first = audited(busy.entries)[0].first_damage
    assert first is not None
    assert (first.kind, first.position) == (kind, busy.entries[place].position)


def test_what_readers_refused_and_reported_damages_nothing(busy: Log) -> None:
    rubbish = busy.put(Entry(0, 0, "fleet", "mirror.ana.ready", "whatever", "x", f"{VHOST}.ana", b"rubbish"))
    assert found(busy.entries) == [(FindingKind.UNREADABLE, rubbish.offset)]
    report = EventUnreadable(
        reader="selector/one",
        message_id="whatever",
        exchange="fleet",
        routing_key="mirror.ana.ready",
        user_id=rubbish.user_id,
        reason="no event",
    )
    busy.selector("one", report)
    findings, _ = audited(busy.entries)
    assert [each.kind for each in findings.kept()] == [FindingKind.REFUSED]
    assert findings.first_damage is None


def test_log_whose_beginning_was_cut_off_lacks_nothing(busy: Log) -> None:
    assert found(busy.entries[7:]) == []


def test_number_that_may_stand_before_the_beginning_that_was_cut_off_damages_nothing(busy: Log) -> None:
    online = SelectorCameOnline(selector=SelectorName("one"))
    busy.say("selector/one", online, number=3)  # a record, and behind it the notice that was numbered before it
    cut = len(busy.entries)
    busy.say("selector/one", online, number=2)
    behind = busy.say("selector/one", online, number=4)
    let_time_pass(busy)
    busy.came_online("one")
    assert found(busy.entries) == []
    assert found(busy.entries[cut:]) == [(FindingKind.BEFORE_THE_CUT, behind.offset)]
    assert audited(busy.entries[cut:])[0].first_damage is None


@pytest.mark.parametrize(("after", "kind"), [(LATE_MAX - 1, FindingKind.BEFORE_THE_CUT), (LATE_MAX, FindingKind.GAP)])
def test_only_what_is_little_above_the_number_heard_first_may_stand_before_the_cut(
    log: Log, after: int, kind: FindingKind
) -> None:
    log.skip("mirror/ana")
    first = log.ready("ana", "b.iso")
    log.say("mirror/ana", decode(first.body).event, number=1)
    for number in range(after - 1):
        log.ready("ana", f"{number}.iso")
    log.skip("mirror/ana")
    next_one = log.ready("ana", "next.iso")
    go_on(log)
    assert found(log.entries) == [(kind, next_one.offset)]


def test_epoch_that_begins_after_the_cut_lacks_each_number_that_is_missing(busy: Log) -> None:
    epoch = 5_000_000
    busy.epochs["selector/two"] = busy.numbers["selector/two", epoch] = epoch
    cut = len(busy.entries) - 1
    busy.came_online("two")
    busy.skip("selector/two")
    behind = busy.came_online("two")
    let_time_pass(busy)
    busy.came_online("two")
    assert found(busy.entries[cut:]) == [(FindingKind.GAP, behind.offset)]


@pytest.mark.parametrize(
    ("silent_s", "kind"), [(IN_FLIGHT_FOR_S - 1, FindingKind.BEFORE_THE_CUT), (IN_FLIGHT_FOR_S, FindingKind.GAP)]
)
def test_source_that_is_first_heard_long_after_the_cut_lacks_each_number_that_is_missing(
    busy: Log, silent_s: float, kind: FindingKind
) -> None:
    busy.published("first.iso", channel="origin")
    cut = len(busy.entries) - 1
    busy.now_ns += int(silent_s * 1e9)  # and a second to the next entry
    busy.came_online("one")
    busy.skip("selector/one")
    behind = busy.came_online("one")
    let_time_pass(busy)
    busy.came_online("one")
    assert found(busy.entries[cut:]) == [(kind, behind.offset)]


def test_source_that_begins_with_a_later_number_in_a_log_that_is_whole_lacks_the_first_ones(busy: Log) -> None:
    busy.skip("mirror/bob", 2)
    first = busy.ready("bob", "1.iso")
    assert found(busy.entries) == [(FindingKind.IN_FLIGHT, first.offset)]
    let_time_pass(busy)
    busy.ready("bob", "2.iso")
    assert found(busy.entries) == [(FindingKind.GAP, first.offset)]


def test_selector_whose_first_entry_is_missing_lacks_it_though_its_numbers_begin_high(busy: Log) -> None:
    epoch = 5_000_000
    busy.epochs["selector/two"] = busy.numbers["selector/two", epoch] = epoch
    busy.came_online("two")
    place = len(busy.entries)
    busy.came_online("two")
    let_time_pass(busy)
    busy.came_online("two")
    assert found(busy.entries) == []
    del busy.entries[place - 1]
    assert found(busy.entries) == [(FindingKind.GAP, place)]


def test_first_numbers_of_a_source_may_be_lost_with_the_broker(busy: Log) -> None:
    busy.skip("mirror/bob", 2)
    busy.next_generation()
    busy.master(LogOpened(generation=2))
    first = busy.ready("bob", "1.iso")
    (finding,) = audited(busy.entries)[0].kept()
    assert (finding.kind, finding.position) == (FindingKind.LOST_WITH_BROKER, first.position)


NOBODY_READS: list[bytes] = [b"", msgspec.msgpack.encode(["mirror/ana", 0, 1, 0, "", ["file.dreamt/1", 5]])]


@pytest.mark.parametrize("body", NOBODY_READS, ids=["emptied", "of a newer version"])
def test_label_that_is_not_its_speaker_s_own_counts_for_nobody(busy: Log, body: bytes) -> None:
    ours = busy.numbers["mirror/ana", 0]
    for user, label in (
        (f"{VHOST}.ana", "master:0:1000000"),
        (f"{VHOST}.ana", "mirror/bob:0:7"),
        ("", f"mirror/ana:0:{ours + 50}"),
        (f"{VHOST}.ana", "whatever"),
    ):
        busy.put(Entry(0, 0, "fleet", "mirror.ana.x", label, "file.dreamt/1", user, body))
    busy.put(Entry(0, 0, "fleet", "mirror.ana.x", f"mirror/ana:0:{ours + 1}", "file.dreamt/1", f"{VHOST}.ana", body))
    busy.skip("mirror/ana")
    go_on(busy)
    findings, numbering = audited(busy.entries)
    assert findings.first_damage is None
    assert FindingKind.IN_FLIGHT not in findings.counts
    assert numbering.sources == 3


def test_what_was_lost_between_two_generations_was_lost_with_the_broker(busy: Log) -> None:
    busy.skip(MASTER_SOURCE, 3)
    busy.next_generation()
    opened = busy.master(LogOpened(generation=2))
    (finding,) = audited(busy.entries)[0].kept()
    assert (finding.kind, finding.position) == (FindingKind.LOST_WITH_BROKER, opened.position)


def test_numbers_that_a_selector_took_with_it_damage_nothing(busy: Log) -> None:
    busy.skip("selector/one", 3)
    busy.came_online("one")
    busy.epochs["selector/one"] = 5
    busy.came_online("one")
    findings, _ = audited(busy.entries)
    assert [each.kind for each in findings.kept()] == [FindingKind.LOST_WITH_SELECTOR]
    assert findings.first_damage is None


def test_event_of_a_newer_version_has_its_number(busy: Log) -> None:
    busy.skip(MASTER_SOURCE)
    number = busy.numbers[MASTER_SOURCE, 0]
    body = msgspec.msgpack.encode([MASTER_SOURCE, 0, number, 0, "", ["file.dreamt/1", 5]])
    busy.put(Entry(0, 0, "files", "file.x", f"master:0:{number}", "file.dreamt/1", "site", body))
    go_on(busy)
    findings, numbering = audited(busy.entries)
    assert (findings.kept(), numbering.unknown_types) == ((), 1)


def test_source_that_numbers_without_sense_is_counted_within_bounds(busy: Log) -> None:
    for number in range(LATE_MAX + 500):
        event = ReplicaReady(
            mirror=MirrorName("ana"), sha256=Digest(b"x" * 32), size_bytes=1, path=FilePath("x"), generation=1
        )
        busy.say("mirror/ana", event, number=100 + 2 * number)
    assert len(audited(busy.entries)[0].kept()) <= LATE_MAX + 1


def test_what_is_missing_of_an_epoch_is_known_when_others_have_begun(busy: Log) -> None:
    lives = 2 * EPOCHS_MAX
    for life in range(lives):
        busy.epochs["selector/two"] = life
        for number in (1, 2, 4 + life % 2, 5 + life % 2):
            busy.say("selector/two", SelectorCameOnline(selector=SelectorName("two")), number=number)
    _, numbering = audited(busy.entries)
    for life in range(lives):
        speaker = "selector/two", life
        assert not numbering.is_missing(speaker, 1, 2)
        assert numbering.is_missing(speaker, 2, 4 + life % 2)
        assert not numbering.is_missing(speaker, 4 + life % 2, 5 + life % 2)
    assert numbering.is_missing(("selector/never", 1), 1, 2), "nothing is known of it"
