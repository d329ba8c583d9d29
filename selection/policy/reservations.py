"""What selectors granted and no load report counts yet. Pure.

Between two reports a mirror looks as idle as it was. A selector that did not count grants would send everyone to the
same mirror in that time. It counts its own at once, and those of the site's other selectors when it reads of them. A
grant is dropped here when a report counts it (``grants_seen``), or when its visitor can no longer come. Report and
notice come by different ways: a notice that a report has counted already is not counted again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import Final, NamedTuple

from events.names import MirrorName, SelectorName
from selection.view.changes import Changes


class Reserved(NamedTuple):
    """The slots and bytes of one mirror that are spoken for."""

    grants: int
    size_bytes: int


NOTHING: Final = Reserved(0, 0)


@dataclass(slots=True)
class _Lot:
    """Grants that one event of a selector tells of, and whose visitors can no longer come from one moment on."""

    sequence: int
    expires_s: float
    grants: int
    size_bytes: int


@dataclass(slots=True)
class Account:
    """What is spoken for at one mirror. Whoever keeps an account reads it there: it stays the mirror's.

    Attributes:
        number: its number in ``Reservations.changes``.
        grants: how many are uncounted.
        size_bytes: the bytes of those.
        uncounted: the grants themselves by selector, the oldest first; those that are counted at once are one lot.
        counted: up to which sequence of each selector the mirror's reports have counted.
        due_s: when ``Reservations.expire`` looks at it next; no grant expires sooner but those that are new.
    """

    number: int
    grants: int = 0
    size_bytes: int = 0
    uncounted: dict[SelectorName, deque[_Lot]] = field(default_factory=dict[SelectorName, deque[_Lot]])
    counted: dict[SelectorName, int] = field(default_factory=dict[SelectorName, int])
    due_s: float = inf

    def expire(self, now_s: float) -> bool:
        """Let go of the grants whose visitors can no longer come; tell whether there were any."""
        before = self.grants
        for lots in self.uncounted.values():
            while lots and lots[0].expires_s <= now_s:
                self.drop_oldest(lots)
        return self.grants != before

    def add(self, selector: SelectorName, sequence: int, size_bytes: int, expires_s: float) -> bool:
        """Count a grant of a selector, unless a report has counted it; tell whether it has not."""
        if sequence <= self.counted.get(selector, -1):
            return False
        lots = self.uncounted.get(selector)
        if lots is None:
            lots = self.uncounted[selector] = deque()
        last = lots[-1] if lots else None
        if last is not None and last.sequence == sequence and last.expires_s == expires_s:
            last.grants += 1
            last.size_bytes += size_bytes
        else:
            lots.append(_Lot(sequence, expires_s, 1, size_bytes))
        self.grants += 1
        self.size_bytes += size_bytes
        return True

    def drop_oldest(self, lots: deque[_Lot]) -> None:
        """Let go of the oldest grants of a selector."""
        lot = lots.popleft()
        self.grants -= lot.grants
        self.size_bytes -= lot.size_bytes


class Reservations:
    """The uncounted grants for each mirror. Of its own a selector makes no more than a mirror has slots.

    ``changes`` tells whose reservations changed lately, by the number of their account.
    """

    def __init__(self) -> None:
        self._accounts: dict[MirrorName, Account] = {}
        self._numbered: list[Account] = []
        # When accounts are looked at; some moments were replaced by sooner ones.
        self._dues: list[tuple[float, int]] = []
        self._awaited_version = 0
        self.changes = Changes()

    def add(
        self, mirror: MirrorName, *, selector: SelectorName, sequence: int, size_bytes: int, expires_s: float
    ) -> None:
        """Note a grant. Its ``sequence`` is that of the selector's event that tells of it, and never falls."""
        account = self.account(mirror)
        if account.add(selector, sequence, size_bytes, expires_s):
            self.changes.note(account.number)

    def counted(self, mirror: MirrorName, *, selector: SelectorName, up_to_sequence: int) -> None:
        """Drop what a mirror's load report counts of a selector's grants."""
        account = self.account(mirror)
        account.counted[selector] = max(up_to_sequence, account.counted.get(selector, -1))
        lots = account.uncounted.get(selector)
        if not lots or lots[0].sequence > up_to_sequence:
            return
        while lots and lots[0].sequence <= up_to_sequence:
            account.drop_oldest(lots)
        self.changes.note(account.number)

    def expire(self, now_s: float) -> None:
        """Drop the grants whose visitors can no longer come."""
        changed = self.changes.since(self._awaited_version)
        for number in range(len(self._numbered)) if changed is None else {*changed}:
            self._await(self._numbered[number])
        self._awaited_version = self.changes.version
        while self._dues and self._dues[0][0] <= now_s:
            due_s, number = heappop(self._dues)
            account = self._numbered[number]
            if due_s != account.due_s:  # one that expires sooner came after it, and was looked at then
                continue
            account.due_s = inf
            if account.expire(now_s):
                self.changes.note(account.number)
            self._await(account)

    def _await(self, account: Account) -> None:
        """Look at an account again when its first grant expires."""
        due_s = min((lots[0].expires_s for lots in account.uncounted.values() if lots), default=inf)
        if due_s < account.due_s:
            account.due_s = due_s
            heappush(self._dues, (due_s, account.number))

    def of(self, mirror: MirrorName) -> Reserved:
        """Give what is spoken for at a mirror."""
        account = self._accounts.get(mirror)
        return Reserved(account.grants, account.size_bytes) if account else NOTHING

    def account(self, mirror: MirrorName) -> Account:
        """Give a mirror's account."""
        account = self._accounts.get(mirror)
        if account is None:
            account = self._accounts[mirror] = Account(len(self._accounts))
            self._numbered.append(account)
        return account
