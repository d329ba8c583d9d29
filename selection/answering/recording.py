"""What a selector tells of its decisions, so that each can be made again from the log (ADR 21). Pure.

A decision follows from the view, the mirrors' figures, the rules, the visitor and the dice. The log tells the view; so
the record has the rest, and of the figures only what does not follow from the record before. ``selection.retracing``
reads what is written here.

Before the first decision all figures are told, and again after a record for which there was no room, since readers know
nothing of what came after it; where another log is read, since many have that one alone; and each minute, so that they
can begin anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias, cast

from msgspec.structs import replace

from events.names import SelectorName
from events.schemas import (
    Decision,
    DecisionOutcome,
    DecisionsRecorded,
    Figures,
    Seen,
    SelectionRules,
    StandingRecorded,
    Whereabouts,
)
from events.schemas.fields import INTEGER_MAX, NS_PER_S
from selection.answering.visit import Visit
from selection.places.place import Place
from selection.policy.policy import Policy
from selection.policy.reservations import Account, Reservations
from selection.policy.rules import PERCENT
from selection.view.fleet import FleetView
from selection.view.roster import Load, Mirror

Record: TypeAlias = StandingRecorded | DecisionsRecorded
# A decision of ours, its fields by place: it is written as the struct is, and takes a fifth of the time to make. What
# it says was checked before.
_Written: TypeAlias = tuple[object, ...]

DECISIONS_PER_RECORD_MAX: Final = 400  # 60 kB of plain ones; 520 kB of those with the longest paths
STANDING_EVERY_NS: Final = 60 * NS_PER_S  # 30 kB for 1,000 mirrors: whoever looks for one decision reads a minute
# Names and figures are some 35 bytes, so that a record with the longest paths is not larger than an event may be. In a
# large fleet where visitors are rare most mirrors report between two of them: then all is told instead.
EXTRAS_PER_RECORD_MAX: Final = 8000
FIGURES_PER_DECISION_MAX: Final = 2000
PLACES_KEPT: Final = 16_384  # towns; some 5 MB
_SAMPLE_FROM: Final = 14  # the grant id's bytes that no draw uses: its last two
_SAMPLE_RANGE: Final = 1 << 16
_NO_NEWS: Final = (None, ())
_LOOK_AT_ALL: Final = -1  # the version of figures of which nothing is known


class _Report(NamedTuple):
    """What of a mirror's last load report matters to choices."""

    slots: int = 0
    active: int = 0
    reserved: int = 0
    quota_left_bytes: int | None = None
    is_sparing: bool = False


