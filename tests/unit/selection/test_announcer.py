"""What a selector says: numbered at once, gathered by mirror, each grant once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.memory import MemoryBroker, MemorySite
from broker.port import Message, PublishTimeoutError
from events.codec import BODY_BYTES_MAX, decode
from events.envelope import Envelope
from events.grants import bound_of
from events.names import PATH_BYTES_MAX, Digest, FilePath, MirrorName, SelectorName
from events.schemas import Access, DownloadsGranted, Granted, SelectorCameOnline
from events.trace import parse
from selection.answering import announcer as announcing
from selection.answering.announcer import BATCHES_PER_TURN, TURNS_PER_ROUND, Announcer
from selection.answering.echoes import Echoes
from selection.answering.granting import Given
from selection.answering.visit import Guest, Visit
from selection.answering.waiting import BATCH_MAX, Waiting
from selection.places.place import Place
from selection.policy.visitor import Visitor
from selection.view.file import PublishedFile

ANA, BOB = MirrorName("ana"), MirrorName("bob")
SELECTOR = SelectorName("s")
VISITOR = Visitor(ip_address("2001:db8::1"), Place(country="PT"))
DEADLINE_S = 20.0


def leave(number: int = 0, *, traceparent: str = "", path: str = "a.iso") -> Given:
    """What a visitor is given, as long as it can be when it is written."""
    file = PublishedFile(
        number=0,
        content=0,
        path=FilePath(path),
        generation=1,
        size_bytes=2**63 - 1,
        sha256=Digest(bytes(32)),
        media_type="",
        tags=(),
        access=Access(),
        published_at_ns=0,
        channels=(),
    )
    guest = Guest(VISITOR, bound_of(VISITOR.address), 0, "2001:db8:ffff:ffff:ffff:ffff:255.255.255.255")
    visit = Visit(file, guest, (), (number + 1).to_bytes(16, "big"), at_ns=number, now_s=0.0, heard_s=0.0)
    return visit, 2**32 - 1, 2**32 - 1, traceparent


class Wire(MemoryBroker):
    """A broker that takes what it is given, while it is up."""

    def __init__(self, *, up: bool = True) -> None:
        super().__init__(MemorySite())
        self.up = up
        self.taken: list[Envelope] = []
        self.attempts = 0
        self.changed = asyncio.Event()

    async def publish(self, message: Message) -> None:
        self.attempts += 1
        self.changed.set()
        if not self.up:
            raise PublishTimeoutError("down")
        self.taken.append(decode(message.body))

    def batches(self) -> dict[int, DownloadsGranted]:
        return {said.sequence: said.event for said in self.taken if isinstance(said.event, DownloadsGranted)}

    def grants(self) -> list[Granted]:
        return [each for batch in self.batches().values() for each in batch.grants]

    async def until(self, grants: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while len(self.grants()) < grants:
                self.changed.clear()
                await self.changed.wait()
                await asyncio.sleep(0)


@asynccontextmanager
async def running(announcer: Announcer) -> AsyncGenerator[None]:
    task = asyncio.create_task(announcer.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def on(wire: Wire) -> Announcer:
    return Announcer(wire, SELECTOR, clock_ns=lambda: 5_000_000)


async def test_grants_of_one_moment_are_one_event_for_each_mirror() -> None:
    wire = Wire()
    announcer = on(wire)
    numbers = [announcer.granted(mirror, leave(n)) for n, mirror in enumerate([ANA, BOB, ANA, ANA])]
    async with running(announcer):
        await wire.until(4)
    assert numbers == [numbers[0], numbers[1], numbers[0], numbers[0]]
    assert [(number, batch.mirror) for number, batch in wire.batches().items()] == [
        (numbers[0], ANA),
        (numbers[1], BOB),
    ]
    assert [each.granted_at_ns for each in wire.batches()[numbers[0]].grants] == [0, 2, 3]
    assert announcer.waiting == 0


async def test_batch_that_the_broker_may_have_is_not_added_to() -> None:
    wire = Wire(up=False)
    announcer = on(wire)
    first = announcer.granted(ANA, leave(0))
    async with running(announcer):
        async with asyncio.timeout(DEADLINE_S):
            await wire.changed.wait()
        second = announcer.granted(ANA, leave(1))
        wire.up = True
        await wire.until(2)
    assert second > first
    assert [(number, len(batch.grants)) for number, batch in wire.batches().items()] == [(first, 1), (second, 1)]


async def test_grants_that_were_not_said_when_the_selector_stops_are_its_last_words() -> None:
    wire = Wire()
    announcer = on(wire)
    async with running(announcer):
        await asyncio.sleep(0)
        announcer.granted(ANA, leave(1))
    assert len(wire.grants()) == 1


async def test_stop_does_not_wait_for_a_broker_that_takes_nothing() -> None:
    wire = Wire(up=False)
    announcer = on(wire)
    async with asyncio.timeout(DEADLINE_S), running(announcer):
        await asyncio.sleep(0)
        announcer.granted(ANA, leave(1))
    assert wire.attempts > 0
    assert announcer.waiting == 1


async def test_more_mirrors_than_a_round_has_turns_are_all_told_the_oldest_first() -> None:
    wire = Wire()
    announcer = on(wire)
    async with running(announcer):
        numbers = [
            announcer.granted(MirrorName(f"m{n}"), leave(n)) for n in range(2 * BATCHES_PER_TURN * TURNS_PER_ROUND + 3)
        ]
        await wire.until(len(numbers))
    assert list(wire.batches()) == numbers


async def test_what_is_recorded_is_said_though_nobody_was_granted_anything() -> None:
    wire = Wire()
    announcer = on(wire)
    flushed = asyncio.Event()
    announcer.gather_from(flushed.set)
    async with asyncio.timeout(DEADLINE_S), running(announcer):
        announcer.gather()
        await flushed.wait()


async def test_grant_whose_visitor_brought_no_trace_begins_one_with_its_own_id() -> None:
    wire = Wire()
    announcer = on(wire)
    brought = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    announcer.granted(ANA, leave(7))
    announcer.granted(ANA, leave(8, traceparent=brought))
    async with running(announcer):
        await wire.until(2)
    begun, kept = wire.grants()
    trace = parse(begun.traceparent)
    assert trace is not None
    assert trace.trace_id == begun.grant_id.hex()
    assert kept.traceparent == brought


def test_grants_past_the_room_are_dropped_and_leave_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "WAITING_MAX", 2)
    announcer = on(Wire())
    open_batch = announcer.granted(ANA, leave())
    assert announcer.granted(ANA, leave()) == open_batch
    assert announcer.granted(ANA, leave()) == open_batch
    next_one = announcer.granted(BOB, leave())
    announcer.say(SelectorCameOnline(selector=SELECTOR))
    assert (announcer.waiting, announcer.dropped) == (2, 3)
    assert announcer.insist(SelectorCameOnline(selector=SELECTOR)).sequence == next_one == open_batch + 1


async def written(waiting: Waiting) -> list[DownloadsGranted]:
    waiting.ripen()
    pending = await waiting.pending(1000)
    assert all(len(each.message.body) <= BODY_BYTES_MAX for each in pending)
    events = [decode(each.message.body).event for each in pending]
    await waiting.forget([each.position for each in pending])
    assert waiting.length == 0
    return [event for event in events if isinstance(event, DownloadsGranted)]


def new_waiting() -> Waiting:
    def envelope(number: int, event: DownloadsGranted) -> Envelope:
        return Envelope(source="selector/s", epoch=1, sequence=number, time_ns=0, traceparent="", event=event)

    return Waiting(SELECTOR, envelope, Echoes())


async def test_batch_that_is_full_is_followed_by_the_next() -> None:
    waiting = new_waiting()
    numbers = [waiting.put(ANA, leave(n), next_number=n + 1) for n in range(BATCH_MAX + 1)]
    assert set(numbers) == {1, BATCH_MAX + 1}
    assert [len(event.grants) for event in await written(waiting)] == [BATCH_MAX, 1]


async def test_batches_ripen_the_oldest_first_and_none_before_its_round() -> None:
    waiting = new_waiting()
    for number, mirror in enumerate([ANA, BOB, ANA, MirrorName("cat")], 1):
        waiting.put(mirror, leave(number), next_number=number)
    ripened: list[list[int]] = []
    while waiting.ripen_oldest(2, count=1):
        ripened.append([each.position for each in await waiting.pending(10)])
    assert ripened == [[1], [1, 2]]
    assert waiting.is_gathering
    assert waiting.ripen_oldest(4, count=2)
    assert [each.position for each in await waiting.pending(10)] == [1, 2, 4]
    assert not waiting.is_gathering


async def test_no_more_batches_ripen_at_once_than_were_asked_for() -> None:
    waiting = new_waiting()
    for number, mirror in enumerate([ANA, BOB, MirrorName("cat")], 1):
        waiting.put(mirror, leave(number), next_number=number)
    assert waiting.ripen_oldest(3, count=2)
    assert [each.position for each in await waiting.pending(10)] == [1, 2]


async def test_a_mirror_that_fills_batch_after_batch_keeps_no_other_waiting() -> None:
    waiting = new_waiting()
    waiting.put(ANA, leave(), next_number=1)
    waiting.put(BOB, leave(), next_number=2)
    for number in range(BATCH_MAX):
        waiting.put(ANA, leave(number), next_number=3)
    assert waiting.ripen_oldest(2, count=1)
    assert [each.position for each in await waiting.pending(10)] == [1, 2]


async def test_no_batch_is_larger_than_an_event_may_be() -> None:
    waiting = new_waiting()
    path = "/".join(["ä" * 50] * (PATH_BYTES_MAX // 102))
    for n in range(700):
        waiting.put(ANA, leave(n, path=path), next_number=n + 1)
    assert sum(len(event.grants) for event in await written(waiting)) == 700


_STEPS = st.lists(st.sampled_from(["ana", "bob", "cat", "ripen", "ripen oldest", "publish", "fail"]), max_size=60)


@given(_STEPS)
@settings(max_examples=100)
async def test_each_grant_is_said_once_and_under_its_number_whatever_the_broker_does(steps: list[str]) -> None:
    waiting, told, said = new_waiting(), dict[int, tuple[str, int]](), dict[int, tuple[str, int]]()
    bodies: dict[int, bytes] = {}
    last = 0
    for step, what in enumerate([*steps, "ripen", "publish"]):
        if what == "ripen":
            waiting.ripen()
        elif what == "ripen oldest":
            waiting.ripen_oldest(last, count=2)
        elif what in ("publish", "fail"):
            pending = await waiting.pending(100)
            for each in pending:
                assert bodies.setdefault(each.position, each.message.body) == each.message.body
            if what == "publish":
                await waiting.forget([each.position for each in pending])
                for each in pending:
                    event = decode(each.message.body).event
                    assert isinstance(event, DownloadsGranted)
                    said |= {g.granted_at_ns: (event.mirror, each.position) for g in event.grants}
        else:
            number = waiting.put(MirrorName(what), leave(step), next_number=last + 1)
            last = max(last, number)
            told[step] = (what, number)
    assert said == told
