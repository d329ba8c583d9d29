"""The clock on which mirrors fall silent goes only while they could be heard."""

from __future__ import annotations

from selection.following.hearing import HearingClock


def test_clock_stands_still_while_nobody_can_be_heard() -> None:
    clock = HearingClock()
    clock.tick(0.5, hearing=True)
    heard_s = clock.heard()
    for _ in range(100):
        clock.tick(0.5, hearing=False)
    assert clock.now_s - heard_s == 0
    clock.tick(0.5, hearing=True)
    assert clock.now_s - heard_s == 0.5


def test_seconds_before_a_loss_was_noticed_are_taken_back() -> None:
    clock = HearingClock()
    clock.tick(1.0, hearing=True)
    heard_s = clock.heard()
    for _ in range(15):
        clock.tick(1.0, hearing=True)
    assert clock.now_s - heard_s == 15
    clock.tick(1.0, hearing=False)
    assert clock.now_s - heard_s == 0


def test_pause_of_our_own_does_not_make_mirrors_silent() -> None:
    clock = HearingClock()
    clock.tick(3600.0, hearing=True)
    assert clock.now_s == 1.0
