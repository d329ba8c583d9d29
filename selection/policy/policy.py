"""The policy: from a view and a visitor to a mirror, by six criteria strictly in order. Pure.

1. access: the file's networks take the visitor. 2. file: the mirror follows a channel that holds it, has a copy, and
has acted on the last withdrawal of that path. 3. online: announced, inventory complete, heard of lately, with a grant
key that holds, and open to new visitors. 4. load: a slot is free under the threshold, uncounted grants
included. 5. quota: enough is left for the whole file; whoever spares what is left comes after all others. 6. distance:
the nearest, see ``selection.policy.ranking``.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from events.names import MirrorName
from selection.policy.choice import Choice, RejectReason
from selection.policy.explaining import explain
from selection.policy.reservations import Reservations
from selection.policy.rules import Rules
from selection.policy.standing import Standing
from selection.policy.visitor import Visitor
from selection.view.file import PublishedFile
from selection.view.fleet import FleetView
from selection.view.roster import Mirror

_NO_DICE = Random(0)  # noqa: S311 - an order that anybody can work out again


class Pick(NamedTuple):
    """Where a visitor is to be sent: to a mirror, or, without one, to the master. Without ``access`` nowhere."""

    access: bool
    mirror: Mirror | None


class Policy:
    """Chooses mirrors. ``now_s`` is on the clock on which load reports were heard."""

    def __init__(self, view: FleetView, reservations: Reservations, rules: Rules) -> None:
        self._view = view
        self._reservations = reservations
        self._rules = rules

    def standing(self, *, now_s: float) -> Standing:
        """Give how the mirrors fare, whoever asks."""
        return Standing(self._view, self._reservations, self._rules, now_s)

    def pick(self, file: PublishedFile, visitor: Visitor, *, now_s: float, rng: Random) -> Pick:
        """Choose a mirror for a visitor, fast and without reasons: one of the first group of ``explain``."""
        choice = self.explain(file, visitor, now_s=now_s, rng=rng)
        return Pick(choice.access, self._view.mirror(choice.best.mirror) if choice.best else None)

    def explain(self, file: PublishedFile, visitor: Visitor, *, now_s: float, rng: Random) -> Choice:
        """Choose a mirror for a visitor, and say for each other one why it is not that."""
        return explain(file, visitor, self.standing(now_s=now_s), rng=rng)

    def others(
        self,
        file: PublishedFile,
        visitor: Visitor,
        count: int,
        *,
        now_s: float,
        besides: Mirror | None = None,
    ) -> tuple[Mirror, ...]:
        """Give the best mirrors for a visitor ``besides`` the one that was picked, best first and without dice."""
        choice = explain(file, visitor, self.standing(now_s=now_s), rng=_NO_DICE)
        names = [candidate.mirror for candidate in choice.ranked if besides is None or candidate.mirror != besides.name]
        return tuple(self._view.mirror(name) for name in names[:count])

    def may_return(self, file: PublishedFile, visitor: Visitor, name: MirrorName, *, now_s: float) -> Mirror | None:
        """Give a mirror that keeps a place for this visitor and this file, if it can serve him still.

        All slots may be spoken for, since one is for him, but not all at work.
        """
        standing = self.standing(now_s=now_s)
        choice = explain(file, visitor, standing, rng=_NO_DICE)
        if any(candidate.mirror == name for candidate in choice.ranked):
            return self._view.mirror(name)
        rejection = choice.rejected.get(name)
        is_full = rejection is not None and rejection.reason is RejectReason.FULL
        return self._view.mirror(name) if is_full and standing.has_idle_slot(name) else None

    def sent(self, mirror: Mirror, visitor: Visitor, *, now_s: float) -> None:
        """Take note that a visitor was sent to a mirror: it counts for the mirror's share of his continent."""
