"""What the visits of grants take where bytes are served: slots, connections and bytes for each grant. Pure.

A visit is a grant with a live connection, and takes one slot however many connections a tool opens for its segments.
A grant is leave for one download and not for one request: it may be resumed and fetched in parts, within a budget of
bytes. What was asked for counts against the budget at once, so that no crowd of requests exceeds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from events.grants import Claim, Grant, IPAddress, check_or_claim

GRANT_CONNECTIONS_MAX: Final = 4  # what download tools use for one file; more only starves other visitors
BUDGET_FACTOR: Final = 2  # a whole download that broke at its very end, and once more
GRANTS_REMEMBERED_MAX: Final = 100_000  # some 20 MB; forgetting the oldest costs its visitor a new redirect at most


class Excess(Enum):
    """What a visitor with a good token wants too much of."""

    SLOTS = "all slots are taken"
    CONNECTIONS = "this download has enough connections"
    BUDGET = "this download took more than twice its size"


@dataclass(slots=True)
class _Usage:
    finish_by_s: int
    size_bytes: int
    connections: int = 0
    sent_bytes: int = 0
    asked_bytes: int = 0
    claim: Claim | None = None

    @property
    def budget_left_bytes(self) -> int:
        return BUDGET_FACTOR * self.size_bytes - self.sent_bytes - self.asked_bytes


class Visits:
    """All grants that this process has seen, and what each of them took. There are ``slots`` of them at once."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._usages: dict[bytes, _Usage] = {}
        self._active = 0

    @property
    def active(self) -> int:
        """Slots with a live connection."""
        return self._active

    def started(self, grant_id: bytes) -> bool:
        """Tell whether bytes were already sent under this grant."""
        usage = self._usages.get(grant_id)
        return usage is not None and usage.sent_bytes > 0

    def is_whole(self, grant_id: bytes) -> bool:
        """Tell whether as many bytes were sent under this grant as its file has."""
        usage = self._usages.get(grant_id)
        return usage is not None and usage.sent_bytes >= usage.size_bytes

    def connections(self, grant_id: bytes) -> int:
        """Give how many connections of a grant are live."""
        usage = self._usages.get(grant_id)
        return 0 if usage is None else usage.connections

    def knows(self, grant_id: bytes) -> bool:
        """Tell whether a visitor already came with this grant."""
        return grant_id in self._usages

    def claimed(self, grant_id: bytes) -> Claim | None:
        """Give what the other address family has claimed of a grant."""
        usage = self._usages.get(grant_id)
        return None if usage is None else usage.claim

    def prove(self, grant: Grant, address: IPAddress, *, now_s: float) -> bool:
        """Check that a grant holds for a visitor now; tell whether he has just claimed it for the other address family.

        Raises:
            ForeignGrantError: it is another visitor's.
            ExpiredGrantError: too late.
        """
        started, claimed = self.started(grant.grant_id), self.claimed(grant.grant_id)
        claim = check_or_claim(grant, address=address, now_s=now_s, started=started, claimed=claimed)
        if claim is claimed:
            return False
        self._usage(grant, now_s).claim = claim
        return True

    def enter(self, grant: Grant, *, asked_bytes: int, now_s: float, slots_kept: int = 0) -> Excess | None:
        """Let one connection of a grant in, or say what would be too much; ``slots_kept`` are kept for others."""
        usage = self._usage(grant, now_s)
        if usage.connections >= GRANT_CONNECTIONS_MAX:
            return Excess.CONNECTIONS
        if asked_bytes > usage.budget_left_bytes:
            return Excess.BUDGET
        if usage.connections == 0:
            if self._active + slots_kept >= self.slots:
                return Excess.SLOTS
            self._active += 1
        usage.connections += 1
        usage.asked_bytes += asked_bytes
        return None

    def count(self, grant_id: bytes, sent_bytes: int) -> None:
        """Take note of bytes that left."""
        usage = self._usages[grant_id]
        usage.sent_bytes += sent_bytes
        usage.asked_bytes -= sent_bytes

    def leave(self, grant_id: bytes, *, unsent_bytes: int) -> None:
        """Take note that a connection of a grant ended, and how many of the bytes it asked for never left."""
        usage = self._usages[grant_id]
        usage.connections -= 1
        usage.asked_bytes -= unsent_bytes
        if usage.connections == 0:
            self._active -= 1

    def _usage(self, grant: Grant, now_s: float) -> _Usage:
        usage = self._usages.get(grant.grant_id)
        if usage is None:
            if len(self._usages) >= GRANTS_REMEMBERED_MAX:
                self._forget(now_s)
            usage = _Usage(grant.finish_by_s, grant.size_bytes)
            self._usages[grant.grant_id] = usage
        return usage

    def _forget(self, now_s: float) -> None:
        """Forget all that ended, and a tenth of the rest: that which ends first."""
        idle = [(usage.finish_by_s, grant_id) for grant_id, usage in self._usages.items() if usage.connections == 0]
        idle.sort()
        surplus = GRANTS_REMEMBERED_MAX // 10
        for place, (finish_by_s, grant_id) in enumerate(idle):
            if finish_by_s >= now_s and place >= surplus:
                break
            del self._usages[grant_id]
