"""What selectors granted and no load report counts yet. Pure.

Between two reports a mirror looks as idle as it was. A selector that did not count grants would send everyone to the
same mirror in that time. It counts its own at once, and those of the site's other selectors when it reads of them. A
grant is dropped here when a report counts it (``grants_seen``), or when its visitor can no longer come. Report and
notice come by different ways: a notice that a report has counted already is not counted again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from events.names import MirrorName, SelectorName
from selection.view.changes import Changes


class Reserved(NamedTuple):
    """The slots and bytes of one mirror that are spoken for."""

    grants: int
    size_bytes: int


class _Grant(NamedTuple):
    sequence: int
    size_bytes: int
    expires_s: float


NOTHING: Final = Reserved(0, 0)


@dataclass(slots=True)
class _Account:
    """The uncounted grants for one mirror, by selector, the oldest first, and what its reports have counted."""

    number: int
    grants: dict[SelectorName, deque[_Grant]] = field(default_factory=dict[SelectorName, deque[_Grant]])
    counted: dict[SelectorName, int] = field(default_factory=dict[SelectorName, int])
    reserved: Reserved = NOTHING

    def add(self, selector: SelectorName, grant: _Grant) -> None:
        grants = self.grants.get(selector)
        if grants is None:
            grants = self.grants[selector] = deque()
        grants.append(grant)
        self.reserved = Reserved(self.reserved.grants + 1, self.reserved.size_bytes + grant.size_bytes)

    def drop(self, gone: _Grant) -> None:
        self.reserved = Reserved(self.reserved.grants - 1, self.reserved.size_bytes - gone.size_bytes)


class Reservations:
    """The uncounted grants for each mirror. Of its own a selector makes no more than a mirror has slots.

    ``changes`` tells whose reservations changed lately, by a number that is theirs here alone (``name_of``).
    """

    def __init__(self) -> None:
        self._accounts: dict[MirrorName, _Account] = {}
        self._names: list[MirrorName] = []
        self.changes = Changes()

    def name_of(self, number: int) -> MirrorName:
        """Name a mirror that ``changes`` tells of."""
        return self._names[number]

    def add(
        self, mirror: MirrorName, *, selector: SelectorName, sequence: int, size_bytes: int, expires_s: float
    ) -> None:
        """Note a grant. Its ``sequence`` is that of the selector's event that tells of it, and never falls."""
        account = self._account(mirror)
        if sequence > account.counted.get(selector, -1):
            account.add(selector, _Grant(sequence, size_bytes, expires_s))
            self.changes.note(account.number)

    def counted(self, mirror: MirrorName, *, selector: SelectorName, up_to_sequence: int) -> None:
        """Drop what a mirror's load report counts of a selector's grants."""
        account = self._account(mirror)
        account.counted[selector] = max(up_to_sequence, account.counted.get(selector, -1))
        grants = account.grants.get(selector)
        if not grants or grants[0].sequence > up_to_sequence:
            return
        while grants and grants[0].sequence <= up_to_sequence:
            account.drop(grants.popleft())
        self.changes.note(account.number)

    def expire(self, now_s: float) -> None:
        """Drop the grants whose visitors can no longer come."""
        for account in self._accounts.values():
            if not account.reserved.grants:
                continue
            before = account.reserved
            for grants in account.grants.values():
                while grants and grants[0].expires_s <= now_s:
                    account.drop(grants.popleft())
            if account.reserved != before:
                self.changes.note(account.number)

    def of(self, mirror: MirrorName) -> Reserved:
        """Give what is spoken for at a mirror."""
        account = self._accounts.get(mirror)
        return account.reserved if account else NOTHING

    def _account(self, mirror: MirrorName) -> _Account:
        account = self._accounts.get(mirror)
        if account is None:
            account = self._accounts[mirror] = _Account(len(self._names))
            self._names.append(mirror)
        return account
