"""What comes of making a decision again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from events.names import MirrorName
from events.schemas import DecisionOutcome
from selection.policy.choice import Choice


class Verdict(Enum):
    """Whether a recorded decision is what its selector had to decide.

    ``UNVERIFIABLE``: something that it depended on is not known any more, or never was; nothing speaks against it.
    """

    AGREES = "agrees"
    DIFFERS = "differs"
    UNVERIFIABLE = "unverifiable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraced:
    """A decision, made again.

    Attributes:
        verdict: how it compares with the record.
        outcome: what had to be decided; the record's, where that cannot be told.
        mirror: whom the visitor had to be sent to.
        why_not: why it does not agree, a sentence; empty where it does.
        choice: the choice with a reason for each mirror, where it was asked for and could be made.
    """

    verdict: Verdict
    outcome: DecisionOutcome
    mirror: MirrorName | None
    why_not: str = ""
    choice: Choice | None = None

    @property
    def agrees(self) -> bool:
        """Tell whether the record is right beyond doubt."""
        return self.verdict is Verdict.AGREES
