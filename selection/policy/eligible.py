"""Who can be sent a visitor now, whoever he is and whatever he wants, as bit sets kept up to date. Pure.

The criteria online, load and quota (without the file's size) are asked of a mirror when something of it has changed:
the view and the reservations tell which have, and the clock which have fallen silent. So a question costs nothing but
a look at three numbers. ``selection.policy.standing`` is the one truth about each mirror; this remembers its answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

from events.names import MirrorName
from events.schemas import Profile
from selection.policy.drawing import Weights
from selection.policy.reservations import Reservations
from selection.policy.rules import Rules
from selection.policy.standing import Standing
from selection.policy.terrain import Terrain
from selection.view.fleet import FleetView
from selection.view.roster import Mirror, Ruling

NOBODY: Final = -1
UNLIMITED: Final = 64  # more binary digits than any size has
_NEVER_S: Final = float("inf")


@dataclass(slots=True)
class _Entry:
    """What is remembered of one mirror: what its last report leaves free, and what was worked out of its profile.

    ``due_s`` is when it falls silent, ``digits`` the binary digits of its quota left, ``factor`` its weight for each
    free slot.
    """

    name: MirrorName
    room: int = 0
    quota_bytes: int | None = None
    is_sparing: bool = False
    due_s: float = _NEVER_S
    is_awaited: bool = False
    digits: int = UNLIMITED
    factor: int = 0
    profile: Profile | None = None
    ruling: Ruling | None = None
    left_sequence: int = 0


class Eligible:
    """The eligible mirrors.

    Attributes:
        willing: those that pass the criteria and spare nothing.
        sparing: those that pass, and have reached a soft limit.
        short_of: for each number of binary digits, the mirrors whose quota left has fewer. A size is tried by its own.
        weights: their weights in draws.
        numbers: their numbers by name.
        version: counts the changes of ``willing`` and ``sparing``.
    """

    def __init__(self, view: FleetView, reservations: Reservations, rules: Rules, terrain: Terrain) -> None:
        self._view, self._reservations, self._rules, self._terrain = view, reservations, rules, terrain
        self.willing = self.sparing = 0
        self.short_of = [0] * (UNLIMITED + 1)
        self.weights = Weights()
        self.numbers: dict[MirrorName, int] = {}
        self.version = 0
        self._entries: list[_Entry] = []
        self._changes, self._reserved = view.changes, reservations.changes
        self._seen = self._seen_reserved = -1
        self._now_s = 0.0
        self._next_due_s = _NEVER_S
        self._dues: list[tuple[float, int]] = []
        self._silent: set[int] = set()

    def catch_up(self, now_s: float) -> None:
        """Look at what has changed until now, on the clock on which load reports are heard."""
        if (
            self._changes.version != self._seen
            or self._reserved.version != self._seen_reserved
            or not self._now_s <= now_s <= self._next_due_s
        ):
            self._look_around(now_s)

    def can_serve(self, number: int, size_bytes: int) -> bool:
        """Tell whether enough is left of a mirror's quota for a file."""
        entry = self._entries[number]
        if entry.quota_bytes is None:
            return True
        return entry.quota_bytes - self._reservations.of(entry.name).size_bytes >= size_bytes

    def _look_around(self, now_s: float) -> None:
        numbers = self._changed() | self._woken(now_s)
        self._now_s = now_s
        if numbers:
            standing = Standing(self._view, self._reservations, self._rules, now_s)
            for number in numbers:
                self._look_at(number, standing)
        self._recount_reserved(numbers)
        self._await_silence(now_s)
        if len(self.weights.order) != len(self.numbers):
            by_name = sorted(range(len(self._entries)), key=lambda number: self._entries[number].name)
            self.weights.order = sorted(range(len(by_name)), key=by_name.__getitem__)

    def _changed(self) -> set[int]:
        """Give the mirrors of which something changed in the view."""
        changed = self._changes.since(self._seen) if self._seen >= 0 else None
        self._seen = self._changes.version
        if changed is None:
            changed = [*range(len(self._entries)), *(mirror.number for mirror in self._view.mirrors())]
        found = set(changed)
        self._make_room(found)
        return found

    def _make_room(self, numbers: Iterable[int]) -> None:
        for number in range(len(self._entries), max(numbers, default=-1) + 1):
            name = self._view.by_number(number).name
            self._entries.append(_Entry(name))
            self.numbers[name] = number
        self.weights.grow(len(self._entries))

    def _woken(self, now_s: float) -> set[int]:
        """Give the mirrors that had fallen silent on a clock that was taken back since."""
        return set(self._silent) if now_s < self._now_s else set()

    def _look_at(self, number: int, standing: Standing) -> None:
        """Ask the criteria of one mirror anew."""
        mirror, entry = self._view.by_number(number), self._entries[number]
        self._survey(number, mirror, entry)
        is_online = mirror.in_fleet and standing.attendance(mirror) is None
        entry.room = standing.room(mirror) if is_online else 0
        report = mirror.load.report if mirror.load else None
        entry.quota_bytes = report.quota_left_bytes if report else None
        entry.is_sparing = report is not None and report.sparing
        entry.due_s = standing.silent_from_s(mirror)
        if entry.due_s < standing.now_s:
            self._silent.add(number)
        else:
            self._silent.discard(number)
        if is_online and not entry.is_awaited:
            entry.is_awaited = True
            heappush(self._dues, (entry.due_s, number))
        self._terrain.set_capacity(number, entry.factor * standing.slots(mirror))
        self._recount(number, entry)

    def _survey(self, number: int, mirror: Mirror, entry: _Entry) -> None:
        """Work out of a mirror's profile and the site's rules what no load report changes."""
        profile, ruling, left_sequence = mirror.profile, mirror.ruling, mirror.left_sequence
        is_known = number < len(self._terrain.capacities) and entry.profile is profile
        if is_known and entry.ruling is ruling and entry.left_sequence == left_sequence:
            return
        entry.profile, entry.ruling, entry.left_sequence = profile, ruling, left_sequence
        entry.factor = mirror.ruled.weight_percent
        self._terrain.put(mirror)

    def _recount_reserved(self, looked_at: set[int]) -> None:
        """Count the slots and bytes that were reserved or freed."""
        changed = self._reserved.since(self._seen_reserved) if self._seen_reserved >= 0 else None
        self._seen_reserved = self._reserved.version
        if changed is None:
            found = set(self.numbers.values())
        else:
            found = {self.numbers.get(self._reservations.name_of(number), NOBODY) for number in changed}
        for number in found - looked_at - {NOBODY}:
            self._recount(number, self._entries[number])

    def _recount(self, number: int, entry: _Entry) -> None:
        reserved = self._reservations.of(entry.name)
        free = max(0, entry.room - reserved.grants)
        self.weights.put(number, free * entry.factor)
        bit = 1 << number
        willing = bit if free and not entry.is_sparing else 0
        sparing = bit if free and entry.is_sparing else 0
        if self.willing & bit != willing or self.sparing & bit != sparing:
            self.willing = self.willing & ~bit | willing
            self.sparing = self.sparing & ~bit | sparing
            self.version += 1
        digits = UNLIMITED
        if entry.quota_bytes is not None:
            digits = max(0, entry.quota_bytes - reserved.size_bytes).bit_length()
        if digits != entry.digits:
            self._shift(entry, bit, digits)

    def _shift(self, entry: _Entry, bit: int, digits: int) -> None:
        """Keep who is short of a size of so many digits: whoever has fewer left."""
        low, high = sorted((entry.digits, digits))
        for size_digits in range(low + 1, high + 1):
            self.short_of[size_digits] ^= bit
        entry.digits = digits

    def _await_silence(self, now_s: float) -> None:
        """Let those fall silent whose last report is too old now."""
        dues = self._dues
        while dues and dues[0][0] < now_s:
            _, number = heappop(dues)
            entry = self._entries[number]
            entry.is_awaited = False
            self._look_at(number, Standing(self._view, self._reservations, self._rules, now_s))
        self._next_due_s = dues[0][0] if dues else _NEVER_S
