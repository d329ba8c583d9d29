"""When a log has been read as far as a selector needs."""

from __future__ import annotations

import pytest

from events.envelope import MASTER_SOURCE, Envelope
from events.names import SelectorName
from events.schemas import CatalogueRestated, Event, LogOpened, SelectorCameOnline
from selection.following.replay import Replay

OWN = Envelope(
    source="selector/s",
    epoch=9,
    sequence=10,
    time_ns=0,
    traceparent="",
    event=SelectorCameOnline(selector=SelectorName("s")),
)


def master(sequence: int, event: Event | None = None, *, epoch: int = 1) -> Envelope:
    return Envelope(
        source=MASTER_SOURCE,
        epoch=epoch,
        sequence=sequence,
        time_ns=0,
        traceparent="",
        event=event or LogOpened(generation=1),
    )


def restated(sequence: int, since: int, *, epoch: int = 1) -> Envelope:
    return master(sequence, CatalogueRestated(generation=1, since=since), epoch=epoch)


def after(*read: Envelope) -> str:
    replay = Replay(OWN.id)
    for envelope in read:
        replay.note(envelope)
    assert replay.done is (not replay.awaits)
    return replay.awaits


def test_own_announcement_alone_is_not_enough_in_a_new_log() -> None:
    assert after(OWN, master(1)) == "the master to say the whole catalogue"


def test_catalogue_alone_is_not_enough() -> None:
    assert after(master(1), restated(5, 2)) == "our own announcement"


@pytest.mark.parametrize("own_first", [False, True])
def test_own_announcement_and_a_whole_restatement_are_enough(*, own_first: bool) -> None:
    catalogue = [master(7), restated(9, 7)]
    assert not after(*([OWN, *catalogue] if own_first else [*catalogue, OWN]))


def test_restatement_whose_beginning_was_cut_off_does_not_count_and_the_next_does() -> None:
    assert after(OWN, master(50), restated(60, 40))
    assert not after(OWN, master(50), restated(60, 40), restated(90, 61))


def test_first_numbers_may_stand_in_another_order() -> None:
    assert not after(OWN, master(8), master(7), restated(9, 7))


def test_new_numbering_of_the_master_needs_a_restatement_of_its_own() -> None:
    assert after(master(7), restated(9, 7), master(1, epoch=2), OWN)
    assert not after(master(7), restated(9, 7), master(1, epoch=2), restated(3, 1, epoch=2), OWN)
    assert not after(master(1, epoch=2), restated(3, 1, epoch=2), master(9), OWN)


def test_restatement_under_an_old_numbering_does_not_count() -> None:
    assert after(OWN, master(1, epoch=2), restated(90, 50))
