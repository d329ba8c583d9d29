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