@dataclass(slots=True)
class _Told:
    """What readers take for true of one mirror.

    ``load`` is what ``report`` was read from. ``figures`` are those that were told last; whose place was reserved
    since is not among them.
    """

    account: Account
    load: Load | None = None
    report: _Report = _Report()  # noqa: RUF009 - it never changes
    is_silent: bool = True
    granted: int = 0
    granted_bytes: int = 0
    figures: Figures | None = None

    def whole(self) -> Figures | None:
        """Give all that is told of it; None: nothing ever was."""
        if self.figures is not None and self.figures.granted != self.granted:
            granted_bytes = min(self.granted_bytes, INTEGER_MAX)
            self.figures = replace(self.figures, granted=self.granted, granted_bytes=granted_bytes)
        return self.figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What a recorder works with.

    Attributes:
        selector: who decides.
        view: what he decides by.
        policy: how.
        reservations: whom he and others sent where.
        rules: his settings.
        seen: gives how far the log is read now; the same object for as long as that is so.
        has_room: tells whether there is room for a record of so many decisions.
        say: puts such a record on its way, and tells whether there was room.
        on_gathered: is told of the first decision that waits to be told; ``flush`` soon.
    """

    selector: SelectorName
    view: FleetView
    policy: Policy
    reservations: Reservations
    rules: SelectionRules
    seen: Callable[[], Seen]
    has_room: Callable[[int], bool]
    say: Callable[[Record, int], bool]
    on_gathered: Callable[[], None]


class Recorder:
    """Records decisions, ``percent`` of a hundred. ``dropped`` counts those for which there was no room."""

    def __init__(self, desk: Desk, *, percent: int) -> None:
        self._desk = desk
        self._sampled_below = percent * _SAMPLE_RANGE // PERCENT
        self._is_whole = percent == PERCENT
        self._policy, self._seen = desk.policy, desk.seen
        self._figured, self._shares = desk.policy.figured, desk.policy.shares
        self._figured_version = _LOOK_AT_ALL
        self._told: list[_Told] = []
        self._stands_until_ns = 0
        self._decisions: list[_Written] = []
        self._extras = 0
        self._first_seen = self._last_seen = desk.seen()
        self._places: dict[int, tuple[Place, Whereabouts]] = {}
        self._is_first = True
        self._missed = 0
        self.dropped = 0

    def decided(
        self,
        visit: Visit,
        outcome: DecisionOutcome,
        mirror: Mirror | None = None,
        *,
        is_reserved: bool = False,
    ) -> None:
        """Record a decision that was made just now, before anything follows from it.

        Args:
            visit: what was decided about.
            outcome: what was decided.
            mirror: whom the visitor was sent to.
            is_reserved: a new place there is his, which ``Policy.reserve`` will count, and readers do.
        """
        if not (self._is_whole or int.from_bytes(visit.grant_id[_SAMPLE_FROM:]) < self._sampled_below):
            if is_reserved and mirror is not None:
                self._figured.note(mirror.number)  # no reader will count him
            return
        news = self._news(visit)
        if news is None:
            self._miss(1)
            return
        seen_anew, figures = news
        file, guest = visit.file, visit.guest
        visitor = guest.visitor
        place, home = visitor.place, visitor.home
        spent = self._policy.spent(visitor, now_s=visit.heard_s) if self._shares.is_capped else ()
        decision = (
            visit.grant_id,
            visit.at_ns,
            file.path,
            file.generation,
            guest.address,
            self._whereabouts(place),
            outcome,
            None if mirror is None else mirror.name,
            is_reserved,
            seen_anew,
            figures,
            visit.asked_not,
            visitor.only,
            visitor.secure,
            None if home is None else self._whereabouts(home),
            spent,
        )
        self._decisions.append(decision)
        if is_reserved and mirror is not None:  # as readers do
            told = self._told[mirror.number]
            told.granted += 1
            told.granted_bytes += file.size_bytes
        if figures or spent:
            self._extras += 2 * len(figures) + len(spent)
        if len(self._decisions) >= DECISIONS_PER_RECORD_MAX or self._extras >= EXTRAS_PER_RECORD_MAX:
            self.flush()

    def flush(self) -> None:
        """Say what was decided since the last time."""
        decisions = self._decisions
        if not decisions:
            return
        self._decisions, self._extras = [], 0
        written = cast("tuple[Decision, ...]", tuple(decisions))
        record = DecisionsRecorded(selector=self._desk.selector, seen=self._first_seen, decisions=written)
        if not self._desk.say(record, len(decisions)):
            self._miss(len(decisions))

    def _miss(self, count: int) -> None:
        """Take note that readers know nothing of some decisions, nor of what they were told with those."""
        self._missed += count
        self.dropped += count
        self._stands_until_ns, self._figured_version = 0, _LOOK_AT_ALL

    def _news(self, visit: Visit) -> tuple[Seen | None, Sequence[Figures]] | None:
        """Give what is not as at the decision before: how far the log was read, and figures.

        None: how all mirrors stand has to be told first, and there is no room for it.
        """
        seen, last = self._seen(), self._last_seen
        is_standing = visit.at_ns < self._stands_until_ns
        if seen is last and is_standing and self._decisions and self._figured.version == self._figured_version:
            return _NO_NEWS
        is_standing = is_standing and _is_same_log(seen, last)
        figures = self._differences(visit.heard_s) if is_standing else None
        if figures is None and not self._stand(visit.at_ns, visit.heard_s):
            return None
        self._last_seen = seen
        if not self._decisions:
            self._first_seen = seen
            self._desk.on_gathered()
            return None, figures or ()
        return None if seen is last else seen, figures or ()

    def _stand(self, at_ns: int, heard_s: float) -> bool:
        """Say how all mirrors stand, unless there is no room for that and some decisions; tell whether it was said."""
        self.flush()
        desk = self._desk
        if not desk.has_room(DECISIONS_PER_RECORD_MAX):
            return False
        self._differences(heard_s)
        record = StandingRecorded(
            selector=desk.selector,
            seen=desk.seen(),
            rules=desk.rules,
            figures=tuple([figures for told in self._told if (figures := told.whole()) is not None]),
            missed=self._missed,
            is_first=self._is_first,
        )
        if not desk.say(record, 1):
            return False
        self._is_first, self._missed = False, 0
        self._stands_until_ns = at_ns + STANDING_EVERY_NS
        return True

    def _differences(self, heard_s: float) -> list[Figures] | None:
        """Give the figures that are not what readers take for true; None: too many."""
        if self._figured.version == self._figured_version:
            return []
        numbers = self._figured.since(self._figured_version)
        if numbers is None or len(numbers) > self._policy.known:
            numbers = range(self._policy.known)
        self._figured_version = self._figured.version
        found = self._compared(numbers, heard_s)
        return found if len(found) <= FIGURES_PER_DECISION_MAX else None

    def _compared(self, numbers: Iterable[int], heard_s: float) -> list[Figures]:
        return [figures for number in numbers if (figures := self._difference(number, heard_s)) is not None]

    def _difference(self, number: int, heard_s: float) -> Figures | None:
        """Give a mirror's figures where readers take others for true; from now on they know them."""
        mirror = self._desk.view.by_number(number)
        told, load = self._told_of(number), mirror.load
        is_silent = load is None or load.heard_s + self._desk.rules.silent_after_s < heard_s
        report = told.report if load is told.load else _report_of(load)
        told.load, account = load, told.account
        is_known = report == told.report and is_silent is told.is_silent
        if is_known and account.grants == told.granted and account.size_bytes == told.granted_bytes:
            return None
        told.report, told.is_silent = report, is_silent
        told.granted, told.granted_bytes = account.grants, account.size_bytes
        told.figures = Figures(
            mirror=mirror.name,
            slots=report.slots,
            active=report.active,
            reserved=report.reserved,
            quota_left_bytes=report.quota_left_bytes,
            is_sparing=report.is_sparing,
            granted=told.granted,
            granted_bytes=min(told.granted_bytes, INTEGER_MAX),
            is_silent=is_silent,
        )
        return told.figures

    def _told_of(self, number: int) -> _Told:
        while number >= len(self._told):
            name = self._desk.view.by_number(len(self._told)).name
            self._told.append(_Told(self._desk.reservations.account(name)))
        return self._told[number]

    def _whereabouts(self, place: Place) -> Whereabouts:
        """Write a place; visitors of one town share the object."""
        known = self._places.get(place.key)
        if known is not None and known[0] is place:
            return known[1]
        if len(self._places) >= PLACES_KEPT:
            self._places.clear()
        whereabouts = Whereabouts(
            latitude=place.latitude,
            longitude=place.longitude,
            country=place.country,
            continent=place.continent,
            asn=place.asn,
            is_precise=place.precise,
        )
        self._places[place.key] = place, whereabouts
        return whereabouts


def _is_same_log(seen: Seen, last: Seen) -> bool:
    """Tell whether a view is told by the same log as before, or by none as before."""
    return seen.generation == last.generation and (seen.offset < 0) is (last.offset < 0)


def _report_of(load: Load | None) -> _Report:
    if load is None:
        return _Report()
    report = load.report
    return _Report(report.slots, report.active, report.reserved, report.quota_left_bytes, report.sparing)
