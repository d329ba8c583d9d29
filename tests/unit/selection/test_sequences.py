"""Gaps in the numbers of a source are counted until they close."""

from __future__ import annotations

from selection.view.sequences import SequenceTrack


def test_gaps_open_and_close_in_any_order() -> None:
    track = SequenceTrack(epoch=0, first=5, last=5)
    for sequence in (9, 2, 7):
        track.note(sequence)
    assert track.gaps == [(3, 4), (6, 6), (8, 8)]
    assert track.missing == 4
    for sequence in (8, 8, 3, 6, 4, 7):
        track.note(sequence)
    assert track.gaps == []


def test_gap_as_wide_as_the_numbers_go_costs_one_entry() -> None:
    track = SequenceTrack(epoch=0, first=1, last=1)
    track.note(2**62)
    track.note(2**61)
    assert len(track.gaps) == 2


def test_as_many_gaps_as_a_selector_of_ten_thousand_mirrors_leaves_open_are_kept_until_they_close() -> None:
    """It says two records of eight numbers at once, and the six notices 10,000 notices later."""
    numbers = range(1, 14_001)
    records = [number for number in numbers if number % 4 == 0]
    notices = [number for number in numbers if number % 4]
    track = SequenceTrack(epoch=0, first=records[0], last=records[0])
    assert all(track.note(number) for number in (*records[1:], *notices))
    assert (track.missing, track.given_up) == (0, 0)
