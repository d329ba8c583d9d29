"""Who of those that could serve is nearest, and who draws among near-equals: the sixth criterion. Pure.

Mirrors that spare what is left of their quota (the fifth) are ranked in the same way, after all that do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from events.names import MirrorName
from selection.places.place import Place
from selection.policy.choice import Candidate, Rejection, RejectReason


@dataclass(frozen=True, slots=True)
class Contender:
    """A mirror that qualifies, and the country it says it stands in (or nothing). ``sparing``: take others first."""

    candidate: Candidate
    country: str = ""
    sparing: bool = False


@dataclass(frozen=True, slots=True)
class Ranking:
    """All contenders, best first, and why each but the first is not the first."""

    ranked: tuple[Candidate, ...]
    rejected: dict[MirrorName, Rejection]


@dataclass(frozen=True, slots=True)
class _Field:
    """The contenders in groups, each better than the next; inside a group nothing but chance decides."""

    best: list[Contender]
    abroad: list[Contender]  # near, but not in the visitor's country while a near one is
    beyond: list[Contender]
    unplaced: list[Contender]


def rank(contenders: Sequence[Contender], place: Place, *, near_km: float, rng: Random) -> Ranking:
    """Order contenders, which come in an order of their own (by name), so that equal dice give equal rankings."""
    willing = [one for one in contenders if not one.sparing]
    sparing = [one for one in contenders if one.sparing]
    if not willing:
        return _rank(sparing, place, near_km, rng)
    first, last = _rank(willing, place, near_km, rng), _rank(sparing, place, near_km, rng)
    passed_over = {candidate.mirror: Rejection(RejectReason.SPARING) for candidate in last.ranked}
    return Ranking(first.ranked + last.ranked, first.rejected | passed_over)


def _rank(contenders: Sequence[Contender], place: Place, near_km: float, rng: Random) -> Ranking:
    groups = _grouped(contenders, place, near_km)
    best = _drawn(groups.best, rng)
    ordered = [*best, *_drawn(groups.abroad, rng), *sorted(groups.beyond, key=_distance), *_drawn(groups.unplaced, rng)]
    rejected = {one.candidate.mirror: Rejection(RejectReason.NEAR_EQUAL, _how_far(one)) for one in best[1:]}
    rejected |= {
        one.candidate.mirror: Rejection(RejectReason.FARTHER, _detail(one, place)) for one in ordered[len(best) :]
    }
    return Ranking(tuple(one.candidate for one in ordered), rejected)


def _grouped(contenders: Sequence[Contender], place: Place, near_km: float) -> _Field:
    distances = [one.candidate.distance_km for one in contenders if one.candidate.distance_km is not None]
    if not distances:
        best, abroad = _home_first(contenders, place)
        return _Field(best, abroad, [], [])
    ring_km = min(distances) + near_km
    best, abroad = _home_first([one for one in contenders if _distance(one) <= ring_km], place)
    return _Field(
        best,
        abroad,
        beyond=[one for one in contenders if ring_km < _distance(one) < math.inf],
        unplaced=[one for one in contenders if _distance(one) == math.inf],
    )


def _home_first(contenders: Sequence[Contender], place: Place) -> tuple[list[Contender], list[Contender]]:
    """Part those in the visitor's country from the rest; without any at home all are as good."""
    home = [one for one in contenders if place.country and one.country == place.country]
    if not home:
        return list(contenders), []
    return home, [one for one in contenders if one.country != place.country]


def _drawn(contenders: list[Contender], rng: Random) -> list[Contender]:
    """Shuffle so that each stands first with a chance in proportion to its free slots, and so on for the rest.

    Sorting by log(u) / weight does that in one pass (Efraimidis and Spirakis 2006).
    """
    lots = [(math.log(1.0 - rng.random()) / one.candidate.free_slots, one) for one in contenders]
    lots.sort(key=lambda lot: lot[0], reverse=True)
    return [one for _, one in lots]


def _distance(one: Contender) -> float:
    return math.inf if one.candidate.distance_km is None else one.candidate.distance_km


def _how_far(one: Contender) -> str:
    return "" if one.candidate.distance_km is None else f"{one.candidate.distance_km:.0f} km away"


def _detail(one: Contender, place: Place) -> str:
    how_far = _how_far(one) or "at an unknown distance"
    if place.country and one.country and one.country != place.country:
        return f"{how_far}, in {one.country} and not in {place.country}"
    return how_far
