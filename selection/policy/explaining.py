"""The choice with a reason for each mirror, for people and audits: all criteria asked of all mirrors. Pure.

What ``selection.policy.policy`` decides fast is said here slowly and in full; the two agree (a law under test).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final, TypeAlias

from events.names import ORIGIN, ChannelName, MirrorName
from events.schemas import Reach
from selection.places.place import Place, distance_km
from selection.policy.atlas import OWN_NETWORK, is_in_reach
from selection.policy.choice import Candidate, Choice, Rejection, RejectReason
from selection.policy.drawing import Rng
from selection.policy.ranking import Ranking
from selection.policy.shares import Shares
from selection.policy.standing import Standing, is_secure
from selection.policy.sticky import StickyKey, lot_of, salt_of
from selection.policy.visitor import Visitor
from selection.view.file import PublishedFile
from selection.view.roster import Mirror

_IPV4: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question, with what is the same for all mirrors worked out once. The sets of mirrors are bit sets.

    Attributes:
        file: what is asked for.
        visitor: who asks.
        standing: how the mirrors fare.
        access: whether the file's networks take him.
        followers: who follows a channel that holds the file.
        holders: who holds its content.
        withdrawn_from: the channels that hold it and from which what stood there was withdrawn some time.
        ranking: the order of his place.
        neighbours: who names a network that his address is in.
        current: who has all metadata of a channel that the file is in; None: it is no metadata.
        key: what he is stuck to a mirror by, for metadata.
        shares: who was sent how many of his continent.
    """

    file: PublishedFile
    visitor: Visitor
    standing: Standing
    access: bool
    followers: int
    holders: int
    withdrawn_from: tuple[ChannelName, ...]
    ranking: Ranking
    neighbours: int
    current: int | None
    key: StickyKey | None
    shares: Shares


@dataclass(frozen=True, slots=True)
class _Contender:
    """A mirror that qualifies, with what orders it: the lower ``rank`` the better, equal ones are near-equals."""

    mirror: Mirror
    candidate: Candidate
    rank: tuple[bool, int]
    weight: int


def choose(case: Case, *, rng: Rng) -> Choice:
    """Ask every criterion of every mirror of the fleet, and rank those that qualify."""
    rejected: dict[MirrorName, Rejection] = {}
    qualified: list[Mirror] = []
    for mirror in case.standing.view.mirrors():
        if rejection := rejection_of(case, mirror):
            rejected[mirror.name] = rejection
        else:
            qualified.append(mirror)
    preferred = _preferred(case, qualified, rejected)
    ordered = _ordered(case, [_contender(case, mirror) for mirror in preferred], rng)
    rejected |= _passed_over(case, ordered)
    return Choice(access=case.access, ranked=tuple(one.candidate for one in ordered), rejected=rejected)


def led_by(choice: Choice, mirror: MirrorName | None) -> Choice:
    """Give a choice as it is where the draw among the best ones falls on this mirror."""
    first, drawn = choice.best, next((one for one in choice.ranked if one.mirror == mirror), None)
    if first is None or drawn is None or drawn is first:
        return choice
    rejected = {name: rejection for name, rejection in choice.rejected.items() if name != mirror}
    rejected[first.mirror] = Rejection(RejectReason.NEAR_EQUAL, _how_far(first))
    ranked = (drawn, *(one for one in choice.ranked if one is not drawn))
    return Choice(access=choice.access, ranked=ranked, rejected=rejected)


def rejection_of(case: Case, mirror: Mirror) -> Rejection | None:
    """Give the first reason that speaks against a mirror, whoever else there is."""
    return next((rejection for criterion in _CRITERIA if (rejection := criterion(case, mirror))), None)


