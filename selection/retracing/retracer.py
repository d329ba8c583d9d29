"""Makes the decisions of one selector again, by its records and the log's view, with the selector's own code. Pure.

Give it the records of one run of a selector (one epoch of its numbering) in the order of their numbers, and each
decision when the view is folded up to the entry that the selector had read by then, no further. It decides nothing by
itself: ``selection.policy.Policy`` does, with the figures of the record and the dice of the grant's id.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from events.names import ORIGIN
from events.schemas import Decision, DecisionOutcome, StandingRecorded
from selection.policy.rules import PERCENT
from selection.retracing.deciding import Asked, Decider, Made, asked_by
from selection.retracing.kept import KeptPlaces
from selection.retracing.retraced import Retraced, Verdict
from selection.retracing.stood import Stood
from selection.view.file import PublishedFile
from selection.view.fleet import FleetView

_LINKS: Final = (DecisionOutcome.SENT, DecisionOutcome.KEPT, DecisionOutcome.ORIGIN)  # they gave one

_NOT_STOOD: Final = "how the mirrors stood is not known: a record before it is missing"
_NEWER: Final = "a newer version decided it in a way that is not known here"
_CUT: Final = "the visitor's address is not kept any more, and the decision depends on it"
_KEPT_BEFORE: Final = "the decision that kept a place for him is not among those that were read"
_TOO_MANY: Final = "the record says that a new place was reserved for him, and he could have none"
_TOO_FEW: Final = "a new place was reserved for him, and the record does not say so"


class Retracer:
    """The decisions of one run of one selector."""

    def __init__(self, view: FleetView) -> None:
        self._view = view
        self._stood = Stood(view)
        self._kept = KeptPlaces()
        self._decider: Decider | None = None
        self._is_standing = False

    def standing(self, standing: StandingRecorded) -> None:
        """Take how all mirrors stood, and by which rules the selector decides."""
        if self._decider is None or self._decider.rules != standing.rules:
            self._decider = Decider(self._stood, self._kept, standing.rules)
        self._stood.begin(standing.figures)
        if standing.is_first:
            self._kept.begin()
        if standing.missed:
            self._kept.miss()
        self._is_standing = True

    def missed(self) -> None:
        """Take note that a record is missing: nothing can be told until the next one of how all stood."""
        self._is_standing = False
        self._kept.miss()

    def retrace(self, decision: Decision, *, is_cut: bool = False, explained: bool = False) -> Retraced:
        """Make a decision again.

        Args:
            decision: the next one of this selector, in order.
            is_cut: its address was shortened; an empty one is seen.
            explained: give the reasons for each mirror, too; that takes a hundred times as long.
        """
        decider = self._standing_decider
        if decider is None:
            return _unverifiable(decision, _NOT_STOOD)
        file = self._taken_up(decision)
        if file is None:
            self.missed()
            return _differs(Made(DecisionOutcome.OTHER, None), f"nothing was published at {decision.path}")
        asked = asked_by(decision, file, is_cut=is_cut)
        retraced = self._compared(asked, decider)
        if explained:
            retraced = replace(retraced, choice=decider.explain(asked, retraced.mirror))
        why_not = self._follow_up(asked, decider)
        return replace(retraced, verdict=Verdict.DIFFERS, why_not=why_not) if why_not and retraced.agrees else retraced

    @property
    def _standing_decider(self) -> Decider | None:
        return self._decider if self._is_standing else None

    def _taken_up(self, decision: Decision) -> PublishedFile | None:
        """Take the figures of a decision; give the file that it is about."""
        self._stood.view.catch_up()
        for figures in decision.figures:
            self._stood.put(figures)
        self._stood.spend(decision.spent)
        return self._view.file(decision.path)

    def _compared(self, asked: Asked, decider: Decider) -> Retraced:
        """Hold a decision against what had to be decided."""
        decision = asked.decision
        if decision.outcome is DecisionOutcome.OTHER:
            return _unverifiable(decision, _NEWER)
        if asked.is_cut and decider.needs_address(asked):
            return _unverifiable(decision, _CUT)
        made, said = decider.made(asked), Made(decision.outcome, decision.mirror)
        if made != said and self._may_be_kept(asked, decider):
            return _unverifiable(decision, _KEPT_BEFORE)
        generation = asked.file.generation
        if generation != decision.generation:
            return _differs(made, f"generation {generation} was published, and the record says {decision.generation}")
        if made != said:
            return _differs(made, f"{made}, and the record says that {said}")
        return Retraced(verdict=Verdict.AGREES, outcome=made.outcome, mirror=made.mirror)

    def _may_be_kept(self, asked: Asked, decider: Decider) -> bool:
        """Tell whether a place may have been kept by a decision that is not known."""
        decision = asked.decision
        if decision.outcome is not DecisionOutcome.KEPT or decision.mirror is None:
            return False
        return not self._are_places_known(asked, decider) and decider.may_return(asked, decision.mirror)

    def _are_places_known(self, asked: Asked, decider: Decider) -> bool:
        """Tell whether no place is kept but those that are known."""
        is_whole = decider.rules.recorded_percent == PERCENT
        return is_whole and self._kept.are_known(now_s=asked.now_s)

    def _follow_up(self, asked: Asked, decider: Decider) -> str:
        """Let happen what had to follow: a place is kept, and counted at the mirror. Say what the record has wrong."""
        decision = asked.decision
        if decision.outcome not in _LINKS:
            return _TOO_MANY if decision.is_reserved else ""
        is_new = self._keep_place(asked, decider)
        if is_new and decision.mirror is not None:
            self._stood.reserve(decision.mirror, asked.file.size_bytes)
        if is_new is decision.is_reserved:
            return ""
        return _TOO_FEW if is_new else _TOO_MANY

    def _keep_place(self, asked: Asked, decider: Decider) -> bool:
        """Keep a visitor's place as the selector did; tell whether that is a new one.

        The record is believed where the address was cut, and in what may follow from places that are not known.
        """
        decision, kept, now_s = asked.decision, self._kept, asked.now_s
        start_by_s = max(int(now_s) + decider.rules.start_by_s, self._view.revoked_start_by_s + 1)
        kept.go_on(start_by_s=start_by_s)
        if asked.is_cut:
            if decision.is_reserved:
                kept.miss()
            return decision.is_reserved
        if not decision.is_reserved and not self._are_places_known(asked, decider):
            return False
        name = decision.mirror or ORIGIN
        return kept.keep(asked.claimant, asked.file.sha256, name, now_s=now_s, start_by_s=start_by_s)


def _differs(made: Made, why_not: str) -> Retraced:
    return Retraced(verdict=Verdict.DIFFERS, outcome=made.outcome, mirror=made.mirror, why_not=why_not)


def _unverifiable(decision: Decision, why_not: str) -> Retraced:
    return Retraced(verdict=Verdict.UNVERIFIABLE, outcome=decision.outcome, mirror=decision.mirror, why_not=why_not)
