"""Who can be sent a visitor now, whoever he is and whatever he wants, as bit sets kept up to date. Pure.

The criteria online, load and quota (without the file's size) are asked of a mirror when something of it has changed:
the view and the reservations tell which have, and the clock which have fallen silent. So a question costs nothing but
a look at three numbers. ``selection.policy.standing`` is the one truth about each mirror; this remembers its answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from heapq import heappop, heappush
from math import inf
from typing import Final

from events.names import MirrorName, SelectorName
from events.schemas import Profile
from selection.policy.drawing import Weights
from selection.policy.reservations import Account, Reservations
from selection.policy.rules import Rules
from selection.policy.standing import Standing
from selection.policy.terrain import Terrain
from selection.view.changes import Changes
from selection.view.fleet import FleetView
from selection.view.roster import Mirror, Ruling

NOBODY: Final = -1
UNLIMITED: Final = 64  # more binary digits than any size has


class _Attitude(Enum):
    """Whether a mirror is eligible, and how gladly."""

    NONE = 0
    SPARING = 1
    WILLING = 2


_NONE, _SPARING, _WILLING = _Attitude  # a name less to look up


@dataclass(slots=True)
class _Entry:
    """What is remembered of one mirror.

    Attributes:
        number: the mirror's.
        account: what is spoken for there.
        is_present: it counts as online, as long as it reports.
        room: the slots that its last report leaves free; 0 while it does not count as online.
        capacity: the largest weight that it can have; 0 while it does not count as online.
        is_awaited: its silence is waited for.
        gladly: how gladly it takes visitors while it has room for any.
        digits: the binary digits of its quota left.
        factor: its weight for each free slot.
        floor: while its weight stays above this a grant changes nothing but that; infinite where there is a quota.
    """

    name: MirrorName
    number: int
    account: Account
    is_present: bool = False
    room: int = 0
    capacity: int = 0
    quota_bytes: int | None = None
    gladly: _Attitude = _Attitude.WILLING
    is_awaited: bool = False
    digits: int = UNLIMITED
    factor: int = 0
    floor: float = inf
    attitude: _Attitude = _Attitude.NONE
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
        figured: whose load, silence or reservations may be others than before, but for what ``reserve`` counted.
    """

    def __init__(self, view: FleetView, reservations: Reservations, rules: Rules, terrain: Terrain) -> None:
        self._view, self._reservations, self._terrain = view, reservations, terrain
        self.willing = self.sparing = 0
        self.short_of = [0] * (UNLIMITED + 1)
        self.weights = Weights()
        self.numbers: dict[MirrorName, int] = {}
        self.version = 0
        self.figured = Changes()
        self._entries: list[_Entry] = []
        self._by_account: dict[int, _Entry] = {}
        self._changes, self._reserved = view.changes, reservations.changes
        self._standing = Standing(view, reservations, rules, now_s=0.0)  # asked for nothing that depends on the time
        self._seen = self._seen_roster = self._seen_reserved = -1
        self._now_s = 0.0
        self._next_due_s = inf
        self._dues: list[tuple[float, int]] = []
        self._silent: set[int] = set()

    def catch_up(self, now_s: float) -> None:
        """Look at what has changed until now, on the clock on which load reports are heard."""
        if self._changes.version != self._seen or not self._now_s <= now_s <= self._next_due_s:
            self._look_around(now_s)
        if self._reserved.version != self._seen_reserved:
            self._recount_reserved()

    def catch_up_loads(self, now_s: float) -> None:
        """Do the same unless more than loads has changed: who joins, or is ruled anew, costs a look at the fleet."""
        if self._view.roster_version == self._seen_roster:
            self.catch_up(now_s)

    def can_serve(self, number: int, size_bytes: int) -> bool:
        """Tell whether enough is left of a mirror's quota for a file."""
        entry = self._entries[number]
        if entry.quota_bytes is None:
            return True
        return max(0, entry.quota_bytes - entry.account.size_bytes) >= size_bytes  # an empty file fits everywhere

    def reserve(
        self, mirror: Mirror, *, selector: SelectorName, sequence: int, size_bytes: int, expires_s: float
    ) -> None:
        """Note a grant to a visitor who was sent to a mirror just now, as ``Reservations.add`` does.

        It is known which mirror changes, and how. ``figured`` does not tell of it: whoever keeps the figures counts one
        more grant, of so many bytes.
        """
        number, reserved = mirror.number, self._reserved
        entry = self._entries[number]
        if not entry.account.add(selector, sequence, size_bytes, expires_s):
            self.figured.note(number)  # a report has counted him already: the mirror stands otherwise than is expected
            return
        if self._seen_reserved == reserved.version:
            self._seen_reserved += 1
        reserved.note(entry.account.number)
        weights = self.weights.of
        weight = weights[number] - entry.factor
        if weight > entry.floor:  # it has a slot less, and is in the same sets as before
            weights[number] = weight
        else:
            self._recount(entry)

    def _look_around(self, now_s: float) -> None:
        """Ask the criteria of those of which something changed, and of those who woke or fell silent."""
        changed = self._changes.since(self._seen) if self._seen >= 0 else None
        is_roster_new = self._view.roster_version != self._seen_roster
        self._seen, self._seen_roster = self._changes.version, self._view.roster_version
        woken = [*self._silent] if self._silent and now_s < self._now_s else []  # the clock was taken back
        self._now_s = now_s
        if changed is None:
            changed = [*range(len(self._entries)), *(mirror.number for mirror in self._view.mirrors())]
        if is_roster_new or max(changed, default=NOBODY) >= len(self._entries):
            self._look_closely(set(changed))
        else:
            for number in changed:
                self._weigh(number)
        for number in woken:
            self._weigh(number)
        self._await_silence()

    def _look_closely(self, numbers: set[int]) -> None:
        """Look at all of some mirrors, and not at their load reports alone."""
        known = len(self._entries)
        for number in range(known, max(numbers, default=NOBODY) + 1):
            name = self._view.by_number(number).name
            entry = _Entry(name, number, self._reservations.account(name))
            self._entries.append(entry)
            self._by_account[entry.account.number] = entry
            self.numbers[name] = number
        self.weights.grow(len(self._entries))
        for number in numbers | set(range(known, len(self._entries))):
            mirror, entry = self._view.by_number(number), self._entries[number]
            self._survey(number, mirror, entry)
            entry.is_present = mirror.in_fleet and self._standing.is_present(mirror)
            self._weigh(number)
        if len(self._entries) > known:
            by_name = sorted(range(len(self._entries)), key=lambda number: self._entries[number].name)
            self.weights.order = sorted(range(len(by_name)), key=by_name.__getitem__)

    def _weigh(self, number: int) -> None:
        """Take up a mirror's last load report."""
        mirror, entry = self._view.by_number(number), self._entries[number]
        load, due_s = mirror.load, self._standing.silent_from_s(mirror)
        if load is None:
            slots = room = 0
            entry.quota_bytes, entry.gladly = None, _WILLING
        else:
            report = load.report
            slots, room = self._standing.slots_and_room(report)
            entry.quota_bytes, entry.gladly = report.quota_left_bytes, _SPARING if report.sparing else _WILLING
        is_silent = due_s < self._now_s
        if is_silent:
            self._silent.add(number)
        elif self._silent:
            self._silent.discard(number)
        is_there = entry.is_present and not is_silent
        entry.room = room if is_there else 0
        entry.capacity = entry.factor * slots if is_there else 0
        if entry.is_present and not (is_silent or entry.is_awaited or load is None):
            entry.is_awaited = True
            heappush(self._dues, (due_s, number))
        self._terrain.set_capacity(number, entry.factor * slots)
        self._recount(entry)
        self.figured.note(number)

    def _survey(self, number: int, mirror: Mirror, entry: _Entry) -> None:
        """Work out of a mirror's profile and the site's rules what no load report changes."""
        profile, ruling, left_sequence = mirror.profile, mirror.ruling, mirror.left_sequence
        is_known = number < len(self._terrain.capacities) and entry.profile is profile
        if is_known and entry.ruling is ruling and entry.left_sequence == left_sequence:
            return
        entry.profile, entry.ruling, entry.left_sequence = profile, ruling, left_sequence
        entry.factor = mirror.ruled.weight_percent
        self._terrain.put(mirror)

    def _recount_reserved(self) -> None:
        """Count the slots and bytes that were reserved or freed."""
        changed = self._reserved.since(self._seen_reserved) if self._seen_reserved >= 0 else None
        self._seen_reserved = self._reserved.version
        for number in self._by_account if changed is None else changed:
            entry = self._by_account.get(number)
            if entry is not None:  # or it is looked at when it is met in the view
                self._recount(entry)
                self.figured.note(entry.number)

    def _recount(self, entry: _Entry) -> None:
        """Work out what is left of a mirror's slots and quota; it mostly changes no set."""
        free, number = entry.room - entry.account.grants, entry.number
        if free > 0:
            weight, attitude = free * entry.factor, entry.gladly
        else:
            weight, attitude = 0, _NONE
        floor = self.weights.put(number, weight, entry.capacity)
        entry.floor = floor if entry.quota_bytes is None else inf
        if attitude is not entry.attitude:
            self._sort_in(entry, self.weights.bits[number], attitude)
        if entry.quota_bytes is not None or entry.digits != UNLIMITED:
            self._recount_quota(entry)

    def _recount_quota(self, entry: _Entry) -> None:
        digits = UNLIMITED
        if entry.quota_bytes is not None:
            digits = max(0, entry.quota_bytes - entry.account.size_bytes).bit_length()
        if digits != entry.digits:
            self._shift(entry, self.weights.bits[entry.number], digits)

    def _sort_in(self, entry: _Entry, bit: int, attitude: _Attitude) -> None:
        """Put a mirror into the set that it belongs to now."""
        entry.attitude = attitude
        self.willing = self.willing | bit if attitude is _Attitude.WILLING else self.willing & ~bit
        self.sparing = self.sparing | bit if attitude is _Attitude.SPARING else self.sparing & ~bit
        self.version += 1

    def _shift(self, entry: _Entry, bit: int, digits: int) -> None:
        """Keep who is short of a size of so many digits: whoever has fewer left."""
        low, high = sorted((entry.digits, digits))
        for size_digits in range(low + 1, high + 1):
            self.short_of[size_digits] ^= bit
        entry.digits = digits

    def _await_silence(self) -> None:
        """Let those fall silent whose last report is too old now."""
        dues = self._dues
        while dues and dues[0][0] < self._now_s:
            _, number = heappop(dues)
            self._entries[number].is_awaited = False
            self._weigh(number)
        self._next_due_s = dues[0][0] if dues else inf
