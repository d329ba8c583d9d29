"""What one visitor is answered: a choice, and for a good one the link, the notice and the reservation.

A look (HEAD) gets the link alone. A visitor who asks for the same content again is sent to the mirror that keeps a
place for him already (``selection.policy.claims``), with a new link and without a second place, unless all slots
there are at work by now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from events.grants import CLOCK_SKEW_S, GRANT_ID_BYTES, Binding, Grant, IPAddress, bind, bound_of
from events.names import ORIGIN, FilePath, MirrorName, SelectorName
from events.schemas import DecisionOutcome
from events.schemas.fields import NS_PER_S
from selection.answering.announcer import Announcer
from selection.answering.granting import Given, Keys, Terms, grant_for
from selection.answering.heads import LINKS_MAX, Heads, Sheet
from selection.answering.links import carried
from selection.answering.recording import Recorder
from selection.answering.stations import Stations
from selection.answering.visit import Guest, Visit, guest_of
from selection.following.hearing import HearingClock
from selection.places.geo import Places
from selection.policy.choice import Choice
from selection.policy.claims import Claims
from selection.policy.dice import GrantDice
from selection.policy.policy import Policy
from selection.policy.reservations import Reservations
from selection.policy.standing import Standing
from selection.policy.visitor import Visitor
from selection.view.file import PublishedFile
from selection.view.fleet import FleetView
from selection.view.roster import Mirror


class UnknownFileError(LookupError):
    """Nothing is published under this path (any more). Answer 404."""


class NoAccessError(PermissionError):
    """The file is not for this visitor. Answer 403."""


class NobodyLeftError(RuntimeError):
    """All who could serve, the master too, have just sent this visitor back. Answer 503."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """What a redirector works with. ``clock_s`` is the Unix time."""

    selector: SelectorName
    master_url: str
    policy: Policy
    terms: Terms
    keys: Keys
    view: FleetView
    reservations: Reservations
    claims: Claims
    recorder: Recorder
    heads: Heads
    hearing: HearingClock
    places: Places
    rng: Random
    clock_s: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A choice with all that led to it."""

    file: PublishedFile
    visitor: Visitor
    choice: Choice


_Chosen: TypeAlias = tuple[DecisionOutcome, Mirror | None, Sequence[Mirror]]  # who serves, none: the master; who could


