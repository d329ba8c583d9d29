"""One timer ends whatever is overdue, soon after its deadline, and nothing before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from edge.deadlines import LOOKS, Deadlines, Watch

DEADLINES = Deadlines(head_s=10.0, idle_s=60.0)
LATE_S = DEADLINES.shortest_s / LOOKS


class Clock:
    """A loop's clock and its one timer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self.due_s, self._callback, self.timers = 0.0, 0.0, lambda: None, 0
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "time", lambda: self.now_s)
        monkeypatch.setattr(loop, "call_at", self.call_at)
        monkeypatch.setattr(loop, "call_later", self.call_later)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Clock:
        return self.call_at(self.now_s + delay_s, callback)

    def call_at(self, due_s: float, callback: Callable[[], None]) -> Clock:
        self.due_s, self._callback = due_s, callback
        self.timers += 1
        return self

    def cancel(self) -> None:
        self.timers -= 1

    def pass_until(self, then_s: float) -> None:
        while self.timers and self.due_s <= then_s:
            self.now_s = self.due_s
            self.timers -= 1
            self._callback()
        self.now_s = then_s


class Guest:
    """One with a deadline, and when it ended."""

    def __init__(self, watch: Watch[Guest], clock: Clock, due_s: float) -> None:
        self.due_s, self.ended_s = due_s, -1.0
        self._watch, self._clock = watch, clock
        watch.add(self)

    def overdue(self) -> None:
        self.ended_s = self._clock.now_s
        self._watch.watched.discard(self)

    def abort(self) -> None:
        raise AssertionError("it could end in order")


async def test_each_ends_soon_after_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, watch = Clock(monkeypatch), Watch[Guest](DEADLINES)
    guests: list[Guest] = []
    for tenth in range(300):
        clock.pass_until(tenth / 10)
        guests.append(Guest(watch, clock, tenth / 10 + (10.0 if tenth % 3 else 60.0)))
    clock.pass_until(1000.0)
    assert all(guest.due_s <= guest.ended_s <= guest.due_s + LATE_S for guest in guests)


async def test_whoever_moves_his_deadline_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, watch = Clock(monkeypatch), Watch[Guest](DEADLINES)
    guest = Guest(watch, clock, 10.0)
    for second in range(0, 300, 5):
        clock.pass_until(second)
        guest.due_s = second + 10.0
    assert guest.ended_s < 0
    clock.pass_until(1000.0)
    assert 305.0 <= guest.ended_s <= 305.0 + LATE_S


async def test_nobody_is_looked_for_where_nobody_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, watch = Clock(monkeypatch), Watch[Guest](DEADLINES)
    Guest(watch, clock, 10.0)
    assert clock.timers == 1
    clock.pass_until(100.0)
    assert clock.timers == 0
    late = Guest(watch, clock, 110.0)
    clock.pass_until(120.0)
    assert late.ended_s >= 110.0


async def test_end_of_the_watch_ends_its_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, watch = Clock(monkeypatch), Watch[Guest](DEADLINES)
    guest = Guest(watch, clock, 10.0)
    watch.end()
    clock.pass_until(100.0)
    assert guest.ended_s < 0


async def test_one_that_cannot_be_ended_in_order_is_aborted_and_keeps_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    aborted: list[Guest] = []

    class Broken(Guest):
        def overdue(self) -> None:
            raise RuntimeError("a defect")

        def abort(self) -> None:
            aborted.append(self)

    clock, watch = Clock(monkeypatch), Watch[Guest](DEADLINES)
    guests = [made(watch, clock, 10.0) for made in (Guest, Broken, Guest)]
    clock.pass_until(20.0)
    late = Guest(watch, clock, 30.0)
    clock.pass_until(40.0)
    assert [guest.ended_s >= 10.0 for guest in (*guests, late)] == [True, False, True, True]
    assert aborted == [guests[1]]
