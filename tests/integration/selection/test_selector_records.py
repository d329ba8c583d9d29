"""What selectors decide is in the log, and made again from it it is the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from broker.port import Delivery
from broker.provision import provision_site
from broker.reading import read_envelope
from broker.topology import log_stream
from events.envelope import Envelope, selector_source
from events.names import SelectorName
from events.schemas import (
    Access,
    Decision,
    DecisionOutcome,
    DecisionsRecorded,
    DownloadsGranted,
    Seen,
    StandingRecorded,
)
from selection.following import follower
from selection.retracing.retraced import Retraced
from selection.retracing.retracer import Retracer
from selection.view.fleet import FleetView

if TYPE_CHECKING:
    from conftest import Selector, Site

MIRRORS = ("ana", "bob", "cat")
PATIENT_S = 600.0  # however slow the machine, nobody falls silent
CLOSED = Access(networks=("203.0.113.0/24",))


@dataclass
class Log:
    """All that stands in the log, by offset."""

    entries: dict[int, Envelope] = field(default_factory=dict[int, Envelope])

    def fold(self, delivery: Delivery) -> None:
        assert delivery.offset is not None
        self.entries[delivery.offset] = read_envelope(delivery, vhost="")

    def of(self, name: SelectorName, *kinds: type) -> list[Envelope]:
        """What a selector said, by its numbers."""
        source = selector_source(name)
        said = [each for each in self.entries.values() if each.source == source and isinstance(each.event, kinds)]
        return sorted(said, key=lambda each: each.version)

    def decisions(self, name: SelectorName) -> list[Decision]:
        records = [each.event for each in self.of(name, DecisionsRecorded)]
        return [one for record in records if isinstance(record, DecisionsRecorded) for one in record.decisions]


@asynccontextmanager
async def reading(site: Site, generation: int = 1) -> AsyncGenerator[Log]:
    log = Log()
    following = asyncio.create_task(site.broker.follow(log_stream(generation), log.fold))
    yield log
    following.cancel()
    await asyncio.wait([following])


def retraced(log: Log, name: SelectorName) -> list[tuple[Decision, Retraced]]:
    """Make a selector's decisions again, each by as much of the log as it had read."""
    view, unread = FleetView(), sorted(log.entries)
    retracer, made = Retracer(view), list[tuple[Decision, Retraced]]()
    for record in log.of(name, StandingRecorded, DecisionsRecorded):
        if isinstance(record.event, StandingRecorded):
            retracer.standing(record.event)
        elif isinstance(record.event, DecisionsRecorded):
            seen = record.event.seen
            for decision in record.event.decisions:
                seen = decision.seen or seen
                unread = folded_to(seen, log, view, unread)
                made.append((decision, retracer.retrace(decision)))
    return made


def seen_in(log: Log, name: SelectorName) -> list[Seen]:
    """How far the log was read at each record."""
    return [each.event.seen for each in log.of(name, DecisionsRecorded) if isinstance(each.event, DecisionsRecorded)]


def folded_to(seen: Seen, log: Log, view: FleetView, unread: list[int]) -> list[int]:
    assert seen.offset < 0 or log.entries[seen.offset].id == seen.message_id
    for offset in unread:
        if offset <= seen.offset:
            view.apply(log.entries[offset], heard_s=0.0)
    return [offset for offset in unread if offset > seen.offset]


def announced(log: Log, name: SelectorName) -> set[bytes]:
    """The grants that mirrors, or the master, were told of."""
    notices = [each.event for each in log.of(name, DownloadsGranted)]
    return {one.grant_id for each in notices if isinstance(each, DownloadsGranted) for one in each.grants}


async def until_recorded(selector: Selector, log: Log, name: SelectorName, count: int) -> None:
    """Wait until so many decisions are in the log, with all notices that followed from them."""

    async def are_recorded() -> bool:
        decisions = log.decisions(name)
        leading = {decision.grant_id for decision in decisions if decision.is_reserved}
        return len(decisions) >= count and leading <= announced(log, name)

    await selector.until(are_recorded)


async def until_all_can_be_chosen(selector: Selector) -> None:
    async def are_ranked() -> bool:
        return len((await selector.where("a.iso")).get("ranked", [])) == len(MIRRORS)

    await selector.until(are_ranked)


async def fill(site: Site) -> None:
    await site.said.published("a.iso")
    await site.said.published("b.iso", size_bytes=2000)
    await site.said.published("closed.iso", access=CLOSED)
    for name in MIRRORS:
        await site.said.serving(name, "a.iso", "b.iso", "closed.iso", slots=8)


async def crowd(site: Site, selector: Selector) -> int:
    """Some dozens of visitors of all kinds; how many of their requests were decisions is given."""
    visits = 0
    for number in range(24):
        await selector.sent_to(f"/{'ab'[number % 2]}.iso", f"198.51.100.{number}")
        await selector.sent_to("/a.iso", f"198.51.100.{number // 2}")
        await selector.sent_to("/b.iso", f"198.51.100.{number}", method="HEAD")
        visits += 2
        if number % 6 == 5:
            await site.said.load("ana", slots=8, active=number % 7)
            await site.said.load("cat", slots=8, active=8 - number % 7, sparing=number > 12)
        if number == 12:
            await site.said.holding("bob", "a.iso")
    headers = {"X-Forwarded-For": "192.0.2.7"}
    for path, status in (
        ("/a.iso?not=ana", 302),
        ("/a.iso?mirror=bob&country=pt", 302),
        ("/a.iso?not=ana&not=bob&not=cat", 302),
        ("/a.iso?not=ana&not=bob&not=cat&not=origin", 503),
        ("/closed.iso", 403),
        ("/a.iso?https=1", 302),
    ):
        assert (await selector.visit(path, headers=headers)).status == status
        visits += 1
    return visits