def _preferred(case: Case, qualified: Sequence[Mirror], rejected: dict[MirrorName, Rejection]) -> Sequence[Mirror]:
    """Leave out those that are not to be sent anybody while others can serve: incomplete ones, then spent ones."""
    if case.current is not None:
        current = [mirror for mirror in qualified if case.current >> mirror.number & 1]
        qualified = _kept(qualified, current, rejected, lambda _: Rejection(RejectReason.NOT_CURRENT))
    continent = case.visitor.whereabouts.continent
    spent = case.shares.spent(continent, now_s=case.standing.now_s)
    unspent = [mirror for mirror in qualified if not spent >> mirror.number & 1]

    def spent_share(mirror: Mirror) -> Rejection:
        percent = case.shares.share_percent(mirror.number, continent)
        return Rejection(RejectReason.SHARE_SPENT, "" if percent is None else f"{percent:.0f} % of the last minute")

    return _kept(qualified, unspent, rejected, spent_share)


def _kept(
    qualified: Sequence[Mirror],
    better: Sequence[Mirror],
    rejected: dict[MirrorName, Rejection],
    reason: Callable[[Mirror], Rejection],
) -> Sequence[Mirror]:
    if not better:
        return qualified
    kept = {mirror.name for mirror in better}
    rejected |= {mirror.name: reason(mirror) for mirror in qualified if mirror.name not in kept}
    return better


def _contender(case: Case, mirror: Mirror) -> _Contender:
    profile, standing = mirror.profile, case.standing
    assert profile is not None  # noqa: S101 - the third criterion asked
    free_slots = standing.free_slots(mirror)
    candidate = Candidate(
        mirror=mirror.name,
        base_url=profile.url,
        distance_km=distance_km(case.visitor.place, profile.location),
        free_slots=free_slots,
        quota_left_bytes=standing.quota_left_bytes(mirror),
    )
    is_neighbour = case.neighbours >> mirror.number & 1
    level = OWN_NETWORK if is_neighbour else case.ranking.level_of(mirror.number)
    is_sparing = mirror.load is not None and mirror.load.report.sparing
    return _Contender(mirror, candidate, (is_sparing, level), free_slots * mirror.ruled.weight_percent)


def _ordered(case: Case, contenders: Sequence[_Contender], rng: Rng) -> list[_Contender]:
    """Put the best first; among near-equals by the visitor's key, or by dice.

    Sorting by log(u) / weight lets each stand first with a chance in proportion to its weight, and so on for the rest
    (Efraimidis and Spirakis 2006).
    """
    key = case.key
    if key is not None:
        lots = [
            lot_of(key, salt_of(one.mirror.name), case.standing.slots(one.mirror) * one.mirror.ruled.weight_percent)
            for one in contenders
        ]
    else:
        lots = [math.log(1.0 - rng.random()) / one.weight for one in contenders]
    drawn = sorted(zip(lots, contenders, strict=True), key=lambda pair: pair[0], reverse=True)
    return sorted((one for _, one in drawn), key=lambda one: one.rank)


def _passed_over(case: Case, ordered: Sequence[_Contender]) -> dict[MirrorName, Rejection]:
    """Say of all that qualify but the first why they are not the first."""
    return {one.mirror.name: _reason_behind(case, one, ordered[0]) for one in ordered[1:]}


def _reason_behind(case: Case, one: _Contender, first: _Contender) -> Rejection:
    if one.rank == first.rank:
        return Rejection(RejectReason.NEAR_EQUAL, _how_far(one.candidate))
    if one.rank[0] != first.rank[0]:
        return Rejection(RejectReason.SPARING)
    return Rejection(RejectReason.FARTHER, _farther(one, first, case.visitor.place))


def _how_far(candidate: Candidate) -> str:
    return "" if candidate.distance_km is None else f"{candidate.distance_km:.0f} km away"


def _farther(one: _Contender, first: _Contender, place: Place) -> str:
    how_far = _how_far(one.candidate) or "at an unknown distance"
    profile = one.mirror.profile
    country = profile.location.country if profile and profile.location else ""
    if first.rank[1] == OWN_NETWORK:
        return f"{how_far}, and not in the visitor's network"
    if place.country and country and country != place.country:
        return f"{how_far}, in {country} and not in {place.country}"
    return how_far


def _access(case: Case, _mirror: Mirror) -> Rejection | None:
    if case.access:
        return None
    return Rejection(RejectReason.NO_ACCESS, f"only {', '.join(case.file.access.networks)}")


