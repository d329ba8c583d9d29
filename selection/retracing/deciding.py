"""What had to be decided, by the selector's own policy with the figures and the dice of a record. Pure."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from events.grants import bind, normalise
from events.names import ORIGIN, MirrorName
from events.schemas import Decision, DecisionOutcome, SelectionRules, Whereabouts
from events.schemas.fields import NS_PER_S
from selection.places.place import Place
from selection.policy.choice import Choice
from selection.policy.dice import GrantDice
from selection.policy.explaining import led_by
from selection.policy.policy import Policy
from selection.policy.rules import Rules
from selection.policy.visitor import Visitor
from selection.retracing.kept import KeptPlaces
from selection.retracing.stood import NOW_S, Stood
from selection.view.file import PublishedFile

PLACES_KEPT: Final = 16_384  # towns; a place takes some microseconds to make
_ANYWHERE: Final = IPv4Address(0)  # for a visitor whose address is gone, where it does not matter


class Asked(NamedTuple):
    """One visitor's request, as its record tells it. ``is_cut``: the address is not wholly his."""

    decision: Decision
    file: PublishedFile
    visitor: Visitor
    is_cut: bool

    @property
    def now_s(self) -> float:
        """When he asked, by the selector's clock: the very number that it had."""
        return self.decision.at_ns / NS_PER_S

    @property
    def claimant(self) -> int:
        """The number of the address that his place is kept for."""
        return int(bind(self.visitor.address).address)


class Made(NamedTuple):
    """What was decided."""

    outcome: DecisionOutcome
    mirror: MirrorName | None

    def __str__(self) -> str:
        """Say it to a person."""
        match self.outcome:
            case DecisionOutcome.SENT:
                return f"he is sent to {self.mirror}"
            case DecisionOutcome.KEPT:
                return f"{self.mirror} keeps a place for him"
            case DecisionOutcome.ORIGIN:
                return "no mirror fits, so the master serves him"
            case DecisionOutcome.REFUSED:
                return "the file's networks do not take him"
            case DecisionOutcome.NOBODY:
                return "no mirror fits, and the master has sent him back"
            case DecisionOutcome.OTHER:
                return "something that a newer version knows"


class Decider:
    """Decides by one selector's rules, as its mirrors stood, with the places that were kept there."""

    def __init__(self, stood: Stood, kept: KeptPlaces, rules: SelectionRules) -> None:
        self._kept = kept
        self._policy = Policy(stood.view, stood.reservations, _rules_of(rules), stood.shares)
        self.rules = rules

    def made(self, asked: Asked) -> Made:
        """Decide as the selector had to."""
        file, dice = asked.file, GrantDice(asked.decision.grant_id)
        offer = self._policy.choose(file, asked.visitor, 0, now_s=NOW_S, rng=dice)
        if not offer.access:
            return Made(DecisionOutcome.REFUSED, None)
        for name in self._keepers(asked):
            if self.may_return(asked, name):
                return Made(DecisionOutcome.KEPT, name)
        if offer.mirror is not None:
            return Made(DecisionOutcome.SENT, offer.mirror.name)
        is_back = ORIGIN in asked.decision.asked_not
        return Made(DecisionOutcome.NOBODY if is_back else DecisionOutcome.ORIGIN, None)

    def may_return(self, asked: Asked, mirror: MirrorName) -> bool:
        """Tell whether a mirror that keeps a place for a visitor can serve him."""
        return self._policy.may_return(asked.file, asked.visitor, mirror, now_s=NOW_S) is not None

    def needs_address(self, asked: Asked) -> bool:
        """Tell whether a decision depends on an address, and not only on where it is."""
        is_kept = asked.decision.outcome is DecisionOutcome.KEPT
        return is_kept or self._policy.needs_address(asked.file, now_s=NOW_S)

    def explain(self, asked: Asked, mirror: MirrorName | None) -> Choice:
        """Give the reasons for each mirror; the one that was drawn comes first."""
        dice = GrantDice(asked.decision.grant_id)
        return led_by(self._policy.explain(asked.file, asked.visitor, now_s=NOW_S, rng=dice), mirror)

    def _keepers(self, asked: Asked) -> tuple[MirrorName, ...]:
        """Give who keeps a place for this download, as far as that is known."""
        if asked.is_cut:
            return ()
        return tuple(self._kept.mirrors(asked.claimant, asked.file.sha256, now_s=asked.now_s))


def asked_by(decision: Decision, file: PublishedFile, *, is_cut: bool) -> Asked:
    """Read a visitor's request from its record."""
    visitor = Visitor(
        address=normalise(decision.address) if decision.address else _ANYWHERE,
        place=_place_of(decision.place),
        secure=decision.secure,
        asked_not=frozenset(decision.asked_not),
        only=decision.only,
        home=None if decision.home is None else _place_of(decision.home),
    )
    return Asked(decision, file, visitor, is_cut or not decision.address)


@lru_cache(maxsize=PLACES_KEPT)
def _place_of(whereabouts: Whereabouts) -> Place:
    return Place(
        latitude=whereabouts.latitude,
        longitude=whereabouts.longitude,
        country=whereabouts.country,
        continent=whereabouts.continent,
        asn=whereabouts.asn,
        precise=whereabouts.is_precise,
    )


def _rules_of(rules: SelectionRules) -> Rules:
    return Rules(
        silent_after_s=rules.silent_after_s,
        load_threshold=rules.load_threshold,
        near_km=rules.near_km,
        hops_max=rules.hops_max,
        share_percent_max=rules.share_percent_max,
        sticky_tags=rules.sticky_tags,
    )
