"""What one visitor is answered: a choice, and for a good one the link, the notice and the reservation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from events.grants import CLOCK_SKEW_S, GRANT_ID_BYTES, IPAddress
from events.names import ORIGIN, FilePath, MirrorName, SelectorName
from events.schemas import FilePublished
from events.trace import TraceContext
from selection.announcer import Announcer
from selection.choice import Choice
from selection.fleet import FleetView
from selection.geo import Places
from selection.granting import Keys, Terms, grant_for, notice_of, token_for
from selection.hearing import HearingClock
from selection.links import download_url
from selection.policy import Rules, Standing, Visitor, choose
from selection.reservations import Reservations


class UnknownFileError(LookupError):
    """Nothing is published under this path (any more). Answer 404."""


class NoAccessError(PermissionError):
    """The file is not for this visitor. Answer 403."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """What a redirector works with. ``clock_s`` is the Unix time."""

    selector: SelectorName
    master_url: str
    rules: Rules
    terms: Terms
    keys: Keys
    view: FleetView
    reservations: Reservations
    hearing: HearingClock
    places: Places
    rng: Random
    clock_s: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A choice with all that led to it."""

    file: FilePublished
    visitor: Visitor
    choice: Choice


class Redirector:
    """Answers visitors. It never waits."""

    def __init__(self, office: Office, announcer: Announcer) -> None:
        self._office = office
        self._announcer = announcer

    def standing(self) -> Standing:
        """Give how the mirrors fare now."""
        office = self._office
        return Standing(office.view, office.reservations, office.rules, office.hearing.now_s)

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
        choice = choose(file, visitor, self.standing(), rng=self._office.rng)
        return Explanation(file=file, visitor=visitor, choice=choice)

    def redirect(
        self, path: FilePath, address: IPAddress, asked_not: tuple[MirrorName, ...] = (), *, trace: TraceContext
    ) -> str:
        """Give the URL that a visitor is to be sent to, and tell the mirror of him.

        Raises:
            UnknownFileError: nothing is published there.
            NoAccessError: the file is not for him.
        """
        explained = self.explain(path, address, asked_not)
        if not explained.choice.access:
            raise NoAccessError(path)
        best = explained.choice.best
        mirror, base_url = (best.mirror, best.base_url) if best else (ORIGIN, self._office.master_url)
        token = self._grant(explained, mirror, trace)
        return download_url(base_url, token, path, asked_not)

    def _grant(self, explained: Explanation, mirror: MirrorName, trace: TraceContext) -> str:
        """Mint a token for one mirror (or the master), say so, and count it until the mirror's report does."""
        office, file, address = self._office, explained.file, explained.visitor.address
        grant_id = office.rng.randbytes(GRANT_ID_BYTES)
        grant = grant_for(file, address, office.terms, now_s=office.clock_s(), grant_id=grant_id)
        notice = notice_of(grant, file, explained.choice, selector=office.selector, mirror=mirror, address=address)
        sequence = self._announcer.say(notice, trace=trace)
        if mirror != ORIGIN:
            expires_s = grant.start_by_s + CLOCK_SKEW_S
            office.reservations.add(mirror, sequence=sequence, size_bytes=file.size_bytes, expires_s=expires_s)
        return token_for(grant, mirror, office.keys)
