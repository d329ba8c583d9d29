"""What one visitor is answered: a choice, and for a good one the link, the notice and the reservation.

A look (HEAD) gets the link alone. A visitor who asks for the same content again is sent to the mirror that keeps a
place for him already (``selection.policy.claims``), with a new link and without a second place, unless all slots
there are at work by now.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from events.grants import CLOCK_SKEW_S, GRANT_ID_BYTES, Grant, IPAddress
from events.names import ORIGIN, FilePath, MirrorName, SelectorName
from events.trace import TraceContext
from selection.answering.announcer import Announcer
from selection.answering.granting import Keys, Terms, grant_for, notice_of, token_for
from selection.answering.links import download_url
from selection.following.hearing import HearingClock
from selection.places.geo import Places
from selection.policy.choice import Choice, RejectReason
from selection.policy.claims import Claims
from selection.policy.policy import Policy
from selection.policy.reservations import Reservations
from selection.policy.standing import Standing
from selection.policy.visitor import Visitor
from selection.view.file import PublishedFile
from selection.view.fleet import FleetView

NS_PER_S: Final = 1_000_000_000


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


class Redirector:
    """Answers visitors. It never waits."""

    def __init__(self, office: Office, announcer: Announcer) -> None:
        self._office = office
        self._announcer = announcer

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
        path: FilePath,
        address: IPAddress,
        asked_not: tuple[MirrorName, ...] = (),
        *,
        trace: TraceContext | None,
    ) -> str:
        """Give the URL that a visitor is to be sent to, and tell the mirror of him. Without a trace he only looks.

        Raises:
            UnknownFileError: nothing is published there.
            NoAccessError: the file is not for him.
            NobodyLeftError: no mirror can serve him, and he comes from the master.
        """
        explained = self.explain(path, address, asked_not)
        if not explained.choice.access:
            raise NoAccessError(path)
        mirror, base_url = self._place_for(explained)
        if mirror == ORIGIN and ORIGIN in asked_not:
            raise NobodyLeftError(path)
        grant = self._grant(explained, mirror)
        if trace is not None:
            self._announce(grant, explained, mirror, trace)
        return download_url(base_url, token_for(grant, mirror, self._office.keys), path, asked_not)

    def _place_for(self, explained: Explanation) -> tuple[MirrorName, str]:
        """Give the mirror that keeps a place for this visitor, or else the best one, or else the master."""
        office, choice = self._office, explained.choice
        address, sha256 = explained.visitor.address, explained.file.sha256
        claimed = office.claims.mirrors(address, sha256, now_s=office.clock_s())
        urls = {candidate.mirror: candidate.base_url for candidate in choice.ranked}
        for name in claimed:
            rejection = choice.rejected.get(name)
            if name in urls:
                return name, urls[name]
            # Full by reservations alone, and one of them is his.
            if rejection is not None and rejection.reason is RejectReason.FULL and self.standing().has_idle_slot(name):
                return name, office.view.base_url(name)
        best = choice.best
        return (best.mirror, best.base_url) if best else (ORIGIN, office.master_url)

    def _grant(self, explained: Explanation, mirror: MirrorName) -> Grant:
        office = self._office
        return grant_for(
            explained.file,
            explained.visitor.address,
            office.terms,
            now_s=office.clock_s(),
            grant_id=office.rng.randbytes(GRANT_ID_BYTES),
            binding=office.view.binding(explained.file, mirror),
            key_epoch=office.view.key_epoch(mirror),
            revoked_start_by_s=office.view.revoked_start_by_s,
        )

    def _announce(self, grant: Grant, explained: Explanation, mirror: MirrorName, trace: TraceContext) -> None:
        """Tell a mirror (or the master) of its visitor, once, and count him until the mirror's report does."""
        office, file, address = self._office, explained.file, explained.visitor.address
        expires_s = grant.start_by_s + CLOCK_SKEW_S
        if not office.claims.claim(address, file.sha256, mirror, now_s=office.clock_s(), expires_s=expires_s):
            return
        granted = notice_of(
            grant,
            file,
            explained.choice,
            address=address,
            country=explained.visitor.place.country,
            granted_at_ns=int(office.clock_s() * NS_PER_S),
            trace=trace,
        )
        sequence = self._announcer.granted(mirror, granted)
        if mirror != ORIGIN:
            office.reservations.add(
                mirror, selector=office.selector, sequence=sequence, size_bytes=file.size_bytes, expires_s=expires_s
            )
