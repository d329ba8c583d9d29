"""Is an export what was written? Every record of it is proved, without a broker and without the site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from history.entry import Position
from history.export.faults import Fault, FaultFoundError, FaultKind
from history.export.walk import Walk

Progress: TypeAlias = Callable[[int, Position | None], None]
"""Told after each block: how many entries were proved, and the place of the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a verification found.

    Attributes:
        entries: how many were proved.
        segments: how many were proved to their end.
        last: the place of the last entry that was proved.
        chain: the chain's value behind it: the export's end, where there is no fault.
        fault: the first one; None: the export is as it was written.
    """

    entries: int
    segments: int
    last: Position | None
    chain: bytes
    fault: Fault | None


def verify(folder: Path, *, expected: bytes | None = None, progress: Progress | None = None) -> Verdict:
    """Prove an export, up to the first fault.

    ``expected`` is the chain's end that ``export`` told, then or after an earlier run: without it nobody can tell that
    whole segments are missing at the end, or that all was made anew.

    Raises:
        ExportError: there is no such folder.
    """
    walk = Walk(folder)
    try:
        _prove(walk, expected, progress)
    except FaultFoundError as found:
        fault = found.fault
    else:
        fault = None
    return Verdict(entries=walk.entries, segments=walk.segments, last=walk.last, chain=walk.chain, fault=fault)


def _prove(walk: Walk, expected: bytes | None, progress: Progress | None) -> None:
    for _ in walk.proved():
        if progress is not None:
            progress(walk.entries, walk.last)
    if expected is not None and expected not in walk.ends:
        raise walk.fault(FaultKind.CUT, f"the chain ends in {walk.chain.hex()}, and the end expected is none of it")
