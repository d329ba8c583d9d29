"""What was done to a segment where its chain breaks, told from the records that stand there now. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, takewhile
from operator import attrgetter
from typing import NamedTuple

from history.export.chain import Link, Record
from history.export.faults import FaultKind


class Diagnosis(NamedTuple):
    """What was done, and what is found there."""

    kind: FaultKind
    detail: str


def diagnose(link: Link, rest: Iterator[Record], earlier: Callable[[int], Record | None]) -> Diagnosis:
    """Tell what was done at ``link``, which the first of ``rest`` does not join.

    ``rest`` is what the segment holds from there on, its footer as the last record; ``earlier`` gives a record that was
    proved before, by its number.
    """
    expected, found = link.next_index, next(rest)
    following = next(rest, None)
    if found.index == expected:
        return Diagnosis(FaultKind.ALTERED, "it is not what was written here")
    if following is not None and Link(expected + 1, found.chain).joins(following):
        return Diagnosis(FaultKind.ALTERED, f"it is numbered {found.index}")
    if found.index < expected:
        return _repeated(found, earlier(found.index))
    return _displaced(expected, found, rest if following is None else chain((following,), rest))


def _repeated(found: Record, original: Record | None) -> Diagnosis:
    if found == original:
        return Diagnosis(FaultKind.DUPLICATED, f"record {found.index} stands here again")
    return Diagnosis(FaultKind.ALTERED, f"what stands here is numbered {found.index}, and is not record {found.index}")


def _displaced(expected: int, found: Record, rest: Iterator[Record]) -> Diagnosis:
    """Tell why a later record stands here: look for the one that should, and for that one in its own place."""
    indexes = map(attrgetter("index"), rest)
    until_its_place = list(takewhile(found.index.__ge__, indexes))
    is_again = found.index in until_its_place
    is_behind = expected in until_its_place or expected in indexes
    if is_again:
        return Diagnosis(FaultKind.DUPLICATED, f"record {found.index} stands here, and in its own place again")
    if is_behind:
        return Diagnosis(FaultKind.SWAPPED, f"record {found.index} stands here, and record {expected} behind it")
    last = found.index - 1
    lost = f"record {expected} is" if last == expected else f"records {expected} to {last} are"
    return Diagnosis(FaultKind.DROPPED, f"{lost} missing")
