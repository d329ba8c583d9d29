"""The choice with a reason for each mirror, for people, audits and tests: all criteria asked of all mirrors. Pure.

What ``selection.policy.policy`` decides fast is said here slowly and in full; the two agree (a law under test).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, TypeAlias

from events.names import ORIGIN, ChannelName, MirrorName
from selection.access.networks import has_access
from selection.places.place import distance_km
from selection.policy.choice import Candidate, Choice, Rejection, RejectReason
from selection.policy.ranking import Contender, rank
from selection.policy.standing import Standing
from selection.policy.visitor import Visitor
from selection.view.file import PublishedFile
from selection.view.roster import Mirror


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One question, with what is the same for all mirrors worked out once. The sets of mirrors are bit sets.

    ``withdrawn_from``: the channels that hold the file and from which what stood there was withdrawn some time.
    """

    file: PublishedFile
    visitor: Visitor
    standing: Standing
    access: bool
    followers: int
    holders: int
    withdrawn_from: tuple[ChannelName, ...]


def explain(file: PublishedFile, visitor: Visitor, standing: Standing, *, rng: Random) -> Choice:
    """Ask every criterion of every mirror of the fleet, and rank those that qualify."""
    view, rules = standing.view, standing.rules
    access = has_access(file.access, visitor.address)
    case = _Case(
        file=file,
        visitor=visitor,
        standing=standing,
        access=access,
        followers=view.followers(file),
        holders=view.holders(file.sha256),
        withdrawn_from=view.withdrawn_from(file),
    )
    rejected: dict[MirrorName, Rejection] = {}
    contenders: list[Contender] = []
    for mirror in view.mirrors():
        if rejection := _rejection(case, mirror):
            rejected[mirror.name] = rejection
        else:
            contenders.append(_contender(case, mirror))
    ranking = rank(contenders, visitor.place, near_km=rules.near_km, rng=rng)
    return Choice(access=access, ranked=ranking.ranked, rejected=rejected | ranking.rejected)


def _rejection(case: _Case, mirror: Mirror) -> Rejection | None:
    """Give the first reason that speaks against a mirror."""
    return next((rejection for criterion in _CRITERIA if (rejection := criterion(case, mirror))), None)


def _contender(case: _Case, mirror: Mirror) -> Contender:
    profile = mirror.profile
    assert profile is not None  # noqa: S101 - the third criterion asked
    location = profile.location
    candidate = Candidate(
        mirror=mirror.name,
        base_url=profile.url,
        distance_km=distance_km(case.visitor.place, location),
        free_slots=case.standing.free_slots(mirror),
        quota_left_bytes=case.standing.quota_left_bytes(mirror),
    )
    country = location.country if location else ""
    return Contender(candidate, country, sparing=mirror.load is not None and mirror.load.report.sparing)


def _access(case: _Case, _mirror: Mirror) -> Rejection | None:
    if case.access:
        return None
    return Rejection(RejectReason.NO_ACCESS, f"only {', '.join(case.file.access.networks)}")


def _asked_not(case: _Case, mirror: Mirror) -> Rejection | None:
    if len(case.visitor.asked_not - {ORIGIN}) >= case.standing.rules.hops_max:
        return Rejection(RejectReason.HOPS_SPENT)
    return Rejection(RejectReason.ASKED_NOT) if mirror.name in case.visitor.asked_not else None


def _has_file(case: _Case, mirror: Mirror) -> Rejection | None:
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


def _withdrawal(case: _Case, mirror: Mirror) -> Rejection | None:
    view = case.standing.view
    due = [channel for channel in case.withdrawn_from if view.has_yet_to_withdraw(mirror, case.file, channel)]
    return Rejection(RejectReason.UNACKNOWLEDGED, f"from {', '.join(due)}") if due else None


def _online(case: _Case, mirror: Mirror) -> Rejection | None:
    return case.standing.attendance(mirror)


def _load(case: _Case, mirror: Mirror) -> Rejection | None:
    if mirror.load is None or case.standing.free_slots(mirror) > 0:
        return None
    report, reserved = mirror.load.report, case.standing.reservations.of(mirror.name)
    taken = f"{report.active} active, {report.reserved} reserved, {reserved.grants} granted since its last report"
    return Rejection(RejectReason.FULL, f"{taken}, of {report.slots} slots")


def _quota(case: _Case, mirror: Mirror) -> Rejection | None:
    left_bytes = case.standing.quota_left_bytes(mirror)
    if left_bytes is None or left_bytes >= case.file.size_bytes:
        return None
    return Rejection(RejectReason.QUOTA_SPENT, f"{left_bytes} bytes are left, the file has {case.file.size_bytes}")


_Criterion: TypeAlias = Callable[[_Case, Mirror], Rejection | None]

_CRITERIA: Final[tuple[_Criterion, ...]] = (_access, _asked_not, _has_file, _online, _load, _quota)