async def test_all_decisions_are_recorded_and_made_again_from_the_log_they_are_the_same(site: Site) -> None:
    await fill(site)
    name = site.config.name
    async with reading(site) as log:
        async with site.selector(silent_after_s=PATIENT_S) as selector:
            await until_all_can_be_chosen(selector)
            visits = await crowd(site, selector)
            await until_recorded(selector, log, name, visits)
        made = retraced(log, name)
    assert len(made) == visits
    assert [again.why_not for _, again in made if not again.agrees] == []
    outcomes = Counter(decision.outcome for decision, _ in made)
    assert set(outcomes) == set(DecisionOutcome) - {DecisionOutcome.OTHER}
    assert announced(log, name) == {decision.grant_id for decision, _ in made if decision.is_reserved}


async def test_decisions_of_two_selectors_that_count_each_others_grants_are_made_again(site: Site) -> None:
    await fill(site)
    names = [SelectorName(f"{site.config.name}-{number}") for number in (1, 2)]
    changes = {"silent_after_s": PATIENT_S}
    async with (
        reading(site) as log,
        site.selector(name=names[0], **changes) as one,
        site.selector(name=names[1], **changes) as two,
    ):
        for selector in (one, two):
            await until_all_can_be_chosen(selector)
        for number in range(20):
            for selector in (one, two):
                await selector.sent_to("/a.iso", f"198.51.100.{number}")
        for name, selector in zip(names, (one, two), strict=True):
            await until_recorded(selector, log, name, 20)
    for name in names:
        made = retraced(log, name)
        assert len(made) == 20
        assert [again.why_not for _, again in made if not again.agrees] == []


async def test_decision_by_a_view_that_no_one_log_tells_is_marked_as_such(
    memory_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "GO_ON_AFTER_S", 0.3)
    name, changes = memory_site.config.name, {"state_dir": tmp_path, "silent_after_s": PATIENT_S}
    await fill(memory_site)
    async with memory_site.selector(**changes) as selector:
        await until_all_can_be_chosen(selector)
    await provision_site(memory_site.admin, 2)
    since = memory_site.said.next_number
    await memory_site.said.log_opened(2)
    await memory_site.lose_log(1)
    async with reading(memory_site, generation=2) as log, memory_site.selector(**changes) as selector:
        await selector.sent_to("/a.iso", "198.51.100.1")
        await until_recorded(selector, log, name, 1)
        await fill(memory_site)
        await memory_site.said.restated(2, since=since)

        async def is_abreast() -> bool:
            return (await selector.ask("/-/api/v1/status"))["log"]["caught_up"]

        await selector.until(is_abreast)
        await selector.sent_to("/a.iso", "198.51.100.2")
        await until_recorded(selector, log, name, 2)
    first, second = retraced(log, name)
    assert seen_in(log, name)[0] == Seen(generation=2, offset=-1, message_id="")
    assert not first[1].agrees
    assert second[1].why_not == ""


async def test_view_of_a_snapshot_is_what_the_log_tells_up_to_its_entry(memory_site: Site, tmp_path: Path) -> None:
    name, changes = memory_site.config.name, {"state_dir": tmp_path, "silent_after_s": PATIENT_S}
    await fill(memory_site)
    async with reading(memory_site) as log:
        for life in (1, 2):
            async with memory_site.selector(**changes) as selector:
                await until_all_can_be_chosen(selector)
                await selector.sent_to("/a.iso", f"198.51.100.{life}")
                await until_recorded(selector, log, name, life)
    assert [again.why_not for _, again in retraced(log, name)] == ["", ""]
    standings = [each.event for each in log.of(name, StandingRecorded)]
    assert [each.is_first for each in standings if isinstance(each, StandingRecorded)] == [True, True]


async def test_decisions_that_find_no_room_are_counted_and_those_after_them_made_again(
    memory_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, memory = memory_site.config.name, memory_site.memory
    assert memory is not None
    await fill(memory_site)
    async with reading(memory_site) as log, memory_site.selector(silent_after_s=PATIENT_S) as selector:
        await until_all_can_be_chosen(selector)
        await selector.sent_to("/a.iso", "198.51.100.1")
        await until_recorded(selector, log, name, 1)
        with memory.outage(), monkeypatch.context() as patch:
            patch.setattr("selection.answering.announcer.RECORDS_WAITING_MAX", 0)
            await selector.sent_to("/a.iso", "198.51.100.2")

            async def is_counted() -> bool:
                return (await selector.ask("/-/api/v1/status"))["decisions"] == {"unrecorded": 1}

            await selector.until(is_counted)
        await selector.sent_to("/a.iso", "198.51.100.3")
        await until_recorded(selector, log, name, 2)
    assert [again.why_not for _, again in retraced(log, name)] == ["", ""]
    standings = [each.event for each in log.of(name, StandingRecorded)]
    assert [each.missed for each in standings if isinstance(each, StandingRecorded)] == [0, 1]


async def test_selector_that_is_to_record_nothing_says_nothing_of_its_decisions(memory_site: Site) -> None:
    await fill(memory_site)
    async with reading(memory_site) as log, memory_site.selector(decisions_percent=0) as selector:
        await selector.sent_to("/a.iso", "198.51.100.1")

        async def granted() -> bool:
            return bool(log.of(memory_site.config.name, DownloadsGranted))

        await selector.until(granted)
    assert log.of(memory_site.config.name, StandingRecorded, DecisionsRecorded) == []
