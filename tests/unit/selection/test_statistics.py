"""What was downloaded adds up: in any order, however often it is told, over dumps, days and years."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from datetime import date
from typing import Final, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.envelope import Envelope
from events.names import Digest, FilePath, MirrorName, SelectorName
from events.schemas import (
    Download,
    DownloadOutcome,
    DownloadsGranted,
    DownloadsReported,
    Event,
    Granted,
    SelectorCameOnline,
)
from selection.view import tallies
from selection.view.numbers import EPOCHS_MAX, SOURCES_MAX, Counted
from selection.view.statistics import ALL, Statistics, UnusableStatisticsError
from selection.view.tallies import OTHERS, SECONDS_PER_DAY, Sums, Tally, date_of, day_of, month_of

DAYS_KEPT: Final = 30
TODAY: Final = date(2026, 3, 15).toordinal() - date(1970, 1, 1).toordinal()
NS_PER_DAY: Final = SECONDS_PER_DAY * 1_000_000_000


def granted(path: str, country: str, day: int) -> Granted:
    return Granted(
        grant_id=bytes(16),
        path=FilePath(path),
        generation=1,
        sha256=Digest(bytes(32)),
        size_bytes=1,
        address="203.0.113.9",
        country=country,
        granted_at_ns=day * NS_PER_DAY + 1,
        start_by_s=1,
        finish_by_s=2,
    )


def ended(day: int, sent_bytes: int) -> Download:
    return Download(
        grant_id=bytes(16),
        sha256=Digest(bytes(32)),
        outcome=DownloadOutcome.FINISHED,
        at_ns=day * NS_PER_DAY,
        wanted_bytes=sent_bytes,
        sent_bytes=sent_bytes,
    )


_DAYS = st.sampled_from([0, 20_000, TODAY - 400, TODAY - 40, TODAY - 29, TODAY - 1, TODAY, TODAY + 1])
_GRANTS = st.lists(st.builds(granted, st.sampled_from("abc"), st.sampled_from(["", "PT", "AT"]), _DAYS), min_size=1)
_ENDS = st.lists(st.builds(ended, _DAYS, st.integers(0, 2**40)), max_size=4)
_MIRRORS = st.sampled_from(["ana", "bob", "origin"]).map(MirrorName)
_EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(DownloadsGranted, selector=st.just(SelectorName("s")), mirror=_MIRRORS, grants=_GRANTS.map(tuple)),
    st.builds(DownloadsReported, mirror=_MIRRORS, downloads=_ENDS.map(tuple)),
    st.just(SelectorCameOnline(selector=SelectorName("s"))),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Envelope]:
    """What two sources say, in some epochs each, numbered without gaps."""
    said: list[Envelope] = []
    for source in ("selector/s", "mirror/ana"):
        for epoch in range(1, 1 + draw(st.integers(1, EPOCHS_MAX))):
            events = draw(st.lists(_EVENTS, max_size=6))
            said += [
                Envelope(source=source, epoch=epoch, sequence=number, time_ns=0, traceparent="", event=event)
                for number, event in enumerate(events, start=draw(st.integers(1, 5)))
            ]
    return said


Figures: TypeAlias = tuple[Sums, dict[int, int], dict[int, int], dict[int, int]]


def new() -> Statistics:
    return Statistics(days_kept=DAYS_KEPT)


def folded(history: list[Envelope], into: Statistics | None = None) -> Statistics:
    statistics = into or new()
    for envelope in history:
        statistics.apply(envelope)
    return statistics


def figures(statistics: Statistics) -> dict[str, Figures]:
    """All that can be asked."""
    found: dict[str, Figures] = {}
    tallies = {
        "files": (statistics.files, "abc"),
        "mirrors": (statistics.mirrors, ["ana", "bob", "origin"]),
        "countries": (statistics.countries, ["", "PT", "AT"]),
        "site": (statistics.site, [ALL]),
        "sent": (statistics.sent_bytes, ["ana", "bob", "origin"]),
    }
    for name, (tally, keys) in tallies.items():
        for key in keys:
            found[f"{name} {key}"] = (tally.sums(key, TODAY), tally.days(key), tally.months(key), tally.years(key))
    return found


@given(histories(), st.data())
@settings(max_examples=40)
def test_order_and_repetition_of_events_do_not_change_the_figures(history: list[Envelope], data: st.DataObject) -> None:
    again = data.draw(st.permutations([*history, *data.draw(st.lists(st.sampled_from(history)))] if history else []))
    assert figures(folded(again)) == figures(folded(history))


@given(histories(), st.data())
@settings(max_examples=40)
def test_dumped_and_read_figures_go_on_as_if_they_had_never_been_written(
    history: list[Envelope], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(history)))
    overlap = data.draw(st.integers(0, at))
    read = Statistics.load(folded(history[:at]).dump(), days_kept=DAYS_KEPT)
    assert figures(folded(history[overlap:], into=read)) == figures(folded(history))


@given(histories(), st.data())
@settings(max_examples=40)
def test_when_the_figures_are_tidied_does_not_matter(history: list[Envelope], data: st.DataObject) -> None:
    history = data.draw(st.permutations(history))
    often, once = new(), folded(history)
    before = {name: sums for name, (sums, *_) in figures(once).items()}
    for envelope in history:
        often.apply(envelope)
        while often.tidy(TODAY):
            pass
    while once.tidy(TODAY):
        pass
    assert figures(often) == figures(once)
    assert {name: sums for name, (sums, *_) in figures(once).items()} == before


@given(histories())
@settings(max_examples=40)
def test_figures_are_those_of_the_grants_and_of_the_bytes_that_left(history: list[Envelope]) -> None:
    statistics = folded(history)
    notices = [each.event for each in history if isinstance(each.event, DownloadsGranted)]
    by_file = Counter(str(each.path) for said in notices for each in said.grants)
    by_mirror = Counter({m: sum(len(n.grants) for n in notices if n.mirror == m) for m in ("ana", "bob", "origin")})
    reports = [each.event for each in history if isinstance(each.event, DownloadsReported)]
    assert {key: statistics.files.sums(key, TODAY).total for key in "abc"} == {key: by_file[key] for key in "abc"}
    assert {key: statistics.mirrors.sums(key, TODAY).total for key in by_mirror} == dict(by_mirror)
    assert statistics.site.sums(ALL, TODAY).total == by_file.total()
    for mirror in ("ana", "bob", "origin"):
        sent = sum(each.sent_bytes for said in reports if said.mirror == mirror for each in said.downloads)
        assert statistics.sent_bytes.sums(mirror, TODAY).total == sent


def tidied(tally: Tally) -> None:
    while tally.tidy(TODAY, days_kept=DAYS_KEPT):
        pass


def test_days_become_months_and_the_sums_stay() -> None:
    tally = Tally()
    for day in range(TODAY - 100, TODAY + 1):
        tally.add(day, "a", 1)
    before, months = tally.sums("a", TODAY), tally.months("a")
    assert before == Sums(day=1, month=15, year=74, total=101)
    tidied(tally)
    assert len(tally.days("a")) == DAYS_KEPT
    assert (tally.sums("a", TODAY), tally.months("a")) == (before, months)
    assert tally.years("a") == {2025: 27, 2026: 74}


def test_day_that_is_yet_to_come_was_told_by_a_wrong_clock_and_is_forgotten() -> None:
    tally = Tally()
    for day in (TODAY, TODAY + 1, TODAY + 2, 2**63 // NS_PER_DAY):
        tally.add(day, "a", 1)
    tidied(tally)
    assert set(tally.days("a")) == {TODAY, TODAY + 1}


def test_what_finds_no_room_is_told_by_month_by_year_and_at_last_among_others() -> None:
    tally = Tally(cells_max=10)
    for day in range(TODAY - 5, TODAY + 1):
        for key in "abcd":
            tally.add(day, key, 1)
    tidied(tally)
    assert tally.days("a") == {TODAY: 1}
    assert tally.sums("a", TODAY) == Sums(1, 6, 6, 6)
    keys = [f"k{number}" for number in range(20)]
    for number, key in enumerate(keys, start=1):
        tally.add(TODAY, key, number)
    tidied(tally)
    kept = {key: tally.sums(key, TODAY).total for key in keys if tally.sums(key, TODAY).total}
    assert 1 < len(kept) < 10
    assert kept["k19"] == 20
    assert sum(kept.values()) + tally.sums(OTHERS, TODAY).total == sum(range(21)) + 24


def test_largest_of_some_days_come_first_and_ties_by_name() -> None:
    tally = Tally()
    for day, key, count in ((TODAY, "a", 1), (TODAY - 1, "b", 2), (TODAY, "c", 1), (TODAY - 9, "a", 50)):
        tally.add(day, key, count)
    assert largest(tally, TODAY - 1, TODAY, count=2) == [("b", 2), ("a", 1)]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcdefg"), st.integers(1, 3))), st.integers(1, 8))
def test_largest_are_found_in_steps_as_at_once(added: list[tuple[int, str, int]], count: int) -> None:
    tally, wanted = Tally(), Counter[str]()
    for days_ago, key, figure in added:
        tally.add(TODAY - days_ago, key, figure)
        wanted.update({key: figure} if days_ago < 3 else {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tallies, "AT_ONCE", 2)
        found = largest(tally, TODAY - 2, TODAY, count=count)
    assert found == sorted(wanted.items(), key=lambda each: (-each[1], each[0]))[:count]


def test_largest_are_found_while_more_is_counted_and_days_become_part_of_their_month(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tallies, "AT_ONCE", 2)
    tally = Tally()
    for day in (TODAY - 1, TODAY):
        for key in "abcde":
            tally.add(day, key, 1)
    steps = tally.largest(TODAY - 1, TODAY, count=9)
    next(steps)
    tally.add(TODAY - 1, "f", 1)
    tally.tidy(TODAY, days_kept=0)
    tally.tidy(TODAY, days_kept=0)
    assert finished(steps) == [(key, 1) for key in "abcde"]


def largest(tally: Tally, first_day: int, last_day: int, *, count: int) -> list[tuple[str, int]]:
    return finished(tally.largest(first_day, last_day, count=count))


def finished(steps: Generator[None, None, list[tuple[str, int]]]) -> list[tuple[str, int]]:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("dumped", [b"", b"\xc1", b"\x93\x02\x90\x80", b"\x93\x01\x90\x80", b"\x80"])
def test_what_is_no_statistics_is_refused(dumped: bytes) -> None:
    with pytest.raises(UnusableStatisticsError):
        Statistics.load(dumped, days_kept=DAYS_KEPT)


def test_days_and_months_are_those_of_the_calendar() -> None:
    assert date_of(day_of(1_772_323_199.9)) == date(2026, 2, 28)
    assert date_of(day_of(1_772_323_200.0)) == date(2026, 3, 1)
    assert month_of(TODAY) == 2026 * 12 + 2


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 60))))
def test_event_is_new_once(told: list[tuple[int, int]]) -> None:
    counted, seen = Counted(), set[tuple[int, int]]()
    for epoch, number in told:
        assert counted.note("x", epoch, number) is ((epoch, number) not in seen)
        seen.add((epoch, number))
    assert not any(counted.note("x", epoch, number) for epoch, number in told)


def test_what_is_kept_of_the_numbers_is_bounded() -> None:
    counted = Counted()
    for epoch in range(10):
        counted.note("y", epoch, 1)
    assert not counted.note("y", 10 - EPOCHS_MAX - 1, 2)
    for number in range(SOURCES_MAX):
        counted.note(f"z{number}", 1, 1)
    assert len(counted.tracks) == SOURCES_MAX
    assert all(len(epochs) <= EPOCHS_MAX for epochs in counted.tracks.values())
