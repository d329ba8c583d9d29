"""The mirrors, and the master as number 0, as sources: who offers pieces, who is busy, who failed lately. Pure.

Each has a number, which stands for it in sets of bits and is never given to another.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Final

from events.names import ORIGIN, MirrorName
from master.heard import Announced

ORIGIN_NUMBER: Final = 0
LEASES_PER_SOURCE_MAX: Final = 2  # one is sent while the next is asked for; more would only share its uplink
# Of all contents. Who takes leases and lets them run out keeps places from others, and the master's rate.
LEASES_PER_ASKER_MAX: Final = 64  # sixteen fetches at once, with the four pieces each that mirrors ask for
FROM_ORIGIN_PER_ASKER_MAX: Final = 8
LIVE_S: Final = 90.0  # a mirror asks at least every 20 s, or fetches a piece for up to a minute
FAILED_TO_MAX: Final = 2  # a source that failed so many askers since it last served one is at fault itself
REST_S: Final = 30.0  # for such a source; a mirror restarts in seconds


@dataclass(slots=True)
class _Failing:
    """Askers that a source failed since it last served anybody, as bits; and until when it rests."""

    askers: int = 0
    until_s: float = float("-inf")


class Stations:
    """Knows all stations by name and number."""

    def __init__(self) -> None:
        self._numbers: dict[MirrorName, int] = {ORIGIN: ORIGIN_NUMBER}
        self._names: list[MirrorName] = [ORIGIN]
        self._announced: dict[int, Announced] = {}
        self._load: Counter[int] = Counter()
        self._leased: Counter[int] = Counter()
        self._between: Counter[tuple[int, int]] = Counter()
        self._used: Counter[int] = Counter()
        self._asked_at_s: OrderedDict[int, float] = OrderedDict()
        self._failing: dict[int, _Failing] = {}
        self._offering = 0
        self._idle = 0
        self._busy = 0
        self._resting = 0

    def number(self, name: MirrorName) -> int:
        """Give a mirror's number; a new one gets the next."""
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
        return number

    def name(self, number: int) -> MirrorName:
        """Give the name that a number stands for."""
        return self._names[number]

    def announced(self, number: int) -> Announced:
        """Give what a source said of itself.

        Raises:
            KeyError: it said nothing, so it is no source.
        """
        return self._announced[number]

    def announce(self, announced: Announced) -> None:
        """Take up what a mirror says of itself. It is a source while it is online and serves other mirrors."""
        number = self.number(announced.mirror)
        profile = announced.profile
        self._announced[number] = announced
        if announced.online and profile is not None and profile.peers:
            self._offering |= 1 << number
        else:
            self._offering &= ~(1 << number)
        self._recover(number)

    def leave(self, number: int) -> None:
        """Let a mirror be no source any more."""
        self._announced.pop(number, None)
        self._offering &= ~(1 << number)

    def sources(self, now_s: float) -> int:
        """Give the mirrors that serve others, busy or not."""
        for number in [number for number, failing in self._failing.items() if failing.until_s <= now_s]:
            self._resting &= ~(1 << number)
        return self._offering & ~self._resting

    def offers(self, number: int) -> bool:
        """Tell whether a mirror is online and serves others."""
        return bool(self._offering >> number & 1)

    def asked(self, number: int, *, now_s: float) -> None:
        """Note that a mirror asks for pieces."""
        self._asked_at_s[number] = now_s
        self._asked_at_s.move_to_end(number)
        while now_s - next(iter(self._asked_at_s.values())) >= LIVE_S:
            self._asked_at_s.popitem(last=False)

    def free(self, sources: int, asker: int) -> int:
        """Give those of some sources that have a place left for an asker: one, or all where it alone asks lately."""
        used = self._used[asker] if len(self._asked_at_s) > 1 else 0
        return sources & ~self._busy & ~used

    def room(self, asker: int) -> int:
        """Tell how many more leases a mirror may have."""
        return LEASES_PER_ASKER_MAX - self._leased[asker]

    def may_ask_origin(self, asker: int) -> bool:
        """Tell whether a mirror may have one more lease from the master."""
        return self._between[ORIGIN_NUMBER, asker] < FROM_ORIGIN_PER_ASKER_MAX

    def idle(self, sources: int) -> int:
        """Give those of some sources that serve nobody."""
        return sources & ~self._idle

    def engage(self, number: int, asker: int) -> None:
        """Count a lease from a source."""
        self._leased[asker] += 1
        self._between[number, asker] += 1
        self._used[asker] |= 1 << number
        if number != ORIGIN_NUMBER:
            self._count(number, 1)

    def release(self, number: int, asker: int) -> None:
        """Count it no more."""
        self._leased[asker] -= 1
        self._between[number, asker] -= 1
        if not self._between[number, asker]:
            del self._between[number, asker]
            self._used[asker] &= ~(1 << number)
        if number != ORIGIN_NUMBER:
            self._count(number, -1)

    def served(self, number: int) -> None:
        """Note that a source gave somebody a piece."""
        self._recover(number)

    def failed(self, number: int, asker: int, *, now_s: float) -> None:
        """Note that a source failed an asker. One asker's word is not enough to let it rest for all."""
        failing = self._failing.setdefault(number, _Failing())
        failing.askers |= 1 << asker
        if number != ORIGIN_NUMBER and failing.askers.bit_count() >= FAILED_TO_MAX:
            failing.until_s = now_s + REST_S
            self._resting |= 1 << number

    def _recover(self, number: int) -> None:
        if self._failing.pop(number, None) is not None:
            self._resting &= ~(1 << number)

    def _count(self, number: int, change: int) -> None:
        load = self._load[number] = self._load[number] + change
        bit = 1 << number
        self._idle = self._idle | bit if load else self._idle & ~bit
        self._busy = self._busy | bit if load >= LEASES_PER_SOURCE_MAX else self._busy & ~bit
