"""What can be wrong with an export, and where. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from history.entry import Position


class FaultKind(Enum):
    """What was done to an export, as far as it can be told from what is left."""

    ALTERED = "altered"
    DROPPED = "dropped"
    SWAPPED = "swapped"
    DUPLICATED = "duplicated"
    CUT = "cut"
    UNREADABLE = "unreadable"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The first place where an export is not as it was written.

    Attributes:
        kind: what was done there.
        segment: the segment's number.
        index: which of the segment's records, from 0, does not stand there as it should; the number of its records
            where their end is at fault.
        after: the last entry that is proved before it; None: there is none.
        detail: what is found there, as a sentence.
    """

    kind: FaultKind
    segment: int
    index: int
    after: Position | None
    detail: str

    def __str__(self) -> str:
        """Say it in a line."""
        behind = "the beginning" if self.after is None else f"g{self.after.generation}:{self.after.offset}"
        return f"segment {self.segment}, record {self.index} (behind {behind}): {self.kind.value}: {self.detail}"


class FaultFoundError(Exception):
    """The export is damaged from ``fault`` on. Nothing behind it is proved; use another copy of it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault
