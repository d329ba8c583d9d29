"""How a fleet stood at one selector when it decided: the log's view with the figures of its records over it. Pure.

The view belongs to whoever folds the log, and several selectors' records are laid over one. So nothing is written into
it: load reports, reservations and spent shares, which no log tells, are kept here by the mirrors' names.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from events.envelope import Version
from events.names import MirrorName
from events.schemas import Figures, LoadReported
from selection.policy.reservations import Reservations
from selection.policy.shares import Shares
from selection.view.changes import Changes
from selection.view.fleet import FleetView
from selection.view.roster import Load, Mirror

NOW_S: Final = 0.0
"""When all decisions are made again, on the clock on which load reports are heard; it stands still."""

_LONG_AGO_S: Final = -math.inf
_VERSION: Final = Version(0, 0)


class StoodView(FleetView):
    """The view of a log with other load reports. ``catch_up`` with what was folded before anything is asked.

    ``numbers`` are those of the mirrors that the log tells of, by name.
    """

    def __init__(self, view: FleetView) -> None:
        super().__init__(view._folding)  # noqa: SLF001 - another view of the same
        self._log_changes = view.changes
        self._seen = -1
        self._changes = Changes()
        self._loads: dict[MirrorName, Load] = {}
        self._stood: dict[int, tuple[Mirror, Mirror]] = {}
        self.numbers: dict[MirrorName, int] = {}

    @property
    def changes(self) -> Changes:
        """Give which mirrors changed lately, in the log or by the records."""
        return self._changes

    def mirrors(self) -> tuple[Mirror, ...]:
        """Give the mirrors of the fleet, by name."""
        return tuple(self.by_number(mirror.number) for mirror in super().mirrors())

    def by_number(self, number: int) -> Mirror:
        """Give a mirror by its number."""
        told = super().by_number(number)
        known = self._stood.get(number)
        if known is not None and known[0] is told:
            return known[1]
        stood = replace(told, load=self._loads.get(told.name))
        self._stood[number] = told, stood
        return stood

    def mirror(self, name: MirrorName) -> Mirror:
        """Give what is known of a mirror that the log tells of."""
        return self.by_number(super().mirror(name).number)

    def catch_up(self) -> None:
        """Take note of what the log told since the last time."""
        version = self._log_changes.version
        if version == self._seen:
            return
        changed = self._log_changes.since(self._seen) if self._seen >= 0 else None
        self._seen = version
        if changed is None:
            changed = [*self.numbers.values(), *(mirror.number for mirror in super().mirrors())]
        for number in changed:
            self.numbers[super().by_number(number).name] = number
            self._changes.note(number)

    def weigh(self, name: MirrorName, load: Load | None) -> None:
        """Take a mirror's load as it was; of one that the log does not tell of yet, until it does."""
        if load is None:
            self._loads.pop(name, None)
        else:
            self._loads[name] = load
        number = self.numbers.get(name)
        if number is not None:
            self._stood.pop(number, None)
            self._changes.note(number)


class StoodReservations(Reservations):
    """What was spoken for, as records tell it."""

    def put(self, mirror: MirrorName, *, grants: int, size_bytes: int) -> None:
        """Take what was spoken for at a mirror."""
        account = self.account(mirror)
        account.grants, account.size_bytes = grants, size_bytes
        self.changes.note(account.number)


class StoodShares(Shares):
    """Whose share of the visitor's continent was spent, as a record tells it: ``told``, as a bit set."""

    def __init__(self) -> None:
        super().__init__()
        self.told = 0

    def spent(self, continent: str, *, now_s: float) -> int:
        """Give the mirrors that had had their share."""
        del continent, now_s
        return self.told

    def share_percent(self, number: int, continent: str) -> None:
        """Give no figure: none is recorded."""
        del number, continent


class Stood:
    """All that figures say of one selector's mirrors."""

    def __init__(self, view: FleetView) -> None:
        self.view = StoodView(view)
        self.reservations = StoodReservations()
        self.shares = StoodShares()
        self._figures: dict[MirrorName, Figures] = {}

    def begin(self, figures: Sequence[Figures]) -> None:
        """Take the figures of all mirrors; of those that are not named nothing is known."""
        gone = self._figures.keys() - {each.mirror for each in figures}
        for name in gone:
            self.put(Figures(mirror=name, slots=0, active=0, reserved=0, is_silent=True))
            del self._figures[name]
        for each in figures:
            self.put(each)

    def put(self, figures: Figures) -> None:
        """Take the figures of one mirror."""
        self._figures[figures.mirror] = figures
        self.view.weigh(figures.mirror, _load_of(figures))
        self.reservations.put(figures.mirror, grants=figures.granted, size_bytes=figures.granted_bytes)

    def reserve(self, mirror: MirrorName, size_bytes: int) -> None:
        """Count a visitor whose place was reserved."""
        account = self.reservations.account(mirror)
        grants, total_bytes = account.grants + 1, account.size_bytes + size_bytes
        self.reservations.put(mirror, grants=grants, size_bytes=total_bytes)

    def spend(self, mirrors: Iterable[MirrorName]) -> None:
        """Take who had had his share."""
        self.shares.told = sum({1 << self.view.numbers[name] for name in mirrors if name in self.view.numbers})


def _load_of(figures: Figures) -> Load | None:
    """Give a load report that says what is known of it; None: there never was one."""
    if figures.is_silent and not figures.slots:
        return None
    report = LoadReported(
        mirror=figures.mirror,
        slots=figures.slots,
        active=figures.active,
        reserved=figures.reserved,
        transmit_bytes_per_second=0,
        quota_left_bytes=figures.quota_left_bytes,
        sparing=figures.is_sparing,
    )
    return Load(version=_VERSION, report=report, heard_s=_LONG_AGO_S if figures.is_silent else NOW_S)