class Redirector:
    """Answers visitors. It never waits."""

    def __init__(self, office: Office, announcer: Announcer) -> None:
        self._office = office
        self._announcer = announcer
        self._stations = Stations(office.view, office.keys, office.master_url)
        self._policy, self._claims, self._recorder = office.policy, office.claims, office.recorder
        self._shares, self._reserve = office.policy.shares, office.policy.reserve
        self._selector, self._terms, self._view = office.selector, office.terms, office.view
        self._heads, self._hearing = office.heads, office.hearing
        self._randbytes, self._clock_s = office.rng.randbytes, office.clock_s

    def standing(self) -> Standing:
        """Give how the mirrors fare now."""
        return self._office.policy.standing(now_s=self._office.hearing.now_s)

    def explain(self, path: FilePath, address: IPAddress, asked_not: tuple[MirrorName, ...] = ()) -> Explanation:
        """Make the choice as it would be now, and keep it without consequences.

        Raises:
            UnknownFileError: nothing is published there.
        """
        file = self._office.view.file(path)
        if file is None:
            raise UnknownFileError(path)
        place = self._office.places.place_of(address)
        visitor = Visitor(address=address, place=place, asked_not=frozenset(asked_not))
        office = self._office
        choice = office.policy.explain(file, visitor, now_s=office.hearing.now_s, rng=office.rng)
        return Explanation(file=file, visitor=visitor, choice=choice)

    def redirect(
        self,
        sheet: Sheet,
        guest: Guest,
        asked_not: tuple[MirrorName, ...] = (),
        *,
        looks: bool = False,
        traceparent: str = "",
        query: str = "",
    ) -> bytes:
        """Send a visitor to a mirror with a link of his own, and tell the mirror of him.

        Args:
            sheet: that of the file that he asks for.
            guest: who he is.
            asked_not: who has sent him back, in that order; it travels along.
            looks: he asks where the file is, and does not come for it (HEAD): nobody is told.
            traceparent: the trace that his download belongs to, where he brought one.
            query: what he had to say to be given the file at all, and will have to when he is sent back.

        Returns:
            The fields of a 302, as ``selection.answering.heads`` writes them.

        Raises:
            NoAccessError: the file is not for him.
            NobodyLeftError: no mirror can serve him, and he comes from the master.
        """
        file, stations = sheet.file, self._stations
        visit = self._visit(file, guest, asked_not)
        outcome, mirror, others = self._chosen(visit)
        if outcome is DecisionOutcome.NOBODY:
            if not looks:
                self._recorder.decided(visit, outcome)
            raise NobodyLeftError(file.path)
        station = stations.of(mirror)
        start_by_s, finish_by_s = self._terms.moments(
            file.size_bytes, now_s=visit.now_s, revoked_start_by_s=self._view.revoked_start_by_s
        )
        if not looks:
            self._announce(visit, outcome, mirror, (visit, start_by_s, finish_by_s, traceparent))
        binding = stations.binding(station, file)
        token = station.minter.token(
            grant_id=visit.grant_id,
            sha256=file.sha256,
            size_bytes=file.size_bytes,
            start_by_s=start_by_s,
            finish_by_s=finish_by_s,
            bound=guest.bound if binding is Binding.STRICT else bound_of(guest.visitor.address, binding),
            key_epoch=station.key_epoch,
        )
        location = station.downloads + token + sheet.tail
        if asked_not or query:
            location += carried(asked_not, query).encode("ascii")
        return self._heads.redirect(sheet, location, others, served_by=station.served_by)

    def refused(self, file: PublishedFile, visitor: Visitor, asked_not: tuple[MirrorName, ...] = ()) -> None:
        """Take note that the file's networks do not take a visitor, and that he was told so."""
        self._recorder.decided(self._visit(file, guest_of(visitor), asked_not), DecisionOutcome.REFUSED)

    def _visit(self, file: PublishedFile, guest: Guest, asked_not: tuple[MirrorName, ...]) -> Visit:
        grant_id, at_ns = self._randbytes(GRANT_ID_BYTES), int(self._clock_s() * NS_PER_S)
        return Visit(file, guest, asked_not, grant_id, at_ns, at_ns / NS_PER_S, self._hearing.now_s)

    def _chosen(self, visit: Visit) -> _Chosen:
        """Give the mirror that keeps a place for this visitor, or else the best one, or else the master."""
        file, guest = visit.file, visit.guest
        visitor, heard_s = guest.visitor, visit.heard_s
        dice = GrantDice(visit.grant_id)
        offer = self._policy.choose(file, visitor, LINKS_MAX, now_s=heard_s, rng=dice)
        if not offer.access:
            raise NoAccessError(file.path)
        for name in self._claims.mirrors(guest.claimant, file.sha256, now_s=visit.now_s):
            if kept := self._policy.may_return(file, visitor, name, now_s=heard_s):
                others = self._policy.others(file, visitor, LINKS_MAX, now_s=heard_s, besides=kept)
                return DecisionOutcome.KEPT, kept, others
        if offer.mirror is not None:
            return DecisionOutcome.SENT, offer.mirror, offer.others
        return DecisionOutcome.NOBODY if ORIGIN in visit.asked_not else DecisionOutcome.ORIGIN, None, offer.others

    def _announce(self, visit: Visit, outcome: DecisionOutcome, mirror: Mirror | None, given: Given) -> None:
        """Tell a mirror (or the master) of its visitor, once, and count him until the mirror's report does."""
        guest, file, announcer = visit.guest, visit.file, self._announcer
        _, start_by_s, _, _ = given
        name, expires_s = ORIGIN if mirror is None else mirror.name, start_by_s + CLOCK_SKEW_S
        is_claimed = self._claims.claim(guest.claimant, file.sha256, name, now_s=visit.now_s, expires_s=expires_s)
        self._recorder.decided(visit, outcome, mirror, is_reserved=is_claimed)
        if not is_claimed:
            return
        sequence = announcer.granted(name, given)
        if mirror is not None:
            if self._shares.is_capped:
                self._policy.sent(mirror, guest.visitor, now_s=visit.heard_s)
            self._reserve(
                mirror, selector=self._selector, sequence=sequence, size_bytes=file.size_bytes, expires_s=expires_s
            )


def leave_for(file: PublishedFile, address: IPAddress, mirror: MirrorName, office: Office, *, now_s: float) -> Grant:
    """Give a visitor leave to download a file from a mirror; nobody is told of it by this."""
    return grant_for(
        file,
        bind(address, office.view.binding(file, mirror)),
        office.terms,
        now_s=now_s,
        grant_id=office.rng.randbytes(GRANT_ID_BYTES),
        key_epoch=office.view.key_epoch(mirror),
        revoked_start_by_s=office.view.revoked_start_by_s,
    )
