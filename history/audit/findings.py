"""What an audit finds: a closed vocabulary, and a bounded list of what was found, first in the log first. Pure."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Final

from history.entry import Position

FINDINGS_MAX: Final = 1000  # what a person may read; all are counted


class FindingKind(Enum):
    """What is wrong at one place of a log: a stable code, whether the log is damaged by it, and a sentence.

    What is no damage is told as well: the log is as it was written, and something was never written or is known to be
    lost.
    """

    UNREADABLE = ("unreadable", True, "it is no event, and no reader reported so when it came")
    FORGED = ("forged", True, "who wrote it may not say that there, and no reader reported so when it came")
    MISLABELLED = ("mislabelled", True, "its message id or type is not that of the event in it")
    ALTERED_REPEAT = ("altered_repeat", True, "it says something else than what its source said under the same number")
    MISPLACED = ("misplaced", True, "it stands far behind what its source said after it")
    OUT_OF_ORDER = ("out_of_order", True, "its place is not behind that of the entry before it")
    GAP = ("gap", True, "numbers of its source are missing before it")
    SEEN_MISSING = ("seen_missing", True, "its selector had read an entry that is not there")
    DECISION_WRONG = ("decision_wrong", True, "the decision does not follow from what its selector knew")
    REFUSED = ("refused", False, "readers refused it when it came, and reported it")
    EMPTIED = (
        "emptied",
        False,
        "what it told was taken away with the addresses of visitors, since nobody could read it",
    )
    BEFORE_THE_CUT = (
        "before_the_cut",
        False,
        "numbers of its source are missing before it and may stand before the log's beginning",
    )
    LOST_WITH_BROKER = ("lost_with_broker", False, "numbers of its source were lost with the generation before")
    LOST_WITH_SELECTOR = ("lost_with_selector", False, "a selector ended before it could say these numbers")
    IN_FLIGHT = ("in_flight", False, "numbers of its source are missing before it and may yet come")

    def __init__(self, code: str, is_damage: bool, text: str) -> None:  # noqa: FBT001 - a member is a row of a table
        self.code, self.is_damage, self.text = code, is_damage, text


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding, at one entry. ``index`` is the decision's in a record of several, else 0."""

    kind: FindingKind
    position: Position
    index: int
    message_id: str
    detail: str


class Findings:
    """What was found, in whatever order it is found. The first in the log are kept, and all are counted.

    Attributes:
        first_damage: where the log is damaged first; None where it is not.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[Position, int, int, Finding]] = []
        self.counts: Counter[FindingKind] = Counter()
        self.first_damage: Finding | None = None

    def add(self, kind: FindingKind, position: Position, message_id: str, detail: str, *, index: int = 0) -> None:
        """Take a finding."""
        finding = Finding(kind=kind, position=position, index=index, message_id=message_id, detail=detail)
        self.counts[kind] += 1
        insort(self._kept, (position, index, self.counts.total(), finding), key=lambda kept: kept[:3])
        del self._kept[FINDINGS_MAX:]
        first = self.first_damage
        if kind.is_damage and (first is None or (position, index) < (first.position, first.index)):
            self.first_damage = finding

    def kept(self) -> tuple[Finding, ...]:
        """Give the first findings, in the log's order."""
        return tuple(finding for *_, finding in self._kept)
