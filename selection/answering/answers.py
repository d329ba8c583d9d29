"""What the selector's JSON API says of choices and mirrors (``docs/http-api.md``). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from events.names import MirrorName, unheld_path
from events.schemas import Location
from selection.answering.redirector import Explanation
from selection.answering.surface.schemas import (
    CandidateTold,
    ChoiceTold,
    DeclinedTold,
    LocationTold,
    MirrorsTold,
    MirrorTold,
    RejectionTold,
    VisitorTold,
)
from selection.answering.surface.shortfalls import NONE, Shortfall
from selection.policy.choice import Candidate, Choice, Rejection, RejectReason
from selection.policy.standing import Standing
from selection.policy.visitor import Visitor
from selection.view.roster import Mirror

READY: Final = "ready"


def explanation(explained: Explanation, *, names_networks: bool) -> ChoiceTold:
    """Give a choice with the reason for each mirror. Which networks have access is not for everybody to know."""
    file, choice = explained.file, explained.choice
    return ChoiceTold(
        path=file.path,
        size_bytes=file.size_bytes,
        sha256=file.sha256.hex(),
        generation=file.generation,
        visitor=_visitor(explained.visitor),
        access=choice.access,
        access_mode=file.access.mode.value,
        chosen=choice.best.mirror if choice.best else None,
        fallback=choice.fallback,
        ranked=[_candidate(candidate) for candidate in choice.ranked],
        rejected=rejections(choice, names_networks=names_networks),
    )


def rejections(choice: Choice, *, names_networks: bool) -> list[RejectionTold]:
    """Give each mirror that was not chosen with its reason, by name."""
    return [
        _rejection(name, rejection, names_networks=names_networks)
        for name, rejection in sorted(choice.rejected.items())
    ]


def mirrors(standing: Standing, shortfalls: Mapping[MirrorName, Shortfall]) -> MirrorsTold:
    """Give the fleet."""
    told = [mirror(one, standing, shortfalls.get(one.name, NONE)) for one in standing.view.mirrors()]
    return MirrorsTold(mirrors=told)


def mirror(one: Mirror, standing: Standing, shortfall: Shortfall) -> MirrorTold:
    """Give one mirror: its state (``ready``, or the code of what it fails, whatever the file) and its figures."""
    rejection, report = state_of(one, standing), one.load.report if one.load else None
    profile = one.profile
    return MirrorTold(
        mirror=one.name,
        state=rejection.reason.code if rejection else READY,
        reason=rejection.reason.text if rejection else "",
        detail=rejection.detail if rejection else "",
        url=profile.url if profile else None,
        location=_location(profile.location if profile else None),
        external=profile.external if profile else None,
        enabled=one.ruled.enabled,
        weight_percent=one.ruled.weight_percent,
        share_percent_max=one.ruled.share_percent_max,
        channels=list(standing.view.followed_by(one)),
        copies=standing.view.copies(one),
        wanted=shortfall.wanted,
        missing=shortfall.missing,
        declined=_declined(shortfall),
        slots=report.slots if report else None,
        active=report.active if report else None,
        reserved=report.reserved if report else None,
        free_slots=standing.free_slots(one),
        transmit_bytes_per_second=report.transmit_bytes_per_second if report else None,
        monthly_bytes=profile.monthly_bytes if profile else None,
        quota_left_bytes=standing.quota_left_bytes(one),
        sparing=report.sparing if report else None,
        last_report_s=standing.now_s - one.load.heard_s if one.load else None,
    )


def _declined(shortfall: Shortfall) -> DeclinedTold | None:
    event = shortfall.example
    if event is None:
        return None
    return DeclinedTold(
        files=shortfall.declined,
        path=unheld_path(event.path),
        reason=event.reason.value,
        text=event.reason.text,
        detail=event.detail,
    )


def state_of(one: Mirror, standing: Standing) -> Rejection | None:
    """Say what keeps a mirror from being chosen whatever the file, or None."""
    if rejection := standing.attendance(one):
        return rejection
    if standing.free_slots(one) == 0:
        return Rejection(RejectReason.FULL)
    if standing.quota_left_bytes(one) == 0:
        return Rejection(RejectReason.QUOTA_SPENT)
    return None


def _visitor(visitor: Visitor) -> VisitorTold:
    place = visitor.place
    return VisitorTold(
        ip=str(visitor.address), country=place.country, latitude=place.latitude, longitude=place.longitude
    )


def _candidate(candidate: Candidate) -> CandidateTold:
    return CandidateTold(
        mirror=candidate.mirror,
        distance_km=None if candidate.distance_km is None else round(candidate.distance_km, 1),
        free_slots=candidate.free_slots,
        quota_left_bytes=candidate.quota_left_bytes,
    )


def _rejection(name: MirrorName, rejection: Rejection, *, names_networks: bool) -> RejectionTold:
    reason = rejection.reason
    tells = names_networks or reason is not RejectReason.NO_ACCESS
    return RejectionTold(
        mirror=name,
        reason=reason.code,
        criterion=reason.criterion,
        text=reason.text,
        detail=rejection.detail if tells else "",
    )


def _location(location: Location | None) -> LocationTold | None:
    if location is None:
        return None
    return LocationTold(latitude=location.latitude, longitude=location.longitude, country=location.country)
