"""The policy: from a view and a visitor to a Choice, by six criteria strictly in order. Pure.

1. access: the file's networks take the visitor. 2. file: the mirror follows a channel that holds it, has a copy, and
has acted on the last withdrawal of that path. 3. online: announced, inventory complete, heard of lately, with a grant
key that holds, and open to new visitors. 4. load: a slot is free under the threshold, this selector's uncounted grants
included. 5. quota: enough is left for the whole file; whoever spares what is left comes after all others. 6. distance:
the nearest.

The first criterion that a mirror fails is its reason. Of those that pass five, the ones within ``near_km`` of the
nearest are near-equals: two databases place the same address farther apart than that. Among near-equals the visitor's
own country comes first, then free slots weigh in a draw, so that nobody is swamped between two load reports. Where
distance is unknown the visitor's country comes first, and the draw is among all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Final, TypeAlias, assert_never

from events.grants import IPAddress
from events.names import ORIGIN, ChannelName, MirrorName
from events.schemas import Availability, FilePublished, LoadReported
from selection.access.networks import has_access
from selection.answering.links import is_base_url
from selection.places.place import NOWHERE, Place, distance_km
from selection.policy.choice import Candidate, Choice, Rejection, RejectReason
from selection.policy.ranking import Contender, rank
from selection.policy.reservations import Reservations
from selection.view.fleet import FleetView
from selection.view.roster import Mirror


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The figures that the policy goes by.

    ``load_threshold`` is the share of its slots that a mirror may fill; after ``hops_max`` mirrors that sent a visitor
    back no other is tried.
    """

    silent_after_s: float
    load_threshold: float
    near_km: float
    hops_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who asks, and the mirrors that have just sent him back."""

    address: IPAddress
    place: Place = NOWHERE
    asked_not: AbstractSet[MirrorName] = field(default_factory=frozenset[MirrorName])


@dataclass(frozen=True, slots=True)
class Standing:
    """How mirrors fare at one moment, whoever asks. ``now_s`` is on the clock on which load reports were heard."""

    view: FleetView
    reservations: Reservations
    rules: Rules
    now_s: float

    def free_slots(self, mirror: Mirror) -> int:
        """Count the slots under the threshold that nobody has taken or been granted; 0 without a report."""
        if mirror.load is None:
            return 0
        report, reserved = mirror.load.report, self.reservations.of(mirror.name)
        return max(0, self._usable_slots(report) - report.active - report.reserved - reserved.grants)

    def has_idle_slot(self, name: MirrorName) -> bool:
        """Tell whether a slot under the threshold has no transfer, whoever it may be reserved for."""
        load = self.view.mirror(name).load
        return load is not None and load.report.active < self._usable_slots(load.report)

    def _usable_slots(self, report: LoadReported) -> int:
        # A threshold of 0.8 leaves a mirror with one slot that slot: what counts is where its load stands before.
        return math.ceil(self.rules.load_threshold * report.slots)

    def quota_left_bytes(self, mirror: Mirror) -> int | None:
        """Give what is left of the quota when all that this selector granted is served; None without a limit."""
        if mirror.load is None or mirror.load.report.quota_left_bytes is None:
            return None
        return max(0, mirror.load.report.quota_left_bytes - self.reservations.of(mirror.name).size_bytes)

    def attendance(self, mirror: Mirror) -> Rejection | None:
        """Say why a mirror does not count as online, or None if it does: the third criterion."""
        if not mirror.online_sequence or mirror.profile is None:
            return Rejection(RejectReason.NEVER_ONLINE)
        if not mirror.online:
            return Rejection(RejectReason.OFFLINE, mirror.offline_reason)
        if not is_base_url(mirror.profile.url):
            return Rejection(RejectReason.URL_UNUSABLE, repr(mirror.profile.url))
        if mirror.keys_outdated:
            rotation = mirror.rotation
            detail = f"it has that of epoch {mirror.key_epoch}, the oldest that holds is of {rotation.oldest_epoch}"
            return Rejection(RejectReason.KEYS_OUTDATED, detail)
        if not self.view.announced(mirror):
            return Rejection(RejectReason.INVENTORY_INCOMPLETE)
        return self._silence(mirror) or _closure(mirror)

    def _silence(self, mirror: Mirror) -> Rejection | None:
        if mirror.load is None:
            return Rejection(RejectReason.SILENT, "no load report yet")
        silent_s = self.now_s - mirror.load.heard_s
        if silent_s > self.rules.silent_after_s:
            return Rejection(RejectReason.SILENT, f"the last load report came {silent_s:.0f} s ago")
        return None


def _closure(mirror: Mirror) -> Rejection | None:
    """Say why a mirror takes no new visitors, or None while it does."""
    opening = mirror.opening
    match opening.availability:
        case Availability.OPEN:
            return None
        case Availability.PAUSED:
            reason = RejectReason.PAUSED
        case Availability.DRAINING:
            reason = RejectReason.DRAINING
        case Availability.CLOSED:
            reason = RejectReason.CLOSED
        case _:
            assert_never(opening.availability)
    return Rejection(reason, _until(opening.until_s))


def _until(moment_s: int) -> str:
    return f"until {datetime.fromtimestamp(moment_s, tz=UTC):%Y-%m-%d %H:%M} UTC" if moment_s else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One question, with what is the same for all mirrors worked out once. The sets of mirrors are bit sets.

    ``withdrawn_from``: the channels that hold the file and from which what stood there was withdrawn some time.
    """

    file: FilePublished
    visitor: Visitor
    standing: Standing
    access: bool
    followers: int
    holders: int
    withdrawn_from: tuple[ChannelName, ...]


def choose(file: FilePublished, visitor: Visitor, standing: Standing, *, rng: Random) -> Choice:
    """Choose a mirror for a visitor."""
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
        channels = view.channels_of(case.file)
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