def _reach(case: Case, mirror: Mirror) -> Rejection | None:
    if mirror.profile is None:
        return None
    reaches = (mirror.profile.reach, mirror.ruled.reach)
    for place in (case.visitor.whereabouts, case.visitor.place):
        if not is_in_reach(reaches, country=place.country, continent=place.continent):
            where = ", ".join(filter(None, (place.country, place.continent))) or "an unknown place"
            return Rejection(RejectReason.NOT_FOR_PLACE, f"not from {where}")
    is_taken = all(_takes_address(reach, case.visitor) for reach in reaches)
    return None if is_taken else Rejection(RejectReason.NOT_FOR_PLACE, "not from this network")


def _takes_address(reach: Reach, visitor: Visitor) -> bool:
    return not reach.networks_only or any(visitor.address in ip_network(network) for network in reach.networks_only)


def _asked(case: Case, mirror: Mirror) -> Rejection | None:
    visitor = case.visitor
    if len(visitor.asked_not - {ORIGIN}) >= case.standing.rules.hops_max:
        return Rejection(RejectReason.HOPS_SPENT)
    if mirror.name in visitor.asked_not:
        return Rejection(RejectReason.ASKED_NOT)
    is_other = visitor.only is not None and visitor.only != mirror.name
    return Rejection(RejectReason.ASKED_OTHER, f"{visitor.only}") if is_other else None


def _has_file(case: Case, mirror: Mirror) -> Rejection | None:
    bit = 1 << mirror.number
    view, sha256 = case.standing.view, case.file.sha256
    if not case.followers & bit:
        channels = case.file.channels
        return Rejection(RejectReason.NOT_SUBSCRIBED, f"it is in {', '.join(channels) or 'no channel'}")
    if case.holders & bit:
        return _withdrawal(case, mirror)
    if declined := view.declined(mirror, sha256):
        detail = f"{declined.reason.text}: {declined.detail}; it tries again after {declined.retry_after_s:.0f} s"
        return Rejection(RejectReason.FETCH_DECLINED, detail)
    loss = view.loss(mirror, sha256)
    return Rejection(RejectReason.NO_COPY, f"its copy is {loss.value}" if loss else "")


def _withdrawal(case: Case, mirror: Mirror) -> Rejection | None:
    view = case.standing.view
    due = [channel for channel in case.withdrawn_from if view.has_yet_to_withdraw(mirror, case.file, channel)]
    return Rejection(RejectReason.UNACKNOWLEDGED, f"from {', '.join(due)}") if due else None


def _online(case: Case, mirror: Mirror) -> Rejection | None:
    return case.standing.attendance(mirror) or _unreached(case.visitor, mirror)


def _unreached(visitor: Visitor, mirror: Mirror) -> Rejection | None:
    """Say why a visitor cannot reach a mirror, or not as he wants."""
    profile = mirror.profile
    if profile is None:
        return None
    if visitor.secure is not None and visitor.secure != is_secure(profile.url):
        return Rejection(RejectReason.NOT_SECURE if visitor.secure else RejectReason.NOT_PLAIN)
    version = visitor.address.version
    is_reached = profile.ipv4 if version == _IPV4 else profile.ipv6
    return None if is_reached else Rejection(RejectReason.OTHER_FAMILY, f"not by IPv{version}")


def _load(case: Case, mirror: Mirror) -> Rejection | None:
    if mirror.load is None or case.standing.free_slots(mirror) > 0:
        return None
    report, reserved = mirror.load.report, case.standing.reservations.of(mirror.name)
    taken = f"{report.active} active, {report.reserved} reserved, {reserved.grants} granted since its last report"
    return Rejection(RejectReason.FULL, f"{taken}, of {report.slots} slots")


def _quota(case: Case, mirror: Mirror) -> Rejection | None:
    left_bytes = case.standing.quota_left_bytes(mirror)
    if left_bytes is None or left_bytes >= case.file.size_bytes:
        return None
    return Rejection(RejectReason.QUOTA_SPENT, f"{left_bytes} bytes are left, the file has {case.file.size_bytes}")


_Criterion: TypeAlias = Callable[[Case, Mirror], Rejection | None]

_CRITERIA: Final[tuple[_Criterion, ...]] = (_access, _reach, _asked, _has_file, _online, _load, _quota)
